"""A sample's tree is the same, whether the lower model keeps all layers or those that read alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from live_trees import LiveTrees

from sharedllm_cli.config import InjectionConfig, TreeConfig
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.training.corpus import locate
from sharedllm_cli.lab.training.records import read_records
from sharedllm_cli.lab.training.sampled_trees import StoredTrees, TreePlan, TreeReader, plan
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.loading import BaseModel
from sharedllm_cli.model.lower import LowerModel
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Silent

TREE = TreeConfig(chunk_tokens=128)


@pytest.fixture
def planned(tiny: BaseModel, data_file: Path) -> list[TreePlan]:
    """A tree of two documents, and its last chunks alone."""
    records = read_records(data_file, skip_bad_lines=False, reporter=Silent())
    documents = [locate(record, tiny.tokenizer, TREE, paged=False) for record in records[:2]]
    random = np.random.default_rng(0)
    whole = plan(documents, [random.normal(size=one.leaves.leaf_count) for one in documents])
    first = len(documents[0].leaves.trees) - 1
    chunks = tuple(range(first, whole.chunk_count))
    return [whole, replace(whole, nodes=tuple(node for node in whole.nodes if node.chunk in chunks), chunks=chunks)]


def equal(one: TreeContext, other: TreeContext) -> bool:
    parts: list[tuple[Any, Any]] = [(one.keys, other.keys), (one.values, other.values)]
    return all(list(a) == list(b) == [1, 2] and all(torch.equal(a[j], b[j]) for j in a) for a, b in parts)


def test_fewer_kept_layers_are_the_same_tree_live_and_stored(
    tiny: BaseModel, planned: list[TreePlan], tmp_path: Path
) -> None:
    upper = UpperModel(tiny.model, Adapter.untrained(tiny.model, tiny.name, InjectionConfig("merged", 3, 1), TREE))
    lowers = [LowerModel(tiny.model, 3, first) for first in (0, 1)]
    live = [TreeReader(upper, LiveTrees(lower)).read(planned) for lower in lowers]
    assert equal(*live)
    stored = []
    for lower in lowers:
        store = IndexStore(tmp_path / str(lower.first_layer))
        stored.append(TreeReader(upper, StoredTrees(store, tiny, lower, Silent())).read(planned))
    assert equal(*stored)
    whole, part = (sum(file.stat().st_size for file in (tmp_path / name).rglob("keys-*")) for name in ("0", "1"))
    assert part < 0.75 * whole
    shared = IndexStore(tmp_path / "0")
    again = TreeReader(upper, StoredTrees(shared, tiny, lowers[1], Silent())).read(planned)
    assert equal(again, stored[0])
    assert len(list((tmp_path / "0").glob("*/trees-*"))) == 2, "one a document: those of all layers serve"
