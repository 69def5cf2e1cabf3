"""A PDF's page comes out in the order in which it is read aloud, whatever the order of drawing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from io import BytesIO

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from pypdf import PdfReader, PdfWriter
from reportlab.lib.pagesizes import A4
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen import canvas

from sharedllm_cli.documents import readers
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.documents.sources import SourceFile

LEFT_COLUMN = [
    "The ferry at Morne crosses twelve times on a",
    "weekday and six times on a Sunday, unless the",
    "wind stands in the north. The ferryman lives on",
    "the island and begins at half past five with the",
    "milk. He takes eleven cars, and a lorry takes the",
    "room of three of them. A horse pays as much as a",
]
RIGHT_COLUMN = [
    "bicycle, but has to be led on board by hand. In",
    "the winter of the great ice nobody crossed for",
    "nine weeks, and letters were carried over by a",
    "postman on skates. His lantern is kept in the",
    "school, beside the bell of the first ferry, that",
    "was built of oak in the yard of the two brothers.",
]
Text = tuple[float, float, str]


def drawn(
    texts: Sequence[Text], *, size: float = 10, sizes: dict[str, float] | None = None, rotation: int = 0
) -> bytes:
    """A page with texts at their places (points from the left and the bottom), in this order."""
    target = BytesIO()
    sheet = canvas.Canvas(target, pagesize=A4)
    if rotation:
        sheet.setPageRotation(rotation)
    for x, y, text in texts:
        sheet.setFont("Helvetica", (sizes or {}).get(text, size))
        sheet.drawString(x, y, text)
    sheet.showPage()
    sheet.save()
    return target.getvalue()


def read(data: bytes) -> Document:
    return readers.read(SourceFile("made.pdf", None), data=data)


def raw_lines(data: bytes) -> list[str]:
    return [line for line in read(data).pages[0].raw.split("\n") if line]


def columns(gap: float = 24.0) -> list[Text]:
    left = [(60.0, 700 - 12.0 * row, text) for row, text in enumerate(LEFT_COLUMN)]
    return left + [(60 + 236 + gap, 700 - 12.0 * row, text) for row, text in enumerate(RIGHT_COLUMN)]


def shuffled(texts: Sequence[Text], seed: int) -> list[Text]:
    return random.Random(seed).sample(list(texts), len(texts))


@pytest.mark.parametrize("seed", range(4))
def test_two_columns_in_any_order_of_drawing(seed: int) -> None:
    assert raw_lines(drawn(shuffled(columns(), seed))) == LEFT_COLUMN + RIGHT_COLUMN


def test_rows_of_two_columns_drawn_across() -> None:
    across = sorted(columns(), key=lambda text: (-text[1], text[0]))
    assert raw_lines(drawn(across)) == LEFT_COLUMN + RIGHT_COLUMN


def test_columns_whose_lines_are_not_level() -> None:
    uneven = [(x, y - (5 if x > 100 else 0), text) for x, y, text in columns()]
    assert raw_lines(drawn(uneven)) == LEFT_COLUMN + RIGHT_COLUMN


def test_a_title_over_both_columns_and_what_follows_below_both() -> None:
    title = "The ferry at Morne and the people who have kept it, with a list of all prices since 1871"
    below = "Printed for the friends of the ferry by the press of the island, in the spring of the year"
    found = raw_lines(drawn([*columns(), (60.0, 740.0, title), (60.0, 600.0, below)], size=10))
    assert found == [title, *LEFT_COLUMN, *RIGHT_COLUMN, below]


def test_notes_below_a_column_come_after_both() -> None:
    notes = [(60.0, 612.0, "1 A lorry pays for three cars."), (60.0, 603.0, "2 Dogs cross for nothing.")]
    sizes = {text: 7.0 for _, _, text in notes}
    found = raw_lines(drawn([*notes, *columns()], sizes=sizes))
    assert found == [*LEFT_COLUMN, *RIGHT_COLUMN, *(text for _, _, text in notes)]


@pytest.mark.parametrize("seed", range(3))
def test_notes_of_both_columns_come_in_order_and_the_page_number_last(seed: int) -> None:
    first = [(60.0, 612.0, "1 A lorry pays for three cars."), (60.0, 603.0, "2 Dogs cross for nothing.")]
    second = [(320.0, 612.0, "3 The skates are kept"), (320.0, 603.0, "in the school.")]
    sizes = {text: 7.0 for _, _, text in [*first, *second]}
    number = (300.0, 40.0, "17")
    found = raw_lines(drawn(shuffled([*first, *second, number, *columns()], seed), sizes=sizes))
    assert found == [*LEFT_COLUMN, *RIGHT_COLUMN, *(text for _, _, text in [*first, *second]), "17"]


def test_three_columns() -> None:
    words = [
        "heron stands in the reeds",
        "waiting for the fish that",
        "never comes near before",
        "the rain has stopped and",
    ]
    texts = [
        (50 + 170.0 * column, 700 - 12.0 * row, f"{text} {'abc'[column]}")
        for column in range(3)
        for row, text in enumerate(words)
    ]
    assert raw_lines(drawn(shuffled(texts, 1))) == [text for _, _, text in texts]


LABELS = ["Delivery number", "Order", "Carrier", "Weight in kilograms", "Amount due"]
VALUES = ["20931", "81-4410", "Thorn Haulage", "2,310", "1,288.50"]


@pytest.mark.parametrize("order", ["labels first", "values first", "row by row", "from below"])
def test_labels_stand_beside_their_values(order: str) -> None:
    labels = [(72.0, 700 - 16.0 * row, text) for row, text in enumerate(LABELS)]
    values = [(250.0, 700 - 16.0 * row, text) for row, text in enumerate(VALUES)]
    rows = [text for pair in zip(labels, values, strict=True) for text in pair]
    orders = {
        "labels first": labels + values,
        "values first": values + labels,
        "row by row": rows,
        "from below": rows[::-1],
    }
    assert raw_lines(drawn(orders[order])) == [f"{label}  {value}" for label, value in zip(LABELS, VALUES, strict=True)]


def test_cells_of_a_row_stay_apart_in_the_document() -> None:
    texts = [(72.0, 700.0, "Larch boards"), (200.0, 700.0, "24"), (260.0, 700.0, "4.0"), (72.0, 684.0, "Oak beams")]
    texts += [
        (200.0, 684.0, "160"),
        (260.0, 684.0, "5.5"),
        (72.0, 668.0, "Elm sills"),
        (200.0, 668.0, "52"),
        (260.0, 668.0, "1.8"),
    ]
    assert read(drawn(texts)).text == "Larch boards  24  4.0\nOak beams  160  5.5\nElm sills  52  1.8"


def test_a_table_drawn_column_by_column_is_read_row_by_row() -> None:
    table = [
        ["Timber", "Thickness", "Length", "Price"],
        ["Larch boards", "24", "4.0", "9.10"],
        ["Oak beams", "160", "5.5", "148.00"],
        ["Ash planks", "38", "3.2", "21.75"],
    ]
    texts = [(72 + 110.0 * column, 700 - 15.0 * row, table[row][column]) for column in range(4) for row in range(4)]
    assert raw_lines(drawn(texts)) == ["  ".join(row) for row in table]


def test_a_cell_of_several_lines_stays_whole() -> None:
    rows = [
        [(72.0, 700.0, "A-1"), (120.0, 700.0, "Oak beams, planed and"), (300.0, 700.0, "6"), (350.0, 700.0, "148.00")],
        [(120.0, 688.0, "oiled on all sides")],
        [(72.0, 664.0, "A-2"), (120.0, 664.0, "Ash planks"), (300.0, 664.0, "45"), (350.0, 664.0, "21.75")],
        [(72.0, 640.0, "A-3"), (120.0, 640.0, "Elm sills"), (300.0, 640.0, "16"), (350.0, 640.0, "33.50")],
    ]
    found = raw_lines(drawn([text for row in rows for text in row]))
    assert found == [
        "A-1  Oak beams, planed and oiled on all sides  6  148.00",
        "A-2  Ash planks  45  21.75",
        "A-3  Elm sills  16  33.50",
    ]


def test_rows_without_a_first_cell_are_not_swallowed() -> None:
    """A second payment on the same day has no date of its own."""
    texts = [(72.0, 700.0, "17 March"), (150.0, 700.0, "Petrol"), (300.0, 700.0, "40.00"), (360.0, 700.0, "910.50")]
    texts += [(150.0, 690.0, "Insurance"), (300.0, 690.0, "78.34"), (360.0, 690.0, "832.16")]
    texts += [
        (72.0, 670.0, "18 March"),
        (150.0, 670.0, "Delicatessen"),
        (300.0, 670.0, "15.00"),
        (360.0, 670.0, "817.16"),
    ]
    assert raw_lines(drawn(texts)) == [
        "17 March  Petrol  40.00  910.50",
        "Insurance  78.34  832.16",
        "18 March  Delicatessen  15.00  817.16",
    ]


def test_a_slide_of_two_blocks() -> None:
    causes = ["Causes", "Low water at the northern pier", "One engine instead of two", "Tickets sold on board"]
    remedies = ["Remedies", "Dredge before Easter", "Order the spare gearbox", "A booth at the quay"]
    texts = [(60.0, 500 - 26.0 * row, text) for row, text in enumerate(causes)]
    texts += [(320.0, 500 - 26.0 * row, text) for row, text in enumerate(remedies)]
    foot = (50.0, 300.0, "Ferry committee, spring meeting")
    found = raw_lines(drawn([foot, *texts], size=12))
    assert found == [*causes, *remedies, foot[2]]


def test_notes_in_the_margin_do_not_cut_the_lines() -> None:
    notes = [(410.0, 697.0, "Otters since"), (410.0, 689.0, "the flood"), (410.0, 681.0, "of 1988")]
    sizes = {text: 7.0 for _, _, text in notes}
    prose = [(60.0, 700 - 12.0 * row, f"{text} and {text[:18]}") for row, text in enumerate(LEFT_COLUMN)]
    found = raw_lines(drawn([*notes, *prose], sizes=sizes))
    assert found == [*(text for _, _, text in prose), *(text for _, _, text in notes)]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_page_turned_in_a_viewer(rotation: int) -> None:
    """The text is not turned, so the page is shown lying or upside down; the lines keep their order."""
    texts = [(60.0, 700 - 12.0 * row, text) for row, text in enumerate(LEFT_COLUMN)]
    assert raw_lines(drawn(texts, rotation=rotation)) == LEFT_COLUMN
    writer = PdfWriter(clone_from=PdfReader(BytesIO(drawn(texts))))
    writer.pages[0].rotate(rotation)
    target = BytesIO()
    writer.write(target)
    assert raw_lines(target.getvalue()) == LEFT_COLUMN


@pytest.mark.parametrize("angle", [90, 180, 270])
@pytest.mark.parametrize("turned_page", [False, True])
def test_turned_text_alone_is_the_page(angle: int, turned_page: bool) -> None:
    target = BytesIO()
    sheet = canvas.Canvas(target, pagesize=A4)
    if turned_page:
        sheet.setPageRotation(angle)
    sheet.setFont("Helvetica", 10)
    sheet.translate(300, 400)
    sheet.rotate(angle)
    for row, text in enumerate(LEFT_COLUMN):
        sheet.drawString(-150, 60 - 12 * row, text)
    sheet.showPage()
    sheet.save()
    assert raw_lines(target.getvalue()) == LEFT_COLUMN


@pytest.mark.parametrize("letters", [False, True])
def test_a_mark_across_the_page_is_read_behind_the_rest(letters: bool) -> None:
    target = BytesIO()
    sheet = canvas.Canvas(target, pagesize=A4)
    for place in range(3):
        sheet.saveState()
        sheet.setFont("Helvetica", 20)
        sheet.translate(60 + 150 * place, 560)
        sheet.rotate(45)
        if letters:
            for step, letter in enumerate("DRAFT OF THE INN"):
                sheet.drawString(13 * step, 0, letter)
        else:
            sheet.drawString(0, 0, "DRAFT OF THE INN")
        sheet.restoreState()
    sheet.setFont("Helvetica", 10)
    for row, text in enumerate(LEFT_COLUMN):
        sheet.drawString(60, 700 - 24 * row, text)
    sheet.showPage()
    sheet.save()
    document = read(target.getvalue())
    assert document.text.startswith(" ".join(LEFT_COLUMN[:2]))
    assert document.text.endswith("\n\nDRAFT OF THE INN\nDRAFT OF THE INN\nDRAFT OF THE INN")


def test_turned_words_in_a_margin_are_read_apart() -> None:
    target = BytesIO()
    sheet = canvas.Canvas(target, pagesize=A4)
    sheet.setFont("Helvetica", 10)
    for row, text in enumerate(LEFT_COLUMN):
        sheet.drawString(60, 700 - 12 * row, text)
    sheet.translate(30, 640)
    sheet.rotate(90)
    sheet.drawString(0, 0, "Archive copy 7")
    sheet.showPage()
    sheet.save()
    assert raw_lines(target.getvalue()) == [*LEFT_COLUMN, "Archive copy 7"]


@pytest.mark.parametrize("side", [40.0, 420.0])
@pytest.mark.parametrize("step", [1, 5])
def test_numbers_of_lines_are_left_out(side: float, step: int) -> None:
    lines = LEFT_COLUMN * 4
    texts = [(72.0, 780 - 14.0 * row, text) for row, text in enumerate(lines)]
    numbers = [(side, 780 - 14.0 * row, str(row + 1)) for row in range(len(lines)) if (row + 1) % step == 0]
    assert raw_lines(drawn(texts + numbers)) == lines
    assert raw_lines(drawn(shuffled(texts + numbers, 2))) == lines


def test_numbers_of_rows_and_of_items_stay() -> None:
    names = ["larch boards", "oak beams", "ash planks", "elm sills", "pine battens", "yew staves"]
    rows = [(72.0, 700 - 15.0 * row, str(row + 1)) for row in range(6)]
    table = [*rows, *((110.0, 700 - 15.0 * row, name) for row, name in enumerate(names))]
    table += [(250.0, 700 - 15.0 * row, str(7 * row + 3)) for row in range(6)]
    assert raw_lines(drawn(table)) == [f"{row + 1}  {name}  {7 * row + 3}" for row, name in enumerate(names)]
    listed = [*rows, *((90.0, 700 - 15.0 * row, f"Take the {name} and saw them.") for row, name in enumerate(names))]
    assert [line.split()[0] for line in raw_lines(drawn(listed))] == [str(row + 1) for row in range(6)]


def test_a_large_initial_belongs_to_its_word() -> None:
    lines = [
        "he ferry at Morne crosses twelve times",
        "on a weekday and six times on a Sunday,",
        "unless the wind stands in the north, and",
    ]
    texts = [(60.0, 676.0, "T")] + [(88.0, 700 - 12.0 * row, text) for row, text in enumerate(lines)]
    texts += [(60.0, 664 - 12.0 * row, text) for row, text in enumerate(LEFT_COLUMN)]
    found = raw_lines(drawn(texts, sizes={"T": 42.0}))
    assert found == [f"T{lines[0]}", *lines[1:], *LEFT_COLUMN]


def test_a_list_keeps_its_marks() -> None:
    texts = [(72.0, 700 - 14.0 * row, "•") for row in range(4)]
    texts += [(96.0, 700 - 14.0 * row, text) for row, text in enumerate(LEFT_COLUMN[:4])]
    assert raw_lines(drawn(texts)) == [f"• {text}" for text in LEFT_COLUMN[:4]]


def test_hostile_places_are_read_in_bounded_time() -> None:
    """Numbers beyond all pages, thousands of pieces at one place."""
    far = [(10.0**place, -(10.0**place), f"far {place}") for place in range(3, 12)]
    crowd = [(100 + 3.0 * (place % 70), 200 + 0.17 * place, f"w{place}") for place in range(3000)]
    assert "far 3" in read(drawn([*far, (60.0, 700.0, "near")])).text
    assert read(drawn(crowd)).text


def test_cells_of_prose_are_read_row_by_row() -> None:
    rows = [
        (LEFT_COLUMN[:3], RIGHT_COLUMN[:2]),
        (LEFT_COLUMN[3:5], RIGHT_COLUMN[2:5]),
        (LEFT_COLUMN[:2], RIGHT_COLUMN[3:6]),
    ]
    texts: list[Text] = []
    wanted: list[str] = []
    y = 700.0
    for left, right in rows:
        texts += [(60.0, y - 12.0 * place, text) for place, text in enumerate(left)]
        texts += [(320.0, y - 12.0 * place, text) for place, text in enumerate(right)]
        wanted += [*left, *right]
        y -= 12.0 * max(len(left), len(right)) + 16
    assert raw_lines(drawn(texts)) == wanted


def test_columns_whose_paragraphs_end_at_the_same_heights_are_columns() -> None:
    texts: list[Text] = []
    for side, column in enumerate((LEFT_COLUMN, RIGHT_COLUMN)):
        for row, text in enumerate(column):
            texts.append((60 + 260.0 * side, 700 - 12.0 * row - 6.0 * (row // 2), text))
    assert raw_lines(drawn(texts)) == LEFT_COLUMN + RIGHT_COLUMN


def font_of_squares(characters: str) -> BytesIO:
    """A font that draws every one of these characters as the same square.

    It can be embedded, so that what PDFium reads does not depend on the fonts of the machine
    (findings/pdfium_single_signs.sh).
    """
    names = {ord(sign): f"uni{ord(sign):04X}" for sign in characters}
    glyphs = [".notdef", *names.values()]
    pen = TTGlyphPen(None)
    pen.moveTo((50, -100))
    for corner in ((50, 800), (950, 800), (950, -100)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap(names)
    builder.setupGlyf(dict.fromkeys(glyphs, square))
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 50)))
    builder.setupHorizontalHeader(ascent=880, descent=-120)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular", "psName": "Squares"})
    builder.setupOS2(sTypoAscender=880, sTypoDescender=-120)
    builder.setupPost()
    made = BytesIO()
    builder.save(made)
    made.seek(0)
    return made


def test_signs_placed_one_below_the_other_are_columns() -> None:
    columns = ["渡し船は毎日十二回、島へ渡る。", "一　船頭は島に住む。", "二　冬には誰も渡らなかった。"]
    pdfmetrics.registerFont(TTFont("Squares", font_of_squares("".join(sorted(set("".join(columns)) - {"　"})))))
    target = BytesIO()
    sheet = canvas.Canvas(target, pagesize=A4)
    for number, column in enumerate(columns):
        for place, sign in enumerate(column):
            sheet.setFont("Squares", 10)
            if sign != "　":
                sheet.drawString(400 - 18 * number, 700 - 10 * place, sign)
    sheet.save()
    found = raw_lines(target.getvalue())
    assert found == [column.replace("　", " ") for column in columns]


def test_letters_set_one_by_one_at_an_angle_keep_their_spaces() -> None:
    target = BytesIO()
    sheet = canvas.Canvas(target, pagesize=A4)
    sheet.setFont("Helvetica", 11)
    sheet.translate(200, 300)
    sheet.rotate(33)
    x = 0.0
    for sign in "320 25 00":
        sheet.drawString(x, 0, sign.strip())
        x += 2.6 if sign == " " else 5.2
    sheet.save()
    assert raw_lines(target.getvalue()) == ["320 25 00"]


def test_letters_set_one_by_one_along_a_slope_are_apart_from_the_lines() -> None:
    target = BytesIO()
    sheet = canvas.Canvas(target)
    for number in range(14):
        sheet.drawString(
            72, 760 - 50 * number, f"The sluice number {number} was raised in the spring of 19{number + 10}."
        )
    for left in (40, 300):
        for bottom in range(0, 800, 90):
            for place, letter in enumerate("UNCHECKED PROOF 77"):
                sheet.drawString(left + 12 * place, bottom + 5 * place, letter)
    sheet.save()
    text = readers.read(SourceFile("made.pdf", None), data=target.getvalue()).text
    for number in range(14):
        assert f"The sluice number {number} was raised in the spring of 19{number + 10}." in text
    assert text.count("UNCHECKED PROOF 77") == 18


def test_a_diagonal_of_equal_signs_stays_in_its_rows() -> None:
    target = BytesIO()
    sheet = canvas.Canvas(target)
    for number in range(8):
        sheet.drawString(72, 700 - 20 * number, f"Task {number}")
    for number in range(8):
        sheet.drawString(150 + 20 * number, 700 - 20 * number, "x")
    sheet.save()
    text = readers.read(SourceFile("made.pdf", None), data=target.getvalue()).text
    assert all(any(f"Task {number}" in line and "x" in line for line in text.split("\n")) for number in range(8))
