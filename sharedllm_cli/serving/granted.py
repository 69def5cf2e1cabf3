"""The documents that callers of a server may name, by names; whatever else they name is refused unseen.

Granted are the files, folders and patterns given at the start, and what is added since. A folder's documents are those
that it holds when a caller asks. A link within a granted folder is followed only within it; nothing outside is opened
or looked at, so an answer does not even say whether it exists.
"""

from __future__ import annotations

import difflib
import glob
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sharedllm_cli.documents.sources import SUFFIXES, expand
from sharedllm_cli.errors import DocumentError, ResourceError, UsageError

MOST_LINKS = 16
"""So many links are followed to reach a file."""
MOST_FILES = 20_000
"""So many files of a granted folder are looked at."""


class NotGrantedError(UsageError):
    """A caller named what was not granted at the start."""


@dataclass(frozen=True)
class GrantedDocument:
    """One document that may be named: its name, and its whole path."""

    name: str
    path: Path


@dataclass(frozen=True)
class _Root:
    """A granted folder, or a granted file by its folder and name; `folder` has no links in it."""

    folder: Path
    file: str | None = None
    name: str = ""


class Granted:
    """What may be asked about.

    `sets` gives the collections that are granted, each by its name (`@notes`) with the whole paths of its documents.
    A collection that is named is given on by its name, so that the engine looks for the best of its documents.
    """

    def __init__(
        self, arguments: Sequence[str], *, sets: Callable[[], Mapping[str, Sequence[str]]] | None = None
    ) -> None:
        """Grant files, folders and patterns; DocumentError for one that names nothing."""
        self._roots: list[_Root] = []
        self._sets = sets
        for argument in arguments:
            self.add(argument)

    def add(self, argument: str) -> None:
        """Grant one more file, folder or pattern. DocumentError where it names nothing that can be read."""
        if argument == "-":
            raise DocumentError("standard input can't be granted", hint="save the document to a file first")
        path = Path(argument).expanduser()
        if path.is_dir():
            self._grant(_Root(_real(path), None, path.absolute().name))
            return
        if not path.exists() and glob.has_magic(argument):
            for source in expand([argument]):
                assert source.path is not None
                self._grant(_file_root(source.path))
            return
        expand([argument])  # says what is wrong with it
        self._grant(_file_root(path))

    def _grant(self, root: _Root) -> None:
        if root not in self._roots:
            self._roots.append(root)

    def documents(self) -> list[GrantedDocument]:
        """All that may be named now, in the order granted; names are the shortest ends of paths that differ."""
        found = self._own_files()
        for listed in self.sets().values():
            found |= dict.fromkeys(path for path in map(Path, listed) if _is_file(path))
        paths = list(found)
        return [GrantedDocument(name, path) for name, path in zip(_names(paths), paths, strict=True)]

    def _own_files(self) -> dict[Path, None]:
        """The documents that are granted by themselves, not with a collection."""
        found: dict[Path, None] = {}
        for root in self._roots:
            found |= dict.fromkeys(_files(root))
        return found

    def names(self) -> list[str]:
        """Everything that may be named: documents, then folders, then sets."""
        folders = [root.name for root in self._roots if root.file is None and root.name]
        return list(dict.fromkeys([*(one.name for one in self.documents()), *folders, *self.sets()]))

    def sets(self) -> dict[str, list[str]]:
        """The named sets (`@name`), each with the whole paths of its documents."""
        return {} if self._sets is None else {name: list(paths) for name, paths in self._sets().items()}

    def resolve(self, names: Sequence[str] | None = None) -> list[str]:
        """What the names mean to the engine: whole paths, and collections by name; all of them where none is named.

        A name is a document's as `documents` has it or a longer end of its path, a granted folder's, or a set's.
        Raises NotGrantedError for any other, with nothing looked at but what was granted.
        """
        if names is not None and (isinstance(names, str) or not all(isinstance(name, str) for name in names)):
            raise NotGrantedError("documents are a list of names")
        sets = self.sets()
        if names is None or not names:
            every = [*sets, *map(str, self._own_files())]
            if not every:
                raise NotGrantedError("no document is granted", hint="start the server with documents or folders")
            return every
        known = self.documents()
        found: dict[str, None] = {}
        for name in names:
            found |= dict.fromkeys([name] if name in sets else self._one(name, known, names=[*sets]))
        return list(found)

    def find(self, name: str) -> GrantedDocument:
        """The one document of a name; NotGrantedError for any other name, and for a folder's or a set's."""
        if name in self.sets():
            raise NotGrantedError(f"{name} is a collection", hint="name one of its documents")
        known = self.documents()
        paths = self._one(name, known)
        if len(paths) != 1:
            raise NotGrantedError(f"{name!r:.200} is {len(paths)} documents", hint="name one of them")
        return next(one for one in known if str(one.path) == paths[0])

    def _one(self, name: str, known: Sequence[GrantedDocument], names: Sequence[str] = ()) -> list[str]:
        exact = [one for one in known if one.name == name]
        if not exact and name and not os.path.isabs(name):
            exact = [one for one in known if one.path.as_posix().endswith("/" + name)]
        if len(exact) == 1:
            return [str(exact[0].path)]
        if len(exact) > 1:
            longer = ", ".join("/".join(one.path.parts[-3:]) for one in exact[:4])
            raise NotGrantedError(f"{name!r:.200} is {len(exact)} documents", hint=f"name one of them: {longer}")
        folders = [root for root in self._roots if root.file is None and name.rstrip("/") == root.name != ""]
        inside = [str(path) for root in folders for path in _files(root)]
        if inside:
            return inside
        every = [*names, *(one.name for one in known)]
        near = difflib.get_close_matches(name[:200], every[:MOST_FILES], n=1)
        hint = f"did you mean: {near[0]}" if near else f"granted are: {', '.join(every[:8])}" if every else None
        raise NotGrantedError(f"{name!r:.200} is not among the granted documents", hint=hint)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _file_root(path: Path) -> _Root:
    # A granted link is followed once, now: what it is turned to later was not granted.
    real = _real(path)
    return _Root(real.parent, real.name)


def _files(root: _Root) -> Iterator[Path]:
    """The readable documents of a root, as they are now."""
    if root.file is not None:
        if _is_inside(root.folder, (root.file,), follow=False):
            yield root.folder / root.file
        return
    yield from _walk(root.folder, [0], ())


def _is_file(path: Path) -> bool:
    """Whether a document of a collection is still a regular file, and no link."""
    return _is_inside(path.parent, (path.name,), follow=False)


def _walk(root: Path, looked_at: list[int], parts: tuple[str, ...]) -> Iterator[Path]:
    """The documents of a folder below a root, its own before those of its folders; links to folders are passed over."""
    folders = []
    try:
        with os.scandir(Path(root, *parts)) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    looked_at[0] += len(inside)
    if looked_at[0] > MOST_FILES:
        raise ResourceError(f"the granted folder {root.name} has more than {MOST_FILES:,} files", hint="grant less")
    for entry in inside:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry.name)
        elif Path(entry.name).suffix.lower() in SUFFIXES and _is_inside(root, (*parts, entry.name)):
            yield Path(root, *parts, entry.name)
    for name in folders:
        yield from _walk(root, looked_at, (*parts, name))


def _is_inside(folder: Path, parts: Sequence[str], *, follow: bool = True) -> bool:
    """Whether a regular file lies below a folder, each link followed by its text alone before it is looked at."""
    links = 0
    left = list(reversed(parts))
    at: list[str] = []
    while left:
        part = left.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not at:
                return False
            at.pop()
            continue
        try:
            mode = os.lstat(Path(folder, *at, part)).st_mode
        except (OSError, ValueError):
            return False
        if not stat.S_ISLNK(mode):
            at.append(part)
            if not left:
                return stat.S_ISREG(mode)
            continue
        links += 1
        if not follow or links > MOST_LINKS:
            return False
        target = os.readlink(Path(folder, *at, part))
        if os.path.isabs(target):
            whole, root = Path(target).parts, folder.parts
            if whole[: len(root)] != root:
                return False
            at, target_parts = [], whole[len(root) :]
        else:
            target_parts = Path(target).parts
        left += reversed(target_parts)
    return False


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that tell the files apart."""
    depth = [1] * len(paths)
    while True:
        names = ["/".join(path.parts[-depth[place] :]) for place, path in enumerate(paths)]
        count = Counter(names)
        growing = [
            place for place, path in enumerate(paths) if count[names[place]] > 1 and depth[place] < len(path.parts)
        ]
        if not growing:
            return names
        for place in growing:
            depth[place] += 1
