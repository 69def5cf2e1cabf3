"""The sentence of some passages that stands nearest to a question: what is quoted to a question of yes or no.

A small model that learned to look things up does not judge; the sentence that speaks of the matter lets the reader.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.sources import TokenRanges, characters, token_text
from sharedllm_cli.retrieval.bm25 import Slot, weighed_terms
from sharedllm_cli.retrieval.boundaries import Boundary, TokenText
from sharedllm_cli.retrieval.languages import GENERAL_WORDS
from sharedllm_cli.retrieval.mentions import ASKING_WORDS, KIND_WORDS
from sharedllm_cli.retrieval.passages import Passage
from sharedllm_cli.retrieval.terms import words
from sharedllm_cli.retrieval.verdicts import LEAVE_WORDS, asks_what_is_reported

AROUND = 0.5
"""What a term counts that stands not in the sentence but in one of the two before it or in the one after it."""
RARITY = 1.5
"""A term weighs its idf to this power: what few sentences speak of is the matter, the rest are words around it."""
LEAVE = 0.3
"""What the idf of a word that asks for leave (`allowed`, `required`) counts."""
LEAST_SHARE = 0.35
"""A sentence with less than this share of the question's weight speaks of something else (docs/log/)."""
FEW_WORDS, FRAGMENT = 6, 0.75
"""What has so few words is a heading rather than a sentence, and counts less than one that holds the same."""
LONGEST = 128
"""A sentence has so many tokens at most; a longer one is cut at the ends of lines."""


_PASSED_OVER = re.compile(r"\?$|\.{4,}|(?:\. ){3,}|\.\.\.$")
"""Questions, and the leaders of a table of contents."""


@dataclass(frozen=True)
class Quoted:
    """A sentence, word for word but for white space, what share of the question's weight it holds, and its place."""

    text: str
    share: float
    place: Passage


def nearest_sentence(
    question: str,
    documents: Sequence[OpenDocument],
    passages: Sequence[Passage],
    allowed: Sequence[TokenRanges | None],
) -> Quoted | None:
    """The sentence with the most of the question's words, the rarer the more they weigh; None without such a one.

    `allowed` bounds what may be read of each document (None: all): a passage that ends within a sentence is read on to
    its end only there. Questions are none, and a few words (a heading) stand back. Of equally near ones it is that of
    the later passage, which the search holds for the better.
    """
    indexes = [opened.leaves.lexical for opened in documents]
    weights = weighed_terms(question, indexes, dict.fromkeys(LEAVE_WORDS, LEAVE), unweighed=_unweighed(question))
    terms = [(term, idf**RARITY) for term, idf in weights]
    whole = sum(weight for _, weight in terms)
    best: Quoted | None = None
    for passage in reversed(passages):
        opened = documents[passage.document]
        spans = sentences(token_text(opened), passage, allowed[passage.document] or [(0, opened.tokens)])
        held = [held_terms(opened, span, terms) for span in spans]
        found: Quoted | None = None
        for place, span in enumerate(spans):
            text = sentence_text(opened, span)
            own = sum(terms[term][1] for term in held[place])
            near = set().union(*held[max(0, place - 2) : place], *held[place + 1 : place + 2]) - held[place]
            share = (own + AROUND * sum(terms[term][1] for term in near)) / whole if whole else 0.0
            share *= FRAGMENT if len(text.split()) <= FEW_WORDS else 1.0
            if own and not _PASSED_OVER.search(text) and (found is None or share >= found.share):
                found = Quoted(text, share, replace(passage, first_token=span[0], end_token=span[1]))
        if found is not None and (best is None or found.share > best.share):
            best = found
    return best


def _unweighed(question: str) -> frozenset[str]:
    """The words that don't count: of `does the contract say that …?` those that only ask the document, too."""
    return GENERAL_WORDS | ASKING_WORDS | KIND_WORDS if asks_what_is_reported(question) else GENERAL_WORDS


def sentence_text(opened: OpenDocument, span: tuple[int, int]) -> str:
    start, end = characters(opened, *span)
    return " ".join(opened.document.text[start:end].split())


def held_terms(opened: OpenDocument, span: tuple[int, int], terms: Sequence[tuple[Slot, float]]) -> set[int]:
    """The numbers of the question's terms that some tokens of a document hold."""
    language = opened.leaves.lexical.language
    there = {term for word in words(sentence_text(opened, span), language) for term in word.terms}
    return {number for number, (term, _) in enumerate(terms) if term.get(language) in there}


def sentences(text: TokenText, passage: Passage, ranges: TokenRanges) -> list[tuple[int, int]]:
    """The tokens `[first, end)` of a passage's sentences, whole where they may be read whole."""
    first, end = passage.first_token, passage.end_token
    low, high = next(((low, high) for low, high in ranges if low <= first < high), (first, end))
    least, most = max(low, first - LONGEST), min(high, end + LONGEST)
    begin = next((token for token in range(first, least - 1, -1) if _ends(text, token)), first)
    stop = next((token for token in range(end, most + 1) if _ends(text, token)), end)
    cuts = [begin, *(token for token in range(begin + 1, stop) if _ends(text, token)), stop]
    spans: list[tuple[int, int]] = []
    for start, after in pairwise(cuts):
        lines = [] if after - start <= LONGEST else [one for one in range(start + 1, after) if _is_line(text, one)]
        spans += zip([start, *lines], [*lines, after], strict=True)
    return spans


def _ends(text: TokenText, token: int) -> bool:
    return text.boundary(token) >= Boundary.SENTENCE


def _is_line(text: TokenText, token: int) -> bool:
    return text.boundary(token) >= Boundary.LINE
