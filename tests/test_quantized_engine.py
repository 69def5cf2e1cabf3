"""An engine on 4-bit weights answers, and its index is its own: found again by it and by no other quantization."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_tiny_model

from sharedllm_cli.answer import Answer
from sharedllm_cli.config import InjectionConfig, Settings, TreeConfig
from sharedllm_cli.engine import Engine
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.progress import Silent

pytestmark = pytest.mark.usefixtures("bitsandbytes_alone")
SHAPE = {"hidden_size": 128, "head_dim": 32, "intermediate_size": 256, "max_position_embeddings": 8192}


class Telling(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.details: dict[str, str] = {}

    def detail(self, title: str, text: str) -> None:
        self.details[title] = text


@pytest.fixture
def make(model_folder: Callable[..., Path], private_home: Path, tmp_path: Path) -> Callable[..., Engine]:
    adapter = Adapter.untrained(
        make_tiny_model("llama", **SHAPE), "tiny", InjectionConfig("merged", 2), TreeConfig(64, 3, (16, 8, 4))
    )
    adapter.open_gates(1.0)
    adapter.save(tmp_path / "open", trained={"objective": "none: gates opened by a test"})
    fixed: dict[str, Any] = {
        "model": str(model_folder("llama", **SHAPE)),
        "adapter": str(tmp_path / "open"),
        "device": "cpu",
        "evidence_tokens": 100,
        "max_new_tokens": 4,
        "policy": "late",
    }

    def engine(quantize: str) -> Engine:
        return Engine(Settings(**fixed, quantize=quantize), home=private_home, reporter=Telling())

    return engine


def ask(engine: Engine, story: Path) -> Answer:
    *_, answer = engine.ask(engine.open([str(story)]), "Who lights the beacon?")
    assert isinstance(answer, Answer)
    return answer


def test_four_bits_answer_and_find_their_own_index_alone(make: Callable[..., Engine], tmp_path: Path) -> None:
    story = tmp_path / "harbour.txt"
    story.write_text("The harbour master keeps a ledger. Old Marten lights the northern beacon at dusk. " * 20)
    engine = make("4bit")
    engine.index([str(story)], late_states=True)
    first = ask(engine, story)
    assert first.index.trees_hit
    assert first.tree.kept_keys > 0
    assert first.model.quantize == "4bit"
    assert first.timing.new_tokens > 0
    again = ask(make("4bit"), story)
    assert again.index.trees_hit
    assert again.answer == first.answer
    assert "MB of weights (quantize 4bit" in engine.reporter._reporter.details["the model"]  # type: ignore[attr-defined]
    plain = make("none")
    documents = plain.open([str(story)]).documents
    assert plain.trees.find(documents[0]) is None, "trees of 4-bit weights are no others'"
    assert plain.store.read_states(documents[0].content_hash, plain.trees.states_key(documents[0])) is None
    reason = plain.trees.why_new(documents[0])
    assert reason is not None
    assert "quantiz" in reason or "4bit" in reason
    other = ask(plain, story)
    assert not other.index.trees_hit
    assert ask(make("4bit"), story).index.trees_hit, "both stay"
