"""Questions of yes or no: an adapter that keeps to places does not judge; the sentence that speaks of it is quoted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from place_keeper import asked, keeping_to_places
from torch import Tensor

from sharedllm_cli.answering.extracts import UNJUDGED
from sharedllm_cli.answering.reader import Prefilled, Reader
from sharedllm_cli.config import Settings
from sharedllm_cli.documents.chunking import plain_ids
from sharedllm_cli.engine import Engine
from sharedllm_cli.errors import UsageError
from sharedllm_cli.generation.prompt import Prompt
from sharedllm_cli.generation.refusal import not_found
from sharedllm_cli.model.adapter_config import CONFIG_FILE
from sharedllm_cli.model.shared import load_shared
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Silent

FILLER = "The wind blows over the island on most days. " * 12
RULE = "Dogs are not landed at all, assistance dogs excepted."
PAGES = [FILLER, f"{FILLER}{RULE} {FILLER}", f"{FILLER}Smoking is allowed on the rocks. "]
QUESTION = "Are dogs allowed on the island?"


@pytest.fixture
def settings(model_folder: Callable[..., Path], tmp_path: Path, private_home: Path) -> Settings:
    return keeping_to_places(model_folder, tmp_path, private_home)


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "rules.txt"
    path.write_text("\f".join(PAGES), encoding="utf-8")
    return str(path)


@pytest.fixture
def prefilled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the running texts that the model reads."""
    lengths: list[int] = []
    original = UpperModel.prefill

    def prefill(self: UpperModel, ids: object, *rest: object) -> object:
        lengths.append(len(ids))  # type: ignore[arg-type]
        return original(self, ids, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(UpperModel, "prefill", prefill)
    return lengths


def test_the_sentence_is_quoted_and_no_model_is_asked(
    settings: Settings,
    rules: str,
    private_home: Path,
    prefilled: list[int],
) -> None:
    (answer,) = asked(settings, rules, private_home, QUESTION)
    assert answer.answer == RULE
    assert (answer.answered, answer.reason) == (True, None)
    assert [warning for warning in answer.warnings if warning.startswith("a question of yes or no")]
    assert RULE in answer.sources[0].quote
    assert answer.sources[0].read
    assert answer.timing.total_s > 0
    assert not prefilled


def test_where_nothing_speaks_of_it_the_document_does_not_say(
    settings: Settings,
    rules: str,
    private_home: Path,
    prefilled: list[int],
) -> None:
    (answer,) = asked(settings, rules, private_home, "Is parking on the island permitted to electricians?")
    assert answer.answer == not_found(answer.coverage.tokens_read, answer.coverage.tokens)
    assert not answer.answered
    assert answer.reason == "no sentence of the passages holds enough of the question's words"
    assert answer.sources
    assert not [warning for warning in answer.warnings if "yes or no" in warning]
    assert not prefilled


@pytest.mark.parametrize("changes", [{"adapter": "none"}, {"system": "Answer yes or no."}, {"refuse_from": 1e-300}])
def test_others_judge_for_themselves(
    settings: Settings,
    rules: str,
    private_home: Path,
    prefilled: list[int],
    changes: dict[str, object],
) -> None:
    (answer,) = asked(replace(settings, **changes), rules, private_home, QUESTION)  # type: ignore[arg-type]
    assert prefilled
    assert answer.answer != RULE


def test_pages_that_are_not_read_are_not_quoted(settings: Settings, rules: str, private_home: Path) -> None:
    engine = Engine(settings, home=private_home, reporter=Silent())
    library = engine.open([rules])
    answer = list(engine.ask(library, QUESTION, pages=(3, 3)))[-1]
    assert not isinstance(answer, str)
    assert RULE not in answer.answer
    with pytest.raises(UsageError):
        list(engine.ask(library, QUESTION, pages=(9, 9)))


def test_pages_read_whole_are_not_the_document(settings: Settings, rules: str, private_home: Path) -> None:
    engine = Engine(settings, home=private_home, reporter=Silent())
    answer = list(engine.ask(engine.open([rules]), QUESTION, pages=(1, 1)))[-1]
    assert not isinstance(answer, str)
    assert answer.answer == not_found(answer.coverage.tokens_read, answer.coverage.tokens)
    assert answer.coverage.tokens_read < answer.coverage.tokens


def test_nothing_is_told_before_the_quoted_line_is_whole(settings: Settings, rules: str, private_home: Path) -> None:
    class Listening(Silent):
        told: list[str] = []  # noqa: RUF012

        def warn(self, message: str) -> None:
            self.told.append(message)

    engine = Engine(settings, home=private_home, reporter=Listening())
    text, answer = engine.ask(engine.open([rules]), QUESTION)
    assert text == RULE
    assert not isinstance(answer, str)
    assert UNJUDGED in answer.warnings
    assert not Listening.told


@pytest.fixture
def judging(settings: Settings) -> Settings:
    """The adapter as one that learned to answer by the kind of a question, and that never refuses."""
    path = Path(settings.adapter or "") / CONFIG_FILE
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(data | {"kinds": True, "refuse_from": 1}), encoding="utf-8")
    return settings


@pytest.fixture
def weighed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """The logits before and after what the question alone says was taken off."""
    seen: list[tuple[Tensor, Tensor]] = []
    original = Reader.without_prior

    def without_prior(self: Reader, prefilled: Prefilled) -> Prefilled:
        found = original(self, prefilled)
        seen.append((prefilled.logits, found.logits))
        return found

    monkeypatch.setattr(Reader, "without_prior", without_prior)
    return seen


def test_yes_and_no_are_weighed_by_what_the_passages_add(
    judging: Settings,
    rules: str,
    private_home: Path,
    weighed: list[tuple[Tensor, Tensor]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits: list[Tensor] = []
    original = UpperModel.prefill

    def prefill(self: UpperModel, *given: Any) -> Any:
        logits.append(original(self, *given)[0])
        return logits[-1], original(self, *given)[1]

    monkeypatch.setattr(UpperModel, "prefill", prefill)
    asked(judging, rules, private_home, QUESTION)
    shared = load_shared(judging, private_home, Silent())
    yes, no = (plain_ids(shared.base.tokenizer, word)[0] for word in ("Yes", "No"))
    ((before, after),) = weighed
    with_passages, alone = logits
    assert before is with_passages
    added = (with_passages[yes] - with_passages[no]) - (alone[yes] - alone[no])
    assert torch.allclose(after[yes] - after[no], added, atol=1e-5)
    assert torch.allclose(after[yes] + after[no], before[yes] + before[no], atol=1e-5)
    others = [place for place in range(len(before)) if place not in (yes, no)]
    assert torch.equal(after[others], before[others])


def test_other_questions_are_not_weighed_so(
    judging: Settings, rules: str, private_home: Path, weighed: list[tuple[Tensor, Tensor]]
) -> None:
    asked(judging, rules, private_home, "What is landed on the island?", "Where is smoking allowed?")
    assert not weighed


@pytest.mark.parametrize(
    ("written", "above", "answer", "reasons"),
    [
        (
            ("Y", "es", ". Smoking is not allowed here."),
            -1.0,
            "No. Smoking is not allowed here.",
            ["Smoking is not allowed here."],
        ),
        (("No. Smoking is allowed here.",), 2.0, "Yes. Smoking is allowed here.", ["Smoking is allowed here."]),
        (("Yes", ", it is allowed."), 2.0, "Yes, it is allowed.", ["it is allowed."]),
        (("Yes.",), -1.0, "Yes.", []),
        (("No person may smoke here.",), 2.0, "No person may smoke here.", []),
    ],
)
def test_the_reason_alone_decides_between_yes_and_no(
    written: tuple[str, ...],
    above: float,
    answer: str,
    reasons: list[str],
    judging: Settings,
    rules: str,
    private_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[tuple[str, ...]] = []

    def yes_above_no(self: Reader, prompt: Prompt) -> float:
        read.append(tuple(prompt.passage_texts))
        return above if prompt.passages else 0.5

    monkeypatch.setattr(Reader, "_yes_above_no", yes_above_no)
    pieces = [(piece, "stop" if place == len(written) else None) for place, piece in enumerate(written, 1)]
    monkeypatch.setattr(Reader, "text", lambda *_: iter(pieces))
    (found,) = asked(judging, rules, private_home, QUESTION)
    assert found.answer == answer
    assert [list(passages) for passages in read if passages] == ([reasons] if reasons else [])


def test_a_reason_that_can_not_be_weighed_changes_nothing(
    judging: Settings, rules: str, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reader, "text", lambda *_: iter([("Yes. Smoking is allowed here.", "stop")]))
    monkeypatch.setattr(Reader, "_verdict_ids", (7, 7))
    (found,) = asked(judging, rules, private_home, QUESTION)
    assert found.answer == "Yes. Smoking is allowed here.", "both words begin with one token"
