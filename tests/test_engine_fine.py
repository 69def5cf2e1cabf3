"""`--grains fine`: passages are read from stored keys and values, and as text wherever nothing fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.answer import Answer
from sharedllm_cli.config import Settings
from sharedllm_cli.engine import Engine
from sharedllm_cli.progress import Silent

STORY = (
    "The harbour master of Kessel keeps a ledger bound in green leather. "
    "Every ship that enters pays eleven silver marks at the stone desk. "
    "Old Marten lights the northern beacon an hour before sunset. "
)
FILLER = "The second page tells of the granary and its slow mice. " * 30
QUESTION = "What does every ship pay at the stone desk?"


@pytest.fixture
def story(tmp_path: Path) -> str:
    path = tmp_path / "harbour.txt"
    path.write_text(STORY + FILLER)
    return str(path)


@pytest.fixture
def make(model_folder: Callable[..., Path], tmp_path: Path) -> Callable[..., Engine]:
    folder = str(model_folder("llama", max_position_embeddings=8192))

    def made(**changes: Any) -> Engine:
        values = {"model": folder, "device": "cpu", "evidence_tokens": 300, "max_new_tokens": 4, "grains": "fine"}
        return Engine(Settings(**(values | changes)), home=tmp_path / "home", reporter=Silent())

    return made


def known(engine: Engine, story: str) -> int:
    answer = engine.answer(story, QUESTION)
    assert isinstance(answer, Answer)
    return answer.index.tokens_known


def test_an_indexed_document_is_not_read_twice(make: Callable[..., Engine], story: str) -> None:
    engine = make()
    assert known(engine, story) == 0
    outcomes, _ = engine.index(story)
    assert not outcomes[0].skipped
    first = known(engine, story)
    assert first > 200  # of the 300 tokens of passages
    assert known(engine, story) == first
    assert known(make(), story) == first  # from disk
    assert engine.index(story)[0][0].skipped
    assert known(make(grains="text"), story) == 0


def test_the_passages_are_those_that_are_read_as_text(make: Callable[..., Engine], story: str) -> None:
    make().index(story)
    fine, text = (make(grains=grains).answer(story, QUESTION) for grains in ("fine", "text"))
    assert [source.quote for source in fine.sources] == [source.quote for source in text.sources]
    assert fine.coverage == text.coverage
    assert fine.prompt_tokens == text.prompt_tokens


def test_another_system_prompt_or_type_is_another_index(make: Callable[..., Engine], story: str) -> None:
    make().index(story)
    assert known(make(system="Answer like a sailor."), story) == 0
    assert known(make(stored_dtype="float32"), story) == 0


def test_settings_of_a_question_apply_to_a_loaded_engine(make: Callable[..., Engine], story: str) -> None:
    engine = make()
    engine.index(story)
    engine.use(replace(engine.settings, grains="text"))
    assert known(engine, story) == 0
    engine.use(replace(engine.settings, grains="fine"))
    assert known(engine, story) > 0


def test_a_plan_says_what_the_fine_grain_takes(make: Callable[..., Engine], story: str) -> None:
    engine = make()
    (fine,), _ = engine.plan(story)
    (text,), _ = make(grains="text").plan(story)
    before = engine.index(story)[0][0].bytes
    # 4 layers of keys and values, 2 heads of 8 numbers and a scale: 160 bytes a token
    assert fine.index_bytes - text.index_bytes >= 160 * fine.tokens
    assert before > fine.index_bytes - text.index_bytes
    assert fine.index_seconds > text.index_seconds


def test_a_model_that_forgets_reads_text(model_folder: Callable[..., Path], story: str, tmp_path: Path) -> None:
    folder = str(model_folder("gemma3_text", max_position_embeddings=8192))
    settings = Settings(model=folder, device="cpu", evidence_tokens=100, max_new_tokens=2, grains="fine")
    engine = Engine(settings, home=tmp_path / "home", reporter=Silent())
    engine.index(story)
    assert known(engine, story) == 0
