"""The trees that samples read: planned as integers, read from an index or computed live.

The lower model is frozen, so a document's trees are the same at every step: they are built once into an index and read
from there (METHOD section 5; an index of more layers serves those that fewer ask for).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from sharedllm_cli.context.search import leaf_scores, search
from sharedllm_cli.context.tree import Node
from sharedllm_cli.index.manifest import TreesKey
from sharedllm_cli.index.nodes import CompressedSource, JoinedNodes
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.training.corpus import LocatedDocument
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.loading import BaseModel
from sharedllm_cli.model.lower import LowerModel
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Reporter


@dataclass(frozen=True)
class TreePlan:
    """Which nodes of which documents a sample reads; chunks are numbered through all its documents.

    `chunks` are those that are read, None for all: positions number these (METHOD section 4).
    """

    documents: tuple[LocatedDocument, ...]
    nodes: tuple[Node, ...]
    chunks: tuple[int, ...] | None = None

    @property
    def chunk_count(self) -> int:
        """n, the number of chunks that are read."""
        return sum(map(_chunks, self.documents)) if self.chunks is None else len(self.chunks)

    @property
    def tokens(self) -> int:
        """Tokens of all documents."""
        return sum(one.leaves.token_count for one in self.documents)


def plan(
    documents: Sequence[LocatedDocument],
    values: Sequence[np.ndarray],
    *,
    without: frozenset[int] = frozenset(),
) -> TreePlan:
    """Search the trees of some documents by their leaves' scores, an array [leaves] a document (METHOD section 2).

    The chunks `without`, numbered through all documents, are left out, as if the text had never held them.
    """
    trees = [tree for one in documents for tree in one.leaves.trees]
    flat = np.concatenate(values)
    ends = np.cumsum([tree.leaf_count for tree in trees])
    parts = np.split(flat, ends[:-1])
    kept = [chunk for chunk in range(len(trees)) if chunk not in without]
    left = [trees[chunk] for chunk in kept]
    nodes = search(left, leaf_scores(left, [parts[chunk] for chunk in kept]))
    placed = tuple(node._replace(chunk=kept[node.chunk]) for node in nodes)
    return TreePlan(tuple(documents), placed, tuple(kept) if without else None)


def chunks_of(
    documents: Sequence[LocatedDocument], document: LocatedDocument, leaves: frozenset[int]
) -> frozenset[int]:
    """The chunks, numbered through all documents, in which some leaves of one of them lie."""
    before = sum(map(_chunks, documents[: documents.index(document)]))
    ends = np.cumsum([tree.leaf_count for tree in document.leaves.trees])
    return frozenset(before + int(np.searchsorted(ends, leaf, side="right")) for leaf in leaves)


def _chunks(document: LocatedDocument) -> int:
    return len(document.leaves.trees)


class TreeSource(Protocol):
    """Where the nodes of a document come from: an index, or the lower model itself."""

    def of(self, document: LocatedDocument) -> CompressedSource:
        """The nodes of a document."""


class StoredTrees:
    """Trees in an index, built when a document is first asked for; several processes may share the folder."""

    def __init__(self, store: IndexStore, base: BaseModel, lower: LowerModel, reporter: Reporter) -> None:
        self._store = store
        self._base = base
        self._lower = lower
        self._reporter = reporter
        self._opened: dict[str, CompressedSource] = {}

    def of(self, document: LocatedDocument) -> CompressedSource:
        """See `TreeSource`; raises ResourceError where disk or memory do not suffice."""
        opened, leaves = document.opened, document.leaves
        if opened.content_hash not in self._opened:
            base, store = self._base, self._store
            key = TreesKey(
                opened.leaves_key,
                base.name,
                base.weights_hash,
                self._lower.lower_layers,
                "int8",
                base.quantize,
                self._lower.first_layer,
            )
            store.write_text(opened.document)
            found = store.open_trees(opened.content_hash, key, leaves, device=base.device, dtype=base.dtype)
            self._opened[opened.content_hash] = found or store.build_trees(
                opened.content_hash,
                key,
                leaves,
                self._lower,
                self._reporter,
                device=base.device,
                dtype=base.dtype,
            )
        return self._opened[opened.content_hash]


class TreeReader:
    """Makes plans ready to be read by an upper model."""

    def __init__(self, upper: UpperModel, source: TreeSource) -> None:
        self._upper = upper
        self._source = source

    @torch.no_grad()
    def read(self, plans: Sequence[TreePlan]) -> TreeContext:
        """The trees of several samples side by side, for all layers that may learn to read them."""
        return TreeContext.side_by_side([self._context(one) for one in plans])

    def _context(self, one: TreePlan) -> TreeContext:
        sources = [self._source.of(document) for document in one.documents]
        kept = JoinedNodes(sources, list(map(_chunks, one.documents))).compressed(one.nodes)
        if one.chunks is not None:
            number = {chunk: place for place, chunk in enumerate(one.chunks)}
            places = torch.tensor([number[chunk] for chunk in kept.chunks.tolist()], device=kept.chunks.device)
            kept = replace(kept, chunks=places)
        context = self._upper.context(kept, one.chunk_count, closed_too=True, consume=True)
        assert context is not None
        return context
