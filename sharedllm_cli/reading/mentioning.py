"""The sentences of documents that speak of a topic: what is quoted to `does the guide mention bats?`

The whole of the documents is looked through, not only passages: what stands there is never denied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from sharedllm_cli.answer import Source
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.quoting import (
    AROUND,
    FEW_WORDS,
    FRAGMENT,
    RARITY,
    Quoted,
    held_terms,
    sentence_text,
    sentences,
)
from sharedllm_cli.reading.sources import TokenRanges, characters, sources, token_text
from sharedllm_cli.retrieval.bm25 import Slot, weighed_terms
from sharedllm_cli.retrieval.listing import Several, asks_for_several, states_number
from sharedllm_cli.retrieval.passages import Passage

LEAST_SHARE = 0.5
"""A sentence with less than this share of the topic's weight, in it and beside it, does not speak of the topic."""
LITERAL = 1.0
"""What it adds to a sentence's share that the topic stands in it word for word, whatever its words are."""
_ENDED = re.compile(r"[.!?…。！？:]['\"”’»)\]]*$")
MOST_MATCHES = 40
"""The most sentences shown to a question for several things."""
MOST_LEAVES = 200
"""The best leaves that are cut into sentences, and the most places where the topic stands word for word."""


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
    told = [quoted for quoted in found.values() if quoted.share >= LEAST_SHARE]
    return sorted(told, key=lambda one: (-one.share, one.place.document, one.place.first_token))


def mention_sources(
    documents: Sequence[OpenDocument], found: Sequence[Quoted], read: Sequence[Passage], *, supports: int, limit: int
) -> list[Source]:
    """Sentences as sources, in the order given: the answer rests on the first `supports`; `read`: what a model read."""
    told: list[Source] = []
    for number, quoted in enumerate(found[:limit]):
        at = quoted.place
        seen = any(
            one.document == at.document and one.first_token <= at.first_token and at.end_token <= one.end_token
            for one in read
        )
        told += sources(documents, [at], read=seen, supports=number < supports, limit=limit)
    return told


@dataclass(frozen=True)
class SeveralFound:
    """What speaks of a thing that is asked for several of: how many sentences, the first of them, and a remark."""

    count: int
    sources: list[Source]
    remark: str


def several_of(
    question: str,
    answer: str,
    documents: Sequence[OpenDocument],
    allowed: Sequence[TokenRanges | None],
    read: Sequence[Passage],
    *,
    answered: bool,
) -> SeveralFound | None:
    """What speaks of the things that a question asks for; None for any other, and where a passage states the number."""
    asked = asks_for_several(question)
    if asked is None or (asked.count and answered and states(answer, asked.thing, documents, read)):
        return None
    return several_found(asked, documents, allowed, read, answered=answered)


def several_found(
    asked: Several,
    documents: Sequence[OpenDocument],
    allowed: Sequence[TokenRanges | None],
    read: Sequence[Passage],
    *,
    answered: bool,
) -> SeveralFound:
    """Every sentence that speaks of the thing asked for, in reading order; `read`: the passages a model has read."""
    found = in_reading_order(mentions(asked.thing, documents, allowed))
    told = mention_sources(documents, found, read, supports=MOST_MATCHES, limit=MOST_MATCHES)
    why = "nothing was counted" if asked.count else "there may be more" if answered else "no list was made"
    sentences = "1 sentence speaks" if len(found) == 1 else f"{len(found)} sentences speak"
    shown = "shown below" if len(found) <= MOST_MATCHES else f"the first {MOST_MATCHES} shown below"
    where = f"{sentences} of {asked.thing}, {shown}" if found else f"no sentence speaks of {asked.thing}"
    return SeveralFound(len(found), told, f"{why}: {where}")


def states(answer: str, thing: str, documents: Sequence[OpenDocument], read: Sequence[Passage]) -> bool:
    """Whether a passage that was read states the answer's number of a thing."""
    for passage in read:
        opened = documents[passage.document]
        start, end = characters(opened, passage.first_token, passage.end_token)
        if states_number(answer, thing, opened.document.text[start:end], opened.leaves.lexical.language):
            return True
    return False


def in_reading_order(found: Sequence[Quoted]) -> list[Quoted]:
    """Sentences as they follow each other in the documents."""
    return sorted(found, key=lambda one: (one.place.document, one.place.first_token))


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
        spans = sentences(token_text(opened), inside, ranges)
        held = [held_terms(opened, span, terms) for span in spans]
        for number, span in enumerate(spans):
            text = sentence_text(opened, span)
            near = set().union(*held[max(0, number - 2) : number], *held[number + 1 : number + 2]) - held[number]
            own, beside = (sum(terms[term][1] for term in some) for some in (held[number], near))
            share = (own + AROUND * beside) / whole if whole else 0.0
            share *= FRAGMENT if len(text.split()) <= FEW_WORDS and not _ENDED.search(text) else 1.0
            exact = literal.search(text) is not None
            if own or exact:
                at = Passage(place, span[0], span[1], share, leaf)
                yield Quoted(text, share + LITERAL * exact, at)
