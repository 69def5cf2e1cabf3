"""Bring a collection's catalogue up to date: what is new or changed is read, what moved is written down, what is gone
is forgotten.

Every document is read at most once: its text and leaves go to the store of indexes as soon as it was read, and into the
catalogue with the next batch, so that an interrupted run goes on where it stopped. One bad file never stops the rest.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from filelock import FileLock, Timeout

from sharedllm_cli.answer import NotRead
from sharedllm_cli.collections.catalogue import FAILED, GONE, READ, Catalogue, FileRow
from sharedllm_cli.collections.fulltext import leaf_terms
from sharedllm_cli.collections.names import CATALOGUE, LOCK, Collection
from sharedllm_cli.collections.pool import Setup, read_all, worker_count
from sharedllm_cli.collections.scanning import Changes, current_stamp, scan
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.durable import PRIVATE_FILE
from sharedllm_cli.errors import StoredIndexError, UsageError
from sharedllm_cli.index.manifest import LeavesKey, text_hash
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Reporter

BATCH_SECONDS = 2.0
"""What was read goes into the catalogue at least so often."""
BATCH_FILES = 64
MOST_DROPPED = 0.5
"""Where more of all documents that were ever written down are forgotten, the catalogue is made anew."""
Reading = Callable[[Sequence[SourceFile]], Iterator[dict[str, Any]]]
"""Reads files, and gives what is known of each as it is done (`worker.read_one`)."""
NEW, CHANGED, MOVED, SAME, COPY, GONE_FILE = "new", "changed", "moved", "unchanged", "copy", "gone"


@dataclass(frozen=True)
class FileOutcome:
    """What an update found of one file.

    `what`: `new`, `changed`, `moved` (from `before`), `copy` (of `before`), `failed`, `gone` (its content is held by
    `before`, if by any), or `unchanged` (its content is, though the file was written again).
    """

    path: str
    name: str
    what: str
    before: str | None = None
    error: str | None = None
    hint: str | None = None


@dataclass
class UpdateOutcome:
    """What an update did. `documents` are those that the collection has now."""

    name: str
    files: list[FileOutcome] = field(default_factory=list)
    unchanged: int = 0
    documents: int = 0
    failed: list[FileRow] = field(default_factory=list)
    not_read: list[NotRead] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, what: str) -> int:
        """How many files have an outcome of this kind."""
        return sum(file.what == what for file in self.files)


@contextmanager
def updating(collection: Collection, reporter: Reporter | None = None) -> Iterator[bool]:
    """Be the only process that updates a collection; yields False where another one does and no `reporter` is given.

    With one, it waits for the other to end.
    """
    path = collection.folder / LOCK
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE))
    lock = FileLock(path, timeout=0, mode=PRIVATE_FILE)
    try:
        lock.acquire()
    except Timeout:
        if reporter is None:
            yield False
            return
        reporter.note(f"another process updates {collection.label}; waiting for it")
        lock.acquire(timeout=-1)
    try:
        yield True
    finally:
        lock.release()


def opened_catalogue(collection: Collection, *, rebuild: bool = False) -> Catalogue:
    """The catalogue to update; made where there is none, and anew with `rebuild`.

    StoredIndexError where it is damaged.
    """
    if rebuild:
        for name in (CATALOGUE, f"{CATALOGUE}-wal", f"{CATALOGUE}-shm"):
            (collection.folder / name).unlink(missing_ok=True)
    catalogue = Catalogue(collection.catalogue, create=True)
    try:
        catalogue.check()
    except StoredIndexError:
        catalogue.close()
        raise
    return catalogue


def update(
    collection: Collection,
    setup: Setup,
    reporter: Reporter,
    *,
    workers: int | None = None,
    rebuild: bool = False,
    retry: bool = False,
    read: Reading | None = None,
) -> UpdateOutcome:
    """Update a collection. `setup` says where documents go; `retry` reads again what could not be read before.

    `read` reads the files; by default `workers` processes of this machine do.

    UsageError where nothing that was added is there any more, StoredIndexError where the catalogue is damaged.
    """
    started = time.perf_counter()
    with updating(collection, reporter):
        catalogue = opened_catalogue(collection, rebuild=rebuild)
        if catalogue.dropped_share() > MOST_DROPPED:
            catalogue.close()
            catalogue = opened_catalogue(collection, rebuild=True)
        try:
            changes = scan(collection, catalogue.files(), retry=retry)
            if collection.roots and len(changes.absent) == len(collection.roots):
                raise UsageError(
                    f"nothing that {collection.label} was made of is there: {changes.absent[0]}",
                    hint="connect the disk, or delete the collection with: sharedllm collections rm " + collection.name,
                )
            count = worker_count(len(changes.to_read), workers)
            read = read or partial(read_all, setup=setup, workers=count)
            outcome = apply(catalogue, collection, changes, setup, reporter, read)
        finally:
            catalogue.close()
    outcome.seconds = time.perf_counter() - started
    return outcome


def apply(
    catalogue: Catalogue,
    collection: Collection,
    changes: Changes,
    setup: Setup,
    reporter: Reporter,
    read: Reading,
) -> UpdateOutcome:
    """Write changes down; `read` gives what is known of each file that is to be read. The caller holds the lock."""
    outcome = UpdateOutcome(collection.name, unchanged=changes.unchanged, not_read=changes.not_read)
    outcome.problems = list(changes.problems)
    recorder = _Recorder(catalogue, setup, changes)
    with catalogue.writing_together():
        for source, before in changes.moved:
            outcome.files.append(recorder.moved(source, before))
        for source, row in changes.renamed:
            catalogue.put_file(replace(row, name=source.name))
    with reporter.task(f"reading {collection.label}", len(changes.to_read), "documents") as task:
        for batch in _batches(read(changes.to_read)):
            with catalogue.writing_together():
                outcome.files += [recorder.read(answer) for answer in batch]
            task.advance(len(batch))
    with catalogue.writing_together():
        outcome.files += recorder.gone()
        catalogue.drop_unheld()
        catalogue.put_folders(changes.folders)
        catalogue.put_passed_over(changes.not_read)
        catalogue.seal_terms()
    outcome.documents = len(catalogue.documents())
    outcome.failed = [row for row in catalogue.files() if row.state == FAILED]
    outcome.files.sort(key=lambda file: file.path)
    return outcome


def _batches(answers: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """What was read, in batches; the rest of it, too, where the reading is interrupted."""
    batch: list[dict[str, Any]] = []
    began = time.monotonic()
    for answer in answers:
        batch.append(answer)
        if len(batch) >= BATCH_FILES or time.monotonic() - began > BATCH_SECONDS:
            yield batch
            batch, began = [], time.monotonic()
    if batch:
        yield batch


class _Recorder:
    """Writes what is known of files into a catalogue, and says for each what has become of it."""

    def __init__(self, catalogue: Catalogue, setup: Setup, changes: Changes) -> None:
        self._catalogue = catalogue
        self._setup = setup
        self._store = IndexStore(setup.store)
        self._names = {str(source.path): source.name for source in changes.to_read}
        self._known = {row.path: row for row in catalogue.files()}
        self._holders: dict[str, str] = {}
        for row in self._known.values():
            if row.content_hash and row.state == READ:
                self._holders.setdefault(row.content_hash, row.path)
        self._hashes = {row.content_hash for row in catalogue.documents()}
        self._gone = {row.path: row for row in changes.gone}
        self._absent = tuple(changes.absent)

    def moved(self, source: SourceFile, before: FileRow) -> FileOutcome:
        """A file that is the very one known under another path."""
        path = str(source.path)
        stamp = current_stamp(source.path)
        self._catalogue.drop_files([before.path])
        self._catalogue.put_file(replace(before, path=path, name=source.name, stamp=stamp))
        if before.content_hash:
            self._holders[before.content_hash] = path
        return FileOutcome(path, source.name, MOVED, before.path)

    def read(self, answer: dict[str, Any]) -> FileOutcome:
        """A file that was read, or could not be."""
        path, documents = answer["path"], answer["documents"]
        name, known = self._names[path], self._known.get(path)
        # A portfolio's cover may have no text of its own: what it carries stands for it.
        own = next((one for one in documents if not one["attached"]), documents[0] if documents else None)
        for facts in documents:
            self._put_document(facts)
        state = FAILED if answer["error"] is not None and own is None else READ
        content: str | None = own["content_hash"] if own else None
        row = FileRow(path, name, tuple(answer["stamp"]), state, content, answer["error"], answer["hint"])
        self._catalogue.put_file(row)
        if content is not None:
            self._catalogue.put_attached(content, [one["content_hash"] for one in documents if one["attached"]])
        if state == FAILED:
            return FileOutcome(path, name, FAILED, None, row.error, row.hint)
        return self._said(row, known)

    def _said(self, row: FileRow, known: FileRow | None) -> FileOutcome:
        """What has become of a file with a content, which the collection may have known under other paths."""
        content = str(row.content_hash)
        if known is not None and known.content_hash == content:
            return FileOutcome(row.path, row.name, SAME)
        before = self._holders.get(content)
        if known is None and before in self._gone:
            self._catalogue.drop_files([before])
            del self._gone[before]
            self._holders[content] = row.path
            return FileOutcome(row.path, row.name, MOVED, before)
        self._holders.setdefault(content, row.path)
        if before is not None and before != row.path:
            return FileOutcome(row.path, row.name, COPY, before)
        changed = known is not None and known.content_hash is not None
        return FileOutcome(row.path, row.name, CHANGED if changed else NEW)

    def gone(self) -> list[FileOutcome]:
        """The files that are no longer there; those under a root that is not there are kept in mind, not in use."""
        told = []
        held = self._catalogue.carriers(without=self._gone)
        for path, row in self._gone.items():
            if any(path == root or path.startswith(root.rstrip(os.sep) + os.sep) for root in self._absent):
                self._catalogue.put_file(replace(row, state=GONE))
            else:
                self._catalogue.drop_files([path])
            told.append(FileOutcome(path, row.name, GONE_FILE, held.get(row.content_hash or "")))
        return told

    def _put_document(self, facts: dict[str, Any]) -> None:
        """Write down a document's facts, headings and terms; of one that is there already, what carries it."""
        content = facts["content_hash"]
        if content in self._hashes:
            if facts["attached"]:
                self._catalogue.rename_document(content, facts["name"])
            return
        stored = self._store.open(content)
        document = stored.text() if stored else None
        if stored is None or document is None:
            return  # an index that went meanwhile: its document is read when it is asked
        leaves = stored.leaves(LeavesKey(text_hash(document), self._setup.tokenizer_hash, self._setup.tree))
        terms = leaf_terms(leaves.lexical) if leaves is not None else iter(())
        self._catalogue.put_document(facts, [tuple(one) for one in facts["headings"]], terms)
        self._hashes.add(content)
