"""Rotary position embedding, applied: the base model says cosine and sine, this turns states by them."""

from __future__ import annotations

import torch
from torch import Tensor


def rotate(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary position embedding in the half-rotation layout of the Llama families.

    states: [B, heads, L, D]; cosine, sine: [B or 1, L or 1, D].
    """
    first, second = states.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return states * cosine.unsqueeze(1) + turned * sine.unsqueeze(1)


def rotate_in_place(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """The same as `rotate`, written over the states: half of them is the only memory that is taken beside."""
    first, second = states.chunk(2, dim=-1)
    (first_cosine, second_cosine), (first_sine, second_sine) = (
        turn.unsqueeze(1).chunk(2, dim=-1) for turn in (cosine, sine)
    )
    before = first.clone()
    first.mul_(first_cosine).addcmul_(second, first_sine, value=-1)
    second.mul_(second_cosine).addcmul_(before, second_sine)
    return states
