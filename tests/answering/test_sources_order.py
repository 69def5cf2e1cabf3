"""The first source of an answer is the one that holds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sharedllm_cli.answer import Answer, Source
from sharedllm_cli.answering.pipeline import Pipeline
from sharedllm_cli.config import Settings
from sharedllm_cli.engine import Engine
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT
from sharedllm_cli.progress import Silent

PAGES = ["Of lamps and towers. " * 8, "The granary is full. " * 20, "Bees like clover. " * 20]


def sources(settings: Settings, document: Path, home: Path) -> list[Source]:
    engine = Engine(settings, home=home, reporter=Silent())
    *_, answer = engine.ask(engine.open([str(document)]), "What is told of the granary?")
    assert isinstance(answer, Answer)
    return answer.sources


def test_the_source_that_holds_the_answers_words_is_the_first(
    model_folder: Callable[..., Path], tmp_path: Path, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(model_folder("llama", max_position_embeddings=8192))
    settings = Settings(model=model, device="cpu", max_new_tokens=4, evidence_tokens=1500)
    book = tmp_path / "book.txt"
    book.write_text("\f".join(PAGES), encoding="utf-8")
    monkeypatch.setattr(Pipeline, "decode", lambda *_: iter([("clover", "stop")]))
    first, *others = sources(settings, book, private_home)
    assert first.page == 3
    assert 2 in {source.page for source in others}
    for refusal in (NOT_IN_DOCUMENT, "wheat"):
        monkeypatch.setattr(Pipeline, "decode", lambda *_, said=refusal: iter([(said, "stop")]))
        assert sources(settings, book, private_home)[0].page == 2
    read_less = sources(replace(settings, evidence_tokens=200), book, private_home)
    assert read_less[0].page == 2
