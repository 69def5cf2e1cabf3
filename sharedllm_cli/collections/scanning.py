"""What of a collection has changed on disk since its catalogue was written. Looks at names and stamps alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sharedllm_cli.answer import NotRead
from sharedllm_cli.collections.catalogue import GONE, READ, FileRow
from sharedllm_cli.collections.ignoring import IGNORE_FILE, Ignoring
from sharedllm_cli.collections.names import Collection
from sharedllm_cli.documents.sources import SourceFile, expand
from sharedllm_cli.durable import is_settled, stamp_of
from sharedllm_cli.errors import DocumentError

_SAME_FILE = (0, 1, 3)
"""Size, time of change and inode of a stamp: a file keeps them where it is only moved."""


@dataclass
class Changes:
    """How the files differ from the catalogue.

    `to_read` are files that are new or whose stamp differs; `moved` are files known under another path, with that path;
    `renamed` are those that the catalogue calls otherwise; `unchanged` counts the rest. `absent` are roots that are not
    there: their files count as gone, and are kept in mind. `problems` are sentences for the user.
    """

    to_read: list[SourceFile] = field(default_factory=list)
    moved: list[tuple[SourceFile, FileRow]] = field(default_factory=list)
    renamed: list[tuple[SourceFile, FileRow]] = field(default_factory=list)
    gone: list[FileRow] = field(default_factory=list)
    unchanged: int = 0
    not_read: list[NotRead] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    folders: dict[str, int] = field(default_factory=dict)


def scan(collection: Collection, known: Sequence[FileRow], *, retry: bool = False) -> Changes:
    """Compare a collection's files with its catalogue. With `retry` those that could not be read are read again."""
    changes = Changes()
    ignoring = Ignoring([Path(root) for root in collection.roots])
    missing: list[tuple[str, DocumentError]] = []
    passed_over: dict[str, list[NotRead]] = {}
    # Before the files, so that what comes meanwhile is seen the next time.
    changes.folders = folder_times(collection, ignoring)
    sources = expand(collection.roots, missing, passed_over, ignoring)
    changes.not_read = [file for files in passed_over.values() for file in files]
    for root, problem in missing:
        if not os.path.lexists(root):
            changes.absent.append(root)
        changes.problems.append(problem.message)
    changes.problems += ignoring.problems
    rows = {row.path: row for row in known}
    here = {str(source.path) for source in sources}
    gone = {row.path: row for row in known if row.path not in here}
    by_file = {_same_file(row.stamp): row for row in gone.values() if row.stamp and row.state != GONE}
    for source in sources:
        _compare(source, rows.get(str(source.path)), by_file, gone, changes, retry=retry)
    changes.gone = list(gone.values())
    return changes


def _compare(
    source: SourceFile,
    row: FileRow | None,
    by_file: dict[tuple[int, ...], FileRow],
    gone: dict[str, FileRow],
    changes: Changes,
    *,
    retry: bool,
) -> None:
    stamp = current_stamp(source.path)
    if row is not None and stamp and row.stamp == stamp and row.state != GONE and (row.state == READ or not retry):
        changes.unchanged += 1
        if row.name != source.name:
            changes.renamed.append((source, row))
        return
    before = by_file.get(_same_file(stamp)) if row is None and stamp else None
    if before is not None and before.path in gone and before.state == READ:
        changes.moved.append((source, gone.pop(before.path)))
    else:
        changes.to_read.append(source)


def current_stamp(path: Path | None) -> tuple[int, ...]:
    """A file's stamp; empty where it can't be looked at or changed only just now."""
    with suppress(OSError):
        if path is not None and is_settled(stamp := stamp_of(path)):
            return tuple(stamp)
    return ()


def _same_file(stamp: Sequence[int]) -> tuple[int, ...]:
    return tuple(stamp[place] for place in _SAME_FILE) if stamp else ()


def folder_times(collection: Collection, ignoring: Ignoring | None = None) -> dict[str, int]:
    """When each folder within the roots had changed last: a file that comes, goes or moves changes that."""
    ignoring = ignoring or Ignoring([Path(root) for root in collection.roots])
    times: dict[str, int] = {}
    for root in collection.roots:
        if not os.path.isdir(root):
            continue
        for place, folders, _ in os.walk(root):
            inside = Path(place)
            folders[:] = [name for name in folders if name[0] != "." and not ignoring(inside / name, True)]
            times[place] = _time_of(place)
            rules = os.path.join(place, IGNORE_FILE)
            if os.path.isfile(rules):
                times[rules] = _time_of(rules)
    return times


def _time_of(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return -1


def folders_changed(times: dict[str, int]) -> bool:
    """Whether a folder (or an ignore file) is not as it was."""
    return any(_time_of(path) != when for path, when in times.items())
