"""Under which names and paths a document was seen, and when its index was last used.

`usage.json` lies in the document's folder. The same bytes can be asked of under several paths: the last one
names the document, and the others are kept, since the index is of use as long as one of them holds those bytes.
A bundle says itself how its document was called first, so that most of those need no `usage.json`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sharedllm_cli import durable
from sharedllm_cli.home import INDEX_ELSEWHERE
from sharedllm_cli.index.bundle import BUNDLE, Bundle, peek
from sharedllm_cli.index.seals import sealed, unsealed
from sharedllm_cli.index.stamps import DamagedFileError

USAGE = "usage.json"
MOST_PATHS = 8
"""Of a document that was asked for under more paths, the oldest are forgotten."""


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
    try:
        data = (folder / USAGE).read_bytes()
    except FileNotFoundError:
        return None
    value = unsealed(data)
    try:
        assert value is not None
        return Usage(
            value["name"],
            value["path"],
            value["content_hash"],
            tuple(value.get("elsewhere", ())),
            tuple(value.get("stamp", ())),
        )
    except (AssertionError, KeyError):
        raise DamagedFileError(folder / USAGE, "differs from what was written") from None


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
    """Remember name and path, unless they are those `known` already; a path before it is kept."""
    if known and known.says_the_same(usage):
        return
    before = (known.path, *known.elsewhere) if known else ()
    elsewhere = [other for other in before if other is not None and other != usage.path]
    _write(folder, replace(usage, elsewhere=tuple(elsewhere[: MOST_PATHS - 1])))


def add_path(folder: Path, known: Usage | None, path: str) -> None:
    """Remember that another file holds the same bytes, too, while there is room; the document keeps its name."""
    if known and path not in (known.path, *known.elsewhere) and len(known.elsewhere) < MOST_PATHS - 1:
        _write(folder, replace(known, elsewhere=(*known.elsewhere, path)))


def _write(folder: Path, usage: Usage) -> None:
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
