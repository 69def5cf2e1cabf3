"""The adapter that a run begins with: a new one, one to go on from, or a new one with another's low-rank weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from sharedllm_cli.config import Gates, Settings
from sharedllm_cli.errors import UsageError
from sharedllm_cli.model.adapter import WEIGHTS_FILE, Adapter, model_shape
from sharedllm_cli.model.adapter_config import TARGETS, AdapterConfig, LowRankConfig, read_config
from sharedllm_cli.model.loading import BaseModel


@dataclass(frozen=True)
class Reading:
    """How a new adapter begins to read the tree; without it its gates stay closed.

    `gate` is where its gates start (a bias on the tree's logits in the merged form, an angle of tanh in the additive
    one), `first_layer` the lowest layer that reads, `shared_from` the lowest layer of the lower model whose q and o get
    low-rank weights in the upper model (merged form). See `config.InjectionConfig` for the others.
    """

    gate: float = 0.0
    gates: Gates = "head"
    first_layer: int = 0
    shared_from: int = 0
    length_bias: float = 0.0


def starting_adapter(
    start: Path | None, reading: Reading | None, base: BaseModel, settings: Settings, *, rank: int, seed: int
) -> Adapter:
    """A new adapter, or the one to go on from; of one that reads no tree the low-rank weights are taken over."""
    before = None if start is None else Adapter.load(start, base.model)
    if before is not None and (reading is None or before.reads_tree):
        return before
    adapter = new_adapter(base, settings, rank=rank, seed=seed, reading=reading)
    if before is not None:
        adapter.take_over(before)
    return adapter


def new_adapter(base: BaseModel, settings: Settings, *, rank: int, seed: int, reading: Reading | None) -> Adapter:
    """An adapter with low-rank weights on every layer above the lower model's, and an injection if it is to read."""
    injection = settings.injection_config(base.layer_count)
    layers = tuple(range(injection.lower_layers, base.layer_count))
    shared: tuple[int, ...] = ()
    if reading is not None:
        injection = replace(
            injection, first_layer=reading.first_layer, gates=reading.gates, length_bias=reading.length_bias
        )
        if injection.form == "merged":
            shared = tuple(range(max(reading.first_layer, reading.shared_from), injection.lower_layers))
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
    if reading is not None:
        adapter.copy_projections(base.model)
        adapter.open_gates(reading.gate)
    return adapter


def started_from(folder: Path) -> dict[str, Any]:
    """The adapter that a run began with: the hash of its weights, and what had made it."""
    weights = (folder / WEIGHTS_FILE).read_bytes()
    return {"sha256": hashlib.sha256(weights).hexdigest(), "trained": read_config(folder).trained}
