"""Several answers that go on from one running text, a token of each at a time. Knows no text.

They stand one after the other behind the running text, and a mask tells each its own words from those of the others:
the running text's keys and values are held and read once for all of them. Where a layer forgets what lies behind its
sliding window, each branch has a copy of everything instead.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sharedllm_cli.model.cache import fork, is_growing
from sharedllm_cli.model.compat import DynamicCache, call_model
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.masks import as_taken, heeds_masks

if TYPE_CHECKING:
    from sharedllm_cli.model.upper import UpperModel

Step = Callable[[Tensor, Tensor], Tensor]
"""`step(tokens, parents)`: logits [N, vocabulary] after the tokens [N], each of which goes on from a branch [N] of the
step before. Before the first step there is one branch, number 0: the running text alone."""


def branching(upper: UpperModel, tree: TreeContext | None, cache: DynamicCache) -> Step:
    """The steps of answers that go on after a running text, which `cache` holds and goes on holding as it is.

    While they go on, nothing else may be laid behind the running text: they write into the same room.
    """
    branches = _OneText(upper, tree, cache) if is_growing(cache) else _Copies(upper, tree, cache)
    return branches.step


class _OneText:
    """Branches as one text. Shapes: N branches, S tokens of the running text and of all branches."""

    def __init__(self, upper: UpperModel, tree: TreeContext | None, cache: DynamicCache) -> None:
        self._upper, self._tree = upper, tree
        self._cache = fork(cache)
        self._position = cache.get_seq_length()
        self._seen: Tensor | None = None  # [N, S]: what the branches of the last step see

    @torch.inference_mode()
    def step(self, tokens: Tensor, parents: Tensor) -> Tensor:
        count, device = len(tokens), tokens.device
        before = torch.ones(1, self._position, dtype=torch.bool, device=device) if self._seen is None else self._seen
        own = torch.eye(count, dtype=torch.bool, device=device)
        self._seen = torch.cat([before[parents], own], dim=1)
        model = self._upper.model
        with heeds_masks(model):
            output = call_model(
                model,
                tokens[None],
                self._cache,
                position_ids=torch.full((1, count), self._position, device=device),
                attention_mask=as_taken(model, self._seen[None, None], model.model.norm.weight.dtype),
                tree_context=self._tree,
            )
        self._position += 1
        logits: Tensor = output.logits[0]
        return logits


class _Copies:
    """Branches side by side, each with keys and values of the whole text of its own."""

    def __init__(self, upper: UpperModel, tree: TreeContext | None, cache: DynamicCache) -> None:
        self._upper, self._tree = upper, tree
        self._before = cache
        self._cache: DynamicCache | None = None

    @torch.inference_mode()
    def step(self, tokens: Tensor, parents: Tensor) -> Tensor:
        if self._cache is None:  # only now: often there is nothing to weigh
            self._cache = copy.deepcopy(self._before)
        self._cache.reorder_cache(parents)  # type: ignore[arg-type]  # it asks for a LongTensor, which this is
        return self._upper.forward(tokens[:, None], self._tree, self._cache, logits_to_keep=1)[:, -1]
