"""The real engine with a tiny sentence encoder: vectors come with the index, and a question is searched by them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_encoder import write_tiny_encoder

from sharedllm_cli.answer import Answer
from sharedllm_cli.config import Settings
from sharedllm_cli.engine import Engine
from sharedllm_cli.home import models_folder
from sharedllm_cli.model.sentence_encoder import SentenceEncoder
from sharedllm_cli.progress import Silent
from sharedllm_cli.weights.encoders import ENCODER
from sharedllm_cli.weights.registry import Provenance, now, versions, write_provenance

STORY = "The harbour master of Kessel keeps a ledger bound in green leather. He counts the ships at noon. " * 12


class Details(Silent):
    def __init__(self) -> None:
        self.details: list[str] = []

    def detail(self, title: str, text: str) -> None:
        if title == "the search":
            self.details.append(text)


@pytest.fixture
def story(tmp_path: Path) -> str:
    path = tmp_path / "harbour.txt"
    path.write_text(STORY)
    return str(path)


def make(model_folder: Callable[..., Path], home: Path) -> tuple[Engine, Details]:
    model = str(model_folder("llama", max_position_embeddings=8192))
    details = Details()
    settings = Settings(model=model, device="cpu", chunk_tokens=512, evidence_tokens=200, max_new_tokens=4)
    return Engine(settings, home=home, reporter=details), details


def install(home: Path) -> None:
    folder = models_folder(home) / ENCODER.name
    folder.mkdir(parents=True)
    write_tiny_encoder(folder)
    made = Provenance(ENCODER.name, "bert", "a test", ENCODER.weights_hash, "", {}, versions(), now())
    write_provenance(folder, made)


def last(engine: Engine, story: str, question: str) -> Answer:
    *_, answer = engine.ask(engine.open([story]), question)
    assert isinstance(answer, Answer)
    return answer


def test_the_index_brings_the_vectors_and_the_question_alone_is_encoded(
    model_folder: Callable[..., Path], tmp_path: Path, story: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    plain, details = make(model_folder, home)
    assert last(plain, story, "Zebra?").route == "no_term_matches"
    assert details.details == ["hybrid, without meaning (sharedllm models pull all-minilm-l6-v2)"]

    install(home)
    engine, details = make(model_folder, home)
    (outcome,), failures = engine.index([story])
    assert failures == []
    assert not outcome.skipped
    assert engine.index([story])[0][0].skipped

    encoded: list[int] = []
    original = SentenceEncoder.encode

    def encode(self: SentenceEncoder, texts: list[str], *rest: object) -> object:
        encoded.append(len(texts))
        return original(self, texts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(SentenceEncoder, "encode", encode)
    answer = last(engine, story, "Zebra?")
    assert encoded == [1]
    assert answer.route != "no_term_matches"
    assert details.details == ["hybrid, with meaning"]
