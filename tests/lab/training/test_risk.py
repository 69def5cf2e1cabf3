"""Minimum risk training: the model's own answers, weighed as in use, and the better one made the likelier one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_samples import ASKED, PASSAGES, samples_of, trained

from sharedllm_cli.config import Settings
from sharedllm_cli.generation import prompt
from sharedllm_cli.generation.beams import FinishedBeam
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT
from sharedllm_cli.generation.rerank import NATS, Nearness
from sharedllm_cli.lab.training import risk, run
from sharedllm_cli.lab.training.forward import TrainedUpper
from sharedllm_cli.lab.training.objective import NextTokens
from sharedllm_cli.lab.training.records import DataFile
from sharedllm_cli.lab.training.risk import ExpectedRisk, prompts_of
from sharedllm_cli.lab.training.sample import Posed, Sample, answer_ids, question_answers
from sharedllm_cli.lab.training.trainer import Schedule
from sharedllm_cli.model.loading import BaseModel
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Silent

CPU = torch.device("cpu")
SAID = ("1801", "1802", "lit", NOT_IN_DOCUMENT, "", "It was 1801")
"""What the model is made to find likely: `lit` is the question's own word."""


def posed(tokenizer: Any, count: int = 2) -> Sample:
    """Questions over the passages of `PASSAGES`; of two the second has no answer there."""
    sample = question_answers(tokenizer, PASSAGES, ASKED[:count], 4096)
    assert sample is not None
    passages = tuple(passage.text for passage in PASSAGES)
    answers = [() if answer == NOT_IN_DOCUMENT else (answer,) for _, answer in ASKED[:count]]
    return replace(
        sample, posed=tuple(Posed(asked, own, passages) for (asked, _), own in zip(ASKED, answers, strict=False))
    )


@pytest.fixture
def upper(tiny: BaseModel) -> TrainedUpper:
    return trained(tiny)


@pytest.fixture
def objective(upper: TrainedUpper, tiny: BaseModel, monkeypatch: pytest.MonkeyPatch) -> ExpectedRisk:
    """The objective over a model that finds the answers `SAID` likely, whatever it is asked."""
    found = [FinishedBeam(tuple(answer_ids(tiny.tokenizer, text)), float(cost)) for cost, text in enumerate(SAID)]
    monkeypatch.setattr(risk, "candidates", lambda *_: found)
    # The adapter is in place: a second upper model around the same layers would put it in twice.
    plain = UpperModel.__new__(UpperModel)
    plain.model, plain.adapter = upper.base, upper.adapter
    return ExpectedRisk(plain, tiny.tokenizer)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_prompts_are_those_of_ask(byte_tokenizer: Any, count: int) -> None:
    _, prompts = prompts_of(posed(byte_tokenizer, count))
    assert prompts == [
        prompt.build(byte_tokenizer, window=4096, max_new_tokens=9, question=question, passages=PASSAGES).token_ids
        for question, _ in ASKED[:count]
    ]


def test_samples_say_what_they_ask(data_file: Path, tiny: BaseModel) -> None:
    samples = samples_of(data_file, tiny.tokenizer)
    refusals = 0
    for number in range(12):
        sample = samples[number]
        _, prompts = prompts_of(sample)
        assert len(prompts) == len(sample.posed)
        for one, ids in zip(sample.posed, prompts, strict=True):
            text = tiny.tokenizer.decode(ids)
            assert one.question in text
            assert all(passage in text for passage in one.passages)
            refusals += not one.answers
        assert {passage for one in sample.posed for passage in one.passages}
    assert refusals


def test_choices_are_answers_that_could_be_given(objective: ExpectedRisk, tiny: BaseModel) -> None:
    (choice,) = objective.choices(posed(tiny.tokenizer), CPU)
    assert choice.branch == 1, "the second question has no answer"
    assert [tiny.tokenizer.decode(ids, skip_special_tokens=True) for ids in choice.answers] == [
        "1801",
        "1802",
        "It was 1801",
    ]
    assert choice.worth == pytest.approx((1.0, 0.0, 0.5))
    near = Nearness(ASKED[0][0], [PASSAGES[0].text])
    assert choice.beside == (NATS * near("1801"), 0.0, 0.0)
    assert near("1801") > 0


def test_where_all_answers_are_worth_the_same_there_is_no_choice(
    objective: ExpectedRisk, tiny: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [FinishedBeam(tuple(answer_ids(tiny.tokenizer, text)), 1.0) for text in ("1802", "1803")]
    monkeypatch.setattr(risk, "candidates", lambda *_: found)
    assert objective.choices(posed(tiny.tokenizer), CPU) == []


@pytest.mark.parametrize("count", [1, 3])
def test_the_risk_is_what_the_expected_worth_lacks(
    objective: ExpectedRisk, upper: TrainedUpper, tiny: BaseModel, count: int
) -> None:
    sample = posed(tiny.tokenizer, count)
    objective._risk = 1000.0
    plain = NextTokens().loss(upper, [sample], CPU).item()
    whole = objective.loss(upper, [sample], CPU).item()
    _, prompts = prompts_of(sample)
    lacking = 0.0
    for choice in objective.choices(sample, CPU):
        first, cache = objective._upper.prefill(torch.tensor(prompts[choice.branch - 1]), None)
        costs = [sum(objective._upper.token_nlls(first, ids, None, cache)) for ids in choice.answers]
        chances = (torch.tensor(choice.beside) - torch.tensor(costs)).softmax(0)
        lacking += max(choice.worth) - float((chances * torch.tensor(choice.worth)).sum())
    assert lacking > 0.001
    assert whole == pytest.approx(plain + 1000.0 * lacking, rel=1e-4)


def test_steps_make_the_better_answer_the_likelier_one(
    objective: ExpectedRisk, upper: TrainedUpper, tiny: BaseModel
) -> None:
    sample = posed(tiny.tokenizer, 1)

    def cost(text: str) -> float:
        _, (ids,) = prompts_of(sample)
        first, cache = objective._upper.prefill(torch.tensor(ids), None)
        return sum(objective._upper.token_nlls(first, answer_ids(tiny.tokenizer, text), None, cache))

    before = cost("1802") - cost("1801")
    (choice,) = objective.choices(sample, CPU)
    optimizer = torch.optim.AdamW(upper.trained_parameters().values(), lr=0.02)
    for _ in range(5):
        optimizer.zero_grad()
        loss = objective._risked(upper, sample, [replace(choice, beside=(0.0, 0.0, 0.0))], CPU)
        loss.backward()
        optimizer.step()
    assert cost("1802") - cost("1801") > before + 0.5


def test_a_sample_with_a_tree_or_without_a_question_has_the_plain_loss(
    objective: ExpectedRisk, upper: TrainedUpper, tiny: BaseModel
) -> None:
    sample = replace(posed(tiny.tokenizer, 2), posed=())
    assert objective.loss(upper, [sample], CPU).item() == NextTokens().loss(upper, [sample], CPU).item()


def test_a_run_learns_by_risk(data_file: Path, settings: Settings, tmp_path: Path) -> None:
    schedule = Schedule(steps=2, samples=2, learning_rate=1e-2, batch_tokens=2048)
    request = run.Request((DataFile(data_file, 1.0),), tmp_path / "run", objective="risk", rank=2, schedule=schedule)
    outcome = run.run(replace(request, validation_samples=1), settings, home=tmp_path / "home", reporter=Silent())
    assert (outcome.ending, outcome.steps) == ("finished", 2)
    trained = (outcome.adapter / "adapter.json").read_text("utf-8")
    assert '"objective": "risk"' in trained
