"""The tree of all that came before: a stretch of a book as chunks, of which the policy `right` preserves nodes.

METHOD section 2: language modelling has no query, so every chunk is seen finest where it is nearest to what comes next.
Nodes are computed live, and only those that are preserved (a third of the work of an index), or read from an index that
several runs share. Both give the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from sharedllm_cli.config import Settings, StoredDtype, TreeConfig
from sharedllm_cli.context.search import search
from sharedllm_cli.context.tree import Node
from sharedllm_cli.documents.chunking import Tokens
from sharedllm_cli.documents.pages import Document, Page
from sharedllm_cli.durable import sha256_of_text
from sharedllm_cli.index.leaves import Leaves, leaves_of
from sharedllm_cli.index.manifest import LeavesKey, text_hash
from sharedllm_cli.index.nodes import CompressedSource, LiveNodes
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.evaluation.perplexity_stretches import Book
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.lower import CompressedNodes
from sharedllm_cli.model.shared import SharedModel
from sharedllm_cli.progress import Reporter
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.trees import Trees

_REFERENCE_KEYS = 512
"""A text's tree of so many keys is read with the adapter's `text_bias` as it is; each of more keys counts less."""
_PIECE_CHUNKS = 16
"""So many chunks are computed before progress is told."""
Advance = Callable[[int], None]
_Span = tuple[int, int, int]
"""A chunk: its book, and its first and end token there."""


@dataclass(frozen=True)
class StretchTree:
    """A stretch's tree as the upper model reads it; None where no gate is open."""

    context: TreeContext | None
    keys: int


class StretchTrees:
    """Trees of stretches of books. `store` None: computed live, and a chunk once for all stretches that hold it."""

    def __init__(self, shared: SharedModel, settings: Settings, store: IndexStore | None, reporter: Reporter) -> None:
        self._shared = shared
        self._stored_dtype: StoredDtype = settings.stored_dtype  # type: ignore[assignment]
        self._store = store
        self._trees = None if store is None else Trees(store, shared, settings, reporter)
        self._known: dict[_Span, CompressedNodes] = {}

    def read(self, book: Book, first: int, end: int, advance: Advance) -> StretchTree:
        """The tree of tokens `[first, end)` of a book; chunks are counted from `first`, the last one may be shorter.

        `advance` is told how many tokens are done. Raises ResourceError where memory or disk is short.
        """
        opened = stretch_document(book, first, end, self._shared.base.tokenizer_hash, self._shared.tree)
        nodes = preserved(opened.leaves)
        if self._store is None:
            found = self._live(book, first, opened.leaves, nodes, advance)
        else:
            found = self._indexed(opened).compressed(nodes)
            advance(end - first)
        keys = int(found.chunks.numel())
        context = self._shared.upper.context(found, opened.chunks, consume=True)
        bias = self._shared.adapter.config.text_bias
        if context is not None and bias is not None:
            context = replace(context, bias=bias - math.log(keys / _REFERENCE_KEYS))
        return StretchTree(context, keys)

    def forget(self, kept: Collection[int]) -> None:
        """Free the chunks of all books but these."""
        self._known = {span: nodes for span, nodes in self._known.items() if span[0] in kept}

    def _indexed(self, opened: OpenDocument) -> CompressedSource:
        assert self._store is not None
        assert self._trees is not None
        self._store.write_text(opened.document)
        return self._trees.find(opened) or self._trees.build(opened)

    def _live(self, book: Book, first: int, leaves: Leaves, nodes: list[Node], advance: Advance) -> CompressedNodes:
        """All nodes, chunk after chunk; those of chunks that are not known yet are computed."""
        by_chunk = {chunk: list(group) for chunk, group in groupby(nodes, key=lambda node: node.chunk)}
        spans = {chunk: self._span(book, first, leaves, chunk) for chunk in by_chunk}
        missing = [chunk for chunk in by_chunk if spans[chunk] not in self._known]
        advance(leaves.token_count - sum(leaves.trees[chunk].length for chunk in missing))
        base = self._shared.base
        source = LiveNodes(self._shared.lower, leaves, stored_dtype=self._stored_dtype, dtype=base.dtype)
        for start in range(0, len(missing), _PIECE_CHUNKS):
            piece = missing[start : start + _PIECE_CHUNKS]
            found = source.compressed([node for chunk in piece for node in by_chunk[chunk]])
            self._known.update((spans[chunk], part) for chunk, part in _by_chunk(found))
            advance(sum(leaves.trees[chunk].length for chunk in piece))
        parts = [self._known[spans[chunk]] for chunk in by_chunk]
        counts = torch.tensor([part.chunks.numel() for part in parts])
        return CompressedNodes(
            torch.cat([part.keys for part in parts], dim=2).to(base.device),
            torch.cat([part.values for part in parts], dim=2).to(base.device),
            torch.repeat_interleave(torch.tensor(list(by_chunk)), counts).to(base.device),
            self._shared.lower.first_layer,
        )

    @staticmethod
    def _span(book: Book, first: int, leaves: Leaves, chunk: int) -> _Span:
        start = first + leaves.chunk_starts[chunk]
        return book.place, start, start + leaves.trees[chunk].length


def stretch_document(book: Book, first: int, end: int, tokenizer_hash: str, tree: TreeConfig) -> OpenDocument:
    """Tokens `[first, end)` of a book as a document of its own, in memory, cut into chunks from its first token."""
    tokens = book.tokens
    start, stop = int(tokens.starts[first]), int(tokens.ends[end - 1])
    cut = Tokens(tokens.ids[first:end], tokens.starts[first:end] - start, tokens.ends[first:end] - start)
    text = book.text[start:stop]
    # Named by its place, too: the same words, read from a file of their own, could be other tokens.
    content_hash = sha256_of_text(f"{book.text_hash} {first} {end}")
    page = Page(1, None, 0, len(text), text)
    document = Document(f"{book.name} {first}-{end}", None, "text", content_hash, text, (page,), paged=False)
    key = LeavesKey(text_hash(document), tokenizer_hash, tree)
    return OpenDocument(document, leaves_of(text, cut, tree), key, False, Path())


def preserved(leaves: Leaves) -> list[Node]:
    """The nodes that the policy `right` preserves: all scores are equal, and ties go right (METHOD section 2)."""
    return search(leaves.trees, lambda nodes: np.zeros(len(nodes)))


def _by_chunk(nodes: CompressedNodes) -> Iterator[tuple[int, CompressedNodes]]:
    """The nodes of each chunk, in memory of their own, off the accelerator."""
    for chunk in torch.unique_consecutive(nodes.chunks).tolist():
        slots = nodes.chunks == chunk
        keys, values = nodes.keys[:, :, slots].cpu(), nodes.values[:, :, slots].cpu()
        yield chunk, CompressedNodes(keys, values, nodes.chunks[slots], nodes.first_layer)
