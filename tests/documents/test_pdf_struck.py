"""Words that a line goes through are read as struck out; underlined ones, and words beside borders, are not."""

from __future__ import annotations

from io import BytesIO

import pytest
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, FloatObject, NameObject, NumberObject
from reportlab.lib.pagesizes import A4
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen import canvas

from tests.documents.test_pdf_order import drawn, read

WORDS = ["The fee is ", "forty pounds a night", " fifty-five pounds from May."]


def page(height: float, *, before: float = 0.0, after: float = 0.0, filled: bool = False) -> bytes:
    """A line of words, with a line at a height over the middle ones, drawn or a filled area."""
    target = BytesIO()
    sheet = canvas.Canvas(target, pagesize=A4)
    sheet.setFont("Helvetica", 10)
    sheet.drawString(72, 700, "".join(WORDS))
    start = 72 + stringWidth(WORDS[0], "Helvetica", 10) - before
    end = 72 + stringWidth(WORDS[0] + WORDS[1], "Helvetica", 10) + after
    if filled:
        sheet.rect(start, 700 + height - 0.35, end - start, 0.7, stroke=0, fill=1)
    else:
        sheet.setLineWidth(0.6)
        sheet.line(start, 700 + height, end, 700 + height)
    sheet.showPage()
    sheet.save()
    return target.getvalue()


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("height", [2.4, 3.4])
def test_words_that_a_line_goes_through(filled: bool, height: float) -> None:
    text = read(page(height, filled=filled)).text
    assert text == "The fee is [struck out: forty pounds a night] fifty-five pounds from May."


@pytest.mark.parametrize("height", [-1.2, 8.5])
def test_a_line_below_or_above_strikes_nothing_out(height: float) -> None:
    assert read(page(height)).text == "".join(WORDS)


def test_a_line_that_reaches_beyond_the_words_strikes_nothing_out() -> None:
    assert read(page(3.0, before=60, after=200)).text == "".join(WORDS)


def test_what_is_struck_out_over_two_lines_is_one() -> None:
    target = BytesIO()
    sheet = canvas.Canvas(target, pagesize=A4)
    sheet.setFont("Helvetica", 10)
    for row, text in enumerate(("No dog may come on board of any", "ferry of the line.")):
        sheet.drawString(72, 700 - 12 * row, text)
        sheet.line(72, 703 - 12 * row, 72 + stringWidth(text, "Helvetica", 10), 703 - 12 * row)
    sheet.showPage()
    sheet.save()
    assert read(target.getvalue()).text.split() == (
        ["[struck", "out:", "No", "dog", "may", "come", "on", "board", "of", "any", "ferry", "of", "the", "line.]"]
    )


def test_a_strike_out_annotation() -> None:
    text = "Anchors weigh 40 kilograms"
    left = 72 + stringWidth("Anchors weigh ", "Helvetica", 10)
    right = left + stringWidth("40", "Helvetica", 10)
    writer = PdfWriter(clone_from=PdfReader(BytesIO(drawn([(72.0, 700.0, text)]))))
    numbers = (left, 708, right, 708, left, 698, right, 698)
    annotation = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Annot"),
            NameObject("/Subtype"): NameObject("/StrikeOut"),
            NameObject("/Rect"): ArrayObject([FloatObject(one) for one in (left, 698, right, 708)]),
            NameObject("/QuadPoints"): ArrayObject([FloatObject(one) for one in numbers]),
            NameObject("/F"): NumberObject(4),
        }
    )
    writer.add_annotation(0, annotation)
    target = BytesIO()
    writer.write(target)
    assert read(target.getvalue()).text == "Anchors weigh [struck out: 40] kilograms"
