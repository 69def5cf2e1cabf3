"""Wait for the files of collections to change, by the library `watchfiles` (an extra, `watch`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from sharedllm_cli.collections.names import Collection
from sharedllm_cli.errors import UsageError

WAKE = 500
SETTLE_MILLISECONDS = 1000
"""Changes that come within so long of each other are one: a program saves a file in several steps."""


def changes(
    collections: Sequence[Collection], *, settle: int = SETTLE_MILLISECONDS
) -> Iterator[tuple[Collection, bool]]:
    """Every collection once (with True), then each one whose files have changed, whenever they do, until Ctrl-C.

    UsageError where `watchfiles` is not installed, or nothing that the collections were made of is there.
    """
    try:
        import watchfiles
    except ImportError:
        raise UsageError(
            "watching needs the library watchfiles", hint='install it with: pip install "sharedllm-cli[watch]"'
        ) from None
    watched = {collection: watched_folders(collection) for collection in collections}
    folders = sorted({folder for folders in watched.values() for folder in folders})
    if not folders:
        raise UsageError("nothing that these collections were made of is there")
    first = True
    # What changes during the first update is not missed: it listens before, and wakes once a second.
    for batch in watchfiles.watch(
        *folders, watch_filter=None, debounce=settle, rust_timeout=WAKE, yield_on_timeout=True, raise_interrupt=True
    ):
        if first:
            first = False
            yield from ((collection, True) for collection in collections)
        paths = [path for _, path in batch]
        for collection, own in watched.items():
            if any(_within(path, own) for path in paths):
                yield collection, False


def watched_folders(collection: Collection) -> list[str]:
    """The folders that hold a collection's files: each root, or the folder that holds it where it is a file."""
    found = []
    for root in collection.roots:
        path = Path(root)
        while not path.is_dir() and path != path.parent:
            path = path.parent
        found.append(os.path.realpath(path))
    return list(dict.fromkeys(found))


def _within(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)
