"""Which documents of a catalogue fit a question best: BM25 over the leaves of all of them, by the terms of `bm25`.

Rows of the full-text table are leaves; its tokens are the very terms that a document's own index has, so that it finds
what the search within a document finds. How often a term occurs within a leaf is not kept: leaves are some 64 tokens,
where that says little (docs/results.md has the measurement). Opens no document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sharedllm_cli.collections.catalogue import LEAF_BITS, MOST_LEAVES, Catalogue, DocumentRow
from sharedllm_cli.retrieval.bm25 import (
    K1,
    SHARES_AFTER,
    SHARES_BEFORE,
    B,
    LexicalIndex,
    Slot,
    WiderCounts,
    question_terms,
)
from sharedllm_cli.retrieval.terms import DEFAULT_LANGUAGE

_PRIVATE = 0xE000
_ESCAPED = {code: chr(_PRIVATE + code) for code in range(128) if not chr(code).isalnum()}
_ESCAPED |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
"""The table's tokenizer parts words at ASCII marks; the terms `read.table`, `c++` and `3.5` are to stay whole."""
_LANGUAGE_ENDS = "\uf8ff"
MOST_ROWS = 300_000
"""A term in more leaves than this says too little to choose documents by, as long as the question has a rarer one."""
_KEPT_TERMS = 64
SECOND_BEST = 0.1
"""What the other leaves of a document count beside its best one."""


def token_of(term: str, language: str) -> str:
    """A term of a language as the full-text table holds it: letters, digits, and characters beyond ASCII."""
    escaped = term.translate(_ESCAPED)
    return escaped if language == DEFAULT_LANGUAGE else f"{language}{_LANGUAGE_ENDS}{escaped}"


def leaf_terms(lexical: LexicalIndex) -> Iterator[tuple[int, str]]:
    """The tokens of every leaf that has any, as one text a leaf."""
    tokens = [token_of(term, lexical.language) for term in lexical.terms]
    owners = np.repeat(np.arange(len(tokens)), np.diff(lexical.pointers))
    order = np.argsort(lexical.leaves, kind="stable")
    leaves, numbers = lexical.leaves[order], owners[order]
    begins = np.flatnonzero(np.diff(leaves, prepend=-1)).tolist()
    for first, end in zip(begins, [*begins[1:], len(leaves)], strict=True):
        if leaves[first] < MOST_LEAVES:
            yield int(leaves[first]), " ".join(tokens[number] for number in numbers[first:end])


@dataclass(frozen=True)
class Ranked:
    """Documents by how well they fit a question, best first, with their scores; and how many hold some of its words."""

    documents: list[DocumentRow]
    scores: list[float]
    holding: int


class FullText:
    """The documents of one catalogue as a question finds them. Made anew where the catalogue has changed."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._rows: dict[str, np.ndarray] = {}

    @cached_property
    def documents(self) -> dict[int, DocumentRow]:
        """Every document by its number."""
        return {row.id: row for row in self._catalogue.documents()}

    @cached_property
    def languages(self) -> set[str]:
        """The languages that documents are in."""
        return {row.language for row in self.documents.values()}

    @cached_property
    def _live(self) -> np.ndarray:
        return np.array(sorted(self.documents), dtype=np.int64)

    @property
    def leaf_count(self) -> int:
        """Leaves of all documents."""
        return self._leaf_count

    @cached_property
    def _leaf_count(self) -> int:
        return sum(row.leaves for row in self.documents.values())

    def frequency(self, forms: Mapping[str, str]) -> int:
        """In how many leaves a term occurs, given by its form in each language."""
        return len(self._leaves_with(forms))

    def ranked(
        self,
        question: str,
        most: int,
        languages: set[str] | None = None,
        counts: WiderCounts | None = None,
    ) -> Ranked:
        """The documents that fit a question best. `counts` say how rare a term is, in documents of some `languages`.

        A document's score is that of its best leaf, and a little of what its leaves have together. A leaf counts a term
        that stands shortly before or after it in part, as the search within documents does.
        """
        slots = question_terms(question, languages or self.languages)
        held = [(slot, self._leaves_with(slot)) for slot in slots]
        held = [(slot, rows) for slot, rows in held if len(rows)]
        held = [(slot, rows) for slot, rows in held if len(rows) <= MOST_ROWS] or held
        if not held:
            return Ranked([], [], 0)
        found = [(rows, _weight(counts or self, slot)) for slot, rows in held]
        weighed = [_near(rows, weight) for rows, weight in found]
        every = np.concatenate([rows for rows, _ in weighed])
        leaves, places = np.unique(every, return_inverse=True)
        values = np.bincount(places, weights=np.concatenate([weights for _, weights in weighed]))
        numbers, begins = np.unique(leaves >> LEAF_BITS, return_index=True)
        best = np.maximum.reduceat(values, begins)
        score = best + SECOND_BEST * _spread(found, numbers)
        order = np.argsort(-score, kind="stable")[:most]
        rows = [self.documents[int(numbers[place])] for place in order]
        return Ranked(rows, [float(score[place]) for place in order], len(numbers))

    def holding(self, text: str) -> list[DocumentRow]:
        """The documents in which every word of a text occurs in some form, by number; none for a text without words."""
        slots = question_terms(text, self.languages)
        held: set[int] | None = None
        for slot in slots:
            numbers = set(np.unique(self._leaves_with(slot) >> LEAF_BITS).tolist())
            held = numbers if held is None else held & numbers
        return [self.documents[number] for number in sorted(held or ())]

    def _leaves_with(self, slot: Slot) -> np.ndarray:
        """The rows of the leaves in which a term occurs, ascending, those of documents that are forgotten left out."""
        found = [self._token_rows(token_of(term, language)) for language, term in slot.items()]
        rows = found[0] if len(found) == 1 else np.unique(np.concatenate([np.zeros(0, np.int64), *found]))
        places = np.searchsorted(self._live, rows >> LEAF_BITS).clip(max=max(len(self._live) - 1, 0))
        return rows[self._live[places] == rows >> LEAF_BITS] if len(self._live) else rows[:0]

    def _token_rows(self, token: str) -> np.ndarray:
        if token not in self._rows:
            if len(self._rows) >= _KEPT_TERMS:
                self._rows.clear()
            with self._catalogue.guarded():
                text = self._catalogue.connection.execute(
                    "SELECT group_concat(rowid, ' ') FROM leaves WHERE leaves MATCH ?", (f'"{token}"',)
                ).fetchone()[0]
            self._rows[token] = np.fromstring(text or "", dtype=np.int64, sep=" ")
        return self._rows[token]


def _weight(counts: WiderCounts, slot: Slot) -> float:
    """What a term counts in a leaf that has it once, as `bm25.scores` computes it."""
    frequency = counts.frequency(slot)
    idf = float(np.log1p((counts.leaf_count - frequency + 0.5) / (frequency + 0.5)))
    return idf / (1 + K1 * (1 - B))


def _spread(found: Sequence[tuple[np.ndarray, float]], numbers: np.ndarray) -> np.ndarray:
    """What of the question's weight each of some documents holds in any of its leaves: [numbers]."""
    held = np.zeros(len(numbers))
    for rows, weight in found:
        held[np.isin(numbers, np.unique(rows >> LEAF_BITS))] += weight
    return held


def _near(rows: np.ndarray, weight: float) -> tuple[np.ndarray, np.ndarray]:
    """The leaves with a term and those near one, and what it counts in each: the most of what it would."""
    shifts = [(0, 1.0), *((place + 1, share) for place, share in enumerate(SHARES_BEFORE))]
    shifts += [(-place - 1, share) for place, share in enumerate(SHARES_AFTER)]
    near = np.concatenate([rows + distance for distance, _ in shifts])
    shares = np.repeat([share for _, share in shifts], len(rows))
    owners = np.tile(rows >> LEAF_BITS, len(shifts))
    inside = (near >> LEAF_BITS) == owners
    near, shares = near[inside], shares[inside]
    order = np.lexsort((-shares, near))
    near, shares = near[order], shares[order]
    first = np.diff(near, prepend=-1) > 0
    return near[first], shares[first] * weight
