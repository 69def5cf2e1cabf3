"""Adds, updates and searches collections as the command does, without its processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharedllm_cli.collections import updating, worker
from sharedllm_cli.collections.catalogue import Catalogue
from sharedllm_cli.collections.names import Collection, find, made
from sharedllm_cli.collections.opening import open_library, setup_for
from sharedllm_cli.collections.updating import UpdateOutcome, apply
from sharedllm_cli.config import Settings
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.progress import Silent
from sharedllm_cli.reading.library import Library
from sharedllm_cli.reading.searching import Search, WordSearcher


@dataclass
class Keeper:
    """Collections in a home of their own; `files` is a folder for their documents."""

    settings: Settings
    home: Path
    files: Path

    def write(self, name: str, text: str) -> Path:
        """A file that was written a while ago, so that its stamp counts."""
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        age(path)
        return path

    @property
    def searcher(self) -> WordSearcher:
        return WordSearcher(self.settings, home=self.home, reporter=Silent())

    def add(self, name: str, *roots: Path | str) -> UpdateOutcome:
        made(self.home, name, [str(root) for root in roots or (self.files,)])
        return self.update(name)

    def update(self, name: str, **options: Any) -> UpdateOutcome:
        """An update whose reading happens in this process."""
        collection = find(self.home, name)
        setup = setup_for(self.settings, self.home, Silent())
        shelf = worker.shelf_of({**updating_line(setup)})

        def here(sources: Sequence[SourceFile]) -> Iterator[dict[str, Any]]:
            return (worker.read_one(shelf, source.name, str(source.path)) for source in sources)

        with updating.updating(collection, Silent()):
            catalogue = updating.opened_catalogue(collection, rebuild=options.pop("rebuild", False))
            changes = updating.scan(collection, catalogue.files(), **options)
            outcome = apply(catalogue, collection, changes, setup, Silent(), here)
            catalogue.close()
        return outcome

    def collection(self, name: str) -> Collection:
        return find(self.home, name)

    def catalogue(self, name: str) -> Catalogue:
        return Catalogue(self.collection(name).catalogue)

    def open(self, *names: str) -> Library:
        searcher = self.searcher
        setup = setup_for(self.settings, self.home, searcher.reporter)
        return open_library(names, searcher.shelf(), setup, self.home, searcher.reporter)

    def search(self, query: str, *names: str, limit: int = 8) -> tuple[list[str], list[str]]:
        """The documents found for a query, best first, and the warnings."""
        library = self.open(*(names or ("@notes",))).narrowed(query)
        found = self.searcher.search(library, Search(query, limit))
        return [source.document for source in found.passages], library.warnings


def updating_line(setup: Any) -> dict[str, Any]:
    """What a process is told of a setup."""
    from dataclasses import asdict

    return asdict(setup)


def age(path: Path, seconds: float = 10.0) -> None:
    """Make a file older, so that nothing waits for the file system's clock."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - int(seconds * 1e9)))
