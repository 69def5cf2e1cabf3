"""Documents that stay open between questions, and how it is known that they are still what the files hold.

A library is used again only where every file has the size, times and inode that it had before it was read, the folders
and patterns give the same files, and the index is still there. In any other case it is opened anew. The files
of a loaded model are compared likewise (`ModelFiles`).
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sharedllm_cli import durable
from sharedllm_cli.answer import NotRead
from sharedllm_cli.config import Settings
from sharedllm_cli.documents.sources import SourceFile, expand
from sharedllm_cli.errors import DocumentError, SharedLLMError
from sharedllm_cli.index.bookkeeping import mark_used
from sharedllm_cli.progress import Silent
from sharedllm_cli.reading.library import Library
from sharedllm_cli.serving.reporting import Remark

KEPT_TOKENS = 4_000_000
"""Tokens of all documents that stay open; those asked for least recently go first. The last library always stays."""


@dataclass(frozen=True)
class _Seen:
    """The files that some arguments name, as they were before they were read."""

    sources: tuple[SourceFile, ...]
    stamps: tuple[tuple[int, ...], ...]
    not_read: tuple[NotRead, ...]


@dataclass
class _Kept:
    seen: _Seen
    library: Library
    remarks: list[Remark]


class OpenedLibraries:
    """Libraries by the arguments that opened them; bounded by the tokens of their documents."""

    def __init__(self, most_tokens: int = KEPT_TOKENS) -> None:
        self._most_tokens = most_tokens
        self._kept: OrderedDict[Any, _Kept] = OrderedDict()

    def open(
        self, key: Any, arguments: Sequence[str], make: Callable[[], tuple[Library, list[Remark]]]
    ) -> tuple[Library, list[Remark]]:
        """A library that is still right, with what was remarked when it was opened; else the one that `make` opens.

        `key` has everything beside the arguments that decides what they mean (folder, password).
        """
        key = (tuple(arguments), key)
        seen = _look(arguments)
        kept = self._kept.get(key)
        if kept is not None and seen is not None and kept.seen == seen and _is_indexed(kept.library):
            self._kept.move_to_end(key)
            for opened in kept.library.documents:
                mark_used(opened.index_path)
            return replace(kept.library, read_seconds=0.0), kept.remarks
        self._kept.pop(key, None)
        library, remarks = make()
        # One that was just indexed is opened once more, and then kept as everyone else finds it.
        if seen is not None and not library.failures and all(opened.text_hit for opened in library.documents):
            self._kept[key] = _Kept(seen, library, remarks)
            self._shrink()
        return library, remarks

    def forget(self) -> None:
        """Close all of them."""
        self._kept.clear()

    def _shrink(self) -> None:
        while len(self._kept) > 1 and sum(kept.library.tokens for kept in self._kept.values()) > self._most_tokens:
            self._kept.popitem(last=False)


def _look(arguments: Sequence[str]) -> _Seen | None:
    """The files as they are now; None where they can't vouch for their content (standard input, just changed)."""
    failures: list[tuple[str, DocumentError]] = []
    passed_over: dict[str, list[NotRead]] = {}
    sources = expand(arguments, failures, passed_over)
    if failures or not sources:
        return None
    stamps = []
    for source in sources:
        if source.path is None or not source.path.is_file():
            return None
        with suppress(OSError):
            stamp = durable.stamp_of(source.path)
            if durable.is_settled(stamp):
                stamps.append(tuple(stamp))
    if len(stamps) < len(sources):
        return None
    return _Seen(tuple(sources), tuple(stamps), tuple(file for files in passed_over.values() for file in files))


def _is_indexed(library: Library) -> bool:
    return all(opened.index_path.is_dir() for opened in library.documents)


ModelFiles = tuple[tuple[str, tuple[int, ...]], ...]
"""Paths and stamps."""


def model_files(settings: Settings, home: Path) -> ModelFiles:
    """The files of a model that was loaded with these settings, with their stamps; empty where they are gone."""
    from sharedllm_cli.model.adapter_config import adapter_folder
    from sharedllm_cli.weights.encoders import encoder_folder
    from sharedllm_cli.weights.registry import locate

    try:
        located = locate(settings.model, home=home, offline=True, reporter=Silent())
    except SharedLLMError:
        return ()
    folders = (located.folder, adapter_folder(settings, located.name), encoder_folder(home))
    found = []
    for folder in filter(None, folders):
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                if entry.is_file() and not entry.name.startswith("."):
                    found.append((entry.path, tuple(durable.stamp_of(Path(entry.path)))))
    return tuple(found)
