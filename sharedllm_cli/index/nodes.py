"""Nodes for the upper model: computed when asked (`LiveNodes`) or read from disk, memory-mapped (`StoredNodes`).

Both give the same numbers in the same order; the test that says so is the strongest of the index. Nodes are addressed
within their document; `JoinedNodes` numbers the chunks of several documents through (METHOD section 4).
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sharedllm_cli.config import StoredDtype
from sharedllm_cli.context.tree import Node
from sharedllm_cli.errors import StoredIndexError
from sharedllm_cli.index.encoding import Encoder, NodeEncoder, lower_shape
from sharedllm_cli.index.layout import (
    LowerShape,
    Packed,
    Place,
    TreesLayout,
    raw_bytes,
    shard_name,
    tensor_dtype,
    unpack,
)
from sharedllm_cli.index.leaves import Leaves
from sharedllm_cli.index.stored import damaged
from sharedllm_cli.model.lower import CompressedNodes
from sharedllm_cli.progress import Reporter, Silent

VALUES, SCALES, CHECKSUMS, VECTORS = "values", "scales", "checksums", "node_vectors"
_PIECE_SLOTS = 1024
"""So many slots are unpacked at a time: what is held twice stays small."""


class Room(NamedTuple):
    """What the keys and values of some nodes take: a tensor [2, L, KV, S, D] of the L `layers`."""

    layers: range
    key_value_heads: int
    slots: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device

    def empty(self) -> Tensor:
        """The tensor, with whatever lies in its memory."""
        size = (2, len(self.layers), self.key_value_heads, self.slots, self.head_dim)
        return torch.empty(size, dtype=self.dtype, device=self.device)


class CompressedSource(Protocol):
    """What the engine asks of nodes, live or stored."""

    def room(self, nodes: Sequence[Node]) -> Room:
        """What the keys and values of the nodes take."""

    def compressed(self, nodes: Sequence[Node], onto: Tensor | None = None) -> CompressedNodes:
        """Keys and values of the nodes, in the order given; they lie in `onto`, a tensor of their `room`, if given."""

    def node_vectors(self, nodes: Sequence[Node]) -> Tensor:
        """The vectors of the nodes for the paper's policy, [nodes, hidden] float32."""


def _room(leaves: Leaves, nodes: Sequence[Node], shape: LowerShape, device: torch.device, dtype: torch.dtype) -> Room:
    return Room(shape.layers, shape.key_value_heads, sum(_counts(leaves, nodes)), shape.head_dim, dtype, device)


def _counts(leaves: Leaves, nodes: Sequence[Node]) -> list[int]:
    """How many slots each node has."""
    return [leaves.trees[node.chunk].kept_count(node.level, node.index) for node in nodes]


class _Gathered:
    """Keys and values [L, KV, S, D] under assembly: a stretch of slots for each asked node, in the order asked."""

    def __init__(self, leaves: Leaves, nodes: Sequence[Node], room: Room, onto: Tensor | None) -> None:
        counts = _counts(leaves, nodes)
        self.starts = [0, *accumulate(counts)]
        self._device = room.device
        chunks = torch.tensor([node.chunk for node in nodes], dtype=torch.long)
        # Chunk numbers stay with the CPU, which looks at them before the slots have arrived.
        self._chunks = torch.repeat_interleave(chunks, torch.tensor(counts, dtype=torch.long))
        self._first_layer = room.layers.start
        self._slots = room.empty() if onto is None else onto

    def put(self, places: Sequence[int], packed: Packed) -> None:
        """The packed slots of some of the asked nodes, node after node."""
        scales = None if packed.scales is None else self._arriving(packed.scales)
        exact = unpack(Packed(self._arriving(packed.values), scales))
        ordered = exact.permute(1, 2, 3, 0, 4).to(self._slots.dtype)
        first, last = places[0], places[-1]
        if list(places) == list(range(first, last + 1)):
            self._slots[:, :, :, self.starts[first] : self.starts[last + 1]] = ordered
            return
        targets = [torch.arange(self.starts[place], self.starts[place + 1]) for place in places]
        self._slots[:, :, :, torch.cat(targets).to(self._device)] = ordered

    def _arriving(self, slots: Tensor) -> Tensor:
        """Slots on the device; from pinned memory they are copied while the CPU goes on."""
        return slots.to(self._device, non_blocking=slots.is_pinned())

    def result(self) -> CompressedNodes:
        return CompressedNodes(self._slots[0], self._slots[1], self._chunks, self._first_layer)


class LiveNodes:
    """Nodes run through the lower model when they are asked for; nothing is kept.

    With `stored_dtype` the numbers are rounded as an index of that type would round them.
    """

    def __init__(
        self,
        lower: Encoder,
        leaves: Leaves,
        *,
        stored_dtype: StoredDtype = "float32",
        dtype: torch.dtype | None = None,
        batch_tokens: int | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        self._leaves = leaves
        self._shape = lower_shape(lower)
        self._device = lower.device
        self._dtype = dtype or lower.dtype
        self._encoder = NodeEncoder(lower, leaves, stored_dtype, reporter or Silent(), batch_tokens, onto=lower.device)

    def room(self, nodes: Sequence[Node]) -> Room:
        """What the keys and values of the nodes take."""
        return _room(self._leaves, nodes, self._shape, self._device, self._dtype)

    def compressed(self, nodes: Sequence[Node], onto: Tensor | None = None) -> CompressedNodes:
        """Keys and values of the nodes, in the order given."""
        gathered = _Gathered(self._leaves, nodes, self.room(nodes), onto)
        for batch in self._encoder.encode(nodes):
            gathered.put(batch.places, batch.packed)
        return gathered.result()

    def node_vectors(self, nodes: Sequence[Node]) -> Tensor:
        """[nodes, hidden] float32, rounded as on disk."""
        return self._encoder.vectors(nodes).float()


@dataclass(frozen=True)
class _Shard:
    """The mapped tensors of one file; nothing is read before it is touched."""

    path: Path
    values: Tensor
    scales: Tensor | None
    checksums: Tensor
    vectors: Tensor

    def slots(self, place: Place) -> Packed:
        """A node's slots, proved by their checksum."""
        values = self.values[place.first_slot : place.end_slot]
        scales = None if self.scales is None else self.scales[place.first_slot : place.end_slot]
        if slots_checksum(values, scales) != int(self.checksums[place.node, 0]):
            raise damaged(self.path.parents[1], self.path)
        return Packed(values, scales)

    def vector(self, number: int) -> Tensor:
        """A node's vector, proved by its checksum."""
        if zlib.crc32(raw_bytes(self.vectors[number])) != int(self.checksums[number, 1]):
            raise damaged(self.path.parents[1], self.path)
        return self.vectors[number]


def slots_checksum(values: Tensor, scales: Tensor | None) -> int:
    """CRC-32 over the bytes of a node's values, then of its scales."""
    checksum = zlib.crc32(raw_bytes(values))
    return checksum if scales is None else zlib.crc32(raw_bytes(scales), checksum)


def copies_beside(device: torch.device) -> bool:
    """Whether copies to a device can run beside the CPU's work: CUDA's, from pinned memory."""
    return device.type == "cuda"


def joined(parts: Sequence[Tensor], *, pinned: bool) -> Tensor:
    """Mapped slots one after another; in pinned memory they are written there at once, not copied a second time."""
    if not pinned:
        return torch.cat(list(parts))
    size = (sum(len(part) for part in parts), *parts[0].shape[1:])
    whole = torch.empty(size, dtype=parts[0].dtype, pin_memory=True)
    return torch.cat(list(parts), out=whole)


class StoredNodes:
    """Nodes of a finished trees part: a question reads only those that it selects, each proved by its checksum.

    Numbers are handed out as `dtype` on `device`, those of `layers` (all that are stored, unless said; ValueError for
    others); 8-bit ones are multiplied out in float32 first. Raises StoredIndexError where a shard's tensors are not
    what leaves and model ask for, or a node's bytes changed.
    """

    def __init__(
        self,
        part: Path,
        layout: TreesLayout,
        leaves: Leaves,
        shape: LowerShape,
        stored_dtype: StoredDtype,
        *,
        layers: range | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.part = part
        self.shape = shape
        layers = layers or shape.layers
        if not shape.first_layer <= layers.start < layers.stop <= shape.lower_layers:
            raise ValueError(f"{layers} are asked of trees that hold {shape.layers}")
        self._asked = shape._replace(lower_layers=layers.stop, first_layer=layers.start)
        self.stored_dtype = stored_dtype
        self._layout = layout
        self._leaves = leaves
        self._device = torch.device(device)
        self._dtype = dtype
        self._shards: dict[int, _Shard] = {}

    def room(self, nodes: Sequence[Node]) -> Room:
        """What the keys and values of the nodes take."""
        return _room(self._leaves, nodes, self._asked, self._device, self._dtype)

    def compressed(self, nodes: Sequence[Node], onto: Tensor | None = None) -> CompressedNodes:
        """Keys and values of the nodes, in the order given."""
        gathered = _Gathered(self._leaves, nodes, self.room(nodes), onto)
        stored = self.shape.first_layer
        layers = range(self._asked.first_layer - stored, self._asked.lower_layers - stored)
        places = [self._layout.place(node) for node in nodes]
        for piece in self._pieces(places):
            packed = [self._shard(places[number].shard).slots(places[number]).of_layers(layers) for number in piece]
            scales = [slots.scales for slots in packed if slots.scales is not None]
            pinned = copies_beside(self._device)
            values = joined([slots.values for slots in packed], pinned=pinned)
            piece_of_all = Packed(values, joined(scales, pinned=pinned) if scales else None)
            gathered.put(piece, piece_of_all)
        return gathered.result()

    def node_vectors(self, nodes: Sequence[Node]) -> Tensor:
        """[nodes, hidden] float32."""
        found = torch.empty(len(nodes), self.shape.hidden_size, dtype=torch.float16)
        for number, node in enumerate(nodes):
            place = self._layout.place(node)
            found[number] = self._shard(place.shard).vector(place.node)
        return found.float()

    def _pieces(self, places: Sequence[Place]) -> Iterator[list[int]]:
        """The numbers of the nodes in pieces of about `_PIECE_SLOTS` slots."""
        piece: list[int] = []
        slots = 0
        for number, place in enumerate(places):
            piece.append(number)
            slots += place.end_slot - place.first_slot
            if slots >= _PIECE_SLOTS:
                yield piece
                piece, slots = [], 0
        if piece:
            yield piece

    def _shard(self, number: int) -> _Shard:
        if number not in self._shards:
            self._shards[number] = self._map(number)
        return self._shards[number]

    def _map(self, number: int) -> _Shard:
        path = self.part / shard_name(number)
        try:
            with safe_open(path, framework="pt") as file:
                found: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            raise damaged(self.part.parent, path) from None
        nodes, slots = self._layout.shard_size(number)
        slot_shape = (slots, 2, len(self.shape.layers), self.shape.key_value_heads)
        expected: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
            VALUES: ((*slot_shape, self.shape.head_dim), tensor_dtype(self.stored_dtype)),
            CHECKSUMS: ((nodes, 2), torch.uint32),
            VECTORS: ((nodes, self.shape.hidden_size), torch.float16),
        }
        if self.stored_dtype == "int8":
            expected[SCALES] = (slot_shape, torch.float16)
        if {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in found.items()} != expected:
            raise StoredIndexError(
                f"{self.part.parent.name}/{self.part.name}/{path.name} does not hold the trees of this document",
                hint="rebuild it with --reindex",
            )
        return _Shard(path, found[VALUES], found.get(SCALES), found[CHECKSUMS], found[VECTORS])


class JoinedNodes:
    """The nodes of several documents as one: chunks are numbered through, in the order of the documents."""

    def __init__(self, sources: Sequence[CompressedSource], chunk_counts: Sequence[int]) -> None:
        self._sources = sources
        self._first_chunks = list(accumulate(chunk_counts, initial=0))[:-1]

    def room(self, nodes: Sequence[Node]) -> Room:
        """What the keys and values of the nodes take, at least one; ValueError where documents keep other layers."""
        rooms = [self._sources[source].room(local) for source, local in self._runs(nodes)]
        if any(room.layers != rooms[0].layers for room in rooms):
            raise ValueError(f"trees of different layers can't be read together: {[room.layers for room in rooms]}")
        return rooms[0]._replace(slots=sum(room.slots for room in rooms))

    def compressed(self, nodes: Sequence[Node], onto: Tensor | None = None) -> CompressedNodes:
        """Keys and values of the nodes, in the order given, in memory once; see `room`."""
        room = self.room(nodes)
        whole = room.empty() if onto is None else onto
        chunks, start = [], 0
        for source, local in self._runs(nodes):
            end = start + self._sources[source].room(local).slots
            part = self._sources[source].compressed(local, whole[:, :, :, start:end])
            chunks.append(part.chunks + self._first_chunks[source])
            start = end
        return CompressedNodes(whole[0], whole[1], torch.cat(chunks), room.layers.start)

    def node_vectors(self, nodes: Sequence[Node]) -> Tensor:
        """[nodes, hidden] float32; at least one node."""
        return torch.cat([self._sources[source].node_vectors(local) for source, local in self._runs(nodes)])

    def _runs(self, nodes: Sequence[Node]) -> Iterator[tuple[int, list[Node]]]:
        """Stretches of nodes of one document, addressed within it."""
        run: list[Node] = []
        current = -1
        for node in nodes:
            source = bisect_right(self._first_chunks, node.chunk) - 1
            if source != current and run:
                yield current, run
                run = []
            current = source
            run.append(node._replace(chunk=node.chunk - self._first_chunks[source]))
        if run:
            yield current, run
