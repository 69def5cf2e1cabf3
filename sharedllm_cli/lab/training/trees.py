"""The trees that samples read: planned as integers, read from an index or computed live.

The lower model is frozen, so the trees of fixed splits are the same at every step: they are built once into an index
and read from there (docs/method.md §5; an index of more layers serves those that fewer ask for). Jittered splits are
drawn anew for every sample and run through the lower model live, or a document has a few sets of them, each kept in an
index of its own beside the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from sharedllm_cli.context.search import leaf_scores, search
from sharedllm_cli.context.tree import ChunkTree, Node
from sharedllm_cli.index.leaves import Leaves
from sharedllm_cli.index.manifest import TreesKey
from sharedllm_cli.index.nodes import CompressedSource, JoinedNodes, LiveNodes
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.training.located import LocatedDocument
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.loading import BaseModel
from sharedllm_cli.model.lower import LowerModel
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Reporter

JITTER = 0.1
"""σ of the jittered split points, as a share of the node's tokens: docs/method.md §2, l / 10 for fine-tuning."""


@dataclass(frozen=True)
class TreePlan:
    """Which nodes of which documents a sample reads; chunks are numbered through all its documents.

    `leaves` are the documents' own, or such as have jittered splits: drawn for this sample (`jittered`), or each
    document's set of a name (`splits`). `chunks` are those that are read, None for all: positions number these
    (docs/method.md §4).
    """

    documents: tuple[LocatedDocument, ...]
    leaves: tuple[Leaves, ...]
    nodes: tuple[Node, ...]
    jittered: bool = False
    chunks: tuple[int, ...] | None = None
    splits: tuple[str, ...] | None = None

    @property
    def chunk_count(self) -> int:
        """n, the number of chunks that are read."""
        return sum(len(leaves.trees) for leaves in self.leaves) if self.chunks is None else len(self.chunks)

    @property
    def tokens(self) -> int:
        """Tokens of all documents."""
        return sum(leaves.token_count for leaves in self.leaves)


def plan(
    documents: Sequence[LocatedDocument],
    values: Sequence[np.ndarray],
    *,
    jitter: float = 0.0,
    variants: int = 0,
    random: np.random.Generator | None = None,
    without: frozenset[int] = frozenset(),
) -> TreePlan:
    """Search the trees of some documents by their leaves' scores, an array [leaves] a document (docs/method.md §2).

    `jitter` is the σ of the split points as a share of a node's tokens; with `variants` they are one of so many sets
    that each document has for good. The chunks `without`, numbered through all documents, are left out, as if the text
    had never held them.
    """
    leaves = tuple(one.leaves for one in documents)
    splits: tuple[str, ...] | None = None
    if jitter and variants:
        if random is None:
            raise ValueError("a set of splits is drawn by a random generator")
        numbers = [int(random.integers(variants)) for _ in documents]
        leaves = tuple(_variant(one, jitter, number) for one, number in zip(documents, numbers, strict=True))
        splits = tuple(f"{jitter:g}-{number}" for number in numbers)
    elif jitter:
        leaves = tuple(_jittered(one, jitter, random) for one in leaves)
    trees = [tree for one in leaves for tree in one.trees]
    flat = np.concatenate(values)
    ends = np.cumsum([tree.leaf_count for tree in trees])
    parts = np.split(flat, ends[:-1])
    kept = [chunk for chunk in range(len(trees)) if chunk not in without]
    left = [trees[chunk] for chunk in kept]
    nodes = search(left, leaf_scores(left, [parts[chunk] for chunk in kept]))
    placed = tuple(node._replace(chunk=kept[node.chunk]) for node in nodes)
    live = bool(jitter) and splits is None
    return TreePlan(tuple(documents), leaves, placed, live, tuple(kept) if without else None, splits)


def chunks_of(
    documents: Sequence[LocatedDocument], document: LocatedDocument, leaves: frozenset[int]
) -> frozenset[int]:
    """The chunks, numbered through all documents, in which some leaves of one of them lie."""
    before = sum(len(one.leaves.trees) for one in documents[: documents.index(document)])
    ends = np.cumsum([tree.leaf_count for tree in document.leaves.trees])
    return frozenset(before + int(np.searchsorted(ends, leaf, side="right")) for leaf in leaves)


def _jittered(leaves: Leaves, jitter: float, random: np.random.Generator | None) -> Leaves:
    trees = [ChunkTree(tree.length, tree.config, jitter=jitter, random=random) for tree in leaves.trees]
    return replace(leaves, trees=trees)


def _variant(document: LocatedDocument, jitter: float, number: int) -> Leaves:
    """A document's set of jittered splits with a number: the same in every run, since it is kept in an index."""
    seed = [int(document.opened.content_hash[:16], 16), number, round(jitter * 1e6)]
    return _jittered(document.leaves, jitter, np.random.default_rng(seed))


class TreeSource(Protocol):
    """Where the nodes of a document come from."""

    def of(self, document: LocatedDocument, leaves: Leaves, splits: str | None) -> CompressedSource:
        """The nodes of a document's own splits, or of a named set of others; `leaves` are those with these splits."""


class StoredTrees:
    """Trees in an index, built when a document is first asked for; several processes may share the folder.

    Other splits than a document's own have an index each, in the folder `splits`.
    """

    def __init__(self, store: IndexStore, base: BaseModel, lower: LowerModel, reporter: Reporter) -> None:
        self._store = store
        self._base = base
        self._lower = lower
        self._reporter = reporter
        self._opened: dict[tuple[str, str | None], CompressedSource] = {}

    def of(self, document: LocatedDocument, leaves: Leaves, splits: str | None) -> CompressedSource:
        """See `TreeSource`; raises ResourceError where disk or memory do not suffice."""
        opened = document.opened
        place = (opened.content_hash, splits)
        if place not in self._opened:
            base = self._base
            store = self._store if splits is None else IndexStore(self._store.root / "splits" / splits, self._reporter)
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
            self._opened[place] = found or store.build_trees(
                opened.content_hash,
                key,
                leaves,
                self._lower,
                self._reporter,
                device=base.device,
                dtype=base.dtype,
            )
        return self._opened[place]


class LiveTrees:
    """Every node through the lower model each time that it is asked for."""

    def __init__(self, lower: LowerModel) -> None:
        self._lower = lower

    def of(self, document: LocatedDocument, leaves: Leaves, splits: str | None) -> CompressedSource:
        """See `TreeSource`."""
        return LiveNodes(self._lower, leaves)


class TreeReader:
    """Makes plans ready to be read by an upper model."""

    def __init__(self, upper: UpperModel, lower: LowerModel, source: TreeSource) -> None:
        self._upper = upper
        self._lower = lower
        self._source = source

    @torch.no_grad()
    def read(self, plans: Sequence[TreePlan]) -> TreeContext:
        """The trees of several samples side by side, for all layers that may learn to read them."""
        return TreeContext.side_by_side([self._context(one) for one in plans])

    def _context(self, one: TreePlan) -> TreeContext:
        names = one.splits or [None] * len(one.documents)
        sources = [
            LiveNodes(self._lower, leaves) if one.jittered else self._source.of(document, leaves, name)
            for document, leaves, name in zip(one.documents, one.leaves, names, strict=True)
        ]
        kept = JoinedNodes(sources, [len(leaves.trees) for leaves in one.leaves]).compressed(one.nodes)
        if one.chunks is not None:
            number = {chunk: place for place, chunk in enumerate(one.chunks)}
            places = torch.tensor([number[chunk] for chunk in kept.chunks.tolist()], device=kept.chunks.device)
            kept = replace(kept, chunks=places)
        context = self._upper.context(kept, one.chunk_count, closed_too=True, consume=True)
        assert context is not None
        return context
