"""From scores of leaves to the passages that the model reads word by word, and to the quotes shown as sources.

Counts are exact, in the documents' own tokens. Knows no model and no file; text only to cut where sentences end.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from sharedllm_cli.config import MAX_SOURCES
from sharedllm_cli.context.tree import Span
from sharedllm_cli.retrieval.boundaries import Boundary, TokenText

MISFITS = 8
"""So many leaves in a row that don't fit the rest of the budget end the search for one that does."""
LONGEST_SENTENCE = 128
"""Tokens within which the beginning or the end of a quote's sentence is looked for."""
SHORT_LEAF = 24
"""Tokens of about a sentence. A short document's leaves have a few tokens each, half of which reach no sentence's end:
they are widened by what they lack of this instead."""


@dataclass(frozen=True)
class Passage:
    """Tokens `[first_token, end_token)` of a document (by its place in the question), and why they were chosen.

    `score` is the best score of the leaves chosen in it, `best_leaf` that leaf's place in the document.
    """

    document: int
    first_token: int
    end_token: int
    score: float
    best_leaf: int

    @property
    def length(self) -> int:
        return self.end_token - self.first_token


def select(
    scores: Sequence[np.ndarray],
    documents: Sequence[TokenText],
    budget_tokens: int,
    *,
    allowed: Sequence[Sequence[tuple[int, int]] | None] | None = None,
    spread: bool = False,
    sought: Callable[[int, Span], Sequence[int]] | None = None,
    read: Sequence[Passage] = (),
) -> list[Passage]:
    """Passages of at most `budget_tokens` tokens together, in document order.

    `scores[d]` [leaves] belongs to `documents[d]`. Leaves are taken best first; each is widened by up to half its
    length (`SHORT_LEAF` for the shortest) on either side to where a sentence or paragraph begins and ends, and
    neighbours become one passage. A passage
    never begins or ends inside a word. Everything is taken where it fits. `allowed[d]` are the token ranges of a
    document that may be read (None: all of it): passages stay inside them. `spread` is for questions about no place in
    particular (`what is this about?`): the beginning, the end and leaves evenly between; scores that are all equal
    are treated so, too. Of a budget smaller than a leaf there is the stretch of the best leaf with the most sought
    words: `sought(d, span)` are the tokens of document d at which they begin. Nothing is selected where no word fits.
    Leaves that lie mostly in passages `read` before are not taken; others may reach into these for a whole sentence.
    """
    ranges = [
        _joined(len(document), None if allowed is None else allowed[place]) for place, document in enumerate(documents)
    ]
    everything = [(place, span) for place, spans in enumerate(ranges) for span in spans]
    selection = _Selection(scores, documents)
    if not read and sum(span.length for _, span in everything) <= budget_tokens:
        for place, span in everything:
            selection.add(place, span)
        return selection.passages()
    values = np.concatenate([np.zeros(0), *scores])
    if spread or values.max(initial=0.0) == values.min(initial=0.0):
        order = _spread_order(documents, ranges, budget_tokens)
    else:
        order = _best_first(scores, documents, ranges)
    known = {(one.document, leaf) for one in read for leaf in _held(documents[one.document], one)}
    taken = {(place, _leaf_span(documents[place], leaf).start) for place, leaf in known}
    order = ((place, leaf) for place, leaf in order if (place, leaf.start) not in taken)
    _fill(selection, order, ranges, budget_tokens, sought)
    return selection.passages()


def best_last(
    passages: Sequence[Passage], scores: Sequence[np.ndarray], documents: Sequence[TokenText]
) -> list[Passage]:
    """The passages as a model reads them: by their best leaf, the best one last, right before the question.

    Equals stay in the order given. A small model leans on what it has read last (docs/log/ has the
    measurement), so that a good search is worth more.
    """

    def best(passage: Passage) -> float:
        held = _held(documents[passage.document], passage)
        return max(float(scores[passage.document][leaf]) for leaf in held)

    return sorted(passages, key=best)


def rank(
    passages: Sequence[Passage], scores: Sequence[np.ndarray], documents: Sequence[TokenText], limit: int = MAX_SOURCES
) -> list[Passage]:
    """The passages' best leaves as quotes, best first, at most `limit`.

    A quote is a leaf with up to one leaf's length of its passage on either side, from a sentence's beginning to a
    sentence's end: eight of them show nearly all of an evidence of sixteen leaves. No two overlap. Of a leaf that
    scores no better than the worst leaf of all nothing is quoted, unless that holds for every leaf.
    """
    inside = [(passage, leaf) for passage in passages for leaf in _held(documents[passage.document], passage)]
    worst = min((float(values.min()) for values in scores if len(values)), default=0.0)
    telling = [(passage, leaf) for passage, leaf in inside if scores[passage.document][leaf] > worst]
    chosen = telling or [(passage, passage.best_leaf) for passage in passages]
    quotes: list[Passage] = []
    for passage, leaf in sorted(chosen, key=lambda pair: -float(scores[pair[0].document][pair[1]])):
        if len(quotes) == limit:
            break
        document = documents[passage.document]
        whole = _leaf_span(document, leaf)
        walls = _unquoted(passage, whole, quotes)
        span = _quoted(document, _inside(whole, walls), walls) if walls else None
        span = _whole_sentences(document, span, walls) if span and walls else None
        if span:
            quotes.append(Passage(passage.document, *span, float(scores[passage.document][leaf]), leaf))
    return quotes


def _unquoted(passage: Passage, leaf: Span, quotes: Sequence[Passage]) -> Span | None:
    """The stretch of a passage around a leaf's middle that no quote has taken; None where one has taken that."""
    start, end = passage.first_token, passage.end_token
    middle = min(max((leaf.start + leaf.end) // 2, start), end - 1)
    for quote in quotes:
        if quote.document != passage.document:
            continue
        if quote.first_token <= middle < quote.end_token:
            return None
        if quote.end_token <= middle:
            start = max(start, quote.end_token)
        else:
            end = min(end, quote.first_token)
    return Span(start, end)


def _quoted(document: TokenText, inside: Span, walls: Span) -> Span | None:
    """A leaf with up to its length on either side, cut to the longest run of whole sentences that holds the leaf."""
    reach = inside.length
    if reach < SHORT_LEAF:
        return _widened(document, inside, walls)
    start = _edge(document, range(max(walls.start, inside.start - reach), inside.start + 1), walls)
    end = _edge(document, range(min(walls.end, inside.end + reach), inside.end - 1, -1), walls)
    return Span(start, end) if start is not None and end is not None else _widened(document, inside, walls)


def _whole_sentences(document: TokenText, span: Span, walls: Span) -> Span:
    """A quote from a sentence's beginning to its end: longer where its walls allow, else less than half shorter.

    An edge without a sentence's within reach stays where it is.
    """

    def sentence_edge(outwards: range, inwards: range) -> int | None:
        both = (token for tokens in (outwards, inwards) for token in tokens)
        return next((token for token in both if document.boundary(token) >= Boundary.SENTENCE), None)

    middle = (span.start + span.end) // 2
    before = range(span.start, max(walls.start, span.start - LONGEST_SENTENCE) - 1, -1)
    after = range(span.end, min(walls.end, span.end + LONGEST_SENTENCE) + 1)
    start = sentence_edge(before, range(span.start + 1, middle))
    end = sentence_edge(after, range(span.end - 1, middle, -1))
    return Span(span.start if start is None else start, span.end if end is None else end)


class _Selection:
    """Which tokens of each document are taken, and for which leaves."""

    def __init__(self, scores: Sequence[np.ndarray], documents: Sequence[TokenText]) -> None:
        self.scores = scores
        self.documents = documents
        self.taken: dict[int, np.ndarray] = {}
        self.tokens = 0

    def cost(self, document: int, span: Span) -> int:
        """Tokens of the span that are not taken yet."""
        taken = self.taken.get(document)
        return span.length if taken is None else span.length - int(taken[span.start : span.end].sum())

    def add(self, document: int, span: Span) -> None:
        self.tokens += self.cost(document, span)
        taken = self.taken.setdefault(document, np.zeros(len(self.documents[document]), dtype=bool))
        taken[span.start : span.end] = True

    def passages(self) -> list[Passage]:
        """The runs of taken tokens, each with the best leaf that lies mostly in it (or touches it)."""
        found = []
        for place in sorted(self.taken):
            edges = np.flatnonzero(np.diff(np.concatenate([[0], self.taken[place].astype(np.int8), [0]])))
            for first, end in edges.reshape(-1, 2).tolist():
                held = _held(self.documents[place], Span(first, end))
                best = max(held, key=lambda leaf: float(self.scores[place][leaf]))
                found.append(Passage(place, first, end, float(self.scores[place][best]), best))
        return found


def _fill(
    selection: _Selection,
    order: Iterator[tuple[int, Span]],
    ranges: Sequence[Sequence[Span]],
    budget_tokens: int,
    sought: Callable[[int, Span], Sequence[int]] | None,
) -> None:
    """Takes leaves in order, widened where that fits and as they are where only that does, until the budget is used."""
    misfits: list[tuple[int, Span, Span]] = []
    for place, leaf in order:
        document = selection.documents[place]
        for allowed in ranges[place]:
            inside = _inside(leaf, allowed)
            if inside.length <= 0 or not selection.cost(place, inside):
                continue
            room = budget_tokens - selection.tokens
            shapes = (_widened(document, inside, allowed), _trimmed(document, inside, allowed, inside.length))
            fitting = [shape for shape in shapes if shape and 0 < selection.cost(place, shape) <= room]
            if fitting:
                selection.add(place, fitting[0])
                misfits.clear()
            else:
                misfits.append((place, inside, allowed))
        if selection.tokens >= budget_tokens or len(misfits) >= MISFITS:
            break
    if not selection.tokens:
        # the budget is smaller than a leaf: as much of the best as fits, around what is sought
        for place, inside, allowed in misfits:
            hits = sought(place, inside) if sought else ()
            short = _fullest(selection.documents[place], inside, allowed, budget_tokens, hits)
            if short:
                selection.add(place, short)
                return


def _widened(document: TokenText, inside: Span, allowed: Span) -> Span | None:
    """The span, stretched by up to half a leaf on either side to the nearest best boundary; None if it has none."""
    reach = max(inside.length // 2, SHORT_LEAF - inside.length)
    earliest, latest = max(allowed.start, inside.start - reach), min(allowed.end, inside.end + reach)
    start = _edge(document, range(inside.start, earliest - 1, -1), allowed)
    end = _edge(document, range(inside.end, latest + 1), allowed)
    if start is None:
        start = _edge(document, range(inside.start + 1, inside.end), allowed)
    if end is None:
        end = _edge(document, range(inside.end - 1, inside.start, -1), allowed)
    return Span(start, end) if start is not None and end is not None and start < end else None


def _trimmed(document: TokenText, inside: Span, allowed: Span, length: int) -> Span | None:
    """At most `length` tokens of the span, from a word's beginning to a word's end; None if there is none."""
    walls = (allowed.start, allowed.end)
    edges = range(inside.start, inside.end + 1)
    words = [token for token in edges if token in walls or document.boundary(token) >= Boundary.WORD]
    last = max((token for token in words if token - words[0] <= length), default=inside.start)
    return Span(words[0], last) if words and words[0] < last else None


def _fullest(document: TokenText, inside: Span, allowed: Span, length: int, hits: Sequence[int]) -> Span | None:
    """Of the stretches of whole words in the span, at most `length` tokens long, one with the most hits.

    Of equals it is the one in their middle, where the hits have words on both sides; without hits the first. None where
    no word fits.
    """
    walls = (allowed.start, allowed.end)
    edges = [
        token
        for token in range(inside.start, inside.end + 1)
        if token in walls or document.boundary(token) >= Boundary.WORD
    ]
    ends = (edges[bisect_right(edges, start + length) - 1] for start in edges)
    stretches = [Span(start, end) for start, end in zip(edges, ends, strict=True) if start < end]
    if not stretches:
        return None
    counts = [sum(span.start <= hit < span.end for hit in hits) for span in stretches]
    best = [span for span, count in zip(stretches, counts, strict=True) if count == max(counts)]
    return best[(len(best) - 1) // 2] if max(counts) else best[0]


def _edge(document: TokenText, tokens: range, allowed: Span) -> int | None:
    """The best token of a range to cut at; the walls of what is allowed are always good enough."""
    found = document.best(tokens)
    walls = (allowed.start, allowed.end)
    return found if found is not None else next((token for token in tokens if token in walls), None)


def _held(document: TokenText, span: Passage | Span) -> list[int]:
    """Numbers of the leaves that lie at least half in a span of tokens, or of the one with the most tokens in it."""
    first, end = (span.first_token, span.end_token) if isinstance(span, Passage) else span
    lengths = document.leaves[:, 1] - document.leaves[:, 0]
    shared = np.minimum(document.leaves[:, 1], end) - np.maximum(document.leaves[:, 0], first)
    held: list[int] = np.flatnonzero((2 * shared >= lengths) | (shared == shared.max())).tolist()
    return held


def _inside(leaf: Span, walls: Span) -> Span:
    """The part of a leaf between two walls (of no length or less where it lies outside)."""
    return Span(max(leaf.start, walls.start), min(leaf.end, walls.end))


def _leaf_span(document: TokenText, leaf: int) -> Span:
    return Span(*document.leaves[leaf].tolist())


def _joined(tokens: int, allowed: Sequence[tuple[int, int]] | None) -> list[Span]:
    """Allowed ranges within the document, ascending, those that touch joined, empty ones left out."""
    joined: list[Span] = []
    for first, end in sorted([(0, tokens)] if allowed is None else allowed):
        first, end = max(0, first), min(tokens, end)
        if first >= end:
            continue
        if joined and first <= joined[-1].end:
            joined[-1] = Span(joined[-1].start, max(end, joined[-1].end))
        else:
            joined.append(Span(first, end))
    return joined


def _leaves_within(document: TokenText, ranges: Sequence[Span]) -> np.ndarray:
    """Numbers of the leaves that touch an allowed range, ascending."""
    touched = np.zeros(len(document.leaves), dtype=bool)
    for span in ranges:
        touched |= (document.leaves[:, 0] < span.end) & (document.leaves[:, 1] > span.start)
    return np.flatnonzero(touched)


def _best_first(
    scores: Sequence[np.ndarray], documents: Sequence[TokenText], ranges: Sequence[Sequence[Span]]
) -> Iterator[tuple[int, Span]]:
    """(document, leaf's tokens), best score first; of equals the one that stands first."""
    leaves = [_leaves_within(document, spans) for document, spans in zip(documents, ranges, strict=True)]
    places = np.repeat(np.arange(len(documents)), [len(found) for found in leaves])
    numbers = np.concatenate([np.zeros(0, dtype=np.int64), *leaves])
    values = np.concatenate([np.zeros(0), *(values[found] for values, found in zip(scores, leaves, strict=True))])
    for position in np.argsort(-values, kind="stable").tolist():
        place = int(places[position])
        yield place, _leaf_span(documents[place], int(numbers[position]))


def _spread_order(
    documents: Sequence[TokenText], ranges: Sequence[Sequence[Span]], budget_tokens: int
) -> Iterator[tuple[int, Span]]:
    """(document, leaf's tokens) for evidence from everywhere: the documents in turn, each by `_spread_leaves`."""
    share = budget_tokens / max(1, sum(bool(spans) for spans in ranges))
    queues = []
    for place, (document, spans) in enumerate(zip(documents, ranges, strict=True)):
        leaves = _leaves_within(document, spans).tolist()
        typical = len(document) / max(1, len(document.leaves))
        queues.append([(place, leaves[k]) for k in _spread_leaves(len(leaves), share / max(1.0, typical))])
    for turn in zip_longest(*queues):
        for entry in turn:
            if entry is not None:
                yield entry[0], _leaf_span(documents[entry[0]], entry[1])


def _spread_leaves(count: int, room: float) -> list[int]:
    """All of `count` leaves in the order in which about `room` of them tell most about a document as a whole.

    The first half of the room goes to the beginning (title, abstract, introduction), then the end, then as many places
    evenly between as still fit when each is widened to sentences, those that halve the largest gap first.
    """
    beginning = min(count, max(1, int(room / 2)))
    between = max(0, int((room - beginning - 1) * 2 / 3))
    grid = np.linspace(beginning, count - 1, between + 2)[1:-1].round().astype(int).tolist() if between else []
    # the middle first, then the middles of both halves, …: even wherever the budget ends
    halving = sorted(range(len(grid)), key=lambda k: int(f"{k + 1:032b}"[::-1], 2))
    order = [*range(beginning), count - 1, *(grid[k] for k in halving), *range(count)]
    return [leaf for leaf in dict.fromkeys(order) if 0 <= leaf < count]


def raise_front(
    scores: Sequence[np.ndarray], documents: Sequence[TokenText], page_ends: Sequence[int], budget_tokens: int
) -> list[np.ndarray]:
    """Scores [leaves] a document with the leaves of each first page raised just above the best score of all.

    `page_ends[d]` is the token at which document d's first page ends. Of a long one as many leaves are raised as take
    half of `budget_tokens` for all documents together, and at least its first, so that the other half is left for what
    the words of the question find.
    """
    best = max((float(values.max()) for values in scores if len(values)), default=0.0)
    above = np.nextafter(best, np.inf)  # before all that score as well: of equals the first documents' come first
    share = budget_tokens // (2 * max(1, len(documents)))
    raised = []
    for values, document, page_end in zip(scores, documents, page_ends, strict=True):
        front = (document.leaves[:, 0] < page_end) & (document.leaves[:, 1] <= share)
        front[:1] = True
        raised.append(np.where(front, above, values))
    return raised
