"""One collection as questions see it: its catalogue, kept equal to the files, and sentences about what changed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from sharedllm_cli.collections.catalogue import FAILED, GONE, READ, Catalogue, DocumentRow, FileRow
from sharedllm_cli.collections.fulltext import FullText
from sharedllm_cli.collections.names import Collection
from sharedllm_cli.collections.pool import Setup
from sharedllm_cli.collections.scanning import Changes, folders_changed, scan
from sharedllm_cli.collections.updating import (
    CHANGED,
    GONE_FILE,
    MOVED,
    NEW,
    FileOutcome,
    UpdateOutcome,
    apply,
    updating,
)
from sharedllm_cli.collections.worker import read_one
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.documents.sources import told as told_of
from sharedllm_cli.errors import DocumentError, SharedLLMError
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Reporter, Silent
from sharedllm_cli.reading.library import Shelf

MOST_READ_AT_ONCE = 20
MOST_BYTES_AT_ONCE = 20_000_000
"""At most so many changed files are read before a question is answered, and so many bytes; more are only told."""
NAMED = 4
"""Files that a warning names; of more it says how many."""


def empty(collection: Collection, unread: str | None = None) -> DocumentError:
    """The error of a collection without any document; `unread` says what to do about files that were not read yet."""
    if unread is not None:
        return DocumentError(f"{collection.label} has no document yet", hint=unread)
    if missing := [root for root in collection.roots if not os.path.lexists(root)]:
        return DocumentError(
            f"nothing of {collection.label} is there now: {missing[0]} is missing",
            hint=f"connect the disk, or delete the collection with: sharedllm collections rm {collection.name}",
        )
    return DocumentError(
        f"{collection.label} has no document that could be read",
        hint=(
            f"`sharedllm collections show {collection.name}` says why; `sharedllm collections update {collection.name}`"
            " reads what is new, `collections add` adds files and folders"
        ),
    )


class Member:
    """One collection of a question: its catalogue, its files, and its full text."""

    def __init__(self, collection: Collection, shelf: Shelf, setup: Setup) -> None:
        self.collection = collection
        self.catalogue = Catalogue(collection.catalogue)
        self._shelf = shelf
        self._setup = setup
        self._version = -1
        self._gone: set[str] = set()
        """Files that are no longer there, though the catalogue was not updated."""
        self.generation = 0
        """Grows with every change of `holders`."""
        self._load()
        # Files may have come since nothing could be read, or the first reading was interrupted.
        self._noticed = [] if self.full_text.documents else self._changes()

    def _load(self) -> None:
        """Read the catalogue again where it was written since, or made anew."""
        if self.catalogue.replaced():
            self.catalogue.close()
            self.catalogue, self._version = Catalogue(self.collection.catalogue), -1
        with self.catalogue.guarded():
            version = self.catalogue.connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return
        self._version = version
        self.generation += 1
        self.full_text = FullText(self.catalogue)
        self.rows = {row.path: row for row in self.catalogue.files()}
        self._folders = self.catalogue.folders()
        self.not_read = self.catalogue.passed_over()
        self.holders: dict[str, FileRow] = {}
        for row in self.rows.values():
            if row.content_hash and row.state == READ and row.path not in self._gone:
                self.holders.setdefault(row.content_hash, row)
        for outer, inner in self.catalogue.attached().items():
            for content in inner:
                if outer in self.holders:
                    self.holders.setdefault(content, self.holders[outer])

    def name_of(self, row: DocumentRow, file: FileRow) -> str:
        """What a document is called that a file holds: the file itself, or `letter.eml › plan.txt`.

        The catalogue has the name under which the content was read first, or by the last file that carries it.
        """
        if file.content_hash == row.content_hash and file.error is None:
            return file.name
        if row.name.startswith(f"{file.name} › "):
            return row.name
        stored = IndexStore(self._setup.store).open(file.content_hash) if file.content_hash else None
        carrier = stored.text() if stored else None
        for attachment in carrier.attachments if carrier else ():
            if attachment.content_hash == row.content_hash:
                return f"{file.name} › {attachment.name}"
        _, mark, inner = row.name.partition(" › ")
        return f"{file.name}{mark}{inner}"

    def refresh(self, reporter: Reporter) -> list[str]:
        """Notice what has changed on disk; sentences about it for the answer."""
        self._load()
        noticed, self._noticed = self._noticed, []
        return [*noticed, *self._changes(), *self._lasting()]

    def _changes(self) -> list[str]:
        """Read what has changed on disk, as far as it is little; DocumentError where there is no document then."""
        had = bool(self.full_text.documents)
        if had and not self._differs():
            return []
        unread: str | None = None
        try:
            with updating(self.collection) as mine:
                if not mine:
                    if not had:
                        raise empty(
                            self.collection, "it is being updated: ask again once its first documents were read"
                        )
                    return [f"{self.collection.label} is being updated: what it had before is asked"]
                changes = scan(self.collection, list(self.rows.values()))
                if self._few(changes):
                    read = self._read_here
                    outcome = apply(self.catalogue, self.collection, changes, self._setup, Silent(), read)
                    told = _told(self.collection, outcome)
                    self._gone = set()
                else:
                    told = self._too_many(changes)
                    unread = told[0]
        except (SharedLLMError, OSError) as problem:
            if not had and isinstance(problem, SharedLLMError):
                raise
            if not had:
                raise empty(self.collection, f"it can't be updated: {problem}") from problem
            # A home folder that can't be written is asked as it is.
            return [f"{self.collection.label} can't be updated ({problem}): files may have changed"]
        self._version = -1
        self._load()
        if not self.full_text.documents:
            raise empty(self.collection, unread)
        return told

    def _differs(self) -> bool:
        # What was added is not written down where its first reading was interrupted.
        known = self._folders.keys() | self.rows.keys()
        if any(os.path.exists(one) and one not in known for one in self.collection.roots):
            return True
        for path, row in self.rows.items():
            try:
                status = os.stat(path)
            except OSError:
                if row.state != GONE:
                    return True
                continue
            stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            if row.state == GONE or row.stamp != stamp:
                return True
        return folders_changed(self._folders)

    def _read_here(self, sources: Sequence[SourceFile]) -> Iterator[dict[str, Any]]:
        for source in sources:
            yield read_one(self._shelf, source.name, str(source.path))

    def _few(self, changes: Changes) -> bool:
        if len(changes.to_read) > MOST_READ_AT_ONCE:
            return False
        size = 0
        for source in changes.to_read:
            with suppress(OSError):
                size += os.path.getsize(str(source.path))
        return size <= MOST_BYTES_AT_ONCE

    def _too_many(self, changes: Changes) -> list[str]:
        """Of many changes the answer says so. What is gone is not used; what changed is opened as it is now."""
        self._gone = {row.path for row in changes.gone}
        held = self.catalogue.carriers(without=self._gone)
        gone = [
            FileOutcome(row.path, row.name, GONE_FILE, held.get(row.content_hash or ""))
            for row in changes.gone
            if row.state != GONE
        ]
        count = len(changes.to_read)
        names = [source.name for source in changes.to_read]
        return [
            f"{count:,} files of {self.collection.label} are new or have changed since its last update"
            f" ({_listed(names)}), and may hold the answer: sharedllm collections update {self.collection.name}",
            *_told(self.collection, UpdateOutcome(self.collection.name, gone)),
        ]

    def _lasting(self) -> list[str]:
        """What every answer says: files that could not be read, and those that are not there for now."""
        told = [told_of(self.collection.label, self.not_read)] if self.not_read else []
        for state, what in ((FAILED, "could not be read"), (GONE, "are not there for now")):
            names = [row.name for row in self.rows.values() if row.state == state]
            if names:
                count = "1 file" if len(names) == 1 else f"{len(names):,} files"
                verb = what.replace("are", "is") if len(names) == 1 else what
                told.append(f"{count} of {self.collection.label} {verb}: {_listed(names)}")
        return told


def _told(collection: Collection, outcome: UpdateOutcome) -> list[str]:
    """Sentences about an update that a question made."""
    sentences = {
        CHANGED: "changed since it was read, and was read again",
        NEW: f"new in {collection.label}, and was read",
        GONE_FILE: "no longer there, and nothing of it is used",
        MOVED: "where another file of its content was",
    }
    told = []
    for what, sentence in sentences.items():
        files = [file for file in outcome.files if file.what == what]
        if what == GONE_FILE:
            told += [f"{one.name} is no longer there; {one.before} has the same content" for one in files if one.before]
            files = [one for one in files if not one.before]
        if what == MOVED:
            told += [f"{file.before} is now {file.path}" for file in files[:NAMED]]
        elif len(files) <= NAMED:
            verb = "has" if what == CHANGED else "is"
            told += [f"{file.name} {verb} {sentence}" for file in files]
        else:
            names = _listed([file.name for file in files])
            verb = "have" if what == CHANGED else "are"
            told.append(f"{len(files):,} files of {collection.label} {verb} {_plural(sentence)}: {names}")
    return told


def _plural(sentence: str) -> str:
    return (
        sentence.replace("it was read, and was", "they were read, and were")
        .replace("of it is", "of them is")
        .replace("and was read", "and were read")
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
