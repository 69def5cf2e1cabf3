"""Evidence: the passages of the documents that the model reads word for word, and what is shown as sources."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sharedllm_cli.answer import Source
from sharedllm_cli.config import MAX_SOURCES
from sharedllm_cli.context.tree import Span
from sharedllm_cli.generation.prompt import PassageText
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.scoring import Scored
from sharedllm_cli.reading.sources import (
    TokenRanges,
    characters,
    metadata_piece,
    metadata_source,
    passage_text,
    sources,
    token_text,
)
from sharedllm_cli.retrieval.listings import raise_lists, yield_to_sections
from sharedllm_cli.retrieval.passages import Passage, best_last, raise_front, rank, select
from sharedllm_cli.retrieval.tables import cells, rows_with
from sharedllm_cli.retrieval.terms import words

QUOTE_TOKENS = 512
"""With no verbatim evidence the sources are quoted from this many tokens of the best leaves."""
FOUND_TOKENS = 1024
"""With fewer tokens of evidence, the best of what is left is shown as found and not read, up to so many in all."""
_SENTENCE_END = re.compile(r"[.!?:…。！？][\"”’»)\]]*\s*\Z")
COVER_TOKENS = 64
"""A page with fewer tokens than this is a cover: author and date stand on the page after it."""


@dataclass(frozen=True)
class Evidence:
    """The passages for a question, one piece a page.

    The best passage is the last one; where the question is about no place in particular, and where all that may be read
    is there, they keep the documents' order.

    `tokens` counts the passages' tokens; `held` are the passages as tokens, and `owners` gives for every piece the
    number of its passage. `whole`: all that may be read is here; `front`: the question is about the document itself,
    whose first page is read whatever its words. `metadata` is what the files say of themselves, for such a question:
    its pieces belong to no passage (an owner of -1, or none). `lists`: the question asks for what lists of contents
    hold, in words that the documents do not have, and gets these lists.
    """

    scored: Scored
    passages: list[PassageText]
    tokens: int
    held: tuple[Passage, ...]
    owners: tuple[int, ...]
    whole: bool
    front: bool = False
    metadata: tuple[Source, ...] = ()
    lists: bool = False

    def kept(self, pieces: Collection[int], tokens: int) -> Evidence:
        """What is left where the prompt has room for some pieces only; `tokens` is what these have."""
        if len(pieces) == len(self.passages):
            return self
        lost = {owner for place, owner in enumerate(self.owners) if place not in pieces}
        held = tuple(passage for place, passage in enumerate(self.held) if place not in lost)
        return replace(self, tokens=tokens, held=held, owners=(), whole=False)

    @property
    def no_term_matches(self) -> bool:
        """None of the question's words occurs in documents of which the model would read passages only.

        Where meaning counted, passages were found all the same.
        """
        matches = self.scored.lexical
        unfound = bool(matches.terms) and not matches.matched and not self.scored.by_meaning
        return unfound and not self.whole and not self.front and not self.lists

    @property
    def unfit(self) -> bool:
        """The budget is smaller than any word of the best passage, so that nothing is read word for word."""
        return not self.tokens and not self.whole

    @property
    def matched(self) -> Collection[str]:
        """The question's words that the passages may be expected to answer: those that the documents hold, or all."""
        matches = self.scored.lexical
        return matches.terms if self.whole or self.front else matches.matched


class EvidenceSelector:
    """Selects what is read of some documents for a question, and what is shown for it.

    `allowed` bounds passages and sources to some tokens of each document (None: all). `by_words`: the scores rest on
    the question's words, so that without any of them the passages are spread over the documents; with `beginnings` they
    are the beginnings of what may be read. `front`: the question is about a document itself (its author, its title),
    which gets its first page, however that scores. `lists`: it asks for what lists of contents and indexes hold, which
    otherwise yield to the sections that they point to.
    """

    def __init__(
        self,
        documents: Sequence[OpenDocument],
        scored: Scored,
        budget_tokens: int,
        *,
        allowed: Sequence[TokenRanges | None] | None = None,
        by_words: bool = True,
        front: bool = False,
        beginnings: bool = False,
        lists: bool = False,
    ) -> None:
        self._documents = documents
        self._scored = scored
        self._budget = budget_tokens
        self._texts = [token_text(opened) for opened in documents]
        self._allowed = [
            [(0, opened.tokens)] if ranges is None else ranges
            for opened, ranges in zip(documents, allowed or [None] * len(documents), strict=True)
        ]
        self._readable = sum(end - first for ranges in self._allowed for first, end in ranges)
        by_words = by_words and not (scored.by_meaning and not scored.lexical.matched)
        self._by_words = by_words
        self._front = front and any(map(_may_read_front, self._allowed))
        self._leaves = scored.leaves
        spans = [opened.listings for opened in documents]
        self._lists = lists and any(spans) and not scored.lexical.matched
        if self._lists:
            self._leaves = raise_lists(self._leaves, self._texts, spans)
        elif not lists:
            self._leaves = yield_to_sections(self._leaves, scored.lexical.values, self._texts, spans)
        if self._front:
            ends = [_front_end(opened) for opened in documents]
            self._leaves = raise_front(self._leaves, self._texts, ends, budget_tokens or QUOTE_TOKENS)
        self._in_order = by_words and not scored.lexical.matched and not self._lists
        self._spread = self._in_order and not beginnings
        self._order = self._leaves
        if beginnings and not self._front:
            # Lower from leaf to leaf of what may be read, so that the budget goes to all documents alike.
            firsts = [min((first for first, _ in ranges), default=0) for ranges in self._allowed]
            self._order = [
                first - text.leaves[:, 0].astype(np.float64) for first, text in zip(firsts, self._texts, strict=True)
            ]

    def best(self) -> Evidence:
        """The best passages within the budget."""
        return self._evidence(self._select(self._budget) if self._budget else [])

    def shown(self) -> Evidence:
        """All that would be shown as evidence: more of the best passages than the budget, where that is small."""
        return self._evidence(self._select(max(self._budget, FOUND_TOKENS)))

    def sources(self, read: Evidence) -> list[Source]:
        """What the answer rests on, best first, and then what was found beside it, at most eight in all."""
        held = read.held
        if not held:  # nothing is read word for word: the best leaves are quoted
            return sources(self._documents, self._ranked(self._select(QUOTE_TOKENS)))
        room = MAX_SOURCES - min(len(read.metadata), MAX_SOURCES // 2)
        pages = sources(self._documents, self._ranked(held), limit=room)
        shown = [*pages, *read.metadata][:MAX_SOURCES]
        beside = self._select(max(FOUND_TOKENS - _covered(held), 0), held)
        quotes = self._ranked([passage for passage in beside if self._matches_question(passage)])
        fresh = [quote for quote in quotes if 2 * (_covered([*held, quote]) - _covered(held)) > quote.length]
        return shown + sources(self._documents, fresh, read=False)[: MAX_SOURCES - len(shown)]

    def _evidence(self, found: Sequence[Passage]) -> Evidence:
        tokens = sum(passage.length for passage in found)
        # What is read for no place in particular, and whole documents, are read as they stand.
        if not self._in_order and tokens < self._readable:
            found = best_last(found, self._leaves, self._texts)
        sought = self._in_best_rows([(passage.document, self._places_of_words(passage)) for passage in found])
        pieces = [
            passage_text(self._documents[passage.document], passage, places)
            for passage, places in zip(found, sought, strict=True)
        ]
        if not self._in_order and tokens < self._readable and found:
            pieces[-1] = self._best_page_last(found[-1], pieces[-1])
        # A PDF's is as often its program's as its author's: what the page says stands nearer to the question.
        described = self._described(found)
        first = [metadata_piece(*one) for one in described if one[0].document.kind == "pdf"]
        last = [metadata_piece(*one) for one in described if one[0].document.kind != "pdf"]
        return Evidence(
            self._scored,
            [*first, *(piece for own in pieces for piece in own), *last],
            tokens,
            tuple(found),
            (*(-1 for _ in first), *(place for place, own in enumerate(pieces) for _ in own)),
            tokens >= self._readable,
            self._front,
            tuple(metadata_source(*one) for one in described),
            self._lists,
        )

    def _best_page_last(self, passage: Passage, pieces: list[PassageText]) -> list[PassageText]:
        """The pieces of the best passage, a page each, with the page of its best leaf last, as the best passage is.

        They stay in order where that page goes on in the next one, or is gone on with in it.
        """
        opened = self._documents[passage.document]
        first, end = self._texts[passage.document].leaves[passage.best_leaf].tolist()
        leaf = Span(max(first, passage.first_token), min(end, passage.end_token))
        found = _found(opened, leaf, self._scored.lexical.matched)
        asked = Counter(opened.document.page_at(start).number for start, shared in found for _ in range(shared))
        best = max(asked, key=asked.__getitem__, default=0)
        place = next((place for place, piece in enumerate(pieces) if piece.page == best), len(pieces) - 1)
        ends = [pieces[place - 1].text] * (place > 0) + [pieces[place].text]
        if not all(_SENTENCE_END.search(text) for text in ends):
            return pieces
        return [*pieces[:place], *pieces[place + 1 :], pieces[place]]

    def _described(self, found: Sequence[Passage]) -> list[tuple[OpenDocument, float]]:
        """The documents of the passages whose files say something of themselves, where the question is about that.

        With each the score of the best leaf: what a file says is as good.
        """
        best = max((float(values.max(initial=0.0)) for values in self._leaves), default=0.0)
        places = sorted({passage.document for passage in found}) if self._front else []
        told = [self._documents[place] for place in places if self._documents[place].document.metadata]
        return [(opened, best) for opened in told[:MAX_SOURCES]]

    def _matches_question(self, passage: Passage) -> bool:
        """Whether a passage concerns the question: by its words, or by its score where words do not count."""
        if not self._by_words:
            return passage.score > min(float(values.min(initial=np.inf)) for values in self._leaves)
        spans = self._texts[passage.document].leaves
        inside = (spans[:, 0] < passage.end_token) & (spans[:, 1] > passage.first_token)
        return bool((self._scored.lexical.values[passage.document][inside] > 0).any())

    def _places_of_words(self, passage: Passage) -> list[int]:
        """The characters of a passage at which words of the question stand, where it has rows of a table.

        One for each term that a word shares with the question: `K-217` is nearer to that row than to `K-218`.
        """
        opened = self._documents[passage.document]
        start, end = characters(opened, passage.first_token, passage.end_token)
        if not any(map(cells, opened.document.text[start:end].split("\n"))):
            return []
        span = Span(passage.first_token, passage.end_token)
        return [start for start, shared in _found(opened, span, self._scored.lexical.matched) for _ in range(shared)]

    def _in_best_rows(self, sought: Sequence[tuple[int, list[int]]]) -> list[list[int]]:
        """The places of words in some documents, those alone that stand in the rows with most of them.

        A row with fewer words than one in another passage is not the row that is asked for.
        """
        rows = [rows_with(self._documents[document].document.text, places) for document, places in sought]
        most = max((count for hits in rows for count in hits.values()), default=0)
        best = [[span for span, count in hits.items() if count == most] for hits in rows]
        return [
            [place for place in places if any(start <= place < end for start, end in spans)]
            for (_, places), spans in zip(sought, best, strict=True)
        ]

    def _ranked(self, passages: Sequence[Passage]) -> list[Passage]:
        return rank(passages, self._leaves, self._texts)

    def _select(self, budget: int, read: Sequence[Passage] = ()) -> list[Passage]:
        return select(
            self._order,
            self._texts,
            budget,
            allowed=self._allowed,
            spread=self._spread,
            sought=lambda place, span: _matches(self._documents[place], span, self._scored.lexical.matched),
            read=read,
        )


def tokens_read(read: Evidence) -> int:
    """Tokens of the passages, each counted once."""
    return read.tokens - sum(passage.length for passage in read.held) + _covered(read.held)


def _covered(passages: Sequence[Passage]) -> int:
    """Tokens that stand in one of the passages, each counted once."""
    covered, last = 0, (-1, 0)
    for one in sorted(passages, key=lambda one: (one.document, one.first_token)):
        end = last[1] if last[0] == one.document else 0
        covered += max(0, one.end_token - max(end, one.first_token))
        last = (one.document, max(end, one.end_token))
    return covered


def _matches(opened: OpenDocument, span: Span, asked: Collection[str]) -> list[int]:
    """The tokens of a span at which words begin that are forms of those asked for."""
    starts = [start for start, _ in _found(opened, span, asked)]
    tokens: list[int] = (np.searchsorted(opened.leaves.tokens.starts, starts, side="right") - 1).tolist()
    return tokens


def _found(opened: OpenDocument, span: Span, asked: Collection[str]) -> Iterator[tuple[int, int]]:
    """The characters of a span at which such words begin, and how many terms each shares with those asked for."""
    language = opened.leaves.lexical.language
    terms = {term for word in words(" ".join(asked), language) for term in word.terms}
    start, end = characters(opened, span.start, span.end)
    for word in words(opened.document.text[start:end], language):
        if shared := len(terms.intersection(word.terms)):
            yield start + word.start, shared


def _may_read_front(ranges: TokenRanges) -> bool:
    return any(first == 0 < end for first, end in ranges)


def _front_end(opened: OpenDocument) -> int:
    """The token at which a document's first page ends; a cover of a few words and the page after it count as one."""
    starts = opened.leaves.tokens.starts
    page = opened.document.page_at(int(starts[min(COVER_TOKENS, len(starts)) - 1]))
    return int(np.searchsorted(starts, page.end))
