"""What of the documents stands verbatim before the model for a question, and what is shown as its sources."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from sharedllm_cli.answer import Source
from sharedllm_cli.context import evidence, lexical
from sharedllm_cli.context.front_matter import asks_for_front_matter, raise_front
from sharedllm_cli.context.tree import Span
from sharedllm_cli.context.words import words
from sharedllm_cli.generation.prompt import PassageText, Turn
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.scoring import Scored
from sharedllm_cli.reading.sources import TokenRanges, characters, passage_text, sources, token_text

QUOTE_TOKENS = 512
"""With no verbatim evidence the sources are quoted from this many tokens of the best leaves."""
COVER_TOKENS = 64
"""A page with fewer tokens than this is a cover: author and date stand on the page after it."""
_LEANING = 2
"""A question with fewer words than this that the documents hold is looked for together with the one before it."""


@dataclass(frozen=True)
class Chosen:
    """The passages for a question, in document order, a piece a page, and the sources, best first.

    `tokens` counts the passages' tokens; `whole`: all that may be read stands in them; `front`: the question is about
    a document itself, whose first page stands in them whatever its words.
    """

    scored: Scored
    passages: list[PassageText]
    tokens: int
    sources: list[Source]
    whole: bool
    front: bool = False

    @property
    def hopeless(self) -> bool:
        """None of the question's words occurs in documents of which the model could see passages only."""
        matches = self.scored.lexical
        return bool(matches.terms) and not matches.matched and not self.whole and not self.front

    @property
    def unfit(self) -> bool:
        """The budget is smaller than any word of the best passage, so that nothing is read word for word."""
        return not self.tokens and not self.whole

    @property
    def matched(self) -> Collection[str]:
        """The question's words that the passages may be expected to answer: those that the documents hold, or all."""
        matches = self.scored.lexical
        return matches.terms if self.whole or self.front else matches.matched


def looked_for(question: str, history: Sequence[Turn], documents: Sequence[OpenDocument]) -> str:
    """What is searched for: the question, together with the one before it where it leans on that (`and when?`)."""
    if not history:
        return question
    matches = lexical.scores(question, [opened.leaves.lexical for opened in documents])
    return question if len(matches.matched) >= _LEANING else f"{history[-1].question} {question}"


def choose(
    documents: Sequence[OpenDocument],
    scored: Scored,
    budget_tokens: int,
    *,
    allowed: Sequence[TokenRanges | None] | None = None,
    by_words: bool = True,
    question: str = "",
) -> Chosen:
    """Choose passages within a budget of tokens, and the quotes to show.

    `allowed` bounds both to some tokens of each document (None: all). `by_words` says that the scores rest on the
    question's words, so that without any of them the passages are spread over the documents. A `question` about a
    document itself (its author, its title) gets its first page, however that scores.
    """
    allowed = allowed or [None] * len(documents)
    texts = [token_text(opened) for opened in documents]
    spread = by_words and not scored.lexical.matched
    front = asks_for_front_matter(question) and any(_may_read_front(ranges) for ranges in allowed)
    leaves = scored.leaves
    if front:
        ends = [_front_end(opened) for opened in documents]
        leaves = raise_front(leaves, texts, ends, budget_tokens or QUOTE_TOKENS)

    def sought(place: int, span: Span) -> list[int]:
        return _matches(documents[place], span, scored.lexical.matched)

    def select(budget: int) -> list[evidence.Passage]:
        return evidence.select(leaves, texts, budget, allowed=allowed, spread=spread, sought=sought)

    passages = select(budget_tokens) if budget_tokens else []
    ranked = evidence.rank(passages or select(QUOTE_TOKENS), leaves, texts)
    tokens = sum(passage.length for passage in passages)
    readable = sum(
        opened.tokens if ranges is None else sum(end - first for first, end in ranges)
        for opened, ranges in zip(documents, allowed, strict=True)
    )
    pieces = [piece for passage in passages for piece in passage_text(documents[passage.document], passage)]
    return Chosen(scored, pieces, tokens, sources(documents, ranked), tokens >= readable, front)


def _matches(opened: OpenDocument, span: Span, asked: Collection[str]) -> list[int]:
    """The tokens of a span at which words begin that are forms of those asked for."""
    language = opened.leaves.lexical.language
    terms = {term for word in words(" ".join(asked), language) for term in word.terms}
    start, end = characters(opened, span.start, span.end)
    found = (word for word in words(opened.document.text[start:end], language) if terms & set(word.terms))
    starts = [start + word.start for word in found]
    tokens: list[int] = (np.searchsorted(opened.leaves.tokens.starts, starts, side="right") - 1).tolist()
    return tokens


def _may_read_front(ranges: TokenRanges | None) -> bool:
    return ranges is None or any(first == 0 < end for first, end in ranges)


def _front_end(opened: OpenDocument) -> int:
    """The token at which a document's first page ends; a cover of a few words and the page after it count as one."""
    starts = opened.leaves.tokens.starts
    page = opened.document.page_at(int(starts[min(COVER_TOKENS, len(starts)) - 1]))
    return int(np.searchsorted(starts, page.end))
