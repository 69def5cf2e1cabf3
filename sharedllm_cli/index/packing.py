"""Keys and values as they are stored: 8-bit integers with a scale a vector, or floating point as they are.

int8 is symmetric: a vector x of D numbers becomes q = round(x / s) in −127..127 with s = max|x| / 127 rounded to
float16 BEFORE the division, so that q·s is the nearest value that the stored scale can give.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sharedllm_cli.config import StoredDtype
from sharedllm_cli.errors import ModelError

_LARGEST = 127
_FLOATS = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


class Packed(NamedTuple):
    """Slots as stored: `values` [S, 2, L, KV, D] (keys, then values), `scales` [S, 2, L, KV] float16 for int8 only."""

    values: Tensor
    scales: Tensor | None

    def of_layers(self, places: range) -> Packed:
        """Some layers alone, by their places among the stored ones; each vector has a scale of its own."""
        span = slice(places.start, places.stop)
        return Packed(self.values[:, :, span], None if self.scales is None else self.scales[:, :, span])

    def rows(self, slots: Tensor) -> Packed:
        """Some of the slots, in the order given, one as often as it is named; slots: integers [R]."""
        return Packed(self.values[slots], None if self.scales is None else self.scales[slots])


def tensor_dtype(stored_dtype: StoredDtype) -> torch.dtype:
    """The type of the tensor `values`."""
    return torch.int8 if stored_dtype == "int8" else _FLOATS[stored_dtype]


def pack(slots: Tensor, stored_dtype: StoredDtype) -> Packed:
    """Slots [S, 2, L, KV, D] of any floating type in the stored one.

    Raises ModelError for numbers that are not finite, or not in the stored type.
    """
    if stored_dtype != "int8":
        stored = slots.to(_FLOATS[stored_dtype])
        _check_finite(stored, stored_dtype)
        return Packed(stored, None)
    exact = slots.float()
    scales = (exact.abs().amax(dim=-1) / _LARGEST).half()
    _check_finite(scales, stored_dtype)
    # A vector too small for the scale's type (below 4e-6) becomes zero; its scale is zero too.
    divisor = torch.where(scales == 0, 1.0, scales.float()).unsqueeze(-1)
    return Packed((exact / divisor).round().clamp(-_LARGEST, _LARGEST).to(torch.int8), scales)


def _check_finite(stored: Tensor, stored_dtype: str) -> None:
    if not bool(torch.isfinite(stored).all()):
        raise ModelError(
            f"the lower model's keys and values can't be stored as {stored_dtype}: they are too large or not numbers",
            hint="try --stored-dtype float32, or --dtype float32",
        )


def unpack(packed: Packed) -> Tensor:
    """The slots [S, 2, L, KV, D] in float32."""
    if packed.scales is None:
        return packed.values.float()
    return packed.values.float() * packed.scales.float().unsqueeze(-1)


def round_vectors(vectors: Tensor) -> Tensor:
    """Node vectors [nodes, hidden] in their stored type, float16; only their direction counts.

    A vector with numbers beyond float16 is scaled down, which leaves its direction.
    """
    exact = vectors.float()
    largest = exact.abs().amax(dim=-1, keepdim=True)
    limit = torch.finfo(torch.float16).max
    return (exact * torch.where(largest > limit, limit / largest, 1.0)).half()


def raw_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous CPU tensor, not copied."""
    raw: memoryview = tensor.reshape(-1).view(torch.uint8).numpy().data
    return raw
