"""What a shell completes where a path may stand. Names that need quotes are left to the shell, which knows how.

Looks at one folder; whatever goes wrong completes nothing, which leaves all to the shell.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress

NEEDS_QUOTES = re.compile(r"[^\w@%+=:,./-]")
MOST = 500
"""Names that are offered at most; a shell asks before it shows as many."""


def documents(incomplete: str) -> list[str]:
    """Files that can be read and folders, or with a leading @ the collections."""
    if incomplete.startswith("@"):
        from sharedllm_cli.cli import options

        collections: Callable[[str], list[str]] = getattr(options, "complete_collections", lambda begun: [])
        return [f"@{name.removeprefix('@')}" for name in collections(incomplete)]
    from sharedllm_cli.documents.sources import SUFFIXES

    return _paths(incomplete, lambda name: os.path.splitext(name)[1].lower() in SUFFIXES)


def adapters(incomplete: str) -> list[str]:
    """`none`, folders that hold an adapter, and those on the way to one."""
    names = ["none"] if "none".startswith(incomplete) else []
    return names + _paths(incomplete, lambda name: False)


def folders(incomplete: str) -> list[str]:
    """Folders."""
    return _paths(incomplete, lambda name: False)


def weights(incomplete: str) -> list[str]:
    """GGUF files and folders."""
    return _paths(incomplete, lambda name: name.lower().endswith(".gguf"))


def _paths(incomplete: str, wanted: Callable[[str], bool]) -> list[str]:
    """Paths that begin so. A folder that is the only one is shown with what it holds, so that no space follows it."""
    found: list[str] = []
    with suppress(OSError, ValueError):
        found = list(_entries(incomplete, wanted))
        if len(found) == 1 and found[0].endswith("/"):
            found += _entries(found[0], wanted)
    return [] if len(found) > MOST or any(NEEDS_QUOTES.search(path) for path in found) else found


def _entries(incomplete: str, wanted: Callable[[str], bool]) -> Iterator[str]:
    folder, begun = os.path.split(incomplete)
    with os.scandir(folder or ".") as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            if not entry.name.startswith(begun) or (entry.name.startswith(".") and not begun.startswith(".")):
                continue
            path = os.path.join(folder, entry.name)
            if entry.is_dir():
                yield f"{path}/"
            elif wanted(entry.name):
                yield path
