"""The best passages for a query, without an answer: by the scores of leaves, whatever policy gave them.

A search by words opens the documents, too, without loading the model (`WordSearcher`). The index is the one that `ask`
uses. Of the model only the tokenizer is read, and only for a document that is new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from sharedllm_cli.answer import SearchResult, Source
from sharedllm_cli.config import Settings
from sharedllm_cli.documents.pages import PageRange
from sharedllm_cli.documents.readers import Limits, Probe
from sharedllm_cli.errors import UsageError
from sharedllm_cli.home import indexes_folder
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.model.adapter_config import tree_config
from sharedllm_cli.progress import RememberingReporter, Reporter
from sharedllm_cli.reading.library import Library, OpenDocument, Shelf, named_in, part_first
from sharedllm_cli.reading.sources import TokenRanges, allowed_tokens, sources, token_text
from sharedllm_cli.retrieval import bm25
from sharedllm_cli.retrieval.bm25 import LexicalScores
from sharedllm_cli.retrieval.passages import rank, select
from sharedllm_cli.retrieval.terms import words
from sharedllm_cli.weights.registry import Located, locate
from sharedllm_cli.weights.tokenizer_files import read_tokenizer
from sharedllm_cli.weights.weight_files import file_hash

BY_WORDS_ALONE = "bm25"
TOKENS_EACH = 192
"""Tokens of the best leaves that are looked at for each passage: neighbours become one."""


@dataclass(frozen=True)
class Search:
    """What is searched for, at most how many passages are shown, and the lowest score of one."""

    query: str
    limit: int
    min_score: float | None = None

    def __post_init__(self) -> None:
        if not self.query.strip():
            raise UsageError("the query is empty")
        if self.limit < 1:
            raise UsageError(f"--limit must be at least 1, got {self.limit}")

    def result(
        self,
        library: Library,
        scores: Sequence[np.ndarray],
        lexical: LexicalScores,
        *,
        policy: str,
        allowed: Sequence[TokenRanges | None],
        remarks: Sequence[str],
        started: float,
    ) -> SearchResult:
        """The best passages by scores of leaves. `started`: the clock (`perf_counter`) when the search began."""
        # By words alone a leaf with some of them is above 0, though it may be the lowest of those that are open.
        least = 0.0 if policy == BY_WORDS_ALONE else None
        documents = library.documents
        found = found_passages(
            documents, scores, limit=self.limit, min_score=self.min_score, allowed=allowed, least=least
        )
        if policy == BY_WORDS_ALONE and lexical.matched:
            # A passage over a page break is a source on each page, and may have the words on one of them alone.
            language = library.documents[0].leaves.lexical.language
            sought = {term for word in words(" ".join(lexical.matched), language) for term in word.terms}
            found = [one for one in found if any(sought & set(word.terms) for word in words(one.quote, language))]
        return SearchResult(
            query=self.query,
            policy=policy,
            passages=found,
            matched=list(lexical.matched),
            missing=[word for word in lexical.terms if word not in lexical.matched],
            searched_s=perf_counter() - started,
            warnings=list(dict.fromkeys([*library.warnings, *remarks])),
        )


def found_passages(
    documents: Sequence[OpenDocument],
    scores: Sequence[np.ndarray],
    *,
    limit: int,
    min_score: float | None = None,
    allowed: Sequence[TokenRanges | None] | None = None,
    least: float | None = None,
) -> list[Source]:
    """At most `limit` passages, best first: whole sentences around the best leaves, of which no two overlap.

    `scores[d]` [leaves] belongs to `documents[d]`. Leaves with the lowest score of all (or `least`, where that is
    known) are never shown, nor, with `min_score`, those below it. `allowed[d]` are the token ranges of a document that
    may be searched (None: all).
    """
    texts = [token_text(opened) for opened in documents]
    if least is None:
        least = min((float(values.min()) for values in scores if len(values)), default=0.0)
    best = select(scores, texts, limit * TOKENS_EACH, allowed=allowed)
    passages = [
        passage
        for passage in rank(best, scores, texts, limit)
        if passage.score > least and (min_score is None or round(passage.score, 4) >= min_score)  # as it is shown
    ]
    return sources(documents, passages, read=False, limit=limit)


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

    def shelf(self, probe: Probe | None = None) -> Shelf:
        """What opens documents; `probe` is a first look at one of them."""
        return Shelf(
            self.store,
            lambda: self._tokenizer,
            file_hash(self._located.folder / "tokenizer.json"),
            tree_config(self.settings, self._located.name),
            self.reporter,
            password=self.settings.password,
            limits=Limits.of(self.settings),
            probe=probe,
        )

    def open(self, arguments: Sequence[str], *, reindex: bool = False, probe: Probe | None = None) -> Library:
        """Open documents as `Engine.open` does; those that can't be read are among the library's failures."""
        library = self.shelf(probe).open(arguments, reindex=reindex)
        library.warnings = list(self.reporter.warnings)
        return library

    def search(self, library: Library, asked: Search, *, pages: Pages = None) -> SearchResult:
        """The best passages by BM25; UsageError for pages that no document has."""
        started = perf_counter()
        documents = library.documents
        allowed, remarks = allowed_tokens(documents, pages)
        part = named_in(asked.query, documents)
        query = asked.query if part is None else part.question
        indexes = [opened.leaves.lexical for opened in documents]
        lexical = bm25.scores(query, indexes)
        scores = list(lexical.values)
        if any(rows := [opened.rows for opened in documents]):
            from sharedllm_cli.retrieval.tables import credited

            scores = credited(query, lexical, indexes, rows).values
        if part is not None:
            scores = part_first(scores, documents, part.spans)
        return asked.result(library, scores, lexical, policy="bm25", allowed=allowed, remarks=remarks, started=started)
