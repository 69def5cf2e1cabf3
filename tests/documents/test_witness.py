"""The second extraction of a PDF's page comes from the other library, and never at any price."""

from __future__ import annotations

import time
from io import BytesIO

import pytest
from pdf_making import make_pdf, rewritten
from pypdf import PdfReader, PdfWriter
from pypdf.generic import NameObject, StreamObject
from reportlab.pdfgen import canvas

from sharedllm_cli.documents import quotes, readers
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.documents.pdf import witness
from sharedllm_cli.documents.sources import SourceFile

LINES = ["The lamp is lit at dusk and put out at dawn.", "Nobody keeps the light in winter."]


def read(data: bytes, password: str | None = None) -> Document:
    return readers.read(SourceFile("made.pdf", None), data=data, password=password)


def raws(document: Document) -> dict[int, str]:
    return {page.number: page.raw for page in document.pages}


def test_another_library_reads_the_page() -> None:
    data = make_pdf([LINES, LINES[:1]])
    document = read(data)
    found = witness.extract(data, raws(document), password=None)
    assert sorted(found) == [1, 2]
    for page in document.pages:
        assert quotes.verify(LINES[0], found[page.number] or "")
        assert found[page.number] != page.raw, "pypdf ends lines otherwise"


def test_where_pypdf_was_read_it_is_pdfium(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_pdf([LINES])
    from sharedllm_cli.documents.pdf.second_opinion import SecondOpinion

    text = SecondOpinion(data, "", None).page(0) or ""
    (found,) = witness.extract(data, {1: text}, password=None).values()
    assert found is not None
    assert "\r\n" in found, "which is how PDFium ends lines"


def test_a_password_is_handed_on() -> None:
    data = rewritten(make_pdf([LINES]), password="sesame")
    (found,) = witness.extract(data, {1: "x"}, password="sesame").values()
    assert found is not None
    assert LINES[0] in found
    assert witness.extract(data, {1: "x"}, password="wrong") == {1: None}


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7\nnothing", b"\n\n\n", make_pdf([LINES])[:400]])
def test_what_it_can_t_read_has_none(data: bytes) -> None:
    assert witness.extract(data, {1: "x", 9: "y"}, password=None) == {1: None, 9: None}


def test_it_ends_in_time_and_keeps_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_pdf([LINES, LINES])
    slow = witness._RUN.replace("answer()", "") + (
        "import time; from sharedllm_cli.documents.pdf import second_opinion as pdf; whole = pdf.SecondOpinion.page\n"
        "pdf.SecondOpinion.page = lambda self, index: whole(self, index) if index == 0 else time.sleep(60)\n"
        "answer()"
    )
    monkeypatch.setattr(witness, "_RUN", slow)
    started = time.perf_counter()
    found = witness.extract(data, {1: "x", 2: "y"}, password=None, seconds=3)
    assert time.perf_counter() - started < 10
    assert (found[1] is not None, found[2]) == (True, None)


def dash_of_windows() -> bytes:
    """A page whose dash is mapped to Windows' code for it, as old producers do: a control code to others."""
    writer = PdfWriter(clone_from=PdfReader(BytesIO(make_pdf([["The mill was built in 1921-1923 by two brothers."]]))))
    mapping = StreamObject()
    lines = (
        *("/CIDInit /ProcSet findresource begin", "12 dict begin", "begincmap"),
        *("1 begincodespacerange", "<00> <FF>", "endcodespacerange"),
        *("3 beginbfrange", "<20> <2c> <0020>", "<2d> <2d> <0096>", "<2e> <7e> <002e>", "endbfrange"),
        *("endcmap", "CMapName currentdict /CMap defineresource pop", "end", "end"),
    )
    mapping.set_data("\n".join(lines).encode())
    font = next(iter(writer.pages[0]["/Resources"]["/Font"].values())).get_object()  # type: ignore[index]
    font[NameObject("/ToUnicode")] = writer._add_object(mapping)
    target = BytesIO()
    writer.write(target)
    return target.getvalue()


def test_a_dash_that_one_library_drops_is_missed() -> None:
    data = dash_of_windows()
    second = witness.extract(data, {1: "x"}, password=None)[1] or ""
    assert "1921–1923" in second
    dropped, whole = "The mill was built in 19211923 by", "The mill was built in 1921–1923 by"
    assert not quotes.verify_by(dropped, second, dropped)
    assert quotes.verify_by(whole, second, whole)


def test_letters_that_are_drawn_twice_for_bold_are_one_for_the_other_library_too() -> None:
    target = BytesIO()
    sheet = canvas.Canvas(target)
    for place, letter in enumerate("Sodium >135 mmol"):
        for shift in (0, 0.3):
            sheet.drawString(72 + 8 * place + shift, 700, letter)
    sheet.save()
    document = read(target.getvalue())
    (found,) = witness.extract(target.getvalue(), raws(document), password=None, seconds=60).values()
    assert quotes.verify_by(">135", found or "", document.pages[0].raw)
    assert not quotes.verify_by(">136", found or "", document.pages[0].raw)
