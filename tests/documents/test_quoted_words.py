"""The characters of a page that a quote's words are, whatever order and form the page draws them in."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedllm_cli.documents.pdf import quoted_words
from sharedllm_cli.documents.pdf.quoted_words import Found


def found(quote: str, *lines: str) -> tuple[Found, str]:
    """Find a quote on a page of these lines, 12 points apart; also the characters that are marked."""
    page = "\r\n".join(lines)
    middles, x, y = [], 0.0, 700.0
    for character in page:
        middles.append((x, y))
        x, y = (0.0, y - 12) if character == "\n" else (x + 5, y)
    result = quoted_words.find(quote, page, middles)
    return result, _shown(page, result.stretches)


def _shown(page: str, stretches: Sequence[tuple[int, int]]) -> str:
    return " / ".join(" ".join(page[first : last + 1].split()) for first, last in stretches)


def test_a_quote_is_one_stretch_with_its_marks() -> None:
    result, shown = found("the “lamp” is lit.", "At dusk the “lamp” is lit. Then", "it is put out.")
    assert shown == "the “lamp” is lit."
    assert (result.words, result.boxed) == (4, 4)


def test_the_mark_before_the_next_sentence_is_not_marked() -> None:
    assert found("is lit", "the lamp is lit (at dusk)")[1] == "is lit"


@pytest.mark.parametrize("hyphen", ["-", "\u00ad", "\ufffe", "\x02"])
def test_a_word_broken_at_a_line_end_is_whole(hyphen: str) -> None:
    result, shown = found("an implementation of it", f"This is an imple{hyphen}", "mentation of it.")
    assert (result.words, result.boxed) == (4, 4)
    assert shown.startswith("an imple")
    assert shown.endswith("of it.")


def test_ligatures_accents_and_case_do_not_part_words() -> None:
    result, shown = found("The final office, naïve café", "The ﬁnal oﬃce, nai\u0308ve cafe\u0301 is closed")
    assert (result.words, result.boxed) == (5, 5)
    assert shown.startswith("The ﬁnal oﬃce")
    assert "is closed" not in shown


def test_ellipses_and_bars_of_a_quote_are_no_words() -> None:
    result, shown = found("… lit at dusk | 42 | … ", "the lamp is lit at dusk 42 times")
    assert shown == "lit at dusk 42"
    assert (result.words, result.boxed) == (4, 4)


def test_rows_of_columns_that_are_drawn_one_after_another_are_found_in_pieces() -> None:
    """A table drawn by columns: the quote has it by rows."""
    page = ["Town", "Ashby", "Corley", "Boats", "12", "7", "Crew", "31", "12"]
    x, middles = 0.0, []
    for number, cell in enumerate(page):
        middles += [(100.0 * (number // 3) + 5 * place, 700.0 - 12 * (number % 3)) for place in range(len(cell) + 2)]
    del x
    text = "".join(f"{cell}\r\n" for cell in page)
    result = quoted_words.find("Ashby | 12 | 31 Corley | 7 | 12", text, middles)
    assert (result.words, result.boxed) == (6, 6)
    second_twelve = text.rindex("12")
    assert _shown(text, result.stretches) == "Ashby Corley / 12 7 / 31 12"
    assert result.stretches[-1][1] >= second_twelve + 1, "the row of Corley has the 12 of its own line"


def test_a_short_word_far_from_the_quote_is_not_marked() -> None:
    lines = ["the beacon burns brightly over the harbour"] + ["-"] * 30 + ["or it", "or us"]
    result, shown = found("beacon burns or brightly over the harbour", *lines)
    assert "or it" not in shown
    assert result.boxed == result.words - 1


def test_words_that_are_not_there_are_left_out() -> None:
    result, shown = found("the lantern is lit", "the lamp is lit")
    assert (result.words, result.boxed) == (4, 3)
    assert "lamp" not in shown


def test_a_heading_that_a_quote_repeats_is_marked_once() -> None:
    result, shown = found("Change in years | Change in years", "Change in years", "period share")
    assert (result.words, result.boxed) == (6, 6)
    assert shown == "Change in years"


def test_a_word_that_also_stands_inside_another_is_found_at_its_own_place() -> None:
    assert found("art", "the party has art")[1] == "art"


def test_a_script_without_spaces_is_found_across_lines() -> None:
    result, shown = found("灯台の灯は夕方に", "港には灯台の灯は", "夕方に点される。")
    assert result.boxed == result.words == 1
    assert shown == "灯台の灯は 夕方に"


@given(st.text(max_size=60), st.text(max_size=120))
def test_no_quote_and_no_page_make_it_fail(quote: str, page: str) -> None:
    result = quoted_words.find(quote, page, [(0.0, 0.0)] * len(page))
    assert 0 <= result.boxed <= result.words
    assert all(0 <= first <= last < len(page) for first, last in result.stretches)


@given(st.lists(st.text("abcde", min_size=1, max_size=4), min_size=1, max_size=30), st.data())
def test_a_cut_of_the_page_is_always_found_whole(words: list[str], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    page = " ".join(words)
    quote = " ".join(words[first : last + 1])
    result = quoted_words.find(quote, page, [(5.0 * place, 0.0) for place in range(len(page))])
    assert result.boxed == result.words == last - first + 1
    assert " ".join(page[a : b + 1] for a, b in result.stretches) == quote


def test_a_page_and_a_quote_without_end_take_bounded_work() -> None:
    """Every word of it stands everywhere: nothing is compared with all of them."""
    page = "a ab " * 40_000
    result = quoted_words.find("ab a x " * 2_000, page, [(0.0, 0.0)] * len(page))
    assert result.boxed < result.words
