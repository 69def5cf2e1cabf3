"""Weights of a GGUF file as one safetensors file in one type, written a few rows at a time and hashed while written.

Neither the model nor a large tensor is ever held in memory. The format is an 8-byte length, a JSON header, and the
tensors one behind the other: https://github.com/huggingface/safetensors#format. Needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sharedllm_cli.errors import ModelError
from sharedllm_cli.progress import Task
from sharedllm_cli.weights.gguf_config import Weight
from sharedllm_cli.weights.gguf_file import GGUFFile

_ALIGNMENT = 64
"""Where the first tensor begins is a multiple of this: tensors are used where they lie in the mapped file."""


def _bfloat16(values: np.ndarray) -> np.ndarray:
    """The upper halves of finite float32, rounded to the nearest, ties to even: as torch rounds."""
    bits = values.view(np.uint32)
    return ((bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16).astype(np.uint16)


_TYPES: Mapping[str, tuple[str, int, Callable[[np.ndarray], np.ndarray]]] = {
    "float32": ("F32", 4, lambda values: values),
    "float16": ("F16", 2, lambda values: values.astype(np.float16)),
    "bfloat16": ("BF16", 2, _bfloat16),
}
_LARGEST_HALF = float(np.finfo(np.float16).max)


def itemsize(dtype: str) -> int:
    """Bytes of a number of a type."""
    return _TYPES[dtype][1]


def write_typed(file: GGUFFile, weights: Sequence[Weight], path: Path, dtype: str, task: Task) -> str:
    """Write all weights, rounded to the nearest number of the type; returns the file's SHA-256.

    `task` advances by bytes. Raises ModelError for what can't be dequantised or has no place in the type.
    """
    code, size, rounded = _TYPES[dtype]
    digest = hashlib.sha256()
    with path.open("wb") as target:

        def put(data: bytes | memoryview) -> None:
            target.write(data)
            digest.update(data)

        put(_header(weights, code, size))
        for weight in weights:
            for values in _pieces(file, weight):
                _check_numbers(values, file, weight, dtype)
                piece = np.ascontiguousarray(rounded(values))
                put(piece.data.cast("B"))
                task.advance(piece.nbytes)
    return digest.hexdigest()


def _check_numbers(values: np.ndarray, file: GGUFFile, weight: Weight, dtype: str) -> None:
    largest = float(np.abs(values).max())
    if not math.isfinite(largest):
        raise ModelError(f"{file.path} is damaged: {weight.name} has numbers that are not finite")
    if dtype == "float16" and largest > _LARGEST_HALF:
        raise ModelError(
            f"{weight.name} of {file.path} has numbers that float16 can't hold",
            hint="use --dtype float32 or bfloat16",
        )


def _pieces(file: GGUFFile, weight: Weight) -> Iterator[np.ndarray]:
    if weight.source is None:
        yield np.zeros(weight.shape, np.float32)
        return
    for values in file.rows(weight.source, weight.heads):
        yield values - np.float32(weight.shift) if weight.shift else values


def _header(weights: Sequence[Weight], code: str, size: int) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for weight in weights:
        start, end = end, end + math.prod(weight.shape) * size
        header[weight.name] = {"dtype": code, "shape": list(weight.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    return struct.pack("<Q", len(text)) + text
