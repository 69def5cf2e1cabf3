"""The adapter that a run begins with: a new one, one to go on from, or a new one with another's low-rank weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from sharedllm_cli.config import Injection, Settings
from sharedllm_cli.errors import UsageError
from sharedllm_cli.model.adapter import WEIGHTS_FILE, Adapter, model_shape
from sharedllm_cli.model.adapter_config import TARGETS, AdapterConfig, LowRankConfig, read_config
from sharedllm_cli.model.loading import BaseModel

OPEN_GATE: Mapping[Injection, float] = {"merged": 0.0, "additive": 0.3}
"""Where the gates of a new adapter that reads the tree begin: a bias on its logits, or an angle of tanh."""


def starting_adapter(
    start: Path | None, first_layer: int | None, base: BaseModel, settings: Settings, *, rank: int, seed: int
) -> Adapter:
    """A new adapter, or the one to go on from; of one that reads no tree the low-rank weights are taken over."""
    before = None if start is None else Adapter.load(start, base.model)
    if before is not None and (first_layer is None or before.reads_tree):
        return before
    adapter = new_adapter(base, settings, rank=rank, seed=seed, first_layer=first_layer)
    if before is not None:
        adapter.take_over(before)
    return adapter


def new_adapter(base: BaseModel, settings: Settings, *, rank: int, seed: int, first_layer: int | None) -> Adapter:
    """An adapter with low-rank weights on every layer above the lower model's, and on those that read the tree.

    `first_layer` is the lowest layer that reads; without it the gates stay closed. In the merged form each head has a
    gate, and the layers that read have low-rank weights in the upper model.
    """
    injection = settings.injection_config(base.layer_count)
    layers = tuple(range(injection.lower_layers, base.layer_count))
    shared: tuple[int, ...] = ()
    if first_layer is not None:
        injection = replace(injection, first_layer=first_layer)
        if injection.form == "merged":
            injection = replace(injection, gates="head")
            shared = tuple(injection.layers)
    if not layers and not shared:
        raise UsageError(
            "the lower model takes all layers: none is left to be trained", hint="choose a smaller --lower-layers"
        )
    config = AdapterConfig(
        base.name,
        model_shape(base.model),
        injection,
        settings.tree_config(),
        LowRankConfig(rank, 2.0 * rank, layers, TARGETS, shared),
        base_weights=base.weights_hash,
    )
    torch.manual_seed(seed)
    adapter = Adapter(base.model, config)
    if first_layer is not None:
        adapter.copy_projections(base.model)
        adapter.open_gates(OPEN_GATE[injection.form])
    return adapter


def parents(folder: Path | None) -> list[str]:
    """The SHA-256 of the weights that a run begins with and of those before them, the last first."""
    if folder is None:
        return []
    weights = (folder / WEIGHTS_FILE).read_bytes()
    return [hashlib.sha256(weights).hexdigest(), *(read_config(folder).trained or {}).get("parents", [])]
