"""Trees for the documents of a collection that answers rested on, as far as a budget of disk goes.

A collection has no trees by itself: its questions read passages. `--trees hot` builds those of the documents that were
asked, the latest first; what does not fit goes, the one asked longest ago first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sharedllm_cli.collections.catalogue import READ, Catalogue
from sharedllm_cli.collections.names import Collection
from sharedllm_cli.errors import DocumentError
from sharedllm_cli.index import folders

if TYPE_CHECKING:
    from sharedllm_cli.index.store import IndexStore
    from sharedllm_cli.progress import RememberingReporter
    from sharedllm_cli.reading.library import Library, OpenDocument


@dataclass(frozen=True)
class HotTrees:
    """What stands after `keep_hot`: documents with trees and their bytes, and how many were built and deleted."""

    name: str
    kept: int
    bytes: int
    built: int
    deleted: int


class TreeBuilder(Protocol):
    """What builds trees: the engine."""

    store: IndexStore
    reporter: RememberingReporter

    def open(self, arguments: Sequence[str]) -> Library:
        """Open documents."""

    def build_trees(self, opened: OpenDocument) -> bool:
        """Build the trees of a document that has none; whether anything was built."""


def keep_hot(collection: Collection, engine: TreeBuilder, budget: int) -> HotTrees:
    """Build the trees of the documents asked last until `budget` bytes are full; above it those asked longest ago go.

    Trees that were built before, of documents that nobody asked, count too, and go first. Raises what building raises:
    ResourceError where disk or memory is short.
    """
    catalogue = Catalogue(collection.catalogue)
    try:
        paths = {row.content_hash: row.path for row in catalogue.files() if row.state == READ}
        asked = [content for content, _ in catalogue.asked() if content in paths]
        others = [row.content_hash for row in catalogue.documents() if row.content_hash not in asked]
    finally:
        catalogue.close()
    used = built = kept = deleted = 0
    full = False
    bytes_a_token = 0.0
    for content in asked:
        opened = _opened(engine, paths[content])
        if opened is None:
            continue
        full = full or used + opened.tokens * bytes_a_token > budget
        built += 0 if full else engine.build_trees(opened)
        size = _trees_bytes(engine.store, content)
        if full or used + size > budget:
            full = True
            deleted += _delete_trees(engine.store, content)
            continue
        bytes_a_token = max(bytes_a_token, size / max(1, opened.tokens))
        used, kept = used + size, kept + 1
    for content in others:
        size = _trees_bytes(engine.store, content)
        if size and used + size > budget:
            deleted += _delete_trees(engine.store, content)
        elif size:
            used, kept = used + size, kept + 1
    return HotTrees(collection.name, kept, used, built, deleted)


def _opened(engine: TreeBuilder, path: str) -> OpenDocument | None:
    try:
        return engine.open([path]).documents[0]
    except DocumentError as problem:
        engine.reporter.warn(problem.message)
        return None


def _trees(store: IndexStore, content_hash: str) -> list[Path]:
    folder = store.folder(content_hash)
    return [] if folder is None else [one for one in folders.finished_parts(folder) if one.name.startswith("trees-")]


def _trees_bytes(store: IndexStore, content_hash: str) -> int:
    return sum(path.stat().st_size for part in _trees(store, content_hash) for path in part.iterdir())


def _delete_trees(store: IndexStore, content_hash: str) -> int:
    parts = _trees(store, content_hash)
    for part in parts:
        folders.delete_part(part.parent, part.name)
    return bool(parts)
