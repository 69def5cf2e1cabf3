"""Nodes through the lower model in batches: nodes of equal length together, so that nothing is padded.

Used when an index is built and when nodes are computed live, so that both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sharedllm_cli.config import StoredDtype
from sharedllm_cli.context.tree import Node, kept_positions
from sharedllm_cli.errors import ResourceError
from sharedllm_cli.index.layout import LowerShape
from sharedllm_cli.index.leaves import Leaves
from sharedllm_cli.index.packing import Packed, pack, round_vectors
from sharedllm_cli.memory import is_out_of_memory
from sharedllm_cli.model.lower import EncodedNodes
from sharedllm_cli.progress import Reporter

CPU_BATCH_TOKENS = 512
ACCELERATOR_BATCH_TOKENS = 16384


class Encoder(Protocol):
    """What is asked of the lower model (`model.lower.LowerModel`)."""

    lower_layers: int

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


def lower_shape(lower: Encoder) -> LowerShape:
    """The facts of a lower model that shape what is stored."""
    return LowerShape(lower.lower_layers, lower.key_value_heads, lower.head_dim, lower.hidden_size)


class EncodedBatch(NamedTuple):
    """Nodes of one length and ratio, encoded and packed, on the CPU.

    `places`: which of the asked nodes they are; `packed`: slots of node after node, `kept` of them each;
    `vectors` [B, hidden] float16.
    """

    places: list[int]
    kept: int
    packed: Packed
    vectors: Tensor


class NodeEncoder:
    """Runs a lower model over nodes of a document, at most `batch_tokens` at a time; less when memory runs out."""

    def __init__(
        self,
        lower: Encoder,
        leaves: Leaves,
        stored_dtype: StoredDtype,
        reporter: Reporter,
        batch_tokens: int | None = None,
    ) -> None:
        self._lower = lower
        self._leaves = leaves
        self._stored_dtype = stored_dtype
        self._reporter = reporter
        default = CPU_BATCH_TOKENS if lower.device.type == "cpu" else ACCELERATOR_BATCH_TOKENS
        self._batch_tokens = batch_tokens or default

    def encode(self, nodes: Sequence[Node]) -> Iterator[EncodedBatch]:
        """All of the nodes, batch by batch, coarse levels first."""
        for (length, ratio), places in self._groups(nodes).items():
            kept = torch.from_numpy(kept_positions(length, ratio))
            done = 0
            while done < len(places):
                size = max(1, self._batch_tokens // length)
                batch = places[done : done + size]
                encoded = self._attempt([nodes[place] for place in batch], batch, kept)
                if encoded is None:
                    self._halve(len(batch) * length, length)
                    continue
                yield encoded
                done += len(batch)

    def vectors(self, nodes: Sequence[Node]) -> Tensor:
        """The nodes' vectors alone, [nodes, hidden] float16: one layer instead of M."""
        found = torch.empty(len(nodes), self._lower.hidden_size, dtype=torch.float16)
        for (length, _), places in self._groups(nodes).items():
            size = max(1, self._batch_tokens // length)
            for start in range(0, len(places), size):
                batch = places[start : start + size]
                found[batch] = round_vectors(self._lower.node_vectors(self._tokens([nodes[p] for p in batch]))).cpu()
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

    def _tokens(self, nodes: Sequence[Node]) -> Tensor:
        """Token ids [B, l] of nodes of equal length."""
        spans = [self._leaves.node_span(node) for node in nodes]
        rows = [torch.from_numpy(self._leaves.tokens.ids[start:end]).long() for start, end in spans]
        return torch.stack(rows)

    def _attempt(self, nodes: Sequence[Node], places: list[int], kept: Tensor) -> EncodedBatch | None:
        """One batch, or None where the machine's memory did not suffice."""
        try:
            encoded = self._lower.encode(self._tokens(nodes), kept)
            # two of [B, M, KV, k, D] to [B·k, 2, M, KV, D]: a node's slots follow each other
            slots = torch.stack((encoded.keys, encoded.values), dim=1).permute(0, 4, 1, 2, 3, 5).flatten(0, 1)
            packed = pack(slots, self._stored_dtype)
            scales = None if packed.scales is None else packed.scales.cpu().contiguous()
            on_cpu = Packed(packed.values.cpu().contiguous(), scales)
            return EncodedBatch(places, len(kept), on_cpu, round_vectors(encoded.first_layer).cpu())
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
