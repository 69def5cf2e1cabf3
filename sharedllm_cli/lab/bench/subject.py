"""The base model that is timed: a loaded one, or a shape with random weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sharedllm_cli.config import Settings, TreeConfig
from sharedllm_cli.lab.bench.counts import Base
from sharedllm_cli.lab.bench.shapes import shape_config
from sharedllm_cli.model.adapter_config import tree_config, tree_layers
from sharedllm_cli.model.loading import load
from sharedllm_cli.model.placement import Placement, place
from sharedllm_cli.model.random_weights import random_model
from sharedllm_cli.planning import weights_bytes
from sharedllm_cli.progress import Reporter
from sharedllm_cli.weights.facts import ModelFacts, facts_from_config
from sharedllm_cli.weights.references import describe

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Subject:
    """What is timed.

    `layers`, the last of them M, read the tree unless others are asked for; `weights` identifies the weights,
    `tokenizer` is None for a shape.
    """

    name: str
    facts: ModelFacts
    placement: Placement
    tree: TreeConfig
    layers: range
    loaded: PreTrainedModel | None = None
    weights: str = ""
    tokenizer: Any | None = None

    @property
    def model(self) -> PreTrainedModel:
        """The model with its weights."""
        assert self.loaded is not None, "the model was described, not opened"
        return self.loaded

    @property
    def base(self) -> Base:
        """The model as the counts see it."""
        facts, matrices = self.facts, self.facts.layer_matrices * self.facts.layer_count
        number = self.placement.dtype.itemsize
        in_layers = weights_bytes(facts, self.placement) - number * (facts.parameter_count - matrices)
        return Base(facts, in_layers / facts.layer_count, number)

    def synchronise(self) -> None:
        """Wait until everything that was asked of the device is done."""
        if self.placement.device.type == "cuda":
            torch.cuda.synchronize(self.placement.device)
        elif self.placement.device.type == "mps":
            torch.mps.synchronize()


def open_subject(shape: str | None, settings: Settings, home: Path, reporter: Reporter) -> Subject:
    """Load the model of the settings, or make a shape's; raises ModelError, UsageError or ResourceError."""
    if shape is not None:
        described = describe_subject(shape, settings, home)
        model = random_model(shape_config(shape), described.placement)
        return replace(described, loaded=model, weights=f"random-{shape}")
    base = load(
        settings.model,
        home=home,
        device=settings.device,
        dtype=settings.dtype,
        quantize=settings.quantize,
        attention=settings.attention,
        offline=settings.offline,
        reporter=reporter,
    )
    described = _described(base.facts, settings)
    return replace(described, loaded=base.model, weights=base.weights_hash, tokenizer=base.tokenizer)


def describe_subject(shape: str | None, settings: Settings, home: Path) -> Subject:
    """The same without its weights: enough to count with. Raises ModelError or UsageError."""
    if shape is None:
        return _described(describe(settings.model, home, offline=settings.offline), settings)
    return _described(facts_from_config(shape_config(shape), shape), settings)


def _described(facts: ModelFacts, settings: Settings) -> Subject:
    placement = place(
        facts, device=settings.device, dtype=settings.dtype, quantize=settings.quantize, attention=settings.attention
    )
    layers = tree_layers(settings, facts.name, facts.layer_count)
    return Subject(facts.name, facts, placement, tree_config(settings, facts.name), layers)
