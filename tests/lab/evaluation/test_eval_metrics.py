"""Metrics against values worked out by hand, intervals against what is known of them."""

from __future__ import annotations

import numpy as np
import pytest

from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT
from sharedllm_cli.lab.evaluation.metrics import (
    difference,
    estimate,
    exact_match,
    f1,
    normalised,
    proportion,
    refused,
    rouge_l,
)


def test_exact_match_and_f1_are_squads() -> None:
    assert exact_match("The  Cat's!", ["dog", "cats"]) == 1.0
    assert exact_match("cats and dogs", ["cats"]) == 0.0
    # four words against three, two of them common: precision 2/4, recall 2/3
    assert f1("green marks and a silver coin", ["eleven silver marks"]) == pytest.approx(
        2 * (2 / 5) * (2 / 3) / (2 / 5 + 2 / 3)
    )


def test_the_normal_form_is_squads() -> None:
    assert normalised("The  Cat's, an  apple!") == "cats apple"


@pytest.mark.parametrize(
    ("answer", "gold", "value"),
    [
        ("the cat", ["Cat."], 1.0),
        ("black cat", ["cat", "dog"], 2 / 3),
        ("dog", ["cat"], 0.0),
        ("the", ["a"], 1.0),
        ("", ["x"], 0.0),
    ],
)
def test_f1_is_the_best_over_the_accepted_answers(answer: str, gold: list[str], value: float) -> None:
    assert f1(answer, gold) == pytest.approx(value)


def test_a_refusal_is_the_fixed_sentence_however_it_is_typed() -> None:
    assert refused(NOT_IN_DOCUMENT.lower() + " Ask another.")
    assert not refused("The document says 1801.")
    assert not refused("")


def test_rouge_l_is_the_longest_common_subsequence_over_stems() -> None:
    # "police kill the gunman" against "police killed the gunman" (Lin, 2004): a stem apart
    assert rouge_l("police kill the gunman", ["police killed the gunman"]) == pytest.approx(1.0)
    # in order stand "the gunman" or "police": 2 of 4 words
    assert rouge_l("the gunman kill police", ["police killed the gunman"]) == pytest.approx(0.5)
    assert rouge_l("the gunman kill police", ["nothing", "the gunman"]) == pytest.approx(2 * 0.5 * 1.0 / 1.5)


def test_an_interval_holds_its_mean_and_is_that_of_the_mean() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=400).tolist()
    found = estimate(values)
    assert found is not None
    assert found.mean == pytest.approx(np.mean(values))
    assert found.high - found.low == pytest.approx(2 * 1.96 * 2.0 / 20, rel=0.1)
    assert estimate(values, seed=0) == found
    assert estimate([]) is None
    same = estimate([1.0] * 5)
    assert same is not None
    assert (same.low, same.mean, same.high) == (1.0, 1.0, 1.0)


def test_weights_make_it_a_mean_a_token() -> None:
    found = estimate([2.0, 1.0], [1, 3])
    assert found is not None
    assert found.mean == pytest.approx(1.25)
    assert (found.low, found.high) == (1.0, 2.0)


def test_differences_are_paired() -> None:
    values = np.random.default_rng(1).normal(size=200)
    found = difference((values + 0.5).tolist(), values.tolist())
    assert found is not None
    assert (found.low, found.mean, found.high) == pytest.approx((0.5, 0.5, 0.5))
    against = difference(values.tolist(), values[::-1].tolist())
    assert against is not None
    assert against.low < 0 < against.high


@pytest.mark.parametrize(
    ("held", "of", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (5, 5, 0.5655, 1.0), (0, 5, 0.0, 0.4345), (1, 2, 0.0945, 0.9055)],
)
def test_a_share_s_interval_is_wilson_s(held: int, of: int, low: float, high: float) -> None:
    found = proportion([True] * held + [False] * (of - held))
    assert found is not None
    assert (found.n, found.mean) == (of, held / of)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert proportion([]) is None
