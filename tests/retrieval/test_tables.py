"""A row of a table is read under its heading, and the rows asked about name the column of each value."""

from __future__ import annotations

from sharedllm_cli.retrieval.tables import cells, heading_above, tables, written_out

ROWS = "\n".join(f"K-{number:03} | {number % 9} | {number * 3}" for number in range(300))
TEXT = f"Soil of the valley.\n\nSample | pH | Potassium mg/kg\n{ROWS}\n\nSamples were dried."


def test_a_row_far_below_has_its_heading() -> None:
    start = TEXT.index("K-217")
    assert heading_above(TEXT, start) == "Sample | pH | Potassium mg/kg"
    assert heading_above(TEXT, TEXT.index("Sample |")) is None, "the heading itself"
    assert heading_above(TEXT, TEXT.index("Samples")) is None
    end = TEXT.index("K-219")
    assert written_out(TEXT, start, end) == "Sample | pH | Potassium mg/kg\nK-217 | 1 | 651\nK-218 | 2 | 654\n"


def test_the_row_asked_about_names_its_columns() -> None:
    start, end = TEXT.index("K-216"), TEXT.index("K-219")
    read = written_out(TEXT, start, end, [TEXT.index("K-217")])
    assert read.split("\n")[1:4] == [
        "K-216 | 0 | 648",
        "Sample: K-217 | pH: 1 | Potassium mg/kg: 651",
        "K-218 | 2 | 654",
    ]
    whole = written_out(TEXT, TEXT.index("7 | 1 | 651"), end, [TEXT.index("| 651")])
    assert whole.split("\n")[1] == "Sample: K-217 | pH: 1 | Potassium mg/kg: 651", "a row cut at its beginning is whole"


def test_of_several_rows_those_with_most_words() -> None:
    text = "Pier | Size | Pounds\nNorth | small | 12\nNorth | large | 30\nSouth | large | 26"
    sought = [place for word in ("North", "large") for place in range(len(text)) if text.startswith(word, place)]
    assert written_out(text, 0, len(text), sought).split("\n")[2] == "Pier: North | Size: large | Pounds: 30"
    assert written_out(text, 0, len(text), sought).count(":") == 3


def test_a_first_line_that_is_no_heading_names_nothing() -> None:
    for text in ("Tenant | Jane Doe\nRent | 480", "1 | 2 | 3\n4 | 5 | 6", "a | 9 | b\nc | 8 | d"):
        place = text.index("\n") + 1
        assert written_out(text, 0, len(text), [place]) == text
    years = "Region | 2019 | 2020\nNorth | 12 | 18"
    assert written_out(years, 0, len(years), [22]).endswith("Region: North | 2019: 12 | 2020: 18")


def test_columns_parted_by_gaps() -> None:
    text = "Year  Keeper  Boats\n\n" + "Year  Keeper  Boats\n" + "1871  Thorn  3\n1880  Lyle  4"
    assert cells("1871  Thorn  3") == ["1871", "Thorn", "3"]
    assert cells("Two words and  a gap") == []
    assert written_out(text, text.index("1880"), len(text)) == "Year  Keeper  Boats\n1880  Lyle  4"


def test_an_empty_cell_between_gaps_shifts_no_value() -> None:
    text = (
        "Year    Keeper     Boats   Dues\n1871    Thorn      3       "
        "12\n1880               4       14\n1881    Lyle               15"
    )
    place = text.index("1880")
    assert written_out(text, place, place + 30, [place]).rstrip().endswith("Year: 1880 | Boats: 4 | Dues: 14")
    place = text.index("1881")
    assert written_out(text, place, len(text), [place]).endswith("Year: 1881 | Keeper: Lyle | Dues: 15")


def test_tables_are_found_with_their_headings() -> None:
    found = tables(f"{TEXT}\n\nOne sentence.  Another one.  A third.\nAnd so on.  More.  End.\n\n1 | 2\n3 | 4")
    assert [(table.heading, len(table.rows)) for table in found] == [("Sample | pH | Potassium mg/kg", 300)]
    start, end = found[0].rows[217]
    assert TEXT[start:end] == "K-217 | 1 | 651"
    assert TEXT[found[0].start :].startswith("Sample | pH")


def test_words_without_a_table_stay() -> None:
    assert written_out("One.\n\nTwo words.", 6, 16, [6]) == "Two words."


def test_the_short_line_above_a_table_is_its_title() -> None:
    rows = "Country | 1997 | By firms\nUK | 42 | Sains 55\nSpain | 10 | Eroski 24"
    assert tables(f"Table 6.10 Shares of labels\n{rows}")[0].title == "Table 6.10 Shares of labels"
    assert tables(f"Growth was slow in the last years.\n{rows}")[0].title == "", "a sentence is none"
    assert tables(f"Table 6.10 Shares of labels\n\n{rows}")[0].title == ""
    assert tables(rows)[0].title == ""
