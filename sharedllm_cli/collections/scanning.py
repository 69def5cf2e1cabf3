"""What of a collection has changed on disk since its catalogue was written. Looks at names and stamps alone.

`.sharedllmignore` names what is left out of its folders, in the syntax of `.gitignore`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pathspec import GitIgnoreSpec

from sharedllm_cli.answer import NotRead
from sharedllm_cli.collections.catalogue import GONE, READ, FileRow
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


IGNORE_FILE = ".sharedllmignore"
_MOST_BYTES = 1 << 20


class Ignoring:
    """The rules of the ignore files in the folders of some roots; each file is read once.

    As with git, a deeper file's rules come after those of the folders above it, and nothing within a folder that is
    left out comes back.
    """

    def __init__(self, roots: list[Path]) -> None:
        self._roots = [Path(root) for root in roots if Path(root).is_dir()]
        self._specs: dict[Path, GitIgnoreSpec | None] = {}
        self._over: dict[Path, list[tuple[Path, GitIgnoreSpec]]] = {}
        self.problems: list[str] = []
        """One sentence for every ignore file that can't be read."""

    def __call__(self, path: Path, folder: bool) -> bool:
        """Whether a path within the roots is left out."""
        ignored = False
        if path.parent not in self._over:
            specs = ((above, self._spec(above)) for above in self._folders_over(path))
            self._over[path.parent] = [(above, spec) for above, spec in specs if spec is not None]
        for above, spec in self._over[path.parent]:
            relative = path.relative_to(above).as_posix() + ("/" if folder else "")
            said = spec.check_file(relative).include
            ignored = ignored if said is None else said
        return ignored

    def _folders_over(self, path: Path) -> list[Path]:
        """The folders from a root down to the one that holds the path."""
        roots = [root for root in self._roots if path.is_relative_to(root)]
        if not roots:
            return []
        top = min(roots, key=lambda root: len(root.parts))
        over = [folder for folder in path.parents if folder.is_relative_to(top)]
        return over[::-1]

    def _spec(self, folder: Path) -> GitIgnoreSpec | None:
        if folder not in self._specs:
            self._specs[folder] = self._read(folder / IGNORE_FILE)
        return self._specs[folder]

    def _read(self, path: Path) -> GitIgnoreSpec | None:
        try:
            with path.open("rb") as file:
                lines = file.read(_MOST_BYTES).decode("utf-8", "replace").splitlines()
            return GitIgnoreSpec.from_lines(lines)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as problem:
            self.problems.append(f"{path} is not followed: {problem}")
            return None
