"""The trees of the opened documents: found on disk or built, searched for a question, and made ready to be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from sharedllm_cli.answer import Stretch, TreeRead
from sharedllm_cli.config import Settings, StoredDtype
from sharedllm_cli.context.search import search
from sharedllm_cli.context.tree import Node
from sharedllm_cli.index.leaves import LeafStates
from sharedllm_cli.index.manifest import ATTENDED, StatesKey, TreesKey, fingerprint
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.memory import memory_for
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.shared import SharedModel
from sharedllm_cli.progress import Reporter
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.scoring import LeafMeaning, Scored, score_documents
from sharedllm_cli.reading.sources import TokenRanges

if TYPE_CHECKING:
    from sharedllm_cli.index.nodes import CompressedSource, StoredNodes

LONG_TOKENS = 16384
"""Building the trees of a longer document takes a processor a minute or more, which is worth a word beforehand."""


@dataclass(frozen=True)
class OpenTrees:
    """The trees of all documents of a question. `hit`: all were on disk; `seconds` went into building the others."""

    nodes: list[StoredNodes]
    hit: bool
    seconds: float


@dataclass(frozen=True)
class TreeReading:
    """The tree of a question: what the upper model reads of it, and what is told of that.

    `tokens` are those that it compresses; `hit`: all trees were on disk; `seconds` went into building the others.
    `stretches`: where its nodes stand in the documents.
    """

    context: TreeContext | None
    told: TreeRead
    tokens: int
    hit: bool
    seconds: float = 0.0
    stretches: tuple[Stretch, ...] = ()

    @staticmethod
    def none(policy: str) -> TreeReading:
        """No tree is read."""
        return TreeReading(None, TreeRead(0, 0, None, policy), 0, False)


class Trees:
    """Trees of documents for one model, kept in a store."""

    def __init__(self, store: IndexStore, shared: SharedModel, settings: Settings, reporter: Reporter) -> None:
        self._store = store
        self._shared = shared
        self._stored_dtype: StoredDtype = settings.stored_dtype  # type: ignore[assignment]
        self._policy = settings.policy
        self._reporter = reporter
        self._told_of_vectors = False
        self._states: dict[str, LeafStates] = {}

    def key(self, opened: OpenDocument) -> TreesKey:
        """What identifies the trees of a document for this model."""
        base, lower = self._shared.base, self._shared.lower
        quantize = base.quantize_of(lower.lower_layers)
        return TreesKey(
            opened.leaves_key,
            base.name,
            base.weights_hash,
            lower.lower_layers,
            self._stored_dtype,
            quantize,
            lower.first_layer,
        )

    def states_key(self, opened: OpenDocument) -> StatesKey:
        """What identifies the stored late-interaction states of a document for this model."""
        base = self._shared.base
        return StatesKey(opened.leaves_key, base.name, base.weights_hash, ATTENDED, base.quantize_of(1))

    def states(self, documents: Sequence[OpenDocument]) -> list[LeafStates | None]:
        """The stored late-interaction states of documents, None where there are none.

        They stay in memory for the next question, and go when their documents are no longer asked.
        """
        keys = [fingerprint(self.states_key(opened)) for opened in documents]
        self._states = {key: states for key, states in self._states.items() if key in keys}
        for opened, key in zip(documents, keys, strict=True):
            if key not in self._states:
                states = self._store.read_states(opened.content_hash, self.states_key(opened))
                if states is not None:
                    self._states[key] = states
        return [self._states.get(key) for key in keys]

    def score(self, query: str, documents: Sequence[OpenDocument], policy: str, meaning: LeafMeaning | None) -> Scored:
        """The scores of documents' leaves, from what is stored of them as far as a policy uses it."""
        return score_documents(
            query,
            documents,
            self._shared.base,
            self._shared.lower,
            policy,
            nodes=lambda: self.vectors(documents),
            stored_states=self.states(documents) if policy == "late" else [None] * len(documents),
            cosines=None if meaning is None else meaning.cosines,
        )

    def find(self, opened: OpenDocument) -> StoredNodes | None:
        """The stored trees, None where there are none; StoredIndexError where they are damaged."""
        base = self._shared.base
        key = self.key(opened)
        return self._store.open_trees(opened.content_hash, key, opened.leaves, device=base.device, dtype=base.dtype)

    def why_new(self, opened: OpenDocument) -> str | None:
        """Why trees that are on disk can't serve; None where there never were any, or they do."""
        return self._store.explain_new(opened.path, opened.content_hash, [self.key(opened)])

    def build(self, opened: OpenDocument) -> StoredNodes:
        """Build the trees, going on where an interrupted run stopped; ResourceError where disk or memory is short."""
        base, lower = self._shared.base, self._shared.lower
        key = self.key(opened)
        return self._store.build_trees(
            opened.content_hash,
            key,
            opened.leaves,
            lower,
            self._reporter,
            device=base.device,
            dtype=base.dtype,
            replicas=self._shared.lower_replicas,
        )

    def build_missing(self, opened: OpenDocument) -> bool:
        """`build` without opening them: whether anything was built here, and not by another process meanwhile."""
        shared = self._shared
        return self._store.build_missing_trees(
            opened.content_hash,
            self.key(opened),
            opened.leaves,
            shared.lower,
            self._reporter,
            replicas=shared.lower_replicas,
        )

    def vectors(self, documents: Sequence[OpenDocument]) -> CompressedSource:
        """Where the paper's node vectors come from: stored trees, else the lower model, each time anew."""
        from sharedllm_cli.index.nodes import JoinedNodes, LiveNodes

        stored = [self.find(opened) for opened in documents]
        if None in stored and not self._told_of_vectors:
            self._told_of_vectors = True
            self._reporter.note(
                "paper-cosine runs every leaf through one layer at every question until `sharedllm index` has stored"
                " the trees"
            )
        found: list[CompressedSource] = [
            nodes or LiveNodes(self._shared.lower, opened.leaves, reporter=self._reporter)
            for opened, nodes in zip(documents, stored, strict=True)
        ]
        return JoinedNodes(found, [opened.chunks for opened in documents])

    def open(self, documents: Sequence[OpenDocument]) -> OpenTrees:
        """The trees of all documents; builds those that are missing, ResourceError where disk or memory is short."""
        found = [self.find(opened) for opened in documents]
        hit = None not in found
        started = perf_counter()
        nodes = [stored or self._build_told(opened) for opened, stored in zip(documents, found, strict=True)]
        return OpenTrees(nodes, hit, 0.0 if hit else perf_counter() - started)

    def read(
        self,
        documents: Sequence[OpenDocument],
        opened_trees: OpenTrees,
        scored: Scored,
        allowed: Sequence[TokenRanges | None],
    ) -> TreeReading:
        """Search the trees of all documents and rotate their preserved nodes.

        `allowed` bounds the reading to the chunks that touch some tokens of each document (None: all).
        """
        from sharedllm_cli.index.nodes import JoinedNodes

        trees = [tree for opened in documents for tree in opened.leaves.trees]
        chunks = _readable_chunks(documents, allowed)
        number = {chunk: place for place, chunk in enumerate(chunks)}
        nodes = [node for node in search(trees, scored.nodes) if node.chunk in number]
        with memory_for(
            f"hold the tree of {len(chunks)} chunks", "ask of fewer --pages or documents, or use --no-tree"
        ):
            kept = JoinedNodes(opened_trees.nodes, [opened.chunks for opened in documents]).compressed(nodes)
            # Positions number the chunks that are read (docs/method.md §4), not those that were left out.
            places = torch.tensor([number[chunk] for chunk in kept.chunks.tolist()], device=kept.chunks.device)
            context = self._shared.upper.context(replace(kept, chunks=places), len(chunks), consume=True)
            if context is not None:
                self._shared.upper.check_reading(context)
        tokens, keys = sum(trees[chunk].length for chunk in chunks), len(places)
        told = TreeRead(len(nodes), keys, round(tokens / keys, 2), self._policy)
        stretches = tuple(_stretches(documents, nodes))
        return TreeReading(context, told, tokens, opened_trees.hit, opened_trees.seconds, stretches)

    def _build_told(self, opened: OpenDocument) -> StoredNodes:
        if reason := self.why_new(opened):
            self._reporter.note(f"{opened.name} is indexed anew: {reason}")
        if opened.tokens > LONG_TOKENS:
            self._reporter.note(f"{opened.name} is long and is indexed once; --no-tree answers from passages at once")
        return self.build(opened)


def _stretches(documents: Sequence[OpenDocument], nodes: Sequence[Node]) -> Iterator[Stretch]:
    """The nodes as tokens of their documents."""
    places = [
        (opened.name, start, tree)
        for opened in documents
        for start, tree in zip(opened.leaves.chunk_starts, opened.leaves.trees, strict=True)
    ]
    for node in nodes:
        name, first, tree = places[node.chunk]
        span = tree.span(node.level, node.index)
        yield Stretch(name, int(first) + span.start, int(first) + span.end, node.level)


def _readable_chunks(documents: Sequence[OpenDocument], allowed: Sequence[TokenRanges | None]) -> list[int]:
    """The chunks that may be read, numbered through all documents: all, or those that touch the tokens allowed."""
    chunks: list[int] = []
    first_chunk = 0
    for opened, bounds in zip(documents, allowed, strict=True):
        leaves = opened.leaves
        ranges = [(0, opened.tokens)] if bounds is None else bounds
        for place, (start, tree) in enumerate(zip(leaves.chunk_starts, leaves.trees, strict=True)):
            if any(start < end and first < start + tree.length for first, end in ranges):
                chunks.append(first_chunk + place)
        first_chunk += opened.chunks
    return chunks
