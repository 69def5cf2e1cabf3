"""Nodes through the lower model in batches: what is equally long runs side by side, so that nothing is padded.

Either each node runs alone or each chunk runs once for all its nodes (`TreeConfig.encoding`). Used when an index is
built and when nodes are computed live, so that both give the same numbers. Several equal lower models, one a device,
can share the batches of an index (`encode_shared`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from sharedllm_cli.config import StoredDtype
from sharedllm_cli.context.tree import Node, kept_positions
from sharedllm_cli.errors import ResourceError
from sharedllm_cli.index.layout import LowerShape, Packed, pack, round_vectors
from sharedllm_cli.index.leaves import Leaves
from sharedllm_cli.memory import is_out_of_memory
from sharedllm_cli.model.lower import EncodedNodes
from sharedllm_cli.progress import Reporter

CPU_BATCH_TOKENS = 512
ACCELERATOR_BATCH_TOKENS = 16384
VECTOR_ROWS = 8
"""So many nodes' last tokens are run side by side where nothing else of the nodes is."""


class Encoder(Protocol):
    """What is asked of the lower model (`model.lower.LowerModel`)."""

    lower_layers: int
    first_layer: int

    @property
    def key_value_heads(self) -> int: ...

    @property
    def head_dim(self) -> int: ...

    @property
    def hidden_size(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def encode(self, token_ids: Tensor, kept: Tensor) -> EncodedNodes: ...

    def node_vectors(self, token_ids: Tensor) -> Tensor: ...

    def last_token_vectors(self, token_ids: Tensor) -> Tensor: ...


def lower_shape(lower: Encoder) -> LowerShape:
    """The facts of a lower model that shape what is stored."""
    return LowerShape(lower.lower_layers, lower.key_value_heads, lower.head_dim, lower.hidden_size, lower.first_layer)


class EncodedBatch(NamedTuple):
    """Some of the asked nodes, encoded and packed, on the device asked for (vectors on the CPU).

    `places`: which of the asked nodes they are; `packed`: slots of node after node; `vectors` [nodes, hidden] float16,
    None where no node was run through the model by itself (`NodeEncoder.vectors` computes them).
    """

    places: list[int]
    packed: Packed
    vectors: Tensor | None


class _Stretch(NamedTuple):
    """Text that runs through the lower model in one piece: a node, or a chunk for those of its nodes that are asked.

    `span`: its first and end token in the document; `kept`: the positions in it whose keys and values are kept;
    `places`: the asked nodes, and in `positions` the kept positions of each.
    """

    span: tuple[int, int]
    kept: np.ndarray
    places: list[int]
    positions: list[np.ndarray]


class NodeEncoder:
    """Runs a lower model over nodes of a document, at most `batch_tokens` at a time; less when memory runs out.

    What is run in one piece is for the trees' configuration to say (`TreeConfig.encoding`): each node alone, or each
    chunk once, from which every node takes the keys and values at its own kept positions. The positions that a chunk
    keeps are those of all its nodes, whichever are asked, so that a few nodes get the numbers that all of them got.
    `onto`: where keys and values go; an index takes them to the CPU, a question keeps them where it reads them.
    """

    def __init__(
        self,
        lower: Encoder,
        leaves: Leaves,
        stored_dtype: StoredDtype,
        reporter: Reporter,
        batch_tokens: int | None = None,
        *,
        onto: torch.device | str = "cpu",
    ) -> None:
        self._lower = lower
        self._onto = torch.device(onto)
        self._leaves = leaves
        self._stored_dtype = stored_dtype
        self._reporter = reporter
        self._whole_chunks = bool(leaves.trees) and leaves.trees[0].config.encoding == "chunk"
        default = CPU_BATCH_TOKENS if lower.device.type == "cpu" else ACCELERATOR_BATCH_TOKENS
        self._batch_tokens = batch_tokens or default

    def encode(self, nodes: Sequence[Node]) -> Iterator[EncodedBatch]:
        """All of the nodes, batch by batch: coarse levels first, or chunk after chunk."""
        for stretches in self._chunk_stretches(nodes) if self._whole_chunks else self._node_stretches(nodes):
            start, end = stretches[0].span
            length = end - start
            done = 0
            while done < len(stretches):
                batch = stretches[done : done + max(1, self._batch_tokens // length)]
                encoded = self._attempt(batch)
                if encoded is None:
                    self._halve(len(batch) * length, length)
                    continue
                yield encoded
                done += len(batch)

    def batches(self, nodes: Sequence[Node]) -> list[list[int]]:
        """The places of the nodes that `encode` would run side by side, batch by batch."""
        found = []
        for stretches in self._chunk_stretches(nodes) if self._whole_chunks else self._node_stretches(nodes):
            start, end = stretches[0].span
            size = max(1, self._batch_tokens // (end - start))
            for first in range(0, len(stretches), size):
                found.append([place for one in stretches[first : first + size] for place in one.places])
        return found

    def vectors(self, nodes: Sequence[Node]) -> Tensor:
        """The nodes' vectors alone, [nodes, hidden] float16: one layer instead of M, and each node by itself.

        The paper's policy knows no other vector of a node, however its keys and values are encoded. Where each node is
        encoded alone its vector falls out of that, and is computed here in the same way; where chunks are encoded once
        it takes the query of the node's last token alone, a fraction of a layer's work. As products of a few rows are
        rounded by their number, that number is always the same there: missing ones repeat the last node.
        """
        compute = self._lower.last_token_vectors if self._whole_chunks else self._lower.node_vectors
        found = torch.empty(len(nodes), self._lower.hidden_size, dtype=torch.float16)
        for (length, _), places in self._groups(nodes).items():
            size = VECTOR_ROWS if self._whole_chunks else max(1, self._batch_tokens // length)
            for start in range(0, len(places), size):
                batch = places[start : start + size]
                spans = [self._leaves.node_span(nodes[place]) for place in batch]
                if self._whole_chunks:
                    spans += spans[-1:] * (size - len(spans))
                found[batch] = round_vectors(compute(self._tokens(spans)))[: len(batch)].cpu()
        return found

    def _groups(self, nodes: Sequence[Node]) -> dict[tuple[int, int], list[int]]:
        """Places of the nodes by (length, ratio), level by level."""
        groups: dict[tuple[int, int], list[int]] = {}
        for place in sorted(range(len(nodes)), key=lambda place: nodes[place].level):
            node = nodes[place]
            tree = self._leaves.trees[node.chunk]
            key = (tree.span(node.level, node.index).length, tree.config.ratio(node.level))
            groups.setdefault(key, []).append(place)
        return groups

    def _node_stretches(self, nodes: Sequence[Node]) -> Iterator[list[_Stretch]]:
        """Each node by itself: lists of one length and ratio, coarse levels first."""
        for (length, ratio), places in self._groups(nodes).items():
            kept = kept_positions(length, ratio)
            yield [_Stretch(self._leaves.node_span(nodes[place]), kept, [place], [kept]) for place in places]

    def _chunk_stretches(self, nodes: Sequence[Node]) -> Iterator[list[_Stretch]]:
        """The chunks that the nodes belong to: lists of one length, in the order of the document."""
        asked: dict[int, list[int]] = {}
        for place, node in enumerate(nodes):
            asked.setdefault(node.chunk, []).append(place)
        lengths: dict[int, list[_Stretch]] = {}
        for chunk in sorted(asked):
            tree, start = self._leaves.trees[chunk], self._leaves.chunk_starts[chunk]
            positions = [tree.kept_in_chunk(nodes[place].level, nodes[place].index) for place in asked[chunk]]
            stretch = _Stretch((start, start + tree.length), tree.kept_by_any, asked[chunk], positions)
            lengths.setdefault(tree.length, []).append(stretch)
        yield from lengths.values()

    def _tokens(self, spans: Sequence[tuple[int, int]]) -> Tensor:
        """Token ids [B, l] of stretches of equal length."""
        return torch.stack([torch.from_numpy(self._leaves.tokens.ids[start:end]).long() for start, end in spans])

    def _attempt(self, batch: Sequence[_Stretch]) -> EncodedBatch | None:
        """Stretches of equal length side by side, or None where the machine's memory did not suffice."""
        kept, rows = _kept_rows(batch)
        places = [place for stretch in batch for place in stretch.places]
        try:
            encoded = self._lower.encode(self._tokens([stretch.span for stretch in batch]), torch.from_numpy(kept))
            # two of [B, L, KV, k, D] to [B·k, 2, L, KV, D]: a stretch's slots follow each other
            slots = torch.stack((encoded.keys, encoded.values), dim=1).permute(0, 4, 1, 2, 3, 5).flatten(0, 1)
            packed = pack(slots, self._stored_dtype)
            scales = None if packed.scales is None else packed.scales.to(self._onto).contiguous()
            moved = Packed(packed.values.to(self._onto).contiguous(), scales)
            if self._whole_chunks:
                return EncodedBatch(places, moved.rows(torch.from_numpy(rows).to(self._onto)), None)
            return EncodedBatch(places, moved, round_vectors(encoded.vectors).cpu())
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
        # Outside of the handler, so that the failed attempt's tensors are gone before the cache is emptied.
        if self._lower.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _halve(self, tokens: int, node_tokens: int) -> None:
        if tokens <= node_tokens:
            raise ResourceError(
                f"not enough memory to encode {node_tokens} tokens at once",
                hint="use a smaller --chunk-tokens, fewer --lower-layers, or --quantize 4bit",
            )
        self._batch_tokens = max(node_tokens, tokens // 2)
        self._reporter.note(
            f"not enough memory for {tokens} tokens at once; going on with {self._batch_tokens} at a time"
        )


def _kept_rows(batch: Sequence[_Stretch]) -> tuple[np.ndarray, np.ndarray]:
    """The positions kept of every stretch of a batch, and where in them, stretch after stretch, each node's slots are.

    Stretches of jittered splits keep different positions: then each keeps those of all.
    """
    kept = np.unique(np.concatenate([positions for one in batch for positions in (one.kept, *one.positions)]))
    rows = [
        number * len(kept) + np.searchsorted(kept, positions)
        for number, stretch in enumerate(batch)
        for positions in stretch.positions
    ]
    return kept, np.concatenate(rows)


def encode_shared(encoders: Sequence[NodeEncoder], nodes: Sequence[Node]) -> Iterator[EncodedBatch]:
    """What the first encoder alone would give, batch for batch in its order; each encoder computes a part of them.

    The batches are those of one encoder, so that equal devices give equal numbers however many there are.
    """
    if len(encoders) == 1:
        yield from encoders[0].encode(nodes)
        return
    batches = encoders[0].batches(nodes)

    def run(encoder: NodeEncoder, places: Sequence[int]) -> list[EncodedBatch]:
        # More than one where a device's memory did not suffice for all of them at once.
        found = encoder.encode([nodes[place] for place in places])
        return [batch._replace(places=[places[own] for own in batch.places]) for batch in found]

    with ThreadPoolExecutor(len(encoders), thread_name_prefix="encoding") as pool:
        for start in range(0, len(batches), len(encoders)):
            # Round by round: no device runs so far ahead that finished batches pile up in memory.
            for found in list(pool.map(run, encoders, batches[start : start + len(encoders)])):
                yield from found
