"""Texts as tokens, which of them are scored, and the tree of all that came before a stretch.

Stretches of every length end in the same places. Language modelling has no query (METHOD section 2): the policy `right`
preserves nodes, so every chunk is seen finest where it is nearest to what comes next. Nodes are computed live, and only
those that are preserved (a third of the work of an index), or read from an index that several runs share. Both give the
same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sharedllm_cli.config import Settings, StoredDtype, TreeConfig
from sharedllm_cli.context.search import search
from sharedllm_cli.context.tree import Node
from sharedllm_cli.documents import readers
from sharedllm_cli.documents.chunking import Tokens, tokenize
from sharedllm_cli.documents.pages import Document, Page
from sharedllm_cli.documents.sources import expand
from sharedllm_cli.durable import sha256_of_text
from sharedllm_cli.errors import UsageError
from sharedllm_cli.index.leaves import Leaves, leaves_of
from sharedllm_cli.index.manifest import LeavesKey, text_hash
from sharedllm_cli.index.nodes import CompressedSource, LiveNodes
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.training.records import DataFile, read_records
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.lower import CompressedNodes
from sharedllm_cli.model.shared import SharedModel
from sharedllm_cli.progress import Reporter
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.trees import Trees

_RECORDS = (".jsonl", ".jsonl.gz", ".jsonl.xz")


@dataclass(frozen=True)
class Book:
    """One text and its tokens, none of them a control token. `place` is its number among the texts of the run."""

    place: int
    name: str
    text: str
    text_hash: str
    tokens: Tokens


@dataclass(frozen=True)
class Sizes:
    """Tokens of a stretch that are read as plain text: `recent` ones, and after them the `scored` ones."""

    recent: int = 2048
    scored: int = 512

    @property
    def plain(self) -> int:
        """Tokens at a stretch's end that no tree holds."""
        return self.recent + self.scored


@dataclass(frozen=True)
class Stretch:
    """`length` tokens of a book that end before token `end`."""

    book: int
    length: int
    end: int

    @property
    def start(self) -> int:
        """The first token."""
        return self.end - self.length


@dataclass(frozen=True)
class Skipped:
    """A length that a text is too short for."""

    text: str
    tokens: int
    length: int


@dataclass(frozen=True)
class Plan:
    """What is scored: stretches by book, end and length; what is not; and how many ends each book has."""

    stretches: tuple[Stretch, ...]
    skipped: tuple[Skipped, ...]
    ends: tuple[int, ...]

    def by_book(self) -> Iterator[tuple[int, list[Stretch]]]:
        """Each book that has stretches, with them."""
        for book in sorted({stretch.book for stretch in self.stretches}):
            yield book, [stretch for stretch in self.stretches if stretch.book == book]


def read_texts(
    files: Sequence[DataFile], *, last: int | None, skip_bad_lines: bool, reporter: Reporter
) -> list[tuple[str, str]]:
    """Name and text of every document: those of JSON Lines one by one (of each file the last N), else what `ask` reads.

    Raises DocumentError for a file that can't be read.
    """
    found: list[tuple[str, str]] = []
    for file in files:
        if file.path.name.endswith(_RECORDS):
            records = read_records(file.path, skip_bad_lines=skip_bad_lines, reporter=reporter)
            first = 0 if last is None else max(0, len(records) - last)
            found += [(f"{file.path.name}:{number}", record.document) for number, record in enumerate(records, 1)][
                first:
            ]
        else:
            found += [
                (source.name, readers.read(source, reporter=reporter).text) for source in expand([str(file.path)])
            ]
    return found


def tokenized(texts: Sequence[tuple[str, str]], tokenizer: Any, reporter: Reporter) -> list[Book]:
    """The texts as books, numbered in their order."""
    books = []
    with reporter.task("Counting tokens", len(texts), "texts") as task:
        for place, (name, text) in enumerate(texts):
            books.append(Book(place, name, text, sha256_of_text(text), tokenize(text, tokenizer)))
            task.advance(1)
    return books


def plan(
    books: Sequence[Book], lengths: Sequence[int], *, ends: int, sizes: Sizes, chunk_tokens: int, seed: int
) -> Plan:
    """Spread `ends` places over each book, each drawn in a part of its own; a stretch of every length ends there.

    So all lengths score the same tokens of a book, unless it is too short for some, which is told. Ends are whole
    chunks apart, so that stretches share their chunks, and far enough that no token is scored twice; a short book has
    fewer.
    Raises UsageError where no book is long enough for any length.
    """
    step = -(-sizes.scored // chunk_tokens) * chunk_tokens
    stretches: list[Stretch] = []
    skipped: list[Skipped] = []
    counts: list[int] = []
    for book in books:
        tokens = len(book.tokens)
        fitting = [length for length in lengths if length <= tokens]
        skipped += [Skipped(book.name, tokens, length) for length in lengths if length > tokens]
        drawn = _spread((tokens - max(fitting)) // step + 1, ends, [seed, book.place]) if fitting else []
        counts.append(len(drawn))
        stretches += [Stretch(book.place, length, max(fitting) + step * one) for one in drawn for length in fitting]
    if not stretches:
        longest = max((len(book.tokens) for book in books), default=0)
        raise UsageError(
            f"the longest text has {longest:,} tokens, fewer than any of --lengths",
            hint="give longer texts, or shorter lengths",
        )
    return Plan(tuple(stretches), tuple(skipped), tuple(counts))


def _spread(places: int, wanted: int, seed: Sequence[int]) -> list[int]:
    """At most `wanted` of 0..places−1, ascending: one drawn from each of as many equal parts."""
    random = np.random.default_rng(list(seed))
    parts = min(wanted, places)
    edges = [part * places // parts for part in range(parts + 1)]
    return [int(random.integers(edges[part], edges[part + 1])) for part in range(parts)]


def has_other(books: Sequence[Book], place: int, tokens: int) -> bool:
    """Whether all other books together have so many tokens."""
    return sum(len(book.tokens) for book in books if book.place != place) >= tokens


def other_book(books: Sequence[Book], place: int, tokens: int) -> Book | None:
    """Whose tree is the wrong one of book `place`: the next book, in a circle, with so many tokens.

    Where none has as many, all others as one text, in that order, with a place after all books; None where these, too,
    are too short.
    """
    following = [books[(place + step) % len(books)] for step in range(1, len(books))]
    for book in following:
        if len(book.tokens) >= tokens:
            return book
    if not has_other(books, place, tokens):
        return None
    return _joined(following, len(books) + place)


def _joined(books: Sequence[Book], place: int) -> Book:
    """Texts one after another as a book; its tokens are theirs."""
    offsets = np.cumsum([0, *(len(book.text) for book in books)], dtype=np.int32)[:-1]
    tokens = Tokens(
        np.concatenate([book.tokens.ids for book in books]),
        np.concatenate([book.tokens.starts + offset for book, offset in zip(books, offsets, strict=True)]),
        np.concatenate([book.tokens.ends + offset for book, offset in zip(books, offsets, strict=True)]),
    )
    text = "".join(book.text for book in books)
    return Book(place, " + ".join(book.name for book in books), text, sha256_of_text(text), tokens)


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
