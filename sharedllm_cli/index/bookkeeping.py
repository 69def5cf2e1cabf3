"""The three sealed files beside a document's parts: `stamps.json`, `usage.json`, `second.json`.

Stamps prove cheaply that files have not changed since they were last read whole. A stamp is what the file system says
of a file (size, times, inode). As long as it is the one remembered, the file's hash is taken as known; where it differs
the file is hashed again, then and there.

Usage says under which names and paths a document was seen, and when its index was last used. The same bytes can be
asked of under several paths: the last one names the document, and the others are kept, since the index is of use as
long as one of them holds those bytes. A bundle says itself how its document was called first, so that most of those
need no `usage.json`.

The second extraction of pages that quotes were held against is kept so that the next question need not make it again.
It holds the pages asked of last. Stamps and second extractions only ever save work.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sharedllm_cli import durable
from sharedllm_cli.home import INDEX_ELSEWHERE
from sharedllm_cli.index.bundle import BUNDLE, Bundle, peek
from sharedllm_cli.index.manifest import DamagedFileError, Manifest, sealed, unsealed

STAMPS = "stamps.json"
USAGE = "usage.json"
MOST_PATHS = 8
"""Of a document that was asked for under more paths, the oldest are forgotten."""
SECOND = "second.json"
MOST_PAGES = 64
"""Pages that are kept; the ones asked of longest ago go."""
MOST_CHARACTERS = 500_000
"""Characters of these pages together: the file is read whole whenever the index is opened."""

Stamp = list[int]


def _read(path: Path) -> dict[str, Any] | None:
    """The object of a sealed file, None where there is no file. Raises DamagedFileError where one byte differs."""
    try:
        value = unsealed(path.read_bytes())
    except FileNotFoundError:
        return None
    if value is None:
        raise _differs(path)
    return value


def _differs(path: Path) -> DamagedFileError:
    return DamagedFileError(path, "differs from what was written")


class Stamps:
    """The remembered stamps of one document's folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / STAMPS
        self._changed = False
        value = _read(self._path)
        stamps = {} if value is None else value.get("stamps")
        if not isinstance(stamps, dict):
            raise _differs(self._path)
        self._stamps: dict[str, Stamp] = stamps

    def check(self, part: Path, manifest: Manifest) -> None:
        """Prove every file of a part: by its stamp, or by its hash where the stamp is new.

        Raises DamagedFileError for a file that is missing, of another size, or of other bytes than its manifest says.
        """
        for name, fact in manifest.files.items():
            path, label = part / name, f"{part.name}/{name}"
            try:
                stamp = durable.stamp_of(path)
            except OSError:
                raise DamagedFileError(path, "is missing") from None
            if stamp[0] != fact.size:
                raise DamagedFileError(path, f"has {stamp[0]} bytes instead of {fact.size}")
            if self._stamps.get(label) == stamp:
                continue
            if durable.sha256_of(path) != fact.sha256:
                raise _differs(path)
            self.remember(part, name, stamp)

    def remember(self, part: Path, name: str, stamp: Stamp) -> None:
        """Keep the stamp that a file had before it was found whole, unless the file is too young to trust it."""
        if durable.is_settled(stamp):
            self._stamps[f"{part.name}/{name}"] = stamp
            self._changed = True

    def parts(self) -> set[str]:
        """The names of the parts that were found whole once."""
        return {label.partition("/")[0] for label in self._stamps}

    def forget(self, part_name: str) -> None:
        """Drop a part's stamps."""
        kept = {label: stamp for label, stamp in self._stamps.items() if label.partition("/")[0] != part_name}
        self._changed |= len(kept) != len(self._stamps)
        self._stamps = kept

    def save(self) -> None:
        """Write what is new; a folder that can't be written merely stays without."""
        if self._changed:
            with suppress(OSError):
                durable.replace_bytes(self._path, sealed({"stamps": dict(sorted(self._stamps.items()))}))
            self._changed = False


CARRIED = " › "
"""Between the name of a document and that of one that it carries: `letter.eml › lease.pdf`."""


@dataclass(frozen=True)
class Usage:
    """What the user calls the document, where it was last read from (None: standard input), and its content hash.

    `elsewhere`: the paths before that one, latest first. `stamp`: the file's when its bytes were hashed, empty where
    none is kept (durable.stamp_of).
    """

    name: str
    path: str | None
    content_hash: str
    elsewhere: tuple[str, ...] = ()
    stamp: tuple[int, ...] = ()

    def says_the_same(self, other: Usage) -> bool:
        """Whether another one names the same document at the same place, unchanged since."""
        return replace(self, elsewhere=()) == replace(other, elsewhere=())


def read_usage(folder: Path) -> Usage | None:
    """What is known, None for nothing. Raises DamagedFileError for a file that is not what was written."""
    value = _read(folder / USAGE)
    if value is None:
        return None
    try:
        return Usage(
            value["name"],
            value["path"],
            value["content_hash"],
            tuple(value.get("elsewhere", ())),
            tuple(value.get("stamp", ())),
        )
    except KeyError:
        raise _differs(folder / USAGE) from None


def usage_of_bundle(bundle: Bundle) -> Usage:
    """How a bundled document was called when it was bundled."""
    return Usage(bundle.name, bundle.path, bundle.content_hash)


def known_usage(folder: Path) -> Usage | None:
    """What `usage.json` says, else what a bundle says, which is not proved. Raises as `read_usage` does."""
    if usage := read_usage(folder):
        return usage
    bundle = peek(folder)
    return None if bundle is None else usage_of_bundle(bundle)


def write_usage(folder: Path, known: Usage | None, usage: Usage) -> None:
    """Remember name and path, unless they are those `known` already; a path before it is kept.

    A document that another one carries stays what it is called as a file, while that file is there.
    """
    if known and known.says_the_same(usage):
        return
    carried = usage.path is None and CARRIED in usage.name
    if carried and known and known.path is not None and Path(known.path).exists():
        return
    before = (known.path, *known.elsewhere) if known else ()
    elsewhere = [other for other in before if other is not None and other != usage.path]
    _write_usage(folder, replace(usage, elsewhere=tuple(elsewhere[: MOST_PATHS - 1])))


def add_path(folder: Path, known: Usage | None, path: str) -> None:
    """Remember that another file holds the same bytes, too, while there is room; the document keeps its name."""
    if known and path not in (known.path, *known.elsewhere) and len(known.elsewhere) < MOST_PATHS - 1:
        _write_usage(folder, replace(known, elsewhere=(*known.elsewhere, path)))


def _write_usage(folder: Path, usage: Usage) -> None:
    value = {
        "name": usage.name,
        "path": usage.path,
        "content_hash": usage.content_hash,
        "elsewhere": list(usage.elsewhere),
        **({"stamp": list(usage.stamp)} if usage.stamp else {}),
    }
    with durable.writing(folder, INDEX_ELSEWHERE):
        durable.replace_bytes(folder / USAGE, sealed(value))


def mark_used(folder: Path) -> None:
    """Note that the index was used now; where that can't be written it stays unknown."""
    for name in (USAGE, BUNDLE):
        with suppress(OSError):
            os.utime(folder / name)
            return


def last_used(folder: Path) -> float | None:
    """When the index was last used, seconds since the epoch; None where unknown."""
    for name in (USAGE, BUNDLE):
        with suppress(OSError):
            return (folder / name).stat().st_mtime
    return None


def read_second(folder: Path, made_by: str | None = None) -> dict[int, str | None]:
    """The kept pages by number, the last asked of last (None: it has no second extraction); of these libraries alone.

    Raises DamagedFileError for a file that is not what was written.
    """
    value = _read(folder / SECOND)
    if value is None:
        return {}
    try:
        pages = {int(number): text for number, text in value["pages"]}
        return pages if made_by in (None, value["made_by"]) else {}
    except (KeyError, TypeError, ValueError):
        raise _differs(folder / SECOND) from None


def write_second(folder: Path, pages: Mapping[int, str | None], made_by: str) -> None:
    """Keep pages beside those that are kept already."""
    before = {number: text for number, text in read_second(folder, made_by).items() if number not in pages}
    kept: list[tuple[int, str | None]] = []
    room = MOST_CHARACTERS
    for number, text in reversed([*before.items(), *pages.items()]):
        room -= len(text or "")
        if room < 0 or len(kept) == MOST_PAGES:
            break
        kept.insert(0, (number, text))
    with durable.writing(folder, INDEX_ELSEWHERE):
        durable.replace_bytes(folder / SECOND, sealed({"made_by": made_by, "pages": kept}))
