"""What is learned from a batch: the upper model as it is trained, and the loss over it.

All of the base model is frozen, so autograd keeps nothing of the layers below the lowest one with trained weights
(docs/method.md §5) and computes no gradient of a frozen weight. Of the vocabulary's logits, a fifth of a small model's
work, only those at targets are computed. With gradient checkpointing a layer's states are kept at its entrance alone
and computed again on the way back: more work for a fraction of the memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sharedllm_cli.errors import UsageError
from sharedllm_cli.lab.training.sample import Batch, Sample
from sharedllm_cli.lab.training.sampled_trees import TreeReader
from sharedllm_cli.model.compat import decoder_layer, layer_keywords
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.families import Rotations, embedded, projected
from sharedllm_cli.model.lower import sliding_window
from sharedllm_cli.model.upper import UpperModel


class TrainedUpper(nn.Module):
    """A base model with its adapter in place; only the adapter's low-rank weights and open gates need gradients."""

    def __init__(self, upper: UpperModel, *, gradient_checkpointing: bool = False) -> None:
        super().__init__()
        self.gradient_checkpointing = gradient_checkpointing
        self.base: Any = upper.model.requires_grad_(False)
        self.adapter = upper.adapter
        for name, parameter in self.adapter.named_parameters():
            # A closed gate (−∞) has nothing to learn from; additive injections learn whole where theirs is open.
            gate = name.endswith(".gate")
            open_gate = gate and bool(torch.isfinite(parameter).any())
            parameter.requires_grad_(open_gate or (not gate and self._learns(name)))
        if not self.trained_parameters():
            raise UsageError("the adapter has no weights that could be trained")

    def _learns(self, name: str) -> bool:
        return name.startswith("low_rank.") or self.adapter.config.injection.form == "additive"

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """What the optimiser moves, by name in the adapter."""
        return {name: parameter for name, parameter in self.adapter.named_parameters() if parameter.requires_grad}

    def forward(self, batch: Batch, tree: TreeContext | None = None) -> Tensor:
        """Logits [T, vocabulary] at the batch's targets."""
        decoder = self.base.model
        hidden = embedded(decoder, batch.token_ids)
        rotations = Rotations(decoder.rotary_emb, hidden, batch.positions)
        given = {} if tree is None else {"tree_context": tree}
        masks: dict[int | None, Tensor | None] = {}
        for layer in decoder.layers:
            window = sliding_window(decoder_layer(layer).self_attn)
            if window not in masks:
                masks[window] = batch.mask(window)
            rotation = rotations.of(layer)
            named = layer_keywords(layer, mask=masks[window], positions=batch.positions, rotation=rotation)
            run = partial(layer, **named, **given)
            # Below the lowest trained layer nothing is kept in any case.
            again = self.gradient_checkpointing and torch.is_grad_enabled() and self._learned(layer, hidden)
            if again:
                run = partial(checkpoint, run, use_reentrant=False, preserve_rng_state=False)  # nothing is random
            hidden = run(hidden)
        return projected(self.base, decoder.norm(hidden[batch.rows, batch.columns]))

    @staticmethod
    def _learned(layer: Any, hidden: Tensor) -> bool:
        """Whether a layer's states are kept for the way back: it or one before it learns."""
        own = getattr(layer, "own", layer)
        parts = (own, getattr(layer, "injection", own))
        return hidden.requires_grad or any(one.requires_grad for part in parts for one in part.parameters())


class Samples(Protocol):
    """An endless sequence of samples, each made from its number alone."""

    def __getitem__(self, number: int) -> Sample:
        """Sample `number`, the same whenever and wherever it is asked for."""


class NextTokens:
    """Next-token cross-entropy on the samples' targets (docs/method.md §5).

    `qa` has the answers' tokens as targets, `lm` the whole plain text.
    """

    def __init__(self, name: str = "qa", trees: TreeReader | None = None) -> None:
        """`trees` reads what samples with a tree read."""
        self.name = name
        self._trees = trees

    def loss(self, model: TrainedUpper, samples: Sequence[Sample], device: torch.device) -> Tensor:
        """Summed loss of the samples' targets, each by its weight, with gradients."""
        batch = Batch.of(samples, device)
        logits = model(batch, read_trees(samples, self._trees))
        losses = nn.functional.cross_entropy(logits.float(), batch.targets, reduction="none")
        return (losses * batch.weights).sum()


def read_trees(samples: Sequence[Sample], trees: TreeReader | None) -> TreeContext | None:
    """The trees of samples that stand side by side: all of them read one, or none does."""
    plans = [sample.tree for sample in samples if sample.tree is not None]
    assert len(plans) in (0, len(samples)), "samples with and without a tree don't stand side by side"
    return trees.read(plans) if plans and trees is not None else None
