"""The documents of a conversation: read from their files once, from then on opened from their indexes.

Knows documents and indexes; of the model only its tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharedllm_cli.answer import NotRead
from sharedllm_cli.config import TreeConfig
from sharedllm_cli.documents import readers
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.documents.sources import SourceFile, expand
from sharedllm_cli.documents.unread import told
from sharedllm_cli.errors import DocumentError, SharedLLMError
from sharedllm_cli.index.leaves import Leaves, build_leaves
from sharedllm_cli.index.manifest import LeavesKey, text_hash
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Reporter


@dataclass(frozen=True)
class OpenDocument:
    """A document ready to be asked: its text and pages, its leaves, and where its index lies.

    `text_hit` is True where text and leaves were found on disk, so that the file was hashed but not parsed.
    """

    document: Document
    leaves: Leaves
    leaves_key: LeavesKey
    text_hit: bool
    index_path: Path

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


@dataclass
class Library:
    """The opened documents in the order given, and those that could not be read with the reason.

    `warnings` are those of opening (damaged pages, an adapter of other weights): every answer repeats them.
    `not_read` are the files that folders and patterns hold besides.
    """

    documents: list[OpenDocument]
    failures: list[tuple[str, SharedLLMError]] = field(default_factory=list)
    read_seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    not_read: list[NotRead] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return sum(document.tokens for document in self.documents)

    @property
    def chunks(self) -> int:
        return sum(document.chunks for document in self.documents)


class Shelf:
    """Opens documents for one tokenizer and tree; keeps their text and leaves in the store."""

    def __init__(
        self,
        store: IndexStore,
        tokenizer: Any,
        tokenizer_hash: str,
        tree: TreeConfig,
        reporter: Reporter,
        *,
        password: str | None = None,
    ) -> None:
        self._store = store
        self._tokenizer = tokenizer
        self._tokenizer_hash = tokenizer_hash
        self._tree = tree
        self._reporter = reporter
        self._password = password

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
        renewed: set[str] = set()
        for source in sources:
            try:
                opened = self._open_one(source, renewed if reindex else None)
            except DocumentError as failure:
                library.failures.append((source.name, failure))
                continue
            twin = next((one for one in library.documents if one.content_hash == opened.content_hash), None)
            if twin is None:
                library.documents.append(opened)
            else:
                self._reporter.note(f"{source.name} has the same content as {twin.name} and is read once")
        if not library.documents:
            raise library.failures[0][1]
        return library

    def _open_one(self, source: SourceFile, renewed: set[str] | None) -> OpenDocument:
        """Open a document; anew unless its content is among those `renewed` (None: only what isn't stored)."""
        content_hash, data = readers.content_hash(source)
        if renewed is not None and content_hash not in renewed:
            opened = self._renewed(source, data)
            renewed.add(opened.content_hash)
            return opened
        path = None if source.path is None else str(source.path)
        document = self._store.read_text(content_hash)
        text_hit = document is not None
        if document is None:
            if reason := self._store.explain_new(path, content_hash):
                self._reporter.note(f"{source.name} is read anew: {reason}")
            document = self._read(source, data)
            content_hash = document.content_hash  # of the bytes that were read, should the file just have changed
            self._store.write_text(document)
        else:
            document = readers.named(document, source)
            self._store.seen(content_hash, source.name, path)
            for warning in document.warnings:
                self._reporter.warn(warning)
        key = self._leaves_key(document)
        leaves = self._store.read_leaves(content_hash, key)
        if leaves is None:
            if text_hit and (reason := self._store.explain_new(path, content_hash, [key])):
                self._reporter.note(f"{source.name} is split anew: {reason}")
            leaves = build_leaves(document, self._tokenizer, self._tree)
            self._store.write_leaves(content_hash, key, leaves)
            text_hit = False
        return self._opened(document, leaves, key, text_hit)

    def _renewed(self, source: SourceFile, data: bytes | None) -> OpenDocument:
        """Read and split a document, then discard all that is stored of it: trees may have taken hours."""
        document = self._read(source, data)
        key = self._leaves_key(document)
        leaves = build_leaves(document, self._tokenizer, self._tree)
        self._store.discard(document.content_hash)
        self._store.write_text(document)
        self._store.write_leaves(document.content_hash, key, leaves)
        return self._opened(document, leaves, key, text_hit=False)

    def _read(self, source: SourceFile, data: bytes | None) -> Document:
        return readers.read(source, password=self._password, reporter=self._reporter, data=data)

    def _leaves_key(self, document: Document) -> LeavesKey:
        return LeavesKey(text_hash(document), self._tokenizer_hash, self._tree)

    def _opened(self, document: Document, leaves: Leaves, key: LeavesKey, text_hit: bool) -> OpenDocument:
        folder = self._store.folder(document.content_hash)
        assert folder is not None
        return OpenDocument(document, leaves, key, text_hit, folder)
