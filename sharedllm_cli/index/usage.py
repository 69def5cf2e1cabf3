"""Under which names and paths a document was seen, and when its index was last used.

`usage.json` lies in the document's folder. The same bytes can be asked of under several paths; the last one counts.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sharedllm_cli.index import durable
from sharedllm_cli.index.stamps import DamagedFileError

USAGE = "usage.json"


@dataclass(frozen=True)
class Usage:
    """What the user calls the document, where it was last read from (None: standard input), and its content hash."""

    name: str
    path: str | None
    content_hash: str


def read_usage(folder: Path) -> Usage | None:
    """What is known, None for nothing. Raises DamagedFileError for a file that is not what was written."""
    try:
        data = (folder / USAGE).read_bytes()
    except FileNotFoundError:
        return None
    value = durable.unsealed(data)
    try:
        assert value is not None
        return Usage(value["name"], value["path"], value["content_hash"])
    except (AssertionError, KeyError):
        raise DamagedFileError(folder / USAGE, "differs from what was written") from None


def write_usage(folder: Path, usage: Usage) -> None:
    """Remember name and path, unless they are known already."""
    with suppress(DamagedFileError):
        if read_usage(folder) == usage:
            return
    value = {"name": usage.name, "path": usage.path, "content_hash": usage.content_hash}
    with durable.writing(folder):
        durable.replace_bytes(folder / USAGE, durable.sealed(value))


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
