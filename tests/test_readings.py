"""A refusal sends the model on to the next best passages; what it answers rests on those that it then read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sharedllm_cli.answer import Answer
from sharedllm_cli.config import Settings
from sharedllm_cli.engine import Engine
from sharedllm_cli.errors import UsageError
from sharedllm_cli.generation.grounding import says_not_in_document
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT
from sharedllm_cli.lab.evaluation import readings
from sharedllm_cli.lab.evaluation.answering import Answerer
from sharedllm_cli.lab.evaluation.arms import ARMS, DocumentReader, Question
from sharedllm_cli.lab.evaluation.refusals import operating_points
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Silent

TEXT = "".join(
    f"Lamp {number} of the harbour is kept by keeper {number * 7} and by nobody besides. " for number in range(60)
)
QUESTION = "Who keeps lamp 9 of the harbour?"


@pytest.fixture
def settings(model_folder: Callable[..., Path], tmp_path: Path) -> Settings:
    (tmp_path / "lamps.txt").write_text(TEXT, encoding="utf-8")
    folder = model_folder("llama", max_position_embeddings=4096)
    return Settings(
        model=str(folder),
        device="cpu",
        dtype="float32",
        lower_layers=2,
        chunk_tokens=256,
        evidence_tokens=240,
        max_new_tokens=5,
        refuse_from=0.5,
        readings=3,
        index_dir=str(tmp_path / "indexes"),
    )


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the sentence costs at each weighing, from the first on; the last cost is that of all further ones."""
    costs: list[float] = []

    def told(self: UpperModel, first: torch.Tensor, ids: Any, *rest: Any) -> list[float]:
        cost = costs.pop(0) if len(costs) > 1 else costs[0]
        return [cost, *[0.0] * (len(ids) - 1)]

    monkeypatch.setattr(UpperModel, "token_nlls", told)
    return costs


def asked(settings: Settings, tmp_path: Path) -> Answer:
    engine = Engine(settings, home=tmp_path / "home", reporter=Silent())
    *_, answer = engine.ask(engine.open([str(tmp_path / "lamps.txt")]), QUESTION)
    assert isinstance(answer, Answer)
    return answer


def test_the_first_reading_that_is_not_refused_answers(
    settings: Settings, tmp_path: Path, refusing: list[float]
) -> None:
    found = {}
    for refusals in range(4):
        refusing[:] = [0.1] * refusals + [2.0]
        found[refusals] = asked(settings, tmp_path)
    assert [found[refusals].coverage.readings for refusals in range(4)] == [1, 2, 3, 3]
    assert [says_not_in_document(found[refusals].answer) for refusals in range(4)] == [False, False, False, True]
    read = [found[refusals].coverage.tokens_read for refusals in range(4)]
    assert read[0] <= 240 < read[1] < read[2] == read[3]
    small = asked(replace(settings, evidence_tokens=len(TEXT) * 2 // 3), tmp_path)
    assert small.coverage.tokens_read <= small.coverage.tokens
    first, second = ([source.quote for source in found[refusals].sources if source.read] for refusals in (0, 1))
    assert set(first).isdisjoint(second), "the second answer rests on what was read second"
    in_vain = [source.quote for source in found[1].sources if not source.read]
    assert set(in_vain) & set(first), "what was read in vain is still shown"
    assert all(source.read for source in found[3].sources[:4]), "all that was read counts where nothing answers"


def test_one_reading_is_enough_where_that_is_asked_for_or_nothing_is_weighed(
    settings: Settings, tmp_path: Path, refusing: list[float]
) -> None:
    refusing[:] = [0.1]
    assert asked(replace(settings, readings=1), tmp_path).coverage.readings == 1
    assert asked(replace(settings, refuse_from=None), tmp_path).coverage.readings == 1


def test_a_short_document_is_read_once(settings: Settings, tmp_path: Path, refusing: list[float]) -> None:
    refusing[:] = [0.1]
    (tmp_path / "lamps.txt").write_text(TEXT[:1500], encoding="utf-8")
    whole = asked(replace(settings, evidence_tokens=1600), tmp_path)
    assert (whole.coverage.readings, whole.answered) == (1, False)


def test_readings_are_counted_from_one() -> None:
    with pytest.raises(UsageError, match="--readings"):
        Settings(readings=0)


def test_evaluation_reads_on_as_ask_does(settings: Settings, tmp_path: Path, refusing: list[float]) -> None:
    engine = Engine(settings, home=tmp_path / "home", reporter=Silent())
    opened = engine.open([str(tmp_path / "lamps.txt")]).documents[0]
    reader = DocumentReader(opened, engine.shared, settings, engine.store, Silent())
    for refusals, expected in ((0, 1), (1, 2), (2, 3), (9, 3)):
        # Besides the sentence the answerer weighs the gold answer before it and its own after it.
        refusing[:] = [cost for _ in range(refusals) for cost in (3.0, 0.1, 3.0)] + [3.0, 2.0, 3.0]
        outcome = readings.answer(
            Answerer(engine.shared, 5, 0.5), QUESTION, ARMS["sharedllm"].read(reader, Question(QUESTION, 5)), [1]
        )
        assert outcome is not None
        assert len(outcome.all) == expected
        assert (outcome.answer == NOT_IN_DOCUMENT) is (refusals > 2)
        facts = outcome.facts()
        assert ("readings" in facts) is (expected > 1)
        assert facts["refusal_nll"] == max(found.refusal_nll for _, found in outcome.all)
        assert facts["evidence_tokens"] == sum(read.prompt.evidence_tokens for read, _ in outcome.all)
    texts = [read.prompt.text for read in ARMS["bm25"].read(reader, Question(QUESTION, 5))]
    assert len(texts) == len(set(texts)) == 3, "the rival reads on as well"


def told(probability: float, otherwise: str) -> dict[str, Any]:
    import math

    return {"refusal_nll": -math.log(probability), "otherwise": otherwise}


def test_a_threshold_is_weighed_reading_by_reading() -> None:
    twice = {"readings": [told(0.6, "no"), told(0.3, "yes")], **told(0.3, "yes")}
    once = told(0.1, "yes")
    lines = [{**line, "answers": ["yes"], "answerable": True} for line in (twice, once)]
    points = {point["refuse_from"]: point for point in operating_points(lines)}
    assert points[0.7]["f1"] == 0.5, "the first reading would have answered, wrongly"
    assert points[0.4]["f1"] == 1.0
    assert points[0.2]["f1"] == 0.5
    assert points[0.2]["refused"] == 0.5
    for part in (lines, lines[1:]):
        made = [point["refuse_from"] for point in operating_points(part, 0.25)]
        assert made[0] == 0.25, "below it the second question would have been read again"
