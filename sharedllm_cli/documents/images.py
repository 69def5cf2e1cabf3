"""Image files as documents: each frame is a page, whose text is recognised (recognition.py)."""

from __future__ import annotations

from io import BytesIO

from sharedllm_cli.documents import recognition
from sharedllm_cli.documents.pages import ExtractedPage, Extraction
from sharedllm_cli.errors import DocumentError
from sharedllm_cli.progress import Reporter


def extract(data: bytes, name: str, reporter: Reporter) -> Extraction:
    """The pages of an image file; DocumentError where it is damaged or of a kind that can't be opened."""
    from PIL import Image, ImageOps, ImageSequence

    pages = []
    try:
        with Image.open(BytesIO(data)) as image:
            count = getattr(image, "n_frames", 1)
            with reporter.task(f"recognising text in {name}", count, "pages") as task:
                for frame in ImageSequence.Iterator(image):
                    page = ImageOps.exif_transpose(frame.convert("RGB"))
                    page.thumbnail((recognition.LONGEST_PHOTOGRAPH,) * 2)
                    text = recognition.recognised(page)
                    pages.append(ExtractedPage(text, images=True, recognised=bool(text.strip())))
                    task.advance(1)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as failure:
        raise DocumentError(f"{name} is a damaged image", hint="open it in a viewer and save it again") from failure
    return Extraction(tuple(pages), len(pages) > 1, reflow=True, layout=True, recognised_by=recognition.version())
