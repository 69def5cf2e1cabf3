"""Rows of a sheet and of a table in plain text: numbers as shown, heads, merged cells, what is hidden or too large."""

from __future__ import annotations

import pytest
from office_making import odf, read, rows, xlsx

from sharedllm_cli.documents.office import sheets
from sharedllm_cli.documents.office.number_formats import shown


def test_each_row_has_its_number_and_each_sheet_is_a_part() -> None:
    data = xlsx({"Dues": rows(["Member", "Fee"], ["Ida", 12]), "Boats": rows(["Albacore", "Bittern"])})
    document = read(data, "a.xlsx")
    assert [(page.part, page.part_title) for page in document.pages] == [(1, "sheet Dues"), (2, "sheet Boats")]
    assert document.text == "Dues\n\nRow | Member | Fee\n2 | Ida | 12\n\nBoats\n\n1 | Albacore | Bittern"
    assert [(one.title, one.page) for one in document.outline] == [("Dues", 1), ("Boats", 2)]


def test_numbers_and_dates_are_as_the_sheet_shows_them() -> None:
    cells = "".join(f'<c r="{"ABCDE"[place]}1" s="{place + 1}"><v>{value}</v></c>' for place, value in enumerate(
        [45356, 0.192, 1234.5, 0.4375, 5])) + ('<c r="F1" t="b"><v>1</v></c>' '<c r="G1" t="str">'
        '<f>A1</f><v>x y</v></c>')  # fmt: skip
    formats = ["dd.mm.yyyy", "0.0%", "#,##0.00 &quot;EUR&quot;", "h:mm AM/PM", "000"]
    data = xlsx({"S": f"<sheetData><row r='1'>{cells}</row></sheetData>"}, formats=formats)
    assert read(data, "a.xlsx").text == "S\n\n1 | 05.03.2024 | 19.2% | 1,234.50 EUR | 10:30 AM | 005 | TRUE | x y"


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (-1234.567, "#,##0.00;[Red](#,##0.00)", "(1,234.57)"),
        (0, '#,##0;-#,##0;"none"', "none"),
        (1234567, '#,##0.0,,"M"', "1.2M"),
        (12.34, "#,##0.00 [$€-407]", "12.34 €"),
        (12345, "0.00E+00", "1.23E+04"),
        (2.5, "# ?/?", "2 1/2"),
        (1.5, "[h]:mm", "36:00"),
        (45000.75, "yyyy-mm-dd hh:mm", "2023-03-15 18:00"),
        (45000, "d mmmm yyyy", "15 March 2023"),
        (5551234567, "(000) 000-0000", "(555) 123-4567"),
        (7, '[<10]"few";"many"', "few"),
        (0.1 + 0.2, "General", "0.3"),
        (0.5, "0%", "50%"),
        (-5, "yyyy", "-5"),
        (2, '0" of 10"', "2 of 10"),
    ],
)
def test_a_number_in_its_format(value: float, form: str, text: str) -> None:
    assert shown(value, form) == text


def test_merged_cells_name_each_row_and_column_they_cover() -> None:
    grid = rows(
        ["Region", "2023", "", "2024", ""], ["", "Q1", "Q2", "Q1", "Q2"], ["East", 1, 2, 3, 4], ["", 5, 6, 7, 8]
    )
    merges = "".join(f'<mergeCell ref="{area}"/>' for area in ("A1:A2", "B1:C1", "D1:E1", "A3:A4"))
    document = read(xlsx({"S": f"{grid}<mergeCells>{merges}</mergeCells>"}), "a.xlsx")
    assert document.text.split("\n")[2:] == [
        "Row | Region | 2023 Q1 | 2023 Q2 | 2024 Q1 | 2024 Q2",
        "3 | East | 1 | 2 | 3 | 4",
        "4 | East | 5 | 6 | 7 | 8",
    ]


def test_tables_of_a_sheet_stand_apart() -> None:
    grid = rows(
        ["Costs of 2024"],
        ["Item", "Price", "", "Name", "Phone"],
        ["Oar", 4, "", "Ida", 55],
        ["Rope", 2, "", "Rolf", 56],
    )
    lower = rows(["Year", "Members"], [2023, 40], first=8)
    joined = (grid + lower).replace("</sheetData><sheetData>", "")
    assert read(xlsx({"S": joined}), "a.xlsx").text.split("\n\n")[1:] == [
        "Costs of 2024",
        "Row | Item | Price\n3 | Oar | 4\n4 | Rope | 2",
        "Row | Name | Phone\n3 | Ida | 55\n4 | Rolf | 56",
        "Row | Year | Members\n9 | 2023 | 40",
    ]


def test_what_is_hidden_is_left_out_and_said() -> None:
    grid = rows(["Item", "Price"], ["Oar", 4], ["Secret", 9]).replace('<row r="3"', '<row r="3" hidden="1"')
    data = xlsx({"S": grid, "Old": rows(["x", "y"])}, states={"Old": "hidden"})
    document = read(data, "a.xlsx")
    assert "Secret" not in document.text
    assert "x" not in document.text
    assert document.warnings == ("a.xlsx: hidden sheet is left out: Old", "a.xlsx, sheet S: 1 hidden row left out")


def test_a_declared_size_costs_nothing_and_a_real_one_is_cut_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    far = '<dimension ref="A1:XFD1048576"/><sheetData><row r="1048576"><c r="XFD1048576"><v>3</v></c></row></sheetData>'
    assert read(xlsx({"S": far}), "a.xlsx").text == "S\n\n3"
    monkeypatch.setattr("sharedllm_cli.documents.office.xlsx.MOST_CELLS", 6)
    document = read(xlsx({"S": rows(*([["a", place] for place in range(9)]))}), "a.xlsx")
    assert document.warnings == ("a.xlsx, sheet S: read up to row 3; the rest is too large",)


def test_shared_strings_and_their_damage() -> None:
    cells = '<c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>99</v></c><c t="s"><v>1</v></c>'
    data = xlsx({"S": f"<sheetData><row>{cells}</row></sheetData>"}, strings=["one", "two"])
    assert read(data, "a.xlsx").text == "S\n\n1 | one | two"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("name,born\nIda,1990\n", ["Row | name | born", "2 | Ida | 1990"]),
        ("name;price\nOar;2,50\nRope;1,20\n", ["Row | name | price", "2 | Oar | 2,50", "3 | Rope | 1,20"]),
        ("a\tb\n1\t2\n", ["Row | a | b", "2 | 1 | 2"]),
        ("sep=|\nname|note\nx|a, b\n", ["Row | name | note", "2 | x | a, b"]),
        (
            'name,note\nx,"two\nlines, one ""cell"""\ny,z\n',
            ["Row | name | note", '2 | x | two lines, one "cell"', "3 | y | z"],
        ),
        ("\ufeffname,born\r\nIda,1990\r\n", ["Row | name | born", "2 | Ida | 1990"]),
        ("only\none\ncolumn\n", ["1 | only", "2 | one", "3 | column"]),
        ("1,2\n3,4\n", ["1 | 1 | 2", "2 | 3 | 4"]),
    ],
)
def test_a_table_in_plain_text(text: str, lines: list[str]) -> None:
    document = read(text, "a.csv")
    assert document.text.split("\n") == lines
    assert (document.kind, document.paged) == ("csv", False)


def test_an_opendocument_sheet_is_read_alike() -> None:
    def cell(text: str, more: str = "") -> str:
        return (
            f"<table:table-cell {more}><text:p>{text}</text:p></table:table-cell>"
            if text
            else f"<table:table-cell {more}/>"
        )

    body = (
        '<table:table table:name="Dues">'
        '<table:table-row>' + cell("Member") + cell("Fee") + cell("", 'table:number-columns-repeated="16000"')
        + "</table:table-row><table:table-row>" + cell("Ida") + cell("12.00 €") + "</table:table-row>"
        + '<table:table-row table:visibility="collapse">' + cell("Secret") + "</table:table-row>"
        + '<table:table-row table:number-rows-repeated="1048000">' + cell("") + "</table:table-row></table:table>"
        + ('<table:table table:name="Old" '
        'table:style-name="h">' '<table:table-row>') + cell("x") + "</table:table-row></table:table>"
    )  # fmt: skip
    hidden = (
        '<style:style style:name="h" style:family="table"><style:table-properties table:display="false"/></style:style>'
    )
    document = read(odf("spreadsheet", body, styles=hidden), "a.ods")
    assert document.text == "Dues\n\nRow | Member | Fee\n2 | Ida | 12.00 €"
    assert document.warnings == ("a.ods: hidden sheet is left out: Old", "a.ods, sheet Dues: 1 hidden row left out")


def test_a_cell_is_one_line() -> None:
    assert sheets.cell_text(" a\n b ") == "a b"
