"""Text of pages that are pictures: recognised on request, always said, never counted as checked."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pdf_making import image_pdf, make_pdf

from sharedllm_cli.answer import IMAGE, checked_words
from sharedllm_cli.config import Settings, TreeConfig
from sharedllm_cli.documents import recognition
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.documents.pdf.page_pieces import PagePieces
from sharedllm_cli.documents.pdf.page_text import page_text
from sharedllm_cli.documents.readers import Limits, Probe
from sharedllm_cli.documents.recognition import Line
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.errors import DocumentError, UsageError
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Silent
from sharedllm_cli.reading.library import OpenDocument, Shelf
from sharedllm_cli.reading.sources import checked, passage_at, sources

SAID = "The lamp is lit at dusk."
LINES = [
    "The keeper of the light winds the clockwork at four.",
    "The horn sounds for 5 seconds in every minute of fog.",
]


def read(data: bytes, name: str = "scan.pdf", *, ocr: bool = True, limits: Limits | None = None) -> Document:
    return Probe(SourceFile(name, None), data=data, ocr=ocr, limits=limits).read()


def picture(kind: str = "PNG", *, turn: int = 0) -> bytes:
    """A page of a few lines as an image."""
    import pypdfium2

    with pypdfium2.PdfDocument(make_pdf([LINES])) as document:
        page = document[0].render(scale=2, crop=(0, 600, 0, 0)).to_pil()
    target = BytesIO()
    page.rotate(turn, expand=True, fillcolor="white").convert("L").save(target, kind)
    return target.getvalue()


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that recognises the same words in every picture."""
    monkeypatch.setattr(recognition, "recognised", lambda image: SAID)
    monkeypatch.setattr(recognition, "version", lambda: "pretended 1")
    monkeypatch.setattr(recognition, "require", lambda: None)


@pytest.mark.usefixtures("pretended")
def test_pictures_among_pages_of_text_are_recognised_and_said() -> None:
    document = read(image_pdf(3, text_on=[2]))
    assert [page.recognised for page in document.pages] == [True, True, True]
    assert document.pages[1].raw.endswith(f"counted as 2.\n\n{SAID}")
    assert document.warnings[-1].endswith("the text of pages 1-3 was recognised from images, and may have mistakes")
    assert (document.pictures, document.recognised_by) == ((), "pretended 1")
    plain = read(make_pdf([LINES]))
    assert (plain.pictures, plain.recognised_by, plain.pages[0].recognised) == ((), None, False)


@pytest.mark.usefixtures("pretended")
def test_words_that_a_page_has_are_not_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "recognised", lambda image: "Words that stand on the page counted as 2.")
    page = read(image_pdf(2, text_on=[2])).pages[1]
    assert (page.raw.count("Words"), page.recognised) == (1, False)


def test_without_it_pictures_are_named_with_the_way_to_read_them() -> None:
    document = read(image_pdf(3, text_on=[2]), ocr=False)
    assert document.pictures == (1, 2, 3)
    assert "--ocr" in document.warnings[0]
    with pytest.raises(DocumentError) as caught:
        read(picture(), "scan.png", ocr=False)
    assert "--ocr" in (caught.value.hint or "")


def test_a_missing_library_is_said_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        Limits.of(Settings(ocr=True))
    assert "ocr" in (caught.value.hint or "")
    assert Limits.of(Settings()) == Limits()


def opened(path: Path, store: IndexStore, tokenizer: Any, *, ocr: bool, reindex: bool = False) -> OpenDocument:
    shelf = Shelf(store, lambda: tokenizer, "bytes", TreeConfig(64, 2, (8, 4)), Silent(), limits=Limits(ocr=ocr))
    return shelf.open([str(path)], reindex=reindex).documents[0]


@pytest.mark.usefixtures("pretended")
def test_the_index_knows_what_was_recognised(
    tmp_path: Path, byte_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, store = tmp_path / "scan.pdf", IndexStore(tmp_path / "indexes", Silent())
    path.write_bytes(image_pdf(2, text_on=[1]))
    # The reading process can't be given a pretended library, so this one reads.
    monkeypatch.setattr(Probe, "_reading", None)
    assert SAID not in opened(path, store, byte_tokenizer, ocr=False).document.text
    found = opened(path, store, byte_tokenizer, ocr=True)
    assert (found.text_hit, found.document.text.count(SAID)) == (False, 2)
    for ocr in (True, False):
        again = opened(path, store, byte_tokenizer, ocr=ocr)
        assert (again.text_hit, again.document) == (True, found.document)
    assert SAID not in opened(path, store, byte_tokenizer, ocr=False, reindex=True).document.text


@pytest.mark.usefixtures("pretended")
def test_a_recognised_quote_is_said_to_be_one_and_held_against_nothing(
    tmp_path: Path, byte_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, store = tmp_path / "scan.pdf", IndexStore(tmp_path / "indexes", Silent())
    path.write_bytes(image_pdf(1))
    monkeypatch.setattr(Probe, "_reading", None)
    one = opened(path, store, byte_tokenizer, ocr=True)
    start = one.document.text.index(SAID)
    (source,) = checked(sources([one], [passage_at(one, 0, start, start + len(SAID))]), [one], store, None)
    assert (source.quote, source.checked, source.verified) == (SAID, IMAGE, False)
    assert checked_words(source) == "recognised from an image"


def line(text: str, left: float, top: float, wide: float, slope: float = 0.0) -> Line:
    down, high = slope * wide, 30.0
    corners = ((left, top), (left + wide, top + down), (left + wide, top + down + high), (left, top + high))
    return Line(text, corners, 0.99)


@pytest.mark.parametrize("slope", [0.0, 0.02])
def test_columns_are_read_one_after_the_other(slope: float) -> None:
    """Also where the page was scanned askew, so that a line ends far below its beginning."""
    left = [f"left column has line number {place} of its text" for place in range(12)]
    right = [f"right column has line number {place} too" for place in range(12)]
    lines = [line(text, 100, 100 + 40 * place, 500, slope) for place, text in enumerate(left)]
    lines += [line(text, 650, 100 + 40 * place + 550 * slope, 500, slope) for place, text in enumerate(right)]
    text = page_text(PagePieces(list(recognition._pieces(lines, (1300, 1800))))).text
    assert text.split("\n") == [*left, *right]


def test_damaged_images_are_errors() -> None:
    with pytest.raises(DocumentError, match="damaged image"):
        read(picture()[:200], "scan.png")


def test_a_scan_is_recognised_in_the_reading_process() -> None:
    """The real library: right words, no network, upright whichever way the page lies."""
    pytest.importorskip("rapidocr")
    limits = Limits(600.0, ocr=True)
    for turn, kind in ((0, "PNG"), (90, "TIFF")):
        document = read(picture(kind, turn=turn), f"scan.{kind.lower()}", limits=limits)
        assert document.kind == "image"
        words = document.text.split()
        assert len(set(" ".join(LINES).split()) - set(words)) <= 1, document.text
