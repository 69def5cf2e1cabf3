"""The documents of a conversation: read from their files once, from then on opened from their indexes.

Of the opened ones, the part that a question names in quotation marks (`retrieval/sections.py`), as leaves.
Knows documents and indexes; of the model only its tokenizer.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sharedllm_cli.answer import NotRead
from sharedllm_cli.config import TreeConfig
from sharedllm_cli.documents import readers
from sharedllm_cli.documents.pages import Attachment, Document
from sharedllm_cli.documents.readers import Limits, Probe
from sharedllm_cli.documents.sources import SourceFile, expand, told
from sharedllm_cli.errors import DocumentError, SharedLLMError
from sharedllm_cli.index.leaves import Leaves, build_leaves
from sharedllm_cli.index.manifest import LeavesKey, text_hash
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.index.stored import StoredDocument
from sharedllm_cli.progress import Reporter
from sharedllm_cli.retrieval import bm25
from sharedllm_cli.retrieval.listings import listings
from sharedllm_cli.retrieval.sections import Heading, NamedPart, Titled, headings, named_part
from sharedllm_cli.retrieval.tables import BAR, tables

if TYPE_CHECKING:
    from sharedllm_cli.retrieval.tables import Rows

KEPT_BYTES = 1 << 26
"""So many bytes of new documents are kept in memory, to check quotes without reading the files again."""


@dataclass(frozen=True)
class OpenDocument:
    """A document ready to be asked: its text and pages, its leaves, and where its index lies.

    `text_hit` is True where text and leaves were found on disk, so that the file was hashed but not parsed. `data` are
    the file's bytes where it was just read. `attached`: it is no file of its own, but carried by another document.
    """

    document: Document
    leaves: Leaves
    leaves_key: LeavesKey
    text_hit: bool
    index_path: Path
    data: bytes | None = field(default=None, repr=False, compare=False)
    attached: bool = False

    @property
    def name(self) -> str:
        return self.document.name

    @property
    def path(self) -> str | None:
        return self.document.path

    @property
    def content_hash(self) -> str:
        return self.document.content_hash

    @property
    def pages(self) -> int:
        return self.document.page_count

    @property
    def tokens(self) -> int:
        return self.leaves.token_count

    @property
    def chunks(self) -> int:
        return len(self.leaves.trees)

    @property
    def parts(self) -> int:
        return self.document.parts

    @property
    def paged(self) -> bool:
        return self.document.paged

    @property
    def pages_without_text(self) -> tuple[int, ...]:
        return self.document.pages_without_text

    @cached_property
    def listings(self) -> list[tuple[int, int]]:
        """The spans of the document's lists of contents and figures and of its index, in characters."""
        return listings(self.document.text)

    @cached_property
    def rows(self) -> Rows | None:
        """The rows of the document's tables; None where it has none that name their columns."""
        text = self.document.text
        found = tables(text) if BAR in text or "  " in text else []
        spans = self.leaves.leaf_spans
        if not found or not len(spans):
            return None
        from sharedllm_cli.retrieval.tables import Rows

        return Rows(text, found, self.leaves.tokens.starts[spans[:, 0]])

    @cached_property
    def titled(self) -> Titled:
        """What names the parts of the document: its outline, by where the pages begin."""
        starts = {page.counted: page.start for page in reversed(self.document.pages)}
        outline = [(entry.title, entry.level, starts.get(entry.page, 0)) for entry in self.document.outline]
        return Titled(self.document.name, self.document.text, outline)

    @cached_property
    def _headings(self) -> list[Heading]:
        """The headings of the outline, where each stands in the text; lines that look like one are only a guess."""
        return sorted(headings(self.titled), key=lambda one: one.start) if self.document.outline else []

    def heading_over(self, start: int, end: int) -> str | None:
        """The title of the part that holds some characters of the text; of several the first and the last.

        None where no outline tells.
        """
        starts = [heading.start for heading in self._headings]
        first, last = bisect_right(starts, start) - 1, bisect_right(starts, max(start, end - 1)) - 1
        part = self.document.page_at(start).part
        titles = [
            heading.title
            for heading in self._headings[max(first, 0) : last + 1]
            if part is None or self.document.page_at(heading.start).part == part
        ]
        return " – ".join(dict.fromkeys([titles[0], titles[-1]])) if titles else None


@dataclass(frozen=True)
class KnownDocument:
    """What a collection knows of a document without opening it; `date`: when its file changed, in seconds since 1970.

    `headings`: title, level, page as counted, and whether only its form says that it is one. `called`: its name where
    `name` tells it apart from others of that name.
    """

    name: str
    path: str
    pages: int
    paged: bool
    tokens: int
    headings: tuple[tuple[str, int, int, bool], ...] = ()
    date: float | None = None
    content_hash: str = ""
    kind: str = ""
    called: str = ""


class Collected(Protocol):
    """Documents of collections: too many to be open at once. Each question opens those that fit it best."""

    @property
    def label(self) -> str:
        """What the user calls them (`@notes`)."""

    @property
    def documents(self) -> int:
        """How many documents there are."""

    @property
    def labels(self) -> list[str]:
        """The same, one by one."""

    def narrow(self, library: Library, questions: Sequence[str], *, trees: bool = False) -> Library:
        """The library with the documents opened that fit questions best, the latest first; few where trees are read."""

    @property
    def failures(self) -> list[tuple[str, SharedLLMError]]:
        """The files that could not be read, and why."""

    def known(self) -> list[KnownDocument]:
        """Every document, by path."""

    def holding(self, text: str) -> Iterator[OpenDocument]:
        """Every document that holds all words of a text in some form, opened one by one."""

    def every(self) -> Iterator[OpenDocument]:
        """Every document, opened one by one."""

    def of_names(self, names: set[str]) -> list[OpenDocument]:
        """The documents of these names, opened."""

    def answered(self, names: set[str]) -> None:
        """Note that an answer rested on the documents of these names."""


@dataclass(frozen=True)
class Extent:
    """How much of a collection's text is not open."""

    documents: int = 0
    tokens: int = 0
    chunks: int = 0
    pages: int = 0


@dataclass
class Library:
    """The opened documents in the order given, and those that could not be read with the reason.

    Every answer repeats the `warnings` of opening. `not_read` are other files of folders and patterns. With a
    `collection` the documents are those of one question (`narrowed`: `asked`), before it those named beside it.
    """

    documents: list[OpenDocument]
    failures: list[tuple[str, SharedLLMError]] = field(default_factory=list)
    read_seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    not_read: list[NotRead] = field(default_factory=list)
    collection: Collected | None = None
    beyond: Extent = Extent()  # what is not open
    asked: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        return sum(document.tokens for document in self.documents) + self.beyond.tokens

    @property
    def chunks(self) -> int:
        return sum(document.chunks for document in self.documents) + self.beyond.chunks

    @property
    def pages(self) -> int:
        return sum(document.pages for document in self.documents) + self.beyond.pages

    @property
    def several(self) -> bool:
        """Whether sources name their document."""
        return self.collection is not None or len(self.documents) > 1

    def opened_for(self, names: set[str]) -> list[OpenDocument]:
        """The documents that sources of these names are of, open."""
        found = [opened for opened in self.documents if opened.name in names]
        left = names - {opened.name for opened in found}
        return [*found, *self.collection.of_names(left)] if self.collection and left else found

    def narrowed(self, *questions: str, trees: bool = False) -> Library:
        """The library as a question reads it: itself, but for a collection, which opens the documents that fit best.

        `questions` are the question and those before it that it may lean on, the latest first.
        """
        if self.collection is None or self.asked:
            return self
        return self.collection.narrow(self, questions, trees=trees)


class Shelf:
    """Opens documents for one tokenizer and tree; keeps their text and leaves in the store.

    `tokenizer` gives the tokenizer, and is called only for a document whose leaves are not stored yet.
    """

    def __init__(
        self,
        store: IndexStore,
        tokenizer: Callable[[], Any],
        tokenizer_hash: str,
        tree: TreeConfig,
        reporter: Reporter,
        *,
        password: str | None = None,
        limits: Limits | None = None,
        probe: Probe | None = None,
        keep: bool = True,
    ) -> None:
        """`keep`: keep the bytes of new documents, as far as `KEPT_BYTES` go."""
        self._store = store
        self._tokenizer = tokenizer
        self._tokenizer_hash = tokenizer_hash
        self._tree = tree
        self._reporter = reporter
        self._password = password
        self._limits = limits or Limits()
        self._probes = {} if probe is None else {probe.source: probe}
        self._room = KEPT_BYTES if keep else -1

    def open(self, arguments: Sequence[str], *, reindex: bool = False) -> Library:
        """Open every document that the arguments name, each content once.

        A document that can't be read is a failure of its own and the rest go on; raises the first failure where no
        document could be read, and StoredIndexError where an index is damaged. With `reindex` nothing of an index is
        used; it is discarded once the document was read, so that it stays where that fails.
        """
        missing: list[tuple[str, DocumentError]] = []
        passed_over: dict[str, list[NotRead]] = {}
        sources = expand(arguments, missing, passed_over)
        library = Library([], [*missing], not_read=[file for files in passed_over.values() for file in files])
        for argument, files in passed_over.items():
            self._reporter.warn(told(argument, files))
        try:
            self.open_into(library, sources, reindex=reindex)
        finally:
            readers.rest()
        if not library.documents:
            raise library.failures[0][1]
        return library

    def open_into(self, library: Library, sources: Sequence[SourceFile], *, reindex: bool = False) -> None:
        """Open some files into a library, each content once; those that can't be read are among its failures."""
        by_content = {opened.content_hash: opened for opened in library.documents}
        for source in sources:
            probe = self._probes.pop(source, None) or self._store.probe(source, self._password, self._limits)
            try:
                opened = by_content.get(probe.content_hash) or self._open_one(probe, reindex=reindex)
            except DocumentError as failure:
                library.failures.append((source.name, failure))
                # A portfolio's cover may have no text of its own.
                self._open_attached(probe, probe.attachments, library, by_content, reindex=reindex)
                continue
            twin = by_content.setdefault(opened.content_hash, opened)
            if (twin.name, twin.path) == (source.name, _text(source.path)):
                library.documents.append(opened)
                self._open_attached(probe, opened.document.attachments, library, by_content, reindex=reindex)
            else:
                if source.path is not None:
                    self._store.seen_too(twin.content_hash, str(source.path))
                self._reporter.note(f"{source.name} has the same content as {twin.name} and is read once")

    def _open_attached(
        self,
        outer: Probe,
        attachments: Sequence[Attachment],
        library: Library,
        by_content: dict[str, OpenDocument],
        *,
        reindex: bool,
    ) -> None:
        """Open what a document carries as documents of their own, named `outer.pdf › inner.pdf`; one level deep."""
        for file in attachments:
            probe = outer.carried(file)
            source = probe.source
            if file.content_hash in by_content:
                self._reporter.note(
                    f"{source.name} has the same content as {by_content[file.content_hash].name} and is read once"
                )
                continue
            try:
                opened = replace(self._open_one(probe, reindex=reindex), attached=True)
            except DocumentError as failure:
                self._reporter.warn(f"{failure.message}: the attachment is not read")
                continue
            by_content[opened.content_hash] = opened
            library.documents.append(opened)
            if inner := [one.name for one in opened.document.attachments]:
                self._reporter.warn(f"attachments not read in {source.name}: {', '.join(inner)}")

    def _open_one(self, probe: Probe, *, reindex: bool) -> OpenDocument:
        """Open a document from what is stored of it, or anew where nothing is or with `reindex`."""
        if reindex:
            return self._made(probe, discard=True)
        source, content_hash = probe.source, probe.content_hash
        path = _text(source.path)
        stored = self._store.open(content_hash, source.name, path)
        document = stored.text() if stored else None
        if stored is None or document is None or not document.serves(ocr=self._limits.ocr):
            if document is None and (reason := self._store.explain_new(path, content_hash)):
                self._reporter.note(f"{source.name} is read again: {reason}")
            return self._made(probe, stored)
        document = readers.named(document, source)
        stored.mark_used()
        self._store.seen(content_hash, source.name, path, stored, probe.stamp)
        for warning in document.warnings:
            self._reporter.warn(warning)
        key = self._leaves_key(document)
        leaves = stored.leaves(key)
        if leaves is not None:
            return OpenDocument(document, leaves, key, True, stored.folder)
        if reason := self._store.explain_new(path, content_hash, [key]):
            self._reporter.note(f"{source.name} is split again: {reason}")
        leaves = build_leaves(document, self._tokenizer(), self._tree)
        self._store.write_leaves(content_hash, key, leaves)
        return OpenDocument(document, leaves, key, False, stored.folder)

    def _made(self, probe: Probe, stored: StoredDocument | None = None, *, discard: bool = False) -> OpenDocument:
        """Read and split a document, and store it; leaves that are `stored` of the same text go on serving.

        With `discard` all that is stored of it goes, and only then: trees may have taken hours.
        """
        document = probe.read(self._reporter)
        key = self._leaves_key(document)
        content_hash = document.content_hash  # of the bytes that were read, should the file just have changed
        leaves = stored.leaves(key) if stored else None
        if leaves is None:
            leaves = build_leaves(document, self._tokenizer(), self._tree)
        if discard:
            self._store.discard(content_hash)
        folder = self._store.write(document, key, leaves, probe.stamp)
        return OpenDocument(document, leaves, key, False, folder, self._kept(probe.data))

    def _kept(self, data: bytes) -> bytes | None:
        """A new document's bytes, for its quotes to be checked against, as long as all of them fit."""
        if len(data) > self._room:
            return None
        self._room -= len(data)
        return data

    def _leaves_key(self, document: Document) -> LeavesKey:
        return LeavesKey(text_hash(document), self._tokenizer_hash, self._tree)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def named_in(question: str, documents: Sequence[OpenDocument]) -> NamedPart | None:
    """The part that a question names, unless nothing else that it asks stands in the documents."""
    part = named_part(question, [opened.titled for opened in documents])
    if part is None:
        return None
    rest = bm25.scores(part.question, [opened.leaves.lexical for opened in documents])
    return part if rest.matched else None


def leaves_inside(opened: OpenDocument, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """Which leaves have some of their text in one of the spans of characters: [leaves]."""
    leaves = opened.leaves
    starts = leaves.tokens.starts[leaves.leaf_spans[:, 0]]
    ends = leaves.tokens.ends[leaves.leaf_spans[:, 1] - 1]
    found = np.zeros(leaves.leaf_count, dtype=bool)
    for start, end in spans:
        found |= (ends > start) & (starts < end)
    return found


def part_first(
    scores: Sequence[np.ndarray], documents: Sequence[OpenDocument], spans: Sequence[Sequence[tuple[int, int]]]
) -> list[np.ndarray]:
    """The scores, in which leaves of a part that was named in quotation marks come before all others."""
    highest = max((float(values.max(initial=0.0)) for values in scores), default=0.0)
    return [
        values + np.where(leaves_inside(opened, own) & (values > 0), highest, 0.0)
        for values, opened, own in zip(scores, documents, spans, strict=True)
    ]
