"""Under which names and paths a document was seen, and when its index was last used.

`usage.json` lies in the document's folder. The same bytes can be asked of under several paths: the last one
names the document, and the others are kept, since the index is of use as long as one of them holds those bytes.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sharedllm_cli import durable
from sharedllm_cli.home import INDEX_ELSEWHERE
from sharedllm_cli.index.seals import sealed, unsealed
from sharedllm_cli.index.stamps import DamagedFileError

USAGE = "usage.json"
MOST_PATHS = 8
"""Of a document that was asked for under more paths, the oldest are forgotten."""


@dataclass(frozen=True)
class Usage:
    """What the user calls the document, where it was last read from (None: standard input), and its content hash.

    `elsewhere`: the paths before that one, latest first.
    """

    name: str
    path: str | None
    content_hash: str
    elsewhere: tuple[str, ...] = ()


def read_usage(folder: Path) -> Usage | None:
    """What is known, None for nothing. Raises DamagedFileError for a file that is not what was written."""
    try:
        data = (folder / USAGE).read_bytes()
    except FileNotFoundError:
        return None
    value = unsealed(data)
    try:
        assert value is not None
        return Usage(value["name"], value["path"], value["content_hash"], tuple(value.get("elsewhere", ())))
    except (AssertionError, KeyError):
        raise DamagedFileError(folder / USAGE, "differs from what was written") from None


def write_usage(folder: Path, name: str, path: str | None, content_hash: str) -> None:
    """Remember name and path, unless they are known already; a path before it is kept."""
    known: Usage | None = None
    with suppress(DamagedFileError):
        known = read_usage(folder)
    if known and (known.name, known.path, known.content_hash) == (name, path, content_hash):
        return
    before = (known.path, *known.elsewhere) if known else ()
    elsewhere = [other for other in before if other not in (None, path)]
    value = {"name": name, "path": path, "content_hash": content_hash, "elsewhere": elsewhere[: MOST_PATHS - 1]}
    with durable.writing(folder, INDEX_ELSEWHERE):
        durable.replace_bytes(folder / USAGE, sealed(value))


def mark_used(folder: Path) -> None:
    """Note that the index was used now; where that can't be written it stays unknown."""
    with suppress(OSError):
        os.utime(folder / USAGE)


def last_used(folder: Path) -> float | None:
    """When the index was last used, seconds since the epoch; None where unknown."""
    try:
        return (folder / USAGE).stat().st_mtime
    except OSError:
        return None
