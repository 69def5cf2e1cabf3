"""The best passages for a query, without an answer: by the scores of leaves, whatever policy gave them.

Knows opened documents and numbers; no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from sharedllm_cli.answer import SearchResult, Source
from sharedllm_cli.errors import UsageError
from sharedllm_cli.reading.library import Library, OpenDocument
from sharedllm_cli.reading.sources import TokenRanges, sources, token_text
from sharedllm_cli.retrieval.bm25 import LexicalScores
from sharedllm_cli.retrieval.passages import rank, select
from sharedllm_cli.retrieval.terms import words

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
        found = found_passages(library.documents, scores, limit=self.limit, min_score=self.min_score, allowed=allowed)
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
) -> list[Source]:
    """At most `limit` passages, best first: whole sentences around the best leaves, of which no two overlap.

    `scores[d]` [leaves] belongs to `documents[d]`. Leaves with the lowest score of all are never shown, nor, with
    `min_score`, those below it. `allowed[d]` are the token ranges of a document that may be searched (None: all).
    """
    texts = [token_text(opened) for opened in documents]
    least = min((float(values.min()) for values in scores if len(values)), default=0.0)
    best = select(scores, texts, limit * TOKENS_EACH, allowed=allowed)
    passages = [
        passage
        for passage in rank(best, scores, texts, limit)
        if passage.score > least and (min_score is None or round(passage.score, 4) >= min_score)  # as it is shown
    ]
    return sources(documents, passages, read=False, limit=limit)
