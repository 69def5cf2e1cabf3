"""A quote is verified where it stands, and only there."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedllm_cli.documents.quotes import verify, verify_by

RAW = (
    "Running Head 12\r\nThe eﬃcient ﬁsherman had S\ufffePlus and pack\ufffeages, a well-\r\nknown state-of-the-art\r\n"
    "net (see p. 3),\u00a0and x² + 1.5 = 7 . . . . . . . . 45\r\n"
    "He co-\r\noperated – or re-signed – in 1990-\r\n1995. Non-"
)


@pytest.mark.parametrize(
    "quote",
    [
        "The efficient fisherman had S-Plus and packages",
        "The efficient fisherman\nhad S-Plus",
        "a well-known state-of-the-art net",
        "a wellknown state-of-the-art net",
        "net (see p. 3), and x² + 1.5 = 7 ... 45",
        "He cooperated – or re-signed – in 1990-1995.",
        "packages, a",
        "ages, a well",
        "1990-1995. Non-",
        "1990-1995. Non",
    ],
)
def test_what_setting_changes_is_passed_over(quote: str) -> None:
    assert verify(quote, RAW)


@pytest.mark.parametrize(
    "quote",
    [
        "The efficient fishermen had",
        "The Efficient fisherman",
        "efficient had fisherman",
        "the state of the-art net",
        "state-ofthe-art net",
        "and x2 + 1.5",
        "and x² + 15 = 7",
        "x² - 1.5",
        "or resigned",
        "fish-erman",
        "see p. 3) and",
        "packages and more",
        "",
        "   ",
        "-",
    ],
)
def test_a_change_is_never_passed_over(quote: str) -> None:
    assert not verify(quote, RAW)


def test_a_later_place_may_be_the_right_one() -> None:
    assert verify("he resigned", "First he re-signed, and a year after he resigned.")


@given(st.text(max_size=80), st.integers(0, 79), st.integers(1, 40))
def test_every_piece_of_a_page_is_on_it(page: str, start: int, length: int) -> None:
    from sharedllm_cli.documents.characters import clean

    piece = clean(page)[start : start + length]
    if any(character.isalnum() for character in clean(piece)):
        assert verify(piece, page)


def test_many_quotes_of_one_long_page_are_soon_verified() -> None:
    page = "The keeper re-lit the lamp, co-\noperated and wrote. " * 20_000
    quotes = [f"keeper re-lit the lamp, {'coop' if plain else 'co-op'}erated" for plain in (True, False)] * 4
    started = time.perf_counter()
    verify(quotes[0], page)
    first = time.perf_counter() - started
    started = time.perf_counter()
    assert all(verify(quote, page) for quote in quotes)
    assert time.perf_counter() - started < first + 0.2, "the page is read once, not once a quote"
    assert not verify("keeper re-lit the lamps", page)


def test_a_hyphen_that_the_other_library_sets_apart() -> None:
    second, raw = "This obligation was imple -\nmented in 1995.", "This obligation was imple\ufffemented in 1995."
    assert verify_by("This obligation was implemented in 1995.", second, raw)
    assert not verify_by("This obligation was implemented in 1996.", second, raw)
    assert not verify_by("The red house red door", "The red house -\nred door", "The red house - red door")
    assert not verify_by("It is 13 today", "It is 1 -\n3 today", "It is 13 today")
