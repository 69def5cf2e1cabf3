"""Several answers that go on from one running text, a token of each at a time. Knows no text."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import DynamicCache

from sharedllm_cli.model.cross_attention import TreeContext

if TYPE_CHECKING:
    from sharedllm_cli.model.upper import UpperModel


class Branches:
    """N answers side by side, each with its own keys and values behind those of the running text.

    Those of the running text are held N times over, and while a step lays new ones behind them twice as often: 23 kB a
    token and copy of the default model in bfloat16, 131 kB of the shape of Llama 3.1 8B.
    """

    def __init__(self, upper: UpperModel, tree: TreeContext | None, cache: DynamicCache) -> None:
        """`cache` holds the running text and stays as it is."""
        self._upper = upper
        self._tree = tree
        self._before = cache
        self._cache: DynamicCache | None = None

    @torch.inference_mode()
    def step(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Logits [N, vocabulary] after the tokens [N], each of which goes on from a branch [N] of the step before.

        Before the first step there is one branch, number 0: the running text alone.
        """
        if self._cache is None:
            self._cache = copy.deepcopy(self._before)
        self._cache.reorder_cache(parents)  # type: ignore[arg-type]  # it asks for a LongTensor, which this is
        return self._upper.forward(tokens[:, None], self._tree, self._cache, logits_to_keep=1)[:, -1]
