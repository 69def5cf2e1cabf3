"""Before the first tree is read: is it read as it was meant, by the libraries that are installed?

A decoder layer is called by transformers. Where that calls it otherwise than this release was written for, the layer
may not see the tree, or not what the prompt's earlier tokens left in the cache, and would answer all the same. So one
step with a cache is compared with the same step without one, and a reading with the tree with one without it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sharedllm_cli.model.compat import call_model, incompatible
from sharedllm_cli.model.cross_attention import TreeContext

TOKENS = 6
KEYS = 8
"""Tokens of text and keys of the tree that are compared: the text must weigh beside the tree."""
BOUNDS = {torch.float64: 1e-6, torch.float32: 1e-3}
ROUNDING = 0.05
"""By how much, relative to its length, a state may differ between the two: this for half precision and 4 bits."""


@torch.inference_mode()
def check_reading(model: Any, cache: Any, tree: TreeContext) -> None:
    """ModelError where a tree is not read, or one cached step differs from the same step without a cache.

    Runs the first layer and the lowest one that reads, as the model runs its layers, four times over a few tokens.
    cache: an empty one, to be used up.
    """
    decoder, tree = model.model, tree.first(KEYS)
    ids = torch.arange(TOKENS, device=model.device)[None]

    def states(tokens: Tensor, cache: Any, tree: TreeContext | None) -> Tensor:
        state: Tensor = call_model(decoder, tokens, cache, tree_context=tree).last_hidden_state[0, -1]
        return state.float()

    layers, count = decoder.layers, model.config.num_hidden_layers
    # The first layer stays: transformers asks its cache how long the text is.
    decoder.layers = nn.ModuleList([layers[place] for place in sorted({0, min(tree.keys)})])
    model.config.num_hidden_layers = len(decoder.layers)
    try:
        whole = states(ids, None, tree)
        plain = states(ids, None, None)
        states(ids[:, :-1], cache, tree)
        stepped = states(ids[:, -1:], cache, tree)
    finally:
        decoder.layers, model.config.num_hidden_layers = layers, count
    if torch.equal(whole, plain):
        raise incompatible("the decoder layers don't see the tree")
    error = float((stepped - whole).norm() / whole.norm())
    if not error <= BOUNDS.get(decoder.norm.weight.dtype, ROUNDING):
        raise incompatible(f"a step with a cache differs from the same step without one by {error:.1%}")
