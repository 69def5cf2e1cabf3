"""A quote is held against the other library piece by piece where that one gives another order."""

from __future__ import annotations

import pytest

from sharedllm_cli.documents.quotes import verify_by

ROWS = "Order number  77-3052\nDriver  P. Anstey\nAmount due in euros  3,296.40"
DRAWN = "Order number\nDriver\nAmount due in euros\n77-3052\nP. Anstey\n3,296.40"


def test_rows_are_found_in_a_text_by_columns() -> None:
    assert verify_by("Driver  P. Anstey\nAmount due", DRAWN, ROWS)
    assert verify_by("number 77-3052 Driver P. Anstey", DRAWN, ROWS)


@pytest.mark.parametrize(
    "second", [DRAWN.replace("3052", "3025"), DRAWN.replace("77-3052", "773052"), "Order number", ""]
)
def test_a_piece_that_is_printed_otherwise_is_missed(second: str) -> None:
    assert not verify_by("Order number  77-3052", second, ROWS)


def test_what_is_not_on_the_page_is_never_verified() -> None:
    assert not verify_by("Driver  77-3052", DRAWN, ROWS)
    assert not verify_by("Driver  P. Ansley", DRAWN, ROWS)


@pytest.mark.parametrize(
    ("raw", "second"),
    [
        ("the mean count was 4.7 × 10^6 spores", "the mean count was 4.7 × 106 spores"),
        ("it covered 38 [2] bakeries and", "it covered 382 bakeries and"),
        ("it covered 38 [2] bakeries and", "it covered 38 bakeries and 2"),
        ("the sum x^(n + 1) is v_max here", "the sum xn + 1 is vmax here"),
        ("a load of 11.2 mg m^-3, found", "a load of 11.2 mg m-3, found"),
    ],
)
def test_signs_of_raised_figures_are_not_looked_for(raw: str, second: str) -> None:
    assert verify_by(raw[4:], second, raw)
    assert not verify_by(raw[4:], second.replace("3", "8").replace("m", "n"), raw)


def test_signs_that_are_printed_are_found() -> None:
    code = "y <- x^2 + a_b[3]"
    assert verify_by(code, code, code)


BARS = "Date | Payment to | In | Out\n1 May | The baker, | | 24.50\n2 May | Mr Ash | 30.00 |"
PRINTED = "Date Payment to In Out\n1 May The baker, 24.50\n2 May Mr Ash 30.00\n"


def test_bars_between_cells_are_not_looked_for() -> None:
    assert verify_by("1 May | The baker, | | 24.50\n2 May | Mr Ash | 30.00 |", PRINTED, BARS)
    assert verify_by("2 May | Mr Ash", "30.00 Mr Ash 2 May Date", BARS)
    assert not verify_by("1 May | The baker, | 24.50 |", PRINTED, BARS), "another column"
    assert not verify_by("1 May | The baker, | | 24.50", PRINTED.replace("24.50", "42.50"), BARS)
