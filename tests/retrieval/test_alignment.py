"""Tokens of a passage are found in a prompt as runs, in order, with other tokens between them."""

from __future__ import annotations

from sharedllm_cli.reading.fine import LEAST_RUN, Run, runs

PASSAGE = list(range(100, 130))


def test_a_passage_is_found_without_its_first_token() -> None:
    prompt = [1, 2, 3, 999, *PASSAGE[1:], 4, 5]
    assert runs(prompt, PASSAGE) == [Run(4, 1, 29)]


def test_a_mark_within_a_passage_makes_two_runs() -> None:
    prompt = [1, *PASSAGE[:12], 7, 7, *PASSAGE[12:], 5]
    assert runs(prompt, PASSAGE) == [Run(1, 0, 12), Run(15, 12, 18)]


def test_a_few_equal_tokens_are_no_run() -> None:
    prompt = [1, *PASSAGE[: LEAST_RUN - 1], 7, *PASSAGE[20:]]
    assert runs(prompt, PASSAGE) == [Run(9, 20, 10)]


def test_what_was_passed_is_not_found_again() -> None:
    prompt = [*PASSAGE, 1, *PASSAGE]
    assert runs(prompt, PASSAGE, start=5) == [Run(31, 0, 30)]
    assert runs(prompt, PASSAGE) == [Run(0, 0, 30)]


def test_the_longest_of_several_places_is_taken() -> None:
    prompt = [*PASSAGE[:9], 1, *PASSAGE, 2]
    assert runs(prompt, PASSAGE) == [Run(10, 0, 30)]


def test_nothing_is_found_of_nothing() -> None:
    assert runs([], PASSAGE) == runs(PASSAGE, []) == runs([1, 2], PASSAGE) == []


def test_the_same_words_in_a_later_passage_are_not_taken_for_it() -> None:
    """The first token differs at the seam, and the words after it stand in another passage, too."""
    prompt = [1, 999, *PASSAGE[1:], 2, 3, *PASSAGE[:9], 4]
    assert runs(prompt, PASSAGE) == [Run(2, 1, 29)]
