"""How each node's keys and values are stored: their places as integers, the bytes they take, and their numbers.

A slot is one kept position: keys and values of the stored layers. The slots of a node are contiguous, nodes follow each
other in the order of `ChunkTree.stored_nodes`, chunks in the document's. The places are not stored: they follow from
the chunks' trees and the number of chunks a shard.

Numbers are 8-bit integers with a scale a vector, or floating point as they are. int8 is symmetric: a vector x of D
numbers becomes q = round(x / s) in −127..127 with s = max|x| / 127 rounded to float16 BEFORE the division, so that q·s
is the nearest value that the stored scale can give. Knows no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sharedllm_cli.config import StoredDtype, TreeConfig
from sharedllm_cli.context.tree import ChunkTree, Node, Span
from sharedllm_cli.errors import ModelError

SHARD_BYTES = 64 * 2**20
"""A shard holds as many chunks as fit into this, and at least one."""
_BYTES = {"int8": 1, "float16": 2, "bfloat16": 2, "float32": 4}
_LARGEST = 127
_FLOATS = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
_SCALE_BYTES = 2
_CHECKSUM_BYTES = 2 * 4
_VECTOR_BYTES = 2


_Places = dict[tuple[int, int], tuple[int, int, int]]
"""Of a chunk's stored nodes by level and index: the number, and the slots from which and up to which."""


class LowerShape(NamedTuple):
    """What of the lower model shapes the stored numbers: M, KV heads, head dimension, hidden size, first layer kept."""

    lower_layers: int
    key_value_heads: int
    head_dim: int
    hidden_size: int
    first_layer: int = 0

    @property
    def layers(self) -> range:
        """The layers whose keys and values are stored."""
        return range(self.first_layer, self.lower_layers)

    def facts(self) -> dict[str, int]:
        """The shape as a manifest records it; `first_layer` is left out where it is 0, as in the first indexes."""
        return {name: value for name, value in self._asdict().items() if name != "first_layer" or value}


class Place(NamedTuple):
    """A node on disk: its shard, its number within the shard, and its slots `[first_slot, end_slot)` there."""

    shard: int
    node: int
    first_slot: int
    end_slot: int


class TreesLayout:
    """The places of all stored nodes of a document's trees.

    `chunk_nodes`, `chunk_slots`: stored nodes and slots before each chunk, and behind them the totals.
    """

    def __init__(self, trees: Sequence[ChunkTree], chunks_per_shard: int) -> None:
        self.trees = trees
        self.chunks_per_shard = chunks_per_shard
        # Chunks of one length have the same nodes unless their splits were jittered: worked out once a kind.
        kinds: dict[tuple[Span, ...], _Places] = {}
        self._places = [kinds.setdefault(tuple(tree.levels[-1]), {}) or _place(tree, kinds) for tree in trees]
        self.chunk_nodes = np.cumsum([0, *(len(places) for places in self._places)])
        self.chunk_slots = np.cumsum([0, *(max(end for _, _, end in places.values()) for places in self._places)])

    @property
    def shard_count(self) -> int:
        """The number of shards, the last of which may be shorter."""
        return -(-len(self.trees) // self.chunks_per_shard)

    def shard_chunks(self, shard: int) -> range:
        """The chunks whose nodes lie in a shard."""
        first = shard * self.chunks_per_shard
        return range(first, min(first + self.chunks_per_shard, len(self.trees)))

    def shard_size(self, shard: int) -> tuple[int, int]:
        """How many nodes and slots a shard holds."""
        chunks = self.shard_chunks(shard)
        nodes = self.chunk_nodes[chunks.stop] - self.chunk_nodes[chunks.start]
        return int(nodes), int(self.chunk_slots[chunks.stop] - self.chunk_slots[chunks.start])

    def shard_nodes(self, shard: int) -> list[Node]:
        """The nodes of a shard, in the order in which they are stored."""
        return [Node(chunk, level, index) for chunk in self.shard_chunks(shard) for level, index in self._places[chunk]]

    def place(self, node: Node) -> Place:
        """Where a node lies. Raises KeyError for one that no search preserves (the root of a chunk that is split)."""
        number, first, end = self._places[node.chunk][node.level, node.index]
        shard = node.chunk // self.chunks_per_shard
        start = shard * self.chunks_per_shard
        slots = int(self.chunk_slots[node.chunk] - self.chunk_slots[start])
        nodes = int(self.chunk_nodes[node.chunk] - self.chunk_nodes[start])
        return Place(shard, nodes + number, slots + first, slots + end)


def _place(tree: ChunkTree, kinds: dict[tuple[Span, ...], _Places]) -> _Places:
    """Fill in the places of a kind of tree."""
    places = kinds[tuple(tree.levels[-1])]
    slot = 0
    for number, (level, index) in enumerate(tree.stored_nodes()):
        kept = tree.kept_count(level, index)
        places[level, index] = (number, slot, slot + kept)
        slot += kept
    return places


def shard_name(shard: int) -> str:
    """The name of a shard's file."""
    return f"keys-values-{shard:05d}.safetensors"


def slot_bytes(shape: LowerShape, stored_dtype: StoredDtype) -> int:
    """Bytes of one slot: 2·L·KV vectors of D numbers (L stored layers), and a scale each where they are int8."""
    vectors = 2 * len(shape.layers) * shape.key_value_heads
    return vectors * (shape.head_dim * _BYTES[stored_dtype] + (_SCALE_BYTES if stored_dtype == "int8" else 0))


def node_bytes(shape: LowerShape) -> int:
    """Bytes of a node besides its slots: two checksums and its vector."""
    return _CHECKSUM_BYTES + _VECTOR_BYTES * shape.hidden_size


def chunks_per_shard(config: TreeConfig, shape: LowerShape, stored_dtype: StoredDtype) -> int:
    """How many full chunks fit into a shard, at least one."""
    layout = TreesLayout([ChunkTree(config.chunk_tokens, config)], 1)
    nodes, slots = layout.shard_size(0)
    one_chunk = nodes * node_bytes(shape) + slots * slot_bytes(shape, stored_dtype)
    return max(1, SHARD_BYTES // one_chunk)


def predicted_bytes(lengths: Sequence[int], config: TreeConfig, shape: LowerShape, stored_dtype: StoredDtype) -> int:
    """Bytes that the trees of chunks of these lengths take on disk, but for the files' headers (a few hundred each)."""
    trees = {length: ChunkTree(length, config) for length in set(lengths)}
    layout = TreesLayout([trees[length] for length in lengths], max(1, len(lengths)))
    slots, nodes = int(layout.chunk_slots[-1]), int(layout.chunk_nodes[-1])
    return slots * slot_bytes(shape, stored_dtype) + nodes * node_bytes(shape)


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
