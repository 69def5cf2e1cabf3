"""Search by words: documents opened and searched without loading the model.

The index is the one that `ask` uses. Of the model only the tokenizer is read, and only for a document that is new.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

from sharedllm_cli.answer import SearchResult
from sharedllm_cli.config import Settings
from sharedllm_cli.documents.pages import PageRange
from sharedllm_cli.documents.readers import Probe
from sharedllm_cli.home import indexes_folder
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.model.adapter_config import tree_config
from sharedllm_cli.progress import RememberingReporter, Reporter
from sharedllm_cli.reading.found import Search
from sharedllm_cli.reading.library import Library, Shelf, named_in, part_first
from sharedllm_cli.reading.sources import allowed_tokens
from sharedllm_cli.retrieval import bm25
from sharedllm_cli.weights.references import Located, locate
from sharedllm_cli.weights.tokenizer_files import read_tokenizer
from sharedllm_cli.weights.weight_files import file_hash

Pages = PageRange | str | tuple[int, int] | None


class WordSearcher:
    """Opens documents and searches them by words. Loads no torch; fetches the model's files if they are not here."""

    def __init__(self, settings: Settings, *, home: Path, reporter: Reporter) -> None:
        self.settings = settings
        self.home = home
        self.reporter = RememberingReporter(reporter)
        root = indexes_folder(home) if settings.index_dir is None else Path(settings.index_dir).expanduser()
        self.store = IndexStore(root, self.reporter)

    @cached_property
    def _located(self) -> Located:
        return locate(self.settings.model, home=self.home, offline=self.settings.offline, reporter=self.reporter)

    @cached_property
    def _tokenizer(self) -> Any:
        return read_tokenizer(self._located.folder)[0]

    def open(self, arguments: Sequence[str], *, reindex: bool = False, probe: Probe | None = None) -> Library:
        """Open documents as `Engine.open` does; those that can't be read are among the library's failures."""
        shelf = Shelf(
            self.store,
            lambda: self._tokenizer,
            file_hash(self._located.folder / "tokenizer.json"),
            tree_config(self.settings, self._located.name),
            self.reporter,
            password=self.settings.password,
            probe=probe,
        )
        library = shelf.open(arguments, reindex=reindex)
        library.warnings = list(self.reporter.warnings)
        return library

    def search(self, library: Library, asked: Search, *, pages: Pages = None) -> SearchResult:
        """The best passages by BM25; UsageError for pages that no document has."""
        started = perf_counter()
        documents = library.documents
        allowed, remarks = allowed_tokens(documents, pages)
        part = named_in(asked.query, documents)
        query = asked.query if part is None else part.question
        lexical = bm25.scores(query, [opened.leaves.lexical for opened in documents])
        scores = list(lexical.values)
        if part is not None:
            scores = part_first(scores, documents, part.spans)
        return asked.result(library, scores, lexical, policy="bm25", allowed=allowed, remarks=remarks, started=started)
