"""A GGUF file: its metadata by name, and its tensors, dequantised a few rows at a time.

The metadata is read here: the `gguf` package's reader makes an object of every entry of the vocabulary, which takes
13 s and 0.5 GB for one of 150,000 tokens. The package dequantises the blocks (vectorised, exact). Needs no torch.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sharedllm_cli.errors import ModelError
from sharedllm_cli.weights.facts import unreadable

_VERSIONS = (2, 3)
_MOST_DIMENSIONS = 4
_DEEPEST_ARRAY = 4
_MOST_ENTRIES = 1 << 24
"""Entries of all arrays together: a vocabulary of 260,000 tokens and its merges are 1.5 million."""
_MOST_STRING_BYTES = 1 << 24
_MOST_TENSORS = 1 << 16
_PIECE = 1 << 20
"""Numbers of a tensor that are dequantised at once: the blocks' intermediate arrays stay in the CPU's caches."""
_STRING, _ARRAY = 8, 9
_SMALLEST = {_STRING: 8, _ARRAY: 12}
"""Bytes of the shortest string and array; those of numbers follow from their kind."""
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


@dataclass(frozen=True)
class Tensor:
    """A tensor of a GGUF file: `shape` with the outermost dimension first, its bytes from `offset` in the file on."""

    name: str
    shape: tuple[int, ...]
    kind: Any
    offset: int
    row_bytes: int

    @property
    def rows(self) -> int:
        """Number of rows: blocks never reach beyond one."""
        return math.prod(self.shape[:-1])

    @property
    def count(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """What it takes in the file."""
        return self.rows * self.row_bytes


class GGUFFile:
    """An opened GGUF file. Raises ModelError for a file that is not GGUF or is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            require_gguf(path)
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as contents:
                self.metadata, self.tensors = _parse(contents)
        except OSError as error:
            raise unreadable(path, error) from error
        except (struct.error, ValueError, KeyError, OverflowError, MemoryError, RecursionError) as error:
            raise ModelError(f"{path} is a damaged GGUF file", hint="download it again") from error
        self.architecture = str(self.value("general.architecture", ""))
        self.parameter_count = sum(tensor.count for tensor in self.tensors.values())

    def value(self, key: str, default: Any = None) -> Any:
        """A metadata value as a Python object, or the default where the file doesn't state it."""
        return self.metadata.get(key, default)

    def shape_value(self, key: str, default: Any = None) -> Any:
        """A value under the architecture's own prefix, e.g. `llama.block_count`; ModelError if it is missing."""
        value = self.value(f"{self.architecture}.{key}", default)
        if value is None:
            raise ModelError(f"{self.path} is damaged: it doesn't state {self.architecture}.{key}")
        return value

    def whole_number(self, key: str, default: int | None = None) -> int:
        """A number under the architecture's own prefix that must be whole; ModelError for anything else."""
        value = self.shape_value(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ModelError(f"{self.path} states {self.architecture}.{key} in a way that is not supported: {value!r}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number under the architecture's own prefix, as the decimal that it was written from."""
        value = self.shape_value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ModelError(f"{self.path} states {self.architecture}.{key} in a way that is not supported: {value!r}")
        return shortest(value)

    def rows(self, tensor: Tensor, heads: int | None = None) -> Iterator[np.ndarray]:
        """A tensor's rows dequantised to float32, some at a time, in order: each [n, width].

        `heads`: bring the rows of each head from llama.cpp's order into transformers' (see `_rotary_halves`). Raises
        ModelError for a kind of block that can't be dequantised and a file that has become shorter.
        """
        width = tensor.shape[-1]
        is_bias = len(tensor.shape) == 1
        if heads and tensor.shape[0] % (2 * heads):
            raise ModelError(f"{self.path} is damaged: the rows of {tensor.name} don't make {heads} heads")
        step = tensor.rows if heads else max(1, _PIECE // width)
        with self.path.open("rb") as file:
            file.seek(tensor.offset)
            for start in range(0, tensor.rows, step):
                count = min(step, tensor.rows - start)
                stored = np.fromfile(file, np.uint8, count * tensor.row_bytes)
                if stored.size != count * tensor.row_bytes:
                    raise ModelError(f"{self.path} has become shorter", hint="download it again")
                stored = stored.reshape(count, tensor.row_bytes)
                if heads and not is_bias:
                    stored = _rotary_halves(stored, heads)
                values = self._dequantised(stored, tensor).reshape(count, width)
                if heads and is_bias:
                    values = _rotary_halves(values.reshape(width, 1), heads).reshape(1, width)
                yield values

    def _dequantised(self, stored: np.ndarray, tensor: Tensor) -> np.ndarray:
        from gguf.quants import dequantize

        try:
            return dequantize(stored, tensor.kind).astype(np.float32, copy=False)
        except (NotImplementedError, ValueError) as error:
            raise ModelError(
                f"{self.path} stores {tensor.name} as {tensor.kind.name}, which can't be dequantised"
            ) from error

    def whole(self, name: str) -> np.ndarray | None:
        """A small tensor, dequantised to float32 and flat; None where the file has none of that name."""
        tensor = self.tensors.get(name)
        return None if tensor is None else np.concatenate(list(self.rows(tensor))).reshape(-1)


def require_gguf(path: Path) -> None:
    """ModelError for a file that does not begin as a GGUF file does; OSError where it can't be read."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise ModelError(
            f"{path} is not a GGUF file", hint="give a folder with config.json and *.safetensors, or a .gguf file"
        )


def shortest(value: Any) -> float:
    """A float32 of the file as the decimal that it was written from: 9.999999747378752e-06 is 1e-05."""
    return float(str(np.float32(value)))


class _Cursor:
    """Reads one value after another; ValueError or struct.error where the file is too short for what it states."""

    def __init__(self, contents: mmap.mmap) -> None:
        self.contents, self.place, self.size = contents, 4, len(contents)
        self.entries = _MOST_ENTRIES

    def scalar(self, code: str) -> Any:
        layout = f"<{code}"
        (value,) = struct.unpack_from(layout, self.contents, self.place)
        self.place += struct.calcsize(layout)
        return value

    def string(self) -> str:
        length = self.scalar("Q")
        end = self.place + length
        if length > _MOST_STRING_BYTES or end > self.size:
            raise ValueError("string")
        value = self.contents[self.place : end].decode("utf-8")
        self.place = end
        return value

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.scalar(_SCALARS[kind])
        inner, count = self.scalar("I"), self.scalar("Q")
        smallest = _SMALLEST.get(inner) or struct.calcsize(f"<{_SCALARS[inner]}")
        self.entries -= count
        if depth >= _DEEPEST_ARRAY or self.entries < 0 or count * smallest > self.size - self.place:
            raise ValueError("array")
        if inner in (_STRING, _ARRAY):
            return [self.value(inner, depth + 1) for _ in range(count)]
        layout = f"<{count}{_SCALARS[inner]}"
        values = list(struct.unpack_from(layout, self.contents, self.place))
        self.place += struct.calcsize(layout)
        return values


def _parse(contents: mmap.mmap) -> tuple[dict[str, Any], dict[str, Tensor]]:
    cursor = _Cursor(contents)
    if cursor.scalar("I") not in _VERSIONS:
        raise ValueError("version")
    tensor_count, value_count = cursor.scalar("Q"), cursor.scalar("Q")
    if tensor_count > _MOST_TENSORS or value_count > _MOST_TENSORS:
        raise ValueError("count")
    metadata: dict[str, Any] = {}
    for _ in range(value_count):
        key = cursor.string()
        if key in metadata:
            raise ValueError("key")
        metadata[key] = cursor.value(cursor.scalar("I"))
    found = [_tensor(cursor) for _ in range(tensor_count)]
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError("alignment")
    start = -(-cursor.place // alignment) * alignment
    tensors: dict[str, Tensor] = {}
    held = 0
    for tensor in found:
        placed = Tensor(tensor.name, tensor.shape, tensor.kind, start + tensor.offset, tensor.row_bytes)
        if placed.offset + placed.bytes > cursor.size or placed.name in tensors:
            raise ValueError("tensor")
        tensors[placed.name] = placed
        held += placed.bytes
    if held > cursor.size:  # tensors that lie on each other would be dequantised to far more than the file holds
        raise ValueError("tensors")
    return metadata, tensors


def _tensor(cursor: _Cursor) -> Tensor:
    """A tensor's entry, its offset counted from the first tensor."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    name, dimensions = cursor.string(), cursor.scalar("I")
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise ValueError("dimensions")
    shape = tuple(cursor.scalar("Q") for _ in range(dimensions))[::-1]
    kind, offset = GGMLQuantizationType(cursor.scalar("I")), cursor.scalar("Q")
    block, block_bytes = GGML_QUANT_SIZES[kind]
    if min(shape) < 1 or shape[-1] % block:
        raise ValueError("shape")
    return Tensor(name, shape, kind, offset, shape[-1] // block * block_bytes)


def _rotary_halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a q/k projection from llama.cpp's order (pairs beside each other) to transformers' (two halves).

    `rows` is [heads · head_dim, …], quantized or not; within each head row 2i becomes row i and row 2i + 1 row
    head_dim/2 + i.
    """
    count = rows.shape[0]
    return np.ascontiguousarray(rows.reshape(heads, count // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape))
