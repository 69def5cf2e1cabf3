"""Where each document's folder lies under a root: listed once, and again only when the root has changed.

A question over a thousand documents looks a thousand folders up. A folder that another process makes within the same
moment of the file system's clock may be missed once; its document is then read again, and nothing worse.
"""

from __future__ import annotations

import os
import re
import time
import unicodedata
from itertools import islice
from pathlib import Path

from sharedllm_cli import durable

HASH_CHARACTERS = 16
"""So much of a content hash ends a folder's name."""
_SLUG_CHARACTERS = 40
_SETTLED_NANOSECONDS = 20_000_000
"""A root that changed less than this ago may change again without another time of change."""
_NEVER = -1
_MOST_NAMESAKES = 4


class Folders:
    """The folders under one root by the beginning of the content hash that ends their names."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[str, list[str]] = {}
        self._listed = _NEVER
        self._made = _NEVER
        self._settled = False

    def find(self, content_hash: str) -> list[Path]:
        """The folders that carry a document's hash, by name; there may be none, and some may be of other programs."""
        ending = content_hash[:HASH_CHARACTERS]
        found = self._present(ending)
        if not found and not (self._settled and self._listed == self._changed()):
            self._list()
            found = self._present(ending)
        return found

    def make(self, content_hash: str, name: str) -> Path:
        """Make the folder of a document that is known by this name."""
        ending = content_hash[:HASH_CHARACTERS]
        folder = self._root / f"{slug(name)}-{ending}"
        before = self._changed()
        durable.make_private_folder(folder)
        self._names.setdefault(ending, []).append(folder.name)
        if before == self._listed:  # nothing but this has changed since, so it need not be listed again
            self._listed = self._made = self._changed()
        return folder

    def named(self, name: str) -> list[Path]:
        """The first few folders of documents that were first known by this name."""
        if not (self._settled and self._listed == self._changed()):
            self._list()
        wanted = (f"{slug(name)}-{ending}" for ending in self._names)
        found = (self._root / folder for folder in wanted if folder in self._names[folder[-HASH_CHARACTERS:]])
        return list(islice(found, _MOST_NAMESAKES))

    def _present(self, ending: str) -> list[Path]:
        found = (self._root / name for name in self._names.get(ending, ()))
        return [path for path in found if path.is_dir()]

    def _changed(self) -> int:
        try:
            return os.stat(self._root).st_mtime_ns
        except OSError:
            return _NEVER

    def _list(self) -> None:
        self._listed = self._changed()
        self._settled = self._listed == self._made or time.time_ns() - self._listed > _SETTLED_NANOSECONDS
        self._names = {}
        try:
            names = sorted(os.listdir(self._root))
        except OSError:
            return
        for name in names:
            _, hyphen, ending = name.rpartition("-")
            if hyphen and len(ending) == HASH_CHARACTERS:
                self._names.setdefault(ending, []).append(name)


def slug(name: str) -> str:
    """A document's name as part of a folder's: lower-case ASCII letters, digits and hyphens, at most 40."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_SLUG_CHARACTERS].strip("-") or "document"
