"""An answer decoded with a recorded step is the same answer, and one without where recording fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.answer import Answer
from sharedllm_cli.config import Settings
from sharedllm_cli.engine import Engine
from sharedllm_cli.model import recorded
from sharedllm_cli.model.recorded import FixedStep
from sharedllm_cli.progress import Silent


class Noting(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def answered(model_folder: Callable[..., Path], private_home: Path, tmp_path: Path) -> Callable[..., Any]:
    story = tmp_path / "harbour.txt"
    story.write_text("The harbour master keeps a ledger. Old Marten lights the northern beacon at dusk. " * 20)
    model = str(model_folder("llama", max_position_embeddings=8192))

    def ask(**changes: Any) -> tuple[str, list[str]]:
        reporter = Noting()
        values = {"model": model, "device": "cpu", "evidence_tokens": 100, "max_new_tokens": 20}
        engine = Engine(Settings(**(values | changes)), home=private_home, reporter=reporter)
        *_, answer = engine.ask(engine.open([str(story)]), "Who lights the beacon?")
        assert isinstance(answer, Answer)
        assert answer.timing.new_tokens > 3
        return answer.answer, [note for note in reporter.notes if "record" in note]

    return ask


def test_on_a_processor_nothing_is_recorded_and_that_is_told(answered: Callable[..., Any]) -> None:
    answer, notes = answered()
    assert notes == []
    assert answered(cuda_graphs=True) == (
        answer,
        ["a step was not recorded: the model is not on a CUDA device; going on without"],
    )


def test_a_recorded_step_gives_the_same_answer(answered: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = answered()
    rooms = []

    def record(upper: Any, tree: Any, cache: Any, first: Any, room: int) -> tuple[FixedStep, str]:
        rooms.append(room)
        return FixedStep(upper, tree, cache, room), ""

    monkeypatch.setattr(recorded, "recorded_step", record)
    assert answered() == expected
    assert answered(cuda_graphs=True, max_new_tokens=8) != ("", [])
    assert rooms == [], "not without being asked to, nor for a short answer"
    assert answered(cuda_graphs=True) == expected
    assert rooms == [20]


def test_where_recording_fails_it_is_told_and_the_answer_comes(
    answered: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = answered()
    monkeypatch.setattr(recorded, "recorded_step", lambda *arguments: (None, "a step could not be recorded (why)"))
    assert answered(cuda_graphs=True) == (expected, ["a step could not be recorded (why); going on without"])
