"""What is learned from a batch: the objectives, behind one small protocol.

An objective says which samples it draws and what their loss is; the loop (trainer.py) knows neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from sharedllm_cli.training.batch import Batch
from sharedllm_cli.training.sample import Sample
from sharedllm_cli.training.trees import TreeReader


class Samples(Protocol):
    """An endless sequence of samples, each made from its number alone."""

    def __getitem__(self, number: int) -> Sample:
        """Sample `number`, the same whenever and wherever it is asked for."""


class Objective(Protocol):
    """A loss over batches of samples."""

    name: str

    def loss(self, model: nn.Module, samples: Sequence[Sample], device: torch.device) -> tuple[Tensor, int]:
        """Summed loss of the samples, with gradients, and the number of targets that it sums over."""


class AnswerTokens:
    """`qa`: next-token cross-entropy on the answers alone (METHOD section 5)."""

    name = "qa"

    def __init__(self, trees: TreeReader | None = None) -> None:
        """`trees` reads what samples with a tree read."""
        self._trees = trees

    def loss(self, model: nn.Module, samples: Sequence[Sample], device: torch.device) -> tuple[Tensor, int]:
        """See `Objective`."""
        batch = Batch.of(samples, device)
        plans = [sample.tree for sample in samples if sample.tree is not None]
        assert len(plans) in (0, len(samples)), "samples with and without a tree don't stand side by side"
        tree = self._trees.read(plans) if plans and self._trees else None
        logits = model(batch, tree)
        total = nn.functional.cross_entropy(logits.float(), batch.targets, reduction="sum")
        return total, int(batch.targets.numel())
