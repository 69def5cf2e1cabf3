"""Samples side by side as tensors, padded on the right, with the mask that keeps their branches apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sharedllm_cli.lab.training.sample import NO_TARGET, SHARED, Sample

PADDING = -1
"""The branch number of padding."""


@dataclass(frozen=True)
class Batch:
    """B samples of up to L tokens.

    `token_ids`, `positions`, `branches`: [B, L]. What is learned: `rows`, `columns` and `targets`, and what
    each target counts, `weights`, [T] each. `branched`: some sample has several branches.
    """

    token_ids: Tensor
    positions: Tensor
    branches: Tensor
    rows: Tensor
    columns: Tensor
    targets: Tensor
    weights: Tensor
    branched: bool

    @staticmethod
    def of(samples: Sequence[Sample], device: torch.device) -> Batch:
        """Lay samples side by side; padding gets token 0, and is seen by nobody."""
        length = max(len(sample) for sample in samples)

        def padded(arrays: Sequence[np.ndarray], filler: int) -> np.ndarray:
            whole = np.full((len(samples), length), filler, dtype=np.int64)
            for row, array in zip(whole, arrays, strict=True):
                row[: len(array)] = array
            return whole

        def there(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(device)

        # All of it is settled on the processor: a GPU that is asked where the targets stand has to be waited for.
        targets = padded([sample.targets for sample in samples], NO_TARGET)
        branches = padded([sample.branches for sample in samples], PADDING)
        rows, columns = (targets != NO_TARGET).nonzero()
        weights = np.array([sample.weight for sample in samples], dtype=np.float32)
        return Batch(
            there(padded([sample.token_ids for sample in samples], 0)),
            there(padded([sample.positions for sample in samples], 0)),
            there(branches),
            there(rows),
            there(columns),
            there(targets[rows, columns]),
            there(weights[rows]),
            branched=not bool(((branches == branches[:, :1]) | (branches == PADDING)).all()),
        )

    def mask(self, window: int | None = None) -> Tensor | None:
        """Boolean [B, 1, L, L]: True where a token (row) sees another (column); None where plain causal masks do.

        A token sees itself, the shared beginning and the earlier tokens of its own branch, `window` positions back at
        most. Padding stands behind everything and is a branch of its own: nothing sees it.
        """
        length = self.token_ids.shape[1]
        if not self.branched and (window is None or length <= window):
            return None
        place = torch.arange(length, device=self.branches.device)
        earlier = place[:, None] >= place[None, :]
        seer, seen = self.branches[:, :, None], self.branches[:, None, :]
        mask = earlier & ((seen == seer) | (seen == SHARED))
        if window is not None:
            mask &= self.positions[:, :, None] - self.positions[:, None, :] < window
        return mask.unsqueeze(1)


def by_length(samples: Sequence[Sample], tokens: int) -> list[list[Sample]]:
    """Samples of like length together, at most `tokens` a group with its padding (a longer sample stands alone).

    Those that read a tree stand apart from those that read none.
    """
    groups: list[list[Sample]] = []
    for sample in sorted(samples, key=lambda one: (one.tree is not None, len(one)), reverse=True):
        alike = bool(groups) and (groups[-1][0].tree is None) == (sample.tree is None)
        if alike and len(groups[-1][0]) * (len(groups[-1]) + 1) <= tokens:
            groups[-1].append(sample)
        else:
            groups.append([sample])
    return groups
