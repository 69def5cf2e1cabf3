"""Pages of a PDF as pictures, with the boxes of quoted words.

PDFium draws the page and gives the boxes of its characters; quoted_words.py says which of these the quote is. It runs
in a process of its own, as witness.py does: PDFium is not safe for threads, and a damaged page may take it for ever.
Boxes are shares of the picture, so they can be laid over it in any size; with `drawn` they are in it.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sharedllm_cli.documents.pdf.witness import told_by

if TYPE_CHECKING:
    import pypdfium2
    from PIL.Image import Image

SECONDS = 20.0
"""So long is waited for the pictures of one document; a page takes 0.1 s to 0.5 s."""
LONGEST_SIDE = 1600
"""Pixels of a picture's longer side."""
WIDEST = 4000
"""Pixels a caller may ask for."""
HEAVY = 400_000
"""Bytes; a picture of more is kept as JPEG, where that is smaller."""
COLOURS = 128
"""Of a page's picture: text and drawings need no more."""
MARK = (255, 228, 115)
"""Red, green and blue of a drawn mark, which colours what is below as a pen does."""
STRONG = (255, 194, 80)
"""The same of the answer's own words."""
_MOST_BOXES = 2000
_RUN = (
    "import sys; sys.path.append(sys.argv[1]); from sharedllm_cli.documents.pdf.page_pictures import answer; answer()"
)


@dataclass(frozen=True)
class Box:
    """A mark's sides as shares of the picture's width and height, from its left and its top."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class PagePicture:
    """A page as PNG or JPEG (`kind` is its media type), its size in pixels, and the boxes of the quoted words.

    `words` are those of the quote that have a letter or digit, `boxed` those that were found on the page. `strong` are
    the boxes of the answer's words within the quote, where it holds them.
    """

    data: bytes
    kind: str
    width: int
    height: int
    boxes: tuple[Box, ...]
    words: int
    boxed: int
    strong: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Asked:
    """One picture to make: the page, counted from 1, and the quote to mark on it; `drawn`: into the picture.

    `answer`: words to mark more strongly where the quote has them.
    """

    page: int
    quote: str
    answer: str = ""
    drawn: bool = False
    side: int = LONGEST_SIDE


def pictures(
    data: bytes, asked: Sequence[Asked], *, password: str | None = None, seconds: float = SECONDS
) -> list[PagePicture | None]:
    """The pictures of a PDF's pages, None for a page that can't be drawn in time, or at all."""
    found: list[PagePicture | None] = [None] * len(asked)
    request = json.dumps({"asked": [asdict(one) for one in asked], "password": password})
    for line in told_by(_RUN, request, data, seconds):
        with suppress(ValueError):  # the last one, where the process was ended
            made = json.loads(line)
            number = made.pop("number")
            found[number] = PagePicture(
                base64.b64decode(made.pop("data")),
                boxes=tuple(Box(*sides) for sides in made.pop("boxes")),
                strong=tuple(Box(*sides) for sides in made.pop("strong")),
                **made,
            )
    return found


# -- the other process -----------------------------------------------------------------------------------------------


def answer() -> None:
    """What is asked comes in as a line of JSON and the PDF's bytes; a line of JSON a picture goes out."""
    request = json.loads(sys.stdin.buffer.readline())
    data = sys.stdin.buffer.read()
    asked = [Asked(**one) for one in request["asked"]]
    for number, made in _made(data, request["password"], asked):
        fields = vars(made) | {
            "number": number,
            "data": base64.b64encode(made.data).decode("ascii"),
            "boxes": [list(vars(box).values()) for box in made.boxes],
            "strong": [list(vars(box).values()) for box in made.strong],
        }
        sys.stdout.write(json.dumps(fields) + "\n")
        sys.stdout.flush()


def _made(data: bytes, password: str | None, asked: Sequence[Asked]) -> Iterator[tuple[int, PagePicture]]:
    import pypdfium2

    from sharedllm_cli.documents.pdf.beside import Beside
    from sharedllm_cli.documents.pdf.second_opinion import SecondOpinion, quiet

    second = SecondOpinion(data, "", password)
    shown = second.without_hidden()
    with quiet(), pypdfium2.PdfDocument(data if shown is None else shown, password=password) as document:
        beside = Beside(document)  # opens the form, so that its values are drawn
        for number, one in enumerate(asked):
            with suppress(pypdfium2.PdfiumError, ValueError, IndexError, MemoryError, OSError):
                yield number, _picture(document, beside, second, one)


def _picture(document: pypdfium2.PdfDocument, beside: Any, second: Any, asked: Asked) -> PagePicture:
    from sharedllm_cli.documents.pdf.mark_boxes import mark_boxes

    page = document[asked.page - 1]
    marked = mark_boxes(page, asked.quote, beside, second.named_on(asked.page - 1), answer=asked.answer)
    boxes, strong = marked.boxes[:_MOST_BOXES], marked.strong[:_MOST_BOXES]
    image = _drawn(page, min(max(asked.side, 16), WIDEST))
    if asked.drawn:
        image = _marked(image, boxes, strong)
    encoded, kind = _encoded(image)
    return PagePicture(
        *(encoded, kind, image.width, image.height, tuple(boxes), marked.words, marked.boxed), tuple(strong)
    )


def _drawn(page: pypdfium2.PdfPage, side: int) -> Image:
    """The page as it is shown: turned, cropped, with annotations and the values of its form."""
    width, height = page.get_size()
    scale = side / max(width, height, 1e-3)
    thin = min(width, height) * scale
    if thin < 1:
        raise ValueError("the page is a line")
    image: Image = page.render(scale=scale, may_draw_forms=True).to_pil().convert("RGB")
    return image


def _marked(image: Image, boxes: Sequence[Box], strong: Sequence[Box]) -> Image:
    """The picture with its marks drawn: what is below shines through, as under a pen."""
    from PIL import Image, ImageChops, ImageDraw

    pen = Image.new("RGB", image.size, "white")
    draw = ImageDraw.Draw(pen)
    for box, colour in [*((box, MARK) for box in boxes), *((box, STRONG) for box in strong)]:
        left, top = int(box.left * image.width), int(box.top * image.height)
        right, bottom = int(box.right * image.width) + 1, int(box.bottom * image.height) + 1
        draw.rectangle((left, top, right, bottom), fill=colour)
    return ImageChops.multiply(image, pen)


def _encoded(image: Image) -> tuple[bytes, str]:
    """The picture as PNG of few colours; as JPEG where that is much smaller, as it is of photographs."""
    from io import BytesIO

    from PIL import Image

    png = BytesIO()
    image.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(png, "PNG")
    if png.tell() <= HEAVY:
        return png.getvalue(), "image/png"
    jpeg = BytesIO()
    image.save(jpeg, "JPEG", quality=82)
    smaller = jpeg.tell() < png.tell()
    return (jpeg.getvalue(), "image/jpeg") if smaller else (png.getvalue(), "image/png")
