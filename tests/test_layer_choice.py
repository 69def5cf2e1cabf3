"""Which layers an index holds: those that the adapter reads, or all from 0 where the user says so; who serves whom."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sharedllm_cli import planning
from sharedllm_cli.cli.app import run
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.config import InjectionConfig, Settings, TreeConfig
from sharedllm_cli.engine import Engine
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.adapter_config import tree_layers
from sharedllm_cli.model.shared import load_shared
from sharedllm_cli.progress import Silent

TREE = TreeConfig(64, 2, (8, 4))
STORY = "Old Marten lights the northern beacon an hour before sunset, in winter with whale oil. " * 5
QUESTION = "What burns in winter?"


@pytest.fixture
def model(model_folder: Callable[..., Path]) -> str:
    return str(model_folder("llama", max_position_embeddings=8192))


@pytest.fixture
def story(tmp_path: Path) -> str:
    path = tmp_path / "beacon.txt"
    path.write_text(STORY)
    return str(path)


@pytest.fixture
def adapters(tmp_path: Path, model: str, private_home: Path) -> dict[str, str]:
    """Adapters whose layers 1 and 2 read: one with open gates, one with closed ones."""
    folders = {}
    for name, gate in (("open", 1.0), ("closed", float("-inf"))):
        base = load_shared(Settings(model=model, device="cpu"), private_home, Silent()).base
        adapter = Adapter.untrained(base.model, base.name, InjectionConfig("merged", 3, 1), TREE)
        with torch.no_grad():
            for injection in adapter.injections.values():
                injection.gate.fill_(gate)  # type: ignore[union-attr, operator]
        adapter.save(tmp_path / name, trained={"objective": "none: gates set by a test"})
        folders[name] = str(tmp_path / name)
    return folders


def engine(model: str, home: Path, **changes: Any) -> Engine:
    settings = Settings(model=model, device="cpu", max_new_tokens=4, **{"evidence_tokens": 60, **changes})
    return Engine(settings, home=home, reporter=Silent())


def answered(reads: Engine, story: str) -> Any:
    return list(reads.ask(reads.open([story]), QUESTION))[-1]


@pytest.mark.parametrize(
    ("changes", "layers"),
    [
        ({}, range(1, 3)),
        ({"lower_layers": 2}, range(3)),
        ({"lower_layers": 4}, range(4)),
        ({"preset": "paper-lm"}, range(3)),
        ({"adapter": "none"}, range(2)),
        ({"adapter": "none", "lower_layers": 3}, range(3)),
    ],
)
def test_an_index_holds_the_adapters_layers_unless_the_user_names_their_number(
    model: str, adapters: dict[str, str], changes: dict[str, Any], layers: range
) -> None:
    settings = Settings(**{"model": model, "adapter": adapters["open"], **changes})
    assert tree_layers(settings, "tiny", 4) == layers


@pytest.mark.parametrize("gates", ["open", "closed"])
def test_index_plan_and_display_know_the_first_layer(
    model: str,
    private_home: Path,
    story: str,
    adapters: dict[str, str],
    gates: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planning, "matrix_rate", lambda placement: 1e9)
    reads = engine(model, private_home, adapter=adapters[gates])
    [before], _ = reads.plan([story])
    assert not reads.index([story])[0][0].skipped
    [after], _ = reads.plan([story])
    assert (before.indexed, after.indexed) == (False, True)
    [trees] = (private_home / "indexes").glob("*/trees-*")
    written = sum(path.stat().st_size for path in trees.glob("*.safetensors"))
    assert after.index_bytes < written < after.index_bytes + 600
    [whole], _ = engine(model, private_home, adapter=adapters[gates], lower_layers=3).plan([story])
    assert whole.index_bytes > 1.3 * after.index_bytes, "a layer of three is not stored"
    assert whole.tree_bytes == pytest.approx(1.5 * after.tree_bytes, rel=0.01)
    assert whole.index_seconds == pytest.approx(after.index_seconds), "and all three are run"
    assert not whole.indexed
    out = io.StringIO()
    assert run(["indexes", "show", "beacon.txt"], Console(out, io.StringIO())) == 0
    assert "M = 3, from layer 1" in " ".join(out.getvalue().split())


def test_all_layers_serve_the_adapters_and_the_other_way_round_is_told(
    model: str, private_home: Path, story: str, adapters: dict[str, str]
) -> None:
    own = engine(model, private_home, adapter=adapters["open"])
    from_own = answered(own, story)
    whole = engine(model, private_home, adapter=adapters["open"], lower_layers=4).index([story])[0][0]
    assert not whole.skipped
    assert "another first layer (1, now 0)" in (whole.reason or "")
    [narrow] = [path for path in (private_home / "indexes").glob("*/trees-*") if _first(path) == 1]
    for file in narrow.iterdir():
        file.unlink()
    narrow.rmdir()
    assert engine(model, private_home, adapter=adapters["open"]).index([story])[0][0].skipped
    from_whole = answered(engine(model, private_home, adapter=adapters["open"]), story)
    assert from_whole.answer == from_own.answer
    assert from_whole.tree == from_own.tree
    assert len(list((private_home / "indexes").glob("*/trees-*"))) == 1


def _first(part: Path) -> int:
    import json

    first: int = json.loads((part / "manifest.json").read_text())["key"].get("first_layer", 0)
    return first


def test_a_plan_counts_the_tree_where_questions_read_it(
    model: str,
    private_home: Path,
    story: str,
    adapters: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planning, "matrix_rate", lambda placement: 1e9)
    folder = tmp_path / "beside"
    shutil.copytree(adapters["open"], folder)
    config = json.loads((folder / "adapter.json").read_text(encoding="utf-8"))
    (folder / "adapter.json").write_text(json.dumps({**config, "beside_passages": False}), encoding="utf-8")

    def tree_bytes(**changes: Any) -> int:
        [row], _ = engine(model, private_home, adapter=str(folder), **changes).plan([story])
        return row.tree_bytes

    assert tree_bytes() == 0
    assert tree_bytes(tree=True) == tree_bytes(evidence_tokens=0) > 0
    assert engine(model, private_home, adapter=adapters["open"], tree=False).plan([story])[0][0].tree_bytes == 0
    assert engine(model, private_home, adapter=adapters["open"]).plan([story])[0][0].tree_bytes == tree_bytes(tree=True)
