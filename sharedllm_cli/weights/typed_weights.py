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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sharedllm_cli.errors import ModelError
from sharedllm_cli.progress import Task
from sharedllm_cli.weights.blocks import CODES, SCALES, ZEROS, bits_of, block_of, pack
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


_PLAIN = "float32"
"""The type of what is not packed in a file of packed weights."""


@dataclass(frozen=True)
class _Tensor:
    """A tensor of the file to be written."""

    name: str
    code: str
    shape: tuple[int, ...]
    nbytes: int


def typed_bytes(weights: Sequence[Weight], dtype: str) -> int:
    """Bytes of all weights in a type."""
    return sum(tensor.nbytes for weight in weights for tensor in _tensors(weight, dtype))


def write_typed(file: GGUFFile, weights: Sequence[Weight], path: Path, dtype: str, task: Task) -> str:
    """Write all weights, rounded to the nearest number of the type or packed in blocks; returns the file's SHA-256.

    `dtype`: a type of numbers, or a format of `blocks.py`. `task` advances by bytes. Raises ModelError for what can't
    be dequantised or has no place in the type.
    """
    digest = hashlib.sha256()
    with path.open("wb") as target:

        def put(data: bytes | memoryview) -> None:
            target.write(data)
            digest.update(data)

        def put_array(values: np.ndarray) -> None:
            put(np.ascontiguousarray(values).data.cast("B"))
            task.advance(values.nbytes)

        put(_header([tensor for weight in weights for tensor in _tensors(weight, dtype)]))
        for weight in weights:
            bits = bits_of(weight.name, dtype)
            scales, zeros = list[np.ndarray](), list[np.ndarray]()  # small beside the codes, and behind all of them
            for values in _pieces(file, weight):
                _check_numbers(values, file, weight, dtype)
                if bits is None:
                    put_array(_TYPES.get(dtype, _TYPES[_PLAIN])[2](values))
                    continue
                packed = pack(values, bits)
                put_array(packed.codes)
                scales.append(packed.scales)
                zeros += [] if packed.zeros is None else [packed.zeros]
            for part in (*scales, *zeros):
                put_array(part)
    return digest.hexdigest()


def _tensors(weight: Weight, dtype: str) -> list[_Tensor]:
    """What of a weight stands in the file, in order."""
    bits = bits_of(weight.name, dtype)
    if bits is None:
        code, size, _ = _TYPES.get(dtype, _TYPES[_PLAIN])
        return [_Tensor(weight.name, code, weight.shape, math.prod(weight.shape) * size)]
    rows, width = weight.shape
    block = block_of(width, bits)
    count, size = width // block, block * bits // 8
    codes = _Tensor(f"{weight.name}.{CODES}", "U8", (rows, count, size), rows * count * size)
    scales = _Tensor(f"{weight.name}.{SCALES}", "F32", (rows, count), rows * count * 4)
    if bits == 8:
        return [codes, scales]
    half = (count + 1) // 2
    return [codes, scales, _Tensor(f"{weight.name}.{ZEROS}", "U8", (rows, half), rows * half)]


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


def _header(tensors: Sequence[_Tensor]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        start, end = end, end + tensor.nbytes
        header[tensor.name] = {"dtype": tensor.code, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    return struct.pack("<Q", len(text)) + text
