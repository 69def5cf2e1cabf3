"""What `eval ppl` reads of a stretch is the same, whether the trees hold all layers or those that read alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sharedllm_cli.config import InjectionConfig, Settings, TreeConfig
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.evaluation.perplexity_stretches import StretchTrees, tokenized
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.lower import LowerModel
from sharedllm_cli.model.shared import SharedModel, load_shared
from sharedllm_cli.progress import Silent

TEXT = "Agnes Stone kept the lamp for two hundred years, and counted every ship that passed. " * 4


@pytest.fixture
def shared(settings: Settings, private_home: Path, tmp_path: Path) -> SharedModel:
    """A model whose layers 1 and 2 read trees of small chunks."""
    base = load_shared(replace(settings, chunk_tokens=None, adapter="none"), private_home, Silent()).base
    config = InjectionConfig("merged", 3, 1)
    adapter = Adapter.untrained(base.model, base.name, config, TreeConfig(32, 2, (4, 2)))
    for injection in adapter.injections.values():
        injection.gate.data.fill_(0.7)  # type: ignore[union-attr, operator]
    adapter.save(tmp_path / "adapter", trained={"objective": "none: gates opened by a test"})
    own = replace(settings, adapter=str(tmp_path / "adapter"), chunk_tokens=None, lower_layers=None)
    return load_shared(own, private_home, Silent())


def test_the_tree_of_a_stretch_is_the_same_wherever_its_layers_begin(
    shared: SharedModel, settings: Settings, tmp_path: Path
) -> None:
    assert shared.lower.layers == range(1, 3)
    [book] = tokenized([("lamp", TEXT)], shared.base.tokenizer, Silent())
    found = []
    for one in (shared, replace(shared, lower=LowerModel(shared.base.model, 3))):
        for store in (None, IndexStore(tmp_path / str(one.lower.first_layer))):
            trees = StretchTrees(one, settings, store, Silent())
            for _ in range(2):  # computed, then known
                read = trees.read(book, 20, 200, lambda tokens: None).context
                assert read is not None
                found.append(read)
    for other in found:
        assert list(other.keys) == [1, 2]
        for layer in (1, 2):
            assert torch.equal(other.keys[layer], found[0].keys[layer])
            assert torch.equal(other.values[layer], found[0].values[layer])
