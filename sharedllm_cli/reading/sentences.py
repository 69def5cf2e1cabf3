"""Sentences of the documents, word for word: those that speak of a topic, and the one nearest to a question.

They are quoted where a small model has nothing to say of its own. `mentions` looks through the whole of the documents,
so that what stands there is never denied; `nearest_sentence` through some passages.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise

import numpy as np

from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.sources import TokenRanges, characters, passage_at, token_text
from sharedllm_cli.retrieval.bm25 import Slot, weighed_terms
from sharedllm_cli.retrieval.boundaries import Boundary, TokenText
from sharedllm_cli.retrieval.passages import Passage
from sharedllm_cli.retrieval.terms import GENERAL_WORDS, LEAVE_WORDS, words

AROUND = 0.5
"""What a term counts that stands not in the sentence but in one of the two before it or in the one after it."""
RARITY = 1.5
"""A term weighs its idf to this power: what few sentences speak of is the matter, the rest are words around it."""
LEAVE = 0.3
"""What the idf of a word that asks for leave (`allowed`, `required`) counts."""
LEAST_OF_QUESTION = 0.35
"""A sentence with less than this share of the question's weight speaks of something else (docs/log/)."""
FEW_WORDS, FRAGMENT = 6, 0.75
"""What has so few words is a heading rather than a sentence, and counts less than one that holds the same."""
LONGEST = 128
"""A sentence has so many tokens at most; a longer one is cut at the ends of lines."""


_PASSED_OVER = re.compile(r"\?$|\.{4,}|(?:\. ){3,}|\.\.\.$")
"""Questions, and the leaders of a table of contents."""
LEAST_OF_TOPIC = 0.5
"""A sentence with less than this share of the topic's weight, in it and beside it, does not speak of the topic."""
LITERAL = 1.0
"""What it adds to a sentence's share that the topic stands in it word for word, whatever its words are."""
MOST_LEAVES = 200
"""The best leaves that are cut into sentences, and the most places where the topic stands word for word."""
_ENDED = re.compile(r"[.!?…。！？:]['\"’”»)\]]*$")


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
    unweighed: Collection[str] = GENERAL_WORDS,
) -> Quoted | None:
    """The sentence with the most of the question's words, the rarer the more they weigh; None without such a one.

    `allowed` bounds what may be read of each document (None: all): a passage that ends within a sentence is read on to
    its end only there. Questions are none, and a few words (a heading) stand back. Of equally near ones it is that of
    the later passage, which the search holds for the better. `unweighed` are the words that do not count.
    """
    indexes = [opened.leaves.lexical for opened in documents]
    weights = weighed_terms(question, indexes, dict.fromkeys(LEAVE_WORDS, LEAVE), unweighed=unweighed)
    terms = [(term, idf**RARITY) for term, idf in weights]
    whole = sum(weight for _, weight in terms)
    best: Quoted | None = None
    for passage in reversed(passages):
        opened = documents[passage.document]
        spans = _sentences(token_text(opened), passage, allowed[passage.document] or [(0, opened.tokens)])
        held = [_held_terms(opened, span, terms) for span in spans]
        found: Quoted | None = None
        for place, span in enumerate(spans):
            text = _sentence_text(opened, span)
            own = sum(terms[term][1] for term in held[place])
            near = set().union(*held[max(0, place - 2) : place], *held[place + 1 : place + 2]) - held[place]
            share = (own + AROUND * sum(terms[term][1] for term in near)) / whole if whole else 0.0
            share *= FRAGMENT if len(text.split()) <= FEW_WORDS else 1.0
            if own and not _PASSED_OVER.search(text) and (found is None or share >= found.share):
                found = Quoted(text, share, replace(passage, first_token=span[0], end_token=span[1]))
        if found is not None and (best is None or found.share > best.share):
            best = found
    return best


def mentions(topic: str, documents: Sequence[OpenDocument], allowed: Sequence[TokenRanges | None]) -> list[Quoted]:
    """The sentences that speak of a topic, best first: those with most of its words, the rarer the more they weigh.

    `allowed` bounds what may be read of each document (None: all). A heading stands back behind a sentence, the later
    of equals behind the earlier.
    """
    indexes = [opened.leaves.lexical for opened in documents]
    terms = [(term, idf**RARITY) for term, idf in weighed_terms(topic, indexes, unweighed=())]
    found: dict[tuple[int, int], Quoted] = {}
    for place, opened in enumerate(documents):
        ranges = allowed[place]
        ranges = [(0, opened.tokens)] if ranges is None else ranges
        literal = _literal(topic)
        for leaf in _leaves(opened, terms, literal):
            for quoted in _of_leaf(opened, place, leaf, ranges, terms, literal):
                found.setdefault((place, quoted.place.first_token), quoted)
    told = [quoted for quoted in found.values() if quoted.share >= LEAST_OF_TOPIC]
    return sorted(told, key=lambda one: (-one.share, one.place.document, one.place.first_token))


def sentence_at(opened: OpenDocument, start: int, end: int) -> Quoted:
    """The sentence in which some characters of a document stand; its place is that of the only document of a list."""
    at = passage_at(opened, 0, start, end)
    spans = _sentences(token_text(opened), at, [(0, opened.tokens)])
    span = next((span for span in spans if at.first_token < span[1]), (at.first_token, at.end_token))
    return Quoted(_sentence_text(opened, span), 1.0, replace(at, first_token=span[0], end_token=span[1]))


def _literal(topic: str) -> re.Pattern[str]:
    """The topic as typed, whatever white space parts its words."""
    words = r"\s+".join(re.escape(word) for word in topic.split())
    return re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)


def _leaves(opened: OpenDocument, terms: Sequence[tuple[Slot, float]], literal: re.Pattern[str]) -> list[int]:
    """The leaves that hold most of the topic, in the order of the document."""
    leaves = opened.leaves
    weights = np.zeros(leaves.leaf_count)
    for term, weight in terms:
        held, _ = leaves.lexical.postings(term.get(leaves.lexical.language, ""))
        weights[held] += weight
    starts = [match.start() for match in islice(literal.finditer(opened.document.text), MOST_LEAVES)]
    tokens = np.searchsorted(leaves.tokens.starts, np.array(starts, dtype=np.int64), side="right") - 1
    exact = np.searchsorted(leaves.leaf_spans[:, 0], tokens, side="right") - 1
    weights[np.unique(exact)] += weights.max(initial=0.0) + 1.0
    order = np.argsort(-weights, kind="stable")[:MOST_LEAVES]
    return sorted(int(leaf) for leaf in order if weights[leaf] > 0)


def _of_leaf(
    opened: OpenDocument,
    place: int,
    leaf: int,
    ranges: TokenRanges,
    terms: Sequence[tuple[Slot, float]],
    literal: re.Pattern[str],
) -> Iterator[Quoted]:
    """The sentences of a leaf, as far as it may be read, that hold something of the topic."""
    whole = sum(weight for _, weight in terms)
    first, end = opened.leaves.leaf_span(leaf)
    for low, high in ranges:
        inside = Passage(place, max(first, low), min(end, high), 0.0, leaf)
        if inside.length <= 0:
            continue
        spans = _sentences(token_text(opened), inside, ranges)
        held = [_held_terms(opened, span, terms) for span in spans]
        for number, span in enumerate(spans):
            text = _sentence_text(opened, span)
            near = set().union(*held[max(0, number - 2) : number], *held[number + 1 : number + 2]) - held[number]
            own, beside = (sum(terms[term][1] for term in some) for some in (held[number], near))
            share = (own + AROUND * beside) / whole if whole else 0.0
            share *= FRAGMENT if len(text.split()) <= FEW_WORDS and not _ENDED.search(text) else 1.0
            exact = literal.search(text) is not None
            if own or exact:
                at = Passage(place, span[0], span[1], share, leaf)
                yield Quoted(text, share + LITERAL * exact, at)


def _sentence_text(opened: OpenDocument, span: tuple[int, int]) -> str:
    start, end = characters(opened, *span)
    return " ".join(opened.document.text[start:end].split())


def _held_terms(opened: OpenDocument, span: tuple[int, int], terms: Sequence[tuple[Slot, float]]) -> set[int]:
    """The numbers of the question's terms that some tokens of a document hold."""
    language = opened.leaves.lexical.language
    there = {term for word in words(_sentence_text(opened, span), language) for term in word.terms}
    return {number for number, (term, _) in enumerate(terms) if term.get(language) in there}


def _sentences(text: TokenText, passage: Passage, ranges: TokenRanges) -> list[tuple[int, int]]:
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
