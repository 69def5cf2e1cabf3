"""Weights in blocks of 8- or 4-bit numbers, as a CPU multiplies them (`model/packed.py`).

Each row of a matrix is cut into blocks of 128 with 8 bits (64 or 32 where the row is not whole blocks of more), of 32
with 4. A number is (code − zero) · scale of its block: with 8 bits zero is 128
and the scale the largest magnitude over 127; with 4 bits both ends of a block's range have a code, two to a byte, the
lower half first. The layout is that of ONNX Runtime's `MatMulNBits`. Plain numpy, no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

SMALLEST_BLOCK: Final = 32
"""Every row has to be whole blocks of so many."""
_BLOCKS: Final = {8: (128, 64, SMALLEST_BLOCK), 4: (SMALLEST_BLOCK,)}
"""Numbers of a row that share a scale, by the bits of a code: the first that divides a row is taken."""
FORMATS: Final = {"int8": 8, "int4": 4}
"""Bits of the numbers of the layers' matrices. Embeddings and output layer always have 8."""
CODES, SCALES, ZEROS = "codes", "scales", "zeros"
"""The parts of a packed matrix, by the names that follow its own in a file: `….weight.codes`."""
MIDDLE = 128
PACKED_ENDS = ("embed_tokens.weight", "lm_head.weight")


@dataclass(frozen=True)
class Blocks:
    """Packed rows: `codes` uint8 [rows, blocks, bytes of a block], `scales` float32 [rows, blocks].

    `zeros` uint8 [rows, half of the blocks, rounded up], two codes a byte; None with 8 bits.
    """

    codes: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray | None = None


def bits_of(name: str, quantize: str) -> int | None:
    """Bits of a weight's codes under a quantization; None where it stays as it is (norms, biases)."""
    if quantize not in FORMATS or not name.endswith(("_proj.weight", *PACKED_ENDS)):
        return None
    return 8 if name.endswith(PACKED_ENDS) else FORMATS[quantize]


def block_of(width: int, bits: int) -> int:
    """Numbers of a block in rows of so many; ValueError where no size divides them."""
    for block in _BLOCKS[bits]:
        if width % block == 0:
            return block
    raise ValueError(f"{width} is not a multiple of {SMALLEST_BLOCK}")


def bytes_a_weight(bits: int) -> float:
    """At most what a packed weight takes, its share of the block's scale and zero with it."""
    return (bits + (32 + (4 if bits == 4 else 0)) / SMALLEST_BLOCK) / 8


def pack(values: np.ndarray, bits: int) -> Blocks:
    """Round rows [rows, width] of float32 to blocks; ValueError where the width is not whole blocks."""
    rows, width = values.shape
    blocks = values.reshape(rows, -1, block_of(width, bits))
    if bits == 8:
        scales = np.abs(blocks).max(axis=2) / 127
        codes = np.rint(blocks / _divisor(scales)[..., None]) + MIDDLE
        return Blocks(codes.astype(np.uint8), scales.astype(np.float32))
    low, high = np.minimum(blocks.min(axis=2), 0), np.maximum(blocks.max(axis=2), 0)
    scales = (high - low) / 15
    zeros = np.rint(-low / _divisor(scales))
    codes = np.clip(np.rint(blocks / _divisor(scales)[..., None]) + zeros[..., None], 0, 15).astype(np.uint8)
    return Blocks(_halves(codes), scales.astype(np.float32), _halves(zeros.astype(np.uint8)))


def _divisor(scales: np.ndarray) -> np.ndarray:
    return np.where(scales > 0, scales, 1).astype(np.float32)


def _halves(codes: np.ndarray) -> np.ndarray:
    """Two 4-bit codes a byte along the last axis, the lower half first."""
    if codes.shape[-1] % 2:
        codes = np.concatenate([codes, np.zeros_like(codes[..., :1])], axis=-1)
    joined: np.ndarray = codes[..., 0::2] | (codes[..., 1::2] << 4)
    return joined
