"""Scores by SQuAD's definitions."""

from __future__ import annotations

import math

import pytest

from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT, build
from sharedllm_cli.model.loading import BaseModel
from sharedllm_cli.training.scoring import f1, greedy_answers, interval, normalised, refused, score


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


def test_refusals_are_counted_on_both_kinds() -> None:
    answers = ["1801", "In 1801, it was", NOT_IN_DOCUMENT, NOT_IN_DOCUMENT.lower(), "Ann"]
    gold = [["1801"], ["1801"], ["1801"], ["x"], ["x"]]
    scores = score(answers, gold, [True, True, True, False, False])
    assert (scores.answerable, scores.unanswerable) == (3, 2)
    assert scores.exact_match == pytest.approx(1 / 3)
    assert scores.containment == pytest.approx(2 / 3)
    assert scores.refused_answerable == pytest.approx(1 / 3)
    assert scores.refused_unanswerable == pytest.approx(1 / 2)
    assert not refused("The document says 1801.")
    assert math.isnan(score(["x"], [["x"]], [True]).refused_unanswerable)


def test_the_interval_holds_the_mean_and_narrows() -> None:
    wide, narrow = interval([0.0, 1.0] * 10), interval([0.0, 1.0] * 1000)
    assert wide[0] < narrow[0] < 0.5 < narrow[1] < wide[1]


def test_answers_side_by_side_are_those_of_one_by_one(tiny: BaseModel) -> None:
    prompts = [
        build(tiny.tokenizer, window=4096, max_new_tokens=8, question=question).token_ids
        for question in ("Who?", "When was the lamp lit, and by whom?", "Why so?")
    ]
    together = greedy_answers(tiny.model, tiny.tokenizer, prompts, max_new_tokens=8, batch=3)
    alone = greedy_answers(tiny.model, tiny.tokenizer, prompts, max_new_tokens=8, batch=1)
    assert together == alone
