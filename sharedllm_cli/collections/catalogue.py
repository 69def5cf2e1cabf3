"""The catalogue of a collection: which files it has, what was read of them, and in which leaves each term stands.

One SQLite file in WAL mode, private to the user. Everything in it can be made again from the files and their indexes,
so that a damaged one is refused (exit 5) and rebuilt. docs/index-format.md has its tables.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharedllm_cli.answer import NotRead
from sharedllm_cli.durable import PRIVATE_FILE, writing
from sharedllm_cli.errors import ResourceError, StoredIndexError, UsageError
from sharedllm_cli.home import HOME_ELSEWHERE

VERSION = 2
APPLICATION = 0x534C4C4D
"""Says that an SQLite file is a catalogue of this tool (`PRAGMA application_id`)."""
WAIT_SECONDS = 30.0
"""So long one process waits for another one's transaction."""
READ, FAILED, GONE = "read", "failed", "gone"
"""The states of a file: its document was read; it can't be read; it is no longer there."""
_SCHEMA = """
CREATE TABLE documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT, content_hash TEXT NOT NULL UNIQUE, name TEXT NOT NULL, kind TEXT NOT NULL,
    language TEXT NOT NULL, pages INTEGER NOT NULL, paged INTEGER NOT NULL, tokens INTEGER NOT NULL,
    chunks INTEGER NOT NULL, leaves INTEGER NOT NULL, seal INTEGER NOT NULL, asked REAL
);
CREATE TABLE files (
    path TEXT PRIMARY KEY, name TEXT NOT NULL, stamp TEXT NOT NULL, state TEXT NOT NULL, content_hash TEXT,
    error TEXT, hint TEXT, seal INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX files_by_content ON files (content_hash);
CREATE TABLE attached (
    outer_hash TEXT NOT NULL, content_hash TEXT NOT NULL, seal INTEGER NOT NULL, PRIMARY KEY (outer_hash, content_hash)
) WITHOUT ROWID;
CREATE TABLE headings (
    document INTEGER NOT NULL, place INTEGER NOT NULL, title TEXT NOT NULL, level INTEGER NOT NULL,
    page INTEGER NOT NULL, guessed INTEGER NOT NULL, seal INTEGER NOT NULL, PRIMARY KEY (document, place)
) WITHOUT ROWID;
CREATE TABLE passed_over (
    path TEXT PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL, seal INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE folders (path TEXT PRIMARY KEY, changed INTEGER NOT NULL, seal INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE terms_seal (seal INTEGER NOT NULL);
CREATE VIRTUAL TABLE leaves USING fts5(terms, content='', columnsize=0, detail=none, tokenize='ascii');
"""


@dataclass(frozen=True)
class FileRow:
    """A file of the collection. `stamp` is its file's when it was read (empty: not to be trusted), as `stamp_of`."""

    path: str
    name: str
    stamp: tuple[int, ...]
    state: str
    content_hash: str | None = None
    error: str | None = None
    hint: str | None = None


@dataclass(frozen=True)
class DocumentRow:
    """What was read of one content, and its number in the catalogue."""

    id: int
    content_hash: str
    name: str
    kind: str
    language: str
    pages: int
    paged: bool
    tokens: int
    chunks: int
    leaves: int


HeadingRow = tuple[str, int, int, bool]
"""Title, level, page as counted, and whether only its form says that it is a heading."""


class Catalogue:
    """The catalogue in one file. Each method is one transaction, unless `writing_together` surrounds it.

    Every method raises StoredIndexError where the file is damaged, ResourceError where the disk is full.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Open a catalogue. With `create` it is made where there is none; without, StoredIndexError says so."""
        self.path = path
        self.label = f"@{path.parent.name}"
        if create:
            self._make_private()
        elif not path.is_file():
            raise self._broken("is missing")
        with self.guarded():
            self.connection = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
            self._prepare(create)
        self._inode = os.stat(path).st_ino

    def _make_private(self) -> None:
        with writing(self.path.parent, HOME_ELSEWHERE):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE))

    def _prepare(self, create: bool) -> None:
        run = self.connection.execute
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run("PRAGMA trusted_schema = OFF")
        run("PRAGMA secure_delete = ON")  # names and headings of a document that is gone leave no bytes
        found = [run(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        if create and found == [0, 0]:
            run("BEGIN IMMEDIATE")
            if run("PRAGMA user_version").fetchone()[0] == 0:  # else another process has just made it
                for statement in _SCHEMA.split(";\n"):
                    run(statement)
                run(f"PRAGMA application_id = {APPLICATION}")
                run(f"PRAGMA user_version = {VERSION}")
            run("COMMIT")
        elif found[0] != APPLICATION:
            raise self._broken("is no catalogue of this tool")
        elif found[1] != VERSION:
            raise self._broken(f"has format version {found[1]}; this release reads {VERSION}")

    def replaced(self) -> bool:
        """Whether another process has made the catalogue anew since it was opened."""
        return not self.path.is_file() or os.stat(self.path).st_ino != self._inode

    def close(self) -> None:
        """Let the file go."""
        self.connection.close()

    def _broken(self, what: str) -> StoredIndexError:
        return StoredIndexError(
            f"the catalogue of {self.label} {what} ({self.path})",
            hint=f"make it anew from the files: sharedllm collections update {self.label[1:]} --rebuild",
        )

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Translate what SQLite raises."""
        try:
            yield
        except sqlite3.DatabaseError as problem:
            words = str(problem).lower()
            if "disk is full" in words or "disk i/o" in words:
                raise ResourceError(
                    f"the catalogue of {self.label} can't be written: {words}", hint="free some space"
                ) from problem
            if "locked" in words or "busy" in words:
                raise UsageError(
                    f"another process has held the catalogue of {self.label} for {WAIT_SECONDS:g} seconds",
                    hint="try again once it has ended",
                ) from problem
            if "readonly" in words or "unable to open" in words:
                raise UsageError(
                    f"the catalogue of {self.label} can't be opened for writing ({self.path})", hint=HOME_ELSEWHERE
                ) from problem
            raise self._broken(f"is damaged: {words}") from problem
        except UnicodeDecodeError as problem:  # of SQLite's own messages, too, which repeat what is damaged
            raise self._broken("is damaged: it holds bytes that are no text") from problem

    @contextmanager
    def writing_together(self) -> Iterator[None]:
        """One transaction for all that is written within: all of it or nothing."""
        with self.guarded():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self.connection.execute("ROLLBACK")
                raise
            self.connection.execute("COMMIT")

    def check(self) -> None:
        """Read the whole file and hold it against itself. StoredIndexError where a part does not fit the others."""
        with self.guarded():
            said = [row[0] for row in self.connection.execute("PRAGMA integrity_check(1)")]
            if said != ["ok"]:
                raise self._broken(f"is damaged: {said[0]}")
            self.connection.execute("INSERT INTO leaves(leaves) VALUES ('integrity-check')")
            sealed = self.connection.execute("SELECT seal FROM terms_seal").fetchone()
            if sealed is not None and sealed[0] != self._seal_of_terms():
                raise self._broken("is damaged: its terms are not those that were written")

    def seal_terms(self) -> None:
        """Write down what `check` holds the terms against. An update that was interrupted leaves them without it."""
        with self.guarded():
            if self.connection.execute("SELECT seal FROM terms_seal").fetchone() is None:
                self.connection.execute("INSERT INTO terms_seal VALUES (?)", (self._seal_of_terms(),))

    def _seal_of_terms(self) -> int:
        found = 0
        for number, block in self.connection.execute("SELECT id, block FROM leaves_data ORDER BY id"):
            found = zlib.crc32(block, zlib.crc32(b"%d" % number, found))
        return found

    # -- what is there ----------------------------------------------------------------------------------------------

    def _rows(self, statement: str) -> list[Any]:
        with self.guarded():
            return self.connection.execute(statement).fetchall()

    def _sealed(self, table: str, columns: str, order: str) -> list[Any]:
        """All rows of a table, each held against its seal."""
        rows = self._rows(f"SELECT {columns}, seal FROM {table} ORDER BY {order}")
        for *values, seal in rows:
            if _seal(values) != seal:
                raise self._broken(f"is damaged: a row of its table {table} is not what was written")
        return [tuple(map(_out, row[:-1])) for row in rows]

    def _put(self, table: str, columns: str, rows: Iterable[Sequence[Any]], how: str = "INSERT OR REPLACE") -> None:
        """Write rows with their seals."""
        places = "?, " * (columns.count(",") + 1)
        held = ([*map(_in, row)] for row in rows)
        with self.guarded():
            self.connection.executemany(
                f"{how} INTO {table} ({columns}, seal) VALUES ({places}?)", ([*row, _seal(row)] for row in held)
            )

    def files(self) -> list[FileRow]:
        """Every file, by path."""
        rows = self._sealed("files", _FILE, "path")
        return [FileRow(path, name, tuple(json.loads(stamp)), *rest) for path, name, stamp, *rest in rows]

    def documents(self) -> list[DocumentRow]:
        """Every document, by number."""
        rows = self._sealed("documents", f"id, {_DOCUMENT}", "id")
        return [
            DocumentRow(number, content, name, kind, language, pages, bool(paged), tokens, chunks, leaves)
            for number, content, name, kind, language, pages, paged, tokens, chunks, leaves in rows
        ]

    def headings(self) -> dict[int, list[HeadingRow]]:
        """The headings of every document, by the document's number."""
        found: dict[int, list[HeadingRow]] = {}
        for document, _, title, level, page, guessed in self._sealed("headings", _HEADING, "document, place"):
            found.setdefault(document, []).append((title, level, page, bool(guessed)))
        return found

    def attached(self) -> dict[str, list[str]]:
        """The contents of the documents that others carry, by these others' content."""
        found: dict[str, list[str]] = {}
        for outer, inner in self._sealed("attached", _ATTACHED, _ATTACHED):
            found.setdefault(outer, []).append(inner)
        return found

    def carriers(self, without: Collection[str] = ()) -> dict[str, str]:
        """The name of a file that holds or carries each content, of those whose paths are not `without`."""
        rows = [row for row in self.files() if row.state == READ and row.content_hash and row.path not in without]
        found = {str(row.content_hash): row.name for row in rows}
        for outer, inner in self.attached().items():
            for content in inner if outer in found else ():
                found.setdefault(content, found[outer])
        return found

    def passed_over(self) -> list[NotRead]:
        """What the folders hold besides the documents and is not read, by path."""
        return [NotRead(name, path, kind) for path, name, kind in self._sealed("passed_over", _PASSED_OVER, "path")]

    def folders(self) -> dict[str, int]:
        """When each folder had changed last, in nanoseconds, as the last update saw it."""
        return dict(self._sealed("folders", _FOLDER, "path"))

    def asked(self) -> list[tuple[str, float]]:
        """Contents of the documents that answers rested on, and when last; the latest first."""
        rows = self._rows("SELECT content_hash, asked FROM documents WHERE asked IS NOT NULL ORDER BY asked DESC")
        return [(content, when) for content, when in rows if isinstance(when, float)]

    # -- what is written --------------------------------------------------------------------------------------------

    def put_file(self, row: FileRow) -> None:
        """Write down a file, in place of what was known of its path."""
        stamp = json.dumps(list(row.stamp))
        self._put("files", _FILE, [(row.path, row.name, stamp, row.state, row.content_hash, row.error, row.hint)])

    def put_document(
        self, facts: Mapping[str, Any], headings: Iterable[HeadingRow], leaf_terms: Iterable[tuple[int, str]]
    ) -> None:
        """Write down a document that is new: its facts, its headings and the terms of its leaves."""
        with self.guarded():
            run = self.connection
            (highest,) = run.execute("SELECT seq FROM sqlite_sequence WHERE name = 'documents'").fetchone() or (0,)
            number = highest + 1
            self._put(
                "documents", f"id, {_DOCUMENT}", [(number, *(facts[name] for name in _DOCUMENT.split(", ")))], "INSERT"
            )
            self._put("headings", _HEADING, ((number, at, *heading) for at, heading in enumerate(headings)), "INSERT")
            run.execute("DELETE FROM terms_seal")
            run.executemany(
                "INSERT INTO leaves(rowid, terms) VALUES (?, ?)",
                ((leaf_row(number, leaf), terms) for leaf, terms in leaf_terms),
            )

    def rename_document(self, content_hash: str, name: str) -> None:
        """Call a document that is there by another name."""
        with self.guarded():
            run = self.connection.execute
            row = run(f"SELECT id, {_DOCUMENT} FROM documents WHERE content_hash = ?", (content_hash,)).fetchone()
            if row is not None:
                values = (*row[:2], _in(name), *row[3:])
                run("UPDATE documents SET name = ?, seal = ? WHERE id = ?", (values[2], _seal(values), row[0]))

    def put_attached(self, outer: str, inner: Sequence[str]) -> None:
        """Write down which documents another one carries."""
        with self.guarded():
            self.connection.execute("DELETE FROM attached WHERE outer_hash = ?", (outer,))
        self._put("attached", _ATTACHED, [(outer, one) for one in inner])

    def put_folders(self, folders: Mapping[str, int]) -> None:
        """Write down when the folders of the collection had changed last."""
        with self.guarded():
            self.connection.execute("DELETE FROM folders")
        self._put("folders", _FOLDER, folders.items())

    def put_passed_over(self, files: Iterable[NotRead]) -> None:
        """Write down what the folders hold besides and is not read."""
        with self.guarded():
            self.connection.execute("DELETE FROM passed_over")
        self._put("passed_over", _PASSED_OVER, [(file.path, file.name, file.kind) for file in files])

    def drop_files(self, paths: Iterable[str]) -> None:
        """Forget files."""
        with self.guarded():
            self.connection.executemany("DELETE FROM files WHERE path = ?", [(_in(path),) for path in paths])

    def drop_unheld(self) -> None:
        """Forget the documents that no file holds any more. Their terms stay until the catalogue is rebuilt."""
        with self.guarded():
            run = self.connection.execute
            held = "SELECT content_hash FROM files WHERE content_hash NOTNULL"
            run(f"DELETE FROM attached WHERE outer_hash NOT IN ({held})")
            run(f"DELETE FROM documents WHERE content_hash NOT IN ({held} UNION SELECT content_hash FROM attached)")
            run("DELETE FROM headings WHERE document NOT IN (SELECT id FROM documents)")

    def mark_asked(self, content_hashes: Sequence[str], when: float) -> None:
        """Note when documents were asked last."""
        with self.guarded():
            self.connection.executemany(
                "UPDATE documents SET asked = ? WHERE content_hash = ?", [(when, one) for one in content_hashes]
            )

    def dropped_share(self) -> float:
        """Which share of the documents that were ever written down is forgotten: their terms still take room."""
        (highest, count) = self._rows("SELECT max(id), count(*) FROM documents")[0]
        return 0.0 if not highest else 1 - count / highest


_DOCUMENT = "content_hash, name, kind, language, pages, paged, tokens, chunks, leaves"
_FILE = "path, name, stamp, state, content_hash, error, hint"
_HEADING = "document, place, title, level, page, guessed"
_ATTACHED = "outer_hash, content_hash"
_PASSED_OVER = "path, name, kind"
_FOLDER = "path, changed"

LEAF_BITS = 20
"""The bits of a row's number that number the leaf in its document; those above number the document."""
MOST_LEAVES = 1 << LEAF_BITS
"""Leaves behind so many (67 million tokens) are not found by their terms; their document is, by the others."""


def leaf_row(document: int, leaf: int) -> int:
    """The row of a leaf's terms."""
    return document << LEAF_BITS | leaf


def _seal(values: Sequence[Any]) -> int:
    """What a row's values are held against when they are read: SQLite keeps no checksums."""
    return zlib.crc32("\x1f".join(map(str, values)).encode("utf-8", "surrogatepass"))


def _in(value: Any) -> Any:
    """A value as SQLite takes it: names of files may hold bytes that are no UTF-8, which Python keeps as surrogates."""
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, str) or value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return "\0" + json.dumps(value)
    return value


def _out(value: Any) -> Any:
    """A value as it was before `_in`."""
    return json.loads(value[1:]) if isinstance(value, str) and value.startswith("\0") else value
