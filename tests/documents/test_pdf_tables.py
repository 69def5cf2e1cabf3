"""Tables of a PDF are read row by row, whatever parts their cells: ruled lines, white, or the ends of wrapped lines."""

from __future__ import annotations

import random
from collections.abc import Sequence
from io import BytesIO

import pytest
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfgen import canvas
from reportlab.platypus import Paragraph, SimpleDocTemplate, Table, TableStyle

from tests.documents.test_pdf_order import LEFT_COLUMN, RIGHT_COLUMN, Text, drawn, raw_lines, read

SMALL = ParagraphStyle("small", fontName="Helvetica", fontSize=9, leading=11)
GRID = [("GRID", (0, 0), (-1, -1), 0.5, colors.black)]
LEVEL = [("LINEBELOW", (0, 0), (-1, -1), 0.5, colors.black)]
COMPARED = [
    ["Feature", "Basic plan", "Harbour plan"],
    ["Mooring", "One boat of up to eight metres, on the outer pier", "Two boats of up to fourteen metres, inside"],
    ["Electricity at the berth", "Not included", "Included up to 200 kilowatt hours a month and berth"],
    ["Cancellation", "With three months' notice to the end of a quarter", "At any time, with a fee of 40"],
    ["Winter storage in the hall", "No", "Yes, from November to March"],
]


def table_pdf(
    rows: Sequence[Sequence[str]],
    widths: Sequence[float],
    style: Sequence[tuple[object, ...]] = (),
    *,
    middle: bool = False,
    wrapped: bool = True,
) -> bytes:
    """A page with a table whose cells are broken into lines."""
    target = BytesIO()
    cells = [[Paragraph(text, SMALL) if wrapped else text for text in row] for row in rows]
    table = Table(cells, colWidths=widths)
    align = ("VALIGN", (0, 0), (-1, -1), "MIDDLE" if middle else "TOP")
    table.setStyle(TableStyle([("FONTSIZE", (0, 0), (-1, -1), 9), align, *style]))
    SimpleDocTemplate(target, pagesize=A4).build([table])
    return target.getvalue()


def words(line: str) -> str:
    """A row without what parts its cells."""
    return " ".join(word for word in line.split() if word != "|")


@pytest.mark.parametrize("style", [GRID, LEVEL, []], ids=["grid", "level lines", "white"])
@pytest.mark.parametrize("middle", [False, True])
def test_a_wrapped_table_keeps_label_and_values_together(style: Sequence[tuple[object, ...]], middle: bool) -> None:
    found = read(table_pdf(COMPARED, [80, 120, 130], style, middle=middle)).text.split("\n")
    assert [words(line) for line in found if line] == [" ".join(row) for row in COMPARED]


def test_merged_cells_stand_in_each_row_and_column() -> None:
    rows = [
        ["Timber", "Stock", "", "Price", ""],
        ["", "2022", "2023", "2022", "2023"],
        ["Larch", "140", "165", "9.10", "9.75"],
        ["", "33", "21", "148.00", ""],
    ]
    spans = [("SPAN", (0, 0), (0, 1)), ("SPAN", (1, 0), (2, 0)), ("SPAN", (3, 0), (4, 0)), ("SPAN", (0, 2), (0, 3))]
    assert read(table_pdf(rows, [70] * 5, [*GRID, *spans], wrapped=False)).text.split("\n") == [
        "Timber | Stock 2022 | Stock 2023 | Price 2022 | Price 2023",
        "Larch | 140 | 165 | 9.10 | 9.75",
        "Larch | 33 | 21 | 148.00",
    ]


def test_a_table_of_two_rows() -> None:
    rows = [["Berth", "Length", "Fee a night"], ["Inner quay by the steps of the mill", "12 m", "18.50"]]
    assert read(table_pdf(rows, [80, 60, 80], GRID)).text.split("\n") == [
        "Berth | Length | Fee a night",
        "Inner quay by the steps of the mill | 12 m | 18.50",
    ]


def test_rows_between_few_lines_are_rows_of_their_own() -> None:
    """The only level lines are those around the table and below its heading."""
    rows = [["Timber", "Length", "Price"], ["Larch", "4.0", "9.10"], ["Oak", "5.5", "148.00"], ["Ash", "3.2", "21.75"]]
    style = [
        ("BOX", (0, 0), (-1, -1), 0.5, colors.black),
        ("LINEBELOW", (0, 0), (-1, 0), 0.5, colors.black),
        ("LINEBEFORE", (1, 0), (-1, -1), 0.5, colors.black),
    ]
    data = table_pdf(rows, [80, 60, 60], style, wrapped=False)
    assert read(data).text.split("\n") == [" | ".join(row) for row in rows]


def test_rows_beside_a_merged_label_have_it_each() -> None:
    """The rows between two level lines are told by their numbers; the label stands over these and the next."""
    rows = [["Ferries", "Skerry\nQuill\nMorne", "1,204\n877\n96"], ["", "All", "2,177"]]
    assert read(table_pdf(rows, [80, 60, 60], [*GRID, ("SPAN", (0, 0), (0, 1))], wrapped=False)).text.split("\n") == [
        "Ferries | Skerry | 1,204",
        "Ferries | Quill | 877",
        "Ferries | Morne | 96",
        "Ferries | All | 2,177",
    ]


def test_an_empty_cell_is_not_filled_by_the_next_one() -> None:
    rows = [
        ["Day", "Out", "In", "Balance"],
        ["1 March", "24.50", "", "975.50"],
        ["3 March", "", "300.00", "1,275.50"],
        ["4 March", "10.00", "20.00", "1,285.50"],
        ["9 March", "", "5.00", "1,290.50"],
    ]
    at = (72.0, 180.0, 260.0, 340.0)
    texts = [(at[place], 700 - 16.0 * row, text) for row, line in enumerate(rows) for place, text in enumerate(line)]
    assert raw_lines(drawn([text for text in texts if text[2]])) == [
        "Day | Out | In | Balance",
        "1 March | 24.50 | | 975.50",
        "3 March | | 300.00 | 1,275.50",
        "4 March | 10.00 | 20.00 | 1,285.50",
        "9 March | | 5.00 | 1,290.50",
    ]


@pytest.mark.parametrize("seed", range(3))
def test_two_pairs_of_label_and_value_in_a_row(seed: int) -> None:
    rows = [["Name", "Ida Corncrake", "Born", "4 May 1961"], ["Size", "1.78 m", "Country", "Norway"]]
    texts = [
        (72 + 120.0 * place, 700 - 18.0 * row, text) for row, line in enumerate(rows) for place, text in enumerate(line)
    ]
    random.Random(seed).shuffle(texts)
    assert raw_lines(drawn(texts)) == ["  ".join(row) for row in rows]


def test_a_row_whose_words_are_not_quite_level_stays_one() -> None:
    """As in a scan: one amount stands a little higher, another is turned by two degrees."""
    target = BytesIO()
    sheet = canvas.Canvas(target, pagesize=A4)
    sheet.setFont("Helvetica", 8)
    for row in range(4):
        y = 700 - 20 * row
        sheet.drawString(72, y, f"{row + 1} February")
        sheet.drawString(130, y - 1, "Card payment at the harbour")
        sheet.drawString(330, y + 2, f"{row}4.50")
        sheet.saveState()
        sheet.translate(400, y - 1)
        sheet.rotate(-2)
        sheet.drawString(0, 0, f"9{row}0.75")
        sheet.restoreState()
    sheet.showPage()
    sheet.save()
    assert [words(line) for line in raw_lines(target.getvalue())] == [
        f"{row + 1} February Card payment at the harbour {row}4.50 9{row}0.75" for row in range(4)
    ]


ENTRIES = [
    *("anchor, 12, 45", "bell, 7", "boatman, 143, 61", "bollard, 9–11", "buoy, 164", "canal, 5, 173, 18"),
    *("dredger, 113", "engine, 131, 100", "ferry, 2, 8", "harbour, 24, 90", "keel, 98", "lantern, 160"),
]


@pytest.mark.parametrize("by_rows", [False, True])
def test_each_entry_of_an_index_is_a_line(by_rows: bool) -> None:
    texts: list[Text] = [(60 + 200.0 * (place // 6), 700 - 13.0 * (place % 6), e) for place, e in enumerate(ENTRIES)]
    if by_rows:
        texts.sort(key=lambda text: (-text[1], text[0]))
    assert read(drawn(texts)).text.split("\n") == ENTRIES


def test_an_entry_goes_on_in_the_next_line() -> None:
    lines = [*ENTRIES, "lighthouse of the northern", "pier, 6, 14", "moorings, 3, 9, 17,", "21, 40"]
    texts = [(60.0, 700 - 13.0 * row, text) for row, text in enumerate(lines)]
    found = read(drawn(texts)).text.split("\n")
    assert found[-2:] == ["lighthouse of the northern pier, 6, 14", "moorings, 3, 9, 17, 21, 40"]


def test_an_entry_that_sends_the_reader_on_ends_there() -> None:
    lines = [
        *ENTRIES,
        "current, 33 see also tide",
        "davit, 90",
        "derrick, see crane",
        "dinghy, 4",
        "drift, see tide and",
        "wind",
    ]
    texts = [(60.0, 700 - 13.0 * row, text) for row, text in enumerate(lines)]
    found = read(drawn(texts)).text.split("\n")
    assert found[12:] == [*lines[12:16], "drift, see tide and wind"]


PUMPS = [
    ("Heron", "12", "30", "410", "55"),
    ("Bittern", "18", "44", "520", "61"),
    ("Curlew", "9", "21", "380", "48"),
    ("Avocet", "25", "57", "640", "77"),
]
PUMP_COLUMNS = [60.0, 170.0, 230.0, 310.0, 370.0]


@pytest.mark.parametrize(
    ("heads", "wanted"),
    [
        (
            [(185.0, "Flow (l/min)"), (323.0, "Cost (pounds)")],
            "Pump  Flow (l/min) spring  Flow (l/min) autumn  Cost (pounds) to buy  Cost (pounds) to run",
        ),
        ([(203.0, "Flow"), (341.0, "Cost")], "Pump  Flow spring  Flow autumn  Cost to buy  Cost to run"),
        ([(170.0, "Flow"), (310.0, "Cost")], "Pump  Flow spring  autumn  Cost to buy  to run"),
        (
            [(170.0, "Flow by season"), (310.0, "Cost in pounds")],
            "Pump  Flow by season spring  Flow by season autumn  Cost in pounds to buy  Cost in pounds to run",
        ),
        (
            [(203.0, "Flow"), (310.0, "Price"), (370.0, "Cost")],
            "Pump  Flow spring  Flow autumn  Price to buy  Cost to run",
        ),
    ],
    ids=["wide", "narrow, in the middle", "narrow, at the left", "wide, at the left", "two of one column"],
)
def test_a_heading_over_several_columns_is_in_each_of_them(heads: Sequence[tuple[float, str]], wanted: str) -> None:
    texts: list[Text] = [(x, 700.0, text) for x, text in heads]
    rows = [("Pump", "spring", "autumn", "to buy", "to run"), *PUMPS]
    for row, cells in enumerate(rows):
        texts += [(x, 687.0 - 16 * row - 3 * (row > 0), cell) for x, cell in zip(PUMP_COLUMNS, cells, strict=True)]
    assert raw_lines(drawn(texts)) == [wanted, *("  ".join(row) for row in PUMPS)]


def test_columns_of_prose_beside_a_long_line_are_columns() -> None:
    target = BytesIO()
    sheet = canvas.Canvas(target, pagesize=A4)
    sheet.setFont("Helvetica", 10)
    for side, column in enumerate((LEFT_COLUMN * 4, RIGHT_COLUMN * 4)):
        for row, text in enumerate(column):
            sheet.drawString(60 + 260 * side, 720 - 12 * row - 3 * side, text)
    sheet.line(305, 730, 305, 430)
    sheet.showPage()
    sheet.save()
    assert raw_lines(target.getvalue()) == LEFT_COLUMN * 4 + RIGHT_COLUMN * 4


def test_a_frame_around_prose_is_no_table() -> None:
    target = BytesIO()
    sheet = canvas.Canvas(target, pagesize=A4)
    sheet.setFont("Helvetica", 10)
    lines = LEFT_COLUMN * 4
    for row, text in enumerate(lines):
        sheet.drawString(70, 720 - 12 * row, text)
    notice = [f"Notice {number} of 1871" for number in range(8)]
    for row, text in enumerate(notice):
        sheet.drawString(400, 715 - 12 * row, text)
    sheet.rect(60, 420, 460, 320)
    sheet.line(390, 420, 390, 740)
    sheet.showPage()
    sheet.save()
    assert raw_lines(target.getvalue()) == [*lines, *notice]


def test_a_drawing_of_many_lines_is_read_in_bounded_time() -> None:
    target = BytesIO()
    sheet = canvas.Canvas(target, pagesize=A4)
    chance = random.Random(5)
    for _ in range(6000):
        x, y = chance.uniform(40, 500), chance.uniform(60, 780)
        sheet.line(x, y, x + chance.choice((0, 60)), y + chance.choice((0, 40)))
    sheet.drawString(72, 700, "A chart of the harbour")
    sheet.showPage()
    sheet.save()
    assert read(target.getvalue()).text == "A chart of the harbour"
