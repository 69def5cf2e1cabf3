"""Masks of our own for a model's attention: who sees whom, where that is not simply everything before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def heeds_masks(model: Any) -> Iterator[None]:
    """A kernel that takes a mask of its own in place of flash-attn, which takes none."""
    kernel = model.config._attn_implementation
    if not str(kernel).startswith("flash"):
        yield
        return
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(kernel)


def as_taken(model: Any, seen: Tensor, dtype: torch.dtype) -> Tensor:
    """`seen` (boolean [..., Q, S], True = seen) as the model's attention wants it: eager adds masks to its logits."""
    if model.config._attn_implementation != "eager":
        return seen
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)
