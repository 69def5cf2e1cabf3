"""The base model that is timed: a loaded one, or a shape with random weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sharedllm_cli.bench.counts import Base
from sharedllm_cli.bench.shapes import shape_config
from sharedllm_cli.config import Settings, TreeConfig
from sharedllm_cli.model.adapter_config import lower_layers, tree_config
from sharedllm_cli.model.facts import ModelFacts, facts_from_config
from sharedllm_cli.model.loading import load
from sharedllm_cli.model.placement import Placement, place
from sharedllm_cli.model.random_weights import random_model
from sharedllm_cli.planning import layer_parameters, weights_bytes
from sharedllm_cli.progress import Reporter

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Subject:
    """What is timed: `weights` identifies them, `tokenizer` is None for a shape, `lower_layers` is M by default."""

    name: str
    model: PreTrainedModel
    facts: ModelFacts
    placement: Placement
    tree: TreeConfig
    lower_layers: int
    weights: str
    tokenizer: Any | None

    @property
    def base(self) -> Base:
        """The model as the counts see it."""
        facts, matrices = self.facts, layer_parameters(self.facts) * self.facts.layer_count
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
    tokenizer: Any = None
    if shape is None:
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
        model, facts, tokenizer, weights = base.model, base.facts, base.tokenizer, base.weights_hash
    else:
        config = shape_config(shape)
        facts = facts_from_config(config, shape)
    placement = place(
        facts, device=settings.device, dtype=settings.dtype, quantize=settings.quantize, attention=settings.attention
    )
    if shape is not None:
        model, weights = random_model(config, placement), f"random-{shape}"
    depth = lower_layers(settings, facts.name, facts.layer_count)
    return Subject(facts.name, model, facts, placement, tree_config(settings, facts.name), depth, weights, tokenizer)
