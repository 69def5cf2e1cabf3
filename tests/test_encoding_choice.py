"""Who chooses the encoding, and where the choice arrives: settings, adapter, index, plan and what is shown of them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sharedllm_cli import planning
from sharedllm_cli.cli.app import run
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.config import InjectionConfig, Settings, TreeConfig
from sharedllm_cli.context.tree import Node
from sharedllm_cli.engine import Engine
from sharedllm_cli.errors import UsageError
from sharedllm_cli.index.catalog import entries
from sharedllm_cli.index.nodes import LiveNodes
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.adapter_config import AdapterConfig
from sharedllm_cli.model.shared import load_shared
from sharedllm_cli.progress import Silent

TRAINED = TreeConfig(64, 2, (8, 4), "chunk")
STORY = "Old Marten lights the northern beacon an hour before sunset, in winter with whale oil. " * 5


@pytest.fixture
def model(model_folder: Callable[..., Path]) -> str:
    return str(model_folder("llama", max_position_embeddings=8192))


@pytest.fixture
def story(tmp_path: Path) -> str:
    path = tmp_path / "beacon.txt"
    path.write_text(STORY)
    return str(path)


@pytest.fixture
def chunk_adapter(tmp_path: Path, model: str, private_home: Path) -> str:
    """An adapter with open gates, made for chunks that are encoded once."""
    base = load_shared(Settings(model=model, device="cpu"), private_home, Silent()).base
    adapter = Adapter.untrained(base.model, base.name, InjectionConfig("merged", 2), TRAINED)
    with torch.no_grad():
        for injection in adapter.injections.values():
            injection.gate.fill_(1.0)  # type: ignore[union-attr, operator]
    adapter.save(tmp_path / "adapter", trained={"objective": "none: gates opened by a test"})
    return str(tmp_path / "adapter")


def engine(model: str, home: Path, **changes: Any) -> Engine:
    settings = Settings(model=model, device="cpu", evidence_tokens=60, max_new_tokens=4, **changes)
    return Engine(settings, home=home, reporter=Silent())


@pytest.mark.parametrize(
    ("settings", "trained", "encoding"),
    [
        ({}, None, "node"),
        ({}, TRAINED, "chunk"),
        ({"encoding": "node"}, TRAINED, "node"),
        ({"encoding": "chunk"}, None, "chunk"),
        ({"encoding": "chunk"}, TreeConfig(), "chunk"),
        ({"preset": "paper-lm"}, TRAINED, "node"),
        ({"preset": "paper-lm", "encoding": "chunk"}, TRAINED, "chunk"),
    ],
)
def test_the_users_word_goes_over_the_adapters_and_that_over_the_papers(
    settings: dict[str, Any], trained: TreeConfig | None, encoding: str
) -> None:
    assert Settings(**settings).tree_config(trained).encoding == encoding


def test_another_word_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="--encoding can't be 'document'"):
        Settings(encoding="document")
    with pytest.raises(UsageError, match="unknown encoding"):
        TreeConfig(encoding="document")  # type: ignore[arg-type]


def test_an_adapter_says_what_it_was_trained_on_and_an_old_one_means_nodes() -> None:
    config = AdapterConfig("tiny", (4, 32, 4, 2, 8), InjectionConfig(), TRAINED)
    written = json.loads(json.dumps(config.to_json()))
    assert AdapterConfig.from_json(written) == config
    del written["tree"]["encoding"]
    assert AdapterConfig.from_json(written).tree == TreeConfig(64, 2, (8, 4), "node")


def test_the_adapters_encoding_reaches_index_and_reading(
    model: str, private_home: Path, story: str, chunk_adapter: str
) -> None:
    reads = engine(model, private_home, adapter=chunk_adapter)
    outcome = reads.index([story])[0][0]
    assert not outcome.skipped
    library = reads.open([story])
    [opened] = library.documents
    [stored] = reads.trees.open([opened]).nodes
    trees = enumerate(opened.leaves.trees)
    nodes = [Node(chunk, *place) for chunk, tree in trees for place in tree.stored_nodes()]
    once = LiveNodes(reads.shared.lower, opened.leaves, stored_dtype="int8").compressed(nodes)
    assert {tree.config.encoding for tree in opened.leaves.trees} == {"chunk"}
    assert torch.equal(stored.compressed(nodes).keys, once.keys)
    list(reads.ask(library, "What burns in winter?"))
    assert engine(model, private_home, adapter=chunk_adapter).index([story])[0][0].skipped


def test_an_index_of_one_encoding_is_not_skipped_for_the_other(model: str, private_home: Path, story: str) -> None:
    assert not engine(model, private_home, chunk_tokens=64).index([story])[0][0].skipped
    other = engine(model, private_home, chunk_tokens=64, encoding="chunk").index([story])[0][0]
    assert not other.skipped
    assert "each node encoded alone, now each chunk encoded once" in (other.reason or "")
    for encoding in ("node", "chunk"):
        assert engine(model, private_home, chunk_tokens=64, encoding=encoding).index([story])[0][0].skipped
    out = io.StringIO()
    assert run(["indexes", "show", "beacon.txt"], Console(out, io.StringIO())) == 0
    assert "each node encoded alone" in out.getvalue()
    assert "each chunk encoded once" in out.getvalue()
    [entry] = entries(private_home / "indexes")
    assert [part.kind for part in entry.parts].count("leaves") == 1


def test_a_plan_knows_that_a_chunk_encoded_once_is_less_work(
    model: str, private_home: Path, story: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "matrix_rate", lambda placement: 1e9)
    [alone], _ = engine(model, private_home, chunk_tokens=64).plan([story])
    [once], _ = engine(model, private_home, chunk_tokens=64, encoding="chunk").plan([story])
    assert alone.index_seconds == pytest.approx(3 * once.index_seconds)
    assert alone.index_bytes == once.index_bytes
    engine(model, private_home, chunk_tokens=64).index([story])
    [alone], _ = engine(model, private_home, chunk_tokens=64).plan([story])
    [once], _ = engine(model, private_home, chunk_tokens=64, encoding="chunk").plan([story])
    assert (alone.indexed, once.indexed) == (True, False)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"tree": True}, ""),
        ({"encoding": "chunk"}, ""),
        ({"encoding": "node"}, "--encoding node instead of chunk"),
        ({"encoding": "node", "tree": False}, ""),
        ({"ratios": "4", "tree_height": 1}, "--tree-height 1 instead of 2; --ratios 4 instead of 8,4"),
        ({"chunk_tokens": 32}, "--chunk-tokens 32 instead of 64"),
    ],
)
def test_trees_that_the_adapter_never_learned_to_read_are_told(
    model: str, private_home: Path, chunk_adapter: str, settings: dict[str, Any], told: str
) -> None:
    reporter = Silent()
    load_shared(Settings(model=model, device="cpu", adapter=chunk_adapter, **settings), private_home, reporter)
    expected = [f"the adapter was trained on other trees than these settings build: {told}"] if told else []
    assert reporter.warnings == expected
