"""Graphs for ONNX Runtime: written as bytes, opened with their weights given beside, run on arrays.

The format is that of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; only what `packed.py` and
`packed_step.py` use is written. The package `onnx` would do as much with thirty megabytes and a third of a second.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

CONTRIBUTED = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""
_OPSET, _CONTRIBUTED_OPSET, _VERSION = 21, 1, 10
_TYPES = {"float32": 1, "uint8": 2, "int64": 7}
"""Element types, as ONNX numbers them."""
_FLOAT, _INTEGER, _INTEGERS = 1, 2, 7
"""Kinds of attributes."""
_MOST_INSIDE = 127
"""Bytes of a weight that stands in the graph; larger ones are given beside it and not copied."""
Attribute = int | float | Sequence[int]


class Graph:
    """A graph under construction: nodes in order, weights by name, inputs and outputs with their shapes."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._weights: dict[str, np.ndarray] = {}
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []
        self._count = 0

    def input(self, name: str, shape: Sequence[int | str], dtype: str = "float32") -> str:
        """Something that is given at every run; a dimension with a name may have any length."""
        self._inputs.append(_value(name, shape, dtype))
        return name

    def output(self, name: str, shape: Sequence[int | str]) -> None:
        """A result that is read."""
        self._outputs.append(_value(name, shape, "float32"))

    def weight(self, values: np.ndarray) -> str:
        """Numbers that belong to the graph; returns their name."""
        name = f"w{len(self._weights)}"
        self._weights[name] = np.ascontiguousarray(values)
        return name

    def node(
        self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", name: str = "", **attributes: Attribute
    ) -> Any:
        """An operator over named values; returns its result's name, a tuple where there are several."""
        found = []
        for place in range(outputs):
            self._count += 1
            found.append(name if name and not place else f"v{self._count}")
        self._nodes.append(
            _message(
                *((1, one) for one in inputs),
                *((2, one) for one in found),
                (4, kind),
                *((5, _attribute(key, value)) for key, value in attributes.items()),
                (7, domain),
            )
        )
        return found[0] if outputs == 1 else tuple(found)

    def opened(self) -> Any:
        """The graph, ready to run: an object whose `run(names, arrays)` gives results. The weights are not kept."""
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.use_per_session_threads = False
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        outside = {name: values for name, values in self._weights.items() if _lies_outside(values)}
        options.add_external_initializers(
            list(outside), [runtime.OrtValue.ortvalue_from_numpy(values) for values in outside.values()]
        )
        return runtime.InferenceSession(self.to_bytes(), options, providers=["CPUExecutionProvider"])

    def to_bytes(self) -> bytes:
        """The graph as a `ModelProto`; its weights are named in it, and lie elsewhere."""
        graph = _message(
            *((1, node) for node in self._nodes),
            (2, "graph"),
            *((5, _weight(name, values)) for name, values in self._weights.items()),
            *((11, one) for one in self._inputs),
            *((12, one) for one in self._outputs),
        )
        opsets = (_message((2, _OPSET)), _message((1, CONTRIBUTED), (2, _CONTRIBUTED_OPSET)))
        return _message((1, _VERSION), (7, graph), *((8, opset) for opset in opsets))


_OPENING = threading.Lock()


def _runtime() -> Any:
    """The library, with one pool of threads for all graphs: as many as torch uses. Any thread may ask first."""
    with _OPENING:
        return _library()


@cache
def _library() -> Any:
    import onnxruntime  # type: ignore[import-untyped,unused-ignore]

    onnxruntime.set_global_thread_pool_sizes(torch.get_num_threads(), 1)
    return onnxruntime


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        return _message((1, name), (2, value), (20, _FLOAT))
    if isinstance(value, int):
        return _message((1, name), (3, value), (20, _INTEGER))
    return _message((1, name), *((8, one) for one in value), (20, _INTEGERS))


def _lies_outside(values: np.ndarray) -> bool:
    """Small ones, such as shapes, stand in the graph, where the library looks at them."""
    return values.nbytes > _MOST_INSIDE


def _weight(name: str, values: np.ndarray) -> bytes:
    """A tensor, with its numbers or the word that they are given beside the graph."""
    location = _message((1, "location"), (2, name))
    numbers = ((13, location), (14, 1)) if _lies_outside(values) else ((9, values.tobytes()),)
    shape = ((1, size) for size in values.shape)
    return _message(*shape, (2, _TYPES[values.dtype.name]), (8, name), *numbers)


def _value(name: str, shape: Sequence[int | str], dtype: str) -> bytes:
    """The name, type and shape of an input or output."""
    sizes = ((1, _message((2, size) if isinstance(size, str) else (1, size))) for size in shape)
    return _message((1, name), (2, _message((1, _message((1, _TYPES[dtype]), (2, _message(*sizes)))))))


def _message(*fields: tuple[int, int | float | str | bytes]) -> bytes:
    """A Protocol Buffers message of numbered fields: numbers, texts and messages."""
    return b"".join(part for number, value in fields for part in _field(number, value))


def _field(number: int, value: int | float | str | bytes) -> Iterator[bytes]:
    if isinstance(value, float):
        yield _varint(number << 3 | 5)
        yield np.float32(value).tobytes()
    elif isinstance(value, int):
        yield _varint(number << 3)
        yield _varint(value & (1 << 64) - 1)  # negative numbers: two's complement of 64 bits
    else:
        data = value.encode() if isinstance(value, str) else value
        yield _varint(number << 3 | 2)
        yield _varint(len(data))
        yield data


def _varint(value: int) -> bytes:
    """A whole number, seven bits a byte, the lowest first."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def product(
    graph: Graph, states: str, bits: int, parts: Mapping[str, np.ndarray], bias: np.ndarray | None = None
) -> str:
    """x · Wᵀ + bias for states [n, width] and packed weights (`weights/blocks.py`): `MatMulNBits`.

    States are rounded to 8 bits too (`accuracy_level` 4), in blocks with a scale each: so are llama.cpp's.
    """
    codes = parts["codes"]
    rows, blocks, size = codes.shape
    block = size * 8 // bits
    names = [graph.weight(codes), graph.weight(parts["scales"].reshape(-1))]
    names += [graph.weight(parts["zeros"].reshape(-1))] if "zeros" in parts else []
    if bias is not None:
        names += [""] * (4 - len(names)) + [graph.weight(bias)]
    found: str = graph.node(
        "MatMulNBits",
        states,
        *names,
        domain=CONTRIBUTED,
        K=blocks * block,
        N=rows,
        bits=bits,
        block_size=block,
        accuracy_level=4,
    )
    return found
