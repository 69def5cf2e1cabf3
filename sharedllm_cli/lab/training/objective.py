"""What is learned from a batch: the objectives, behind one small protocol.

An objective says which samples it draws and what their loss is; the loop (trainer.py) knows neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from sharedllm_cli.lab.training.batch import Batch
from sharedllm_cli.lab.training.forward import TrainedUpper
from sharedllm_cli.lab.training.sample import Sample
from sharedllm_cli.lab.training.trees import TreeReader
from sharedllm_cli.model.cross_attention import TreeContext


class Samples(Protocol):
    """An endless sequence of samples, each made from its number alone."""

    def __getitem__(self, number: int) -> Sample:
        """Sample `number`, the same whenever and wherever it is asked for."""


class Objective(Protocol):
    """A loss over batches of samples."""

    name: str

    def loss(self, model: TrainedUpper, samples: Sequence[Sample], device: torch.device) -> Tensor:
        """Summed loss of the samples' targets, each by its weight, with gradients."""


class NextTokens:
    """Next-token cross-entropy on the samples' targets (METHOD section 5).

    `qa` has the answers' tokens as targets, `recite` the words to be recited, `lm` the whole plain text.
    """

    def __init__(self, name: str = "qa", trees: TreeReader | None = None) -> None:
        """`trees` reads what samples with a tree read."""
        self.name = name
        self._trees = trees

    def loss(self, model: TrainedUpper, samples: Sequence[Sample], device: torch.device) -> Tensor:
        """See `Objective`."""
        batch = Batch.of(samples, device)
        logits = model(batch, read_trees(samples, self._trees))
        losses = nn.functional.cross_entropy(logits.float(), batch.targets, reduction="none")
        return (losses * batch.weights).sum()


class Distillation:
    """`distill`: the upper model with the tree learns what the base model says that has the same text in its window.

    The loss is the divergence of the two distributions, KL(base ‖ upper), at every target. Samples without a teacher
    are compared with the base model on the same running text.
    """

    name = "distill"

    def __init__(self, trees: TreeReader | None = None) -> None:
        self._trees = trees

    def loss(self, model: TrainedUpper, samples: Sequence[Sample], device: torch.device) -> Tensor:
        """See `Objective`."""
        batch = Batch.of(samples, device)
        taught = []
        with torch.no_grad(), model.adapter.disabled():
            for sample in samples:  # one by one: a teacher's text is long
                taught.append(model(Batch.of([sample.teacher or sample], device)).float())
        wanted = torch.cat(taught).log_softmax(dim=-1)
        said = model(batch, read_trees(samples, self._trees)).float().log_softmax(dim=-1)
        losses = nn.functional.kl_div(said, wanted, reduction="none", log_target=True).sum(dim=-1)
        return (losses * batch.weights).sum()


def read_trees(samples: Sequence[Sample], trees: TreeReader | None) -> TreeContext | None:
    """The trees of samples that stand side by side: all of them read one, or none does."""
    plans = [sample.tree for sample in samples if sample.tree is not None]
    assert len(plans) in (0, len(samples)), "samples with and without a tree don't stand side by side"
    return trees.read(plans) if plans and trees is not None else None
