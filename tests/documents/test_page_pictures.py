"""Pages as pictures: what is marked lies where the words are seen, turned and cropped pages too."""

from __future__ import annotations

from io import BytesIO

import pytest
from pdf_making import BOTTOM, LEADING, LEFT, TOP, image_pdf, make_pdf, rewritten
from PIL import Image
from pypdf import PdfReader, PdfWriter
from pypdf.generic import RectangleObject

from sharedllm_cli.documents.pdf import page_pictures
from sharedllm_cli.documents.pdf.page_pictures import Asked, Box, PagePicture, pictures

HEIGHT, WIDTH = 841.89, 595.28
LINES = [f"Line {number} tells of the beacon number {number * 7}." for number in range(1, 21)]


def one(data: bytes, quote: str, page: int = 1, **more: object) -> PagePicture:
    made = pictures(data, [Asked(page, quote, side=800, **more)])[0]  # type: ignore[arg-type]
    assert made is not None
    return made


def ink(picture: PagePicture, box: Box) -> float:
    """The share of dark pixels in a box."""
    image = Image.open(BytesIO(picture.data)).convert("L")
    sides = (box.left * image.width, box.top * image.height, box.right * image.width, box.bottom * image.height)
    pixels = list(image.crop(tuple(round(side) for side in sides)).tobytes())
    return sum(value < 170 for value in pixels) / len(pixels)


def test_the_box_of_a_line_is_where_the_line_is_drawn() -> None:
    made = one(make_pdf([LINES]), LINES[4])
    assert (made.kind, made.words, made.boxed) == ("image/png", 8, 8)
    (box,) = made.boxes
    baseline = 1 - (TOP - 4 * LEADING) / HEIGHT
    assert box.top < baseline < box.bottom
    assert box.left == pytest.approx(LEFT / WIDTH, abs=0.01)
    assert box.bottom - box.top < 1.6 * 10 / HEIGHT
    assert max(made.width, made.height) == 800


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_marks_turn_with_the_page(rotation: int) -> None:
    lines = [""] * 30 + ["the only line of the page"]  # in the middle: reportlab lies the paper down, too
    made = one(make_pdf([lines], rotation=rotation), lines[-1])
    (box,) = made.boxes
    assert ink(made, box) > 0.05
    wide = box.right - box.left > box.bottom - box.top
    assert wide == (rotation % 180 == 0)


def test_marks_of_a_cropped_page_are_where_its_picture_has_the_words() -> None:
    writer = PdfWriter(clone_from=PdfReader(BytesIO(make_pdf([LINES]))))
    writer.pages[0].cropbox = RectangleObject((40, 500, 400, 800))
    target = BytesIO()
    writer.write(target)
    made = one(target.getvalue(), LINES[0])
    (box,) = made.boxes
    assert box.left == pytest.approx((LEFT - 40) / 360, abs=0.01)
    assert ink(made, box) > 0.05
    hidden = one(target.getvalue(), LINES[-1])
    assert hidden.boxes == () or all(box.top < box.bottom <= 1 for box in hidden.boxes)


def test_a_sentence_over_two_columns_has_marks_in_both() -> None:
    lines = ["one of the first", "goes on and then", "in another place", "it ends"]
    made = one(make_pdf([lines], columns=2), "goes on and then in another place")
    assert made.boxed == made.words == 7
    assert len(made.boxes) == 2
    assert made.boxes[0].right < made.boxes[1].left


def test_marks_are_drawn_into_the_picture_only_if_asked() -> None:
    data = make_pdf([LINES])
    plain, drawn = one(data, LINES[3]), one(data, LINES[3], drawn=True)
    assert plain.boxes == drawn.boxes

    def coloured(picture: PagePicture) -> int:
        pixels = Image.open(BytesIO(picture.data)).convert("RGB").tobytes()
        return sum(red - blue > 60 for red, blue in zip(pixels[::3], pixels[2::3], strict=True))

    assert coloured(plain) == 0
    assert coloured(drawn) > 500


def test_the_answers_words_are_marked_more_strongly_within_the_quote() -> None:
    """`number` stands on every line: of the one that is quoted alone."""
    made = one(make_pdf([LINES]), LINES[4], answer="number 35")
    (box,), (strong,) = made.boxes, made.strong
    assert box.left < strong.left < strong.right <= box.right
    assert strong.top == pytest.approx(box.top, abs=0.002)
    assert one(make_pdf([LINES]), LINES[4], answer="number 42").strong == ()
    assert one(make_pdf([LINES]), LINES[4], answer="number " * 20).strong == ()


def test_the_value_of_a_form_is_marked_at_its_field() -> None:
    from reportlab.pdfgen import canvas

    target = BytesIO()
    sheet = canvas.Canvas(target)
    sheet.drawString(72, 700, "Keeper of the light:")
    sheet.acroForm.textfield(name="keeper", value="Marten Oldacre", x=200, y=690, width=150, height=20)
    sheet.save()
    made = one(target.getvalue(), "Keeper of the light: Marten Oldacre")
    assert made.boxed == made.words == 6
    field = made.boxes[-1]
    assert field.left == pytest.approx(200 / WIDTH, abs=0.02)
    assert field.right == pytest.approx(350 / WIDTH, abs=0.02)


def test_a_password_opens_its_pages_and_none_does_not() -> None:
    data = rewritten(make_pdf([LINES]), password="oyster", algorithm="AES-128")
    assert pictures(data, [Asked(1, LINES[0])]) == [None]
    assert pictures(data, [Asked(1, LINES[0])], password="wrong") == [None]
    (made,) = pictures(data, [Asked(1, LINES[0], side=200)], password="oyster")
    assert made is not None
    assert made.boxed == 8


def test_what_can_not_be_drawn_is_none_and_the_others_are_there() -> None:
    data = make_pdf([LINES, ["the second page"]])
    made = pictures(data, [Asked(9, "x", side=100), Asked(2, "the second page", side=100), Asked(0, "x", side=100)])
    assert [one is None for one in made] == [True, False, True]
    assert pictures(b"%PDF-1.4 of nothing", [Asked(1, "x")]) == [None]
    assert pictures(b"", [Asked(1, "x")]) == [None]


def test_a_picture_that_takes_too_long_is_given_up() -> None:
    assert pictures(make_pdf([LINES]), [Asked(1, "x")], seconds=0.0) == [None]


def test_a_photograph_is_kept_small() -> None:
    assert len(one(image_pdf(), "nothing").data) <= page_pictures.HEAVY
    assert one(image_pdf(), "nothing").boxed == 0


def test_a_foot_is_marked_at_the_foot() -> None:
    made = one(make_pdf([LINES], feet=["Printed for the harbour office"]), "Printed for the harbour office")
    (box,) = made.boxes
    assert box.top > 1 - (BOTTOM - LEADING) / HEIGHT
