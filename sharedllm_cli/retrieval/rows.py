"""A question that names a row and a column finds the row: its leaf counts with the words of the table's heading.

A heading may stand hundreds of rows above a row, in another leaf, and has more of a question's words than the row has.
So a leaf with rows gets, for the row that fits best, what those of the question's words weigh that stand in the heading
or the title above it and not in the leaf; and what those in the row weigh, since they stand in one row and not in
several. No other leaf of a table comes before that of the row that fits best: the first one has the heading and the
words above the table, too. Knows numbers and characters alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sharedllm_cli.retrieval.bm25 import K1, LexicalIndex, LexicalScores, weighed_terms
from sharedllm_cli.retrieval.tables import Table
from sharedllm_cli.retrieval.terms import words

MOST_LEAVES = 200
"""Leaves of a document whose rows are looked at: those that score best by their words."""
ONCE = 1 / (1 + K1)
"""What BM25 gives for one occurrence, as a share of the term's weight."""


class Rows(NamedTuple):
    """The tables of a document, its text, and where each of its leaves begins, in characters [leaves]."""

    text: str
    tables: Sequence[Table]
    leaf_starts: np.ndarray

    def leaf_text(self, leaf: int) -> str:
        """The characters of a leaf."""
        start = int(self.leaf_starts[leaf])
        return (
            self.text[start : int(self.leaf_starts[leaf + 1])]
            if leaf + 1 < len(self.leaf_starts)
            else self.text[start:]
        )


class Credited(NamedTuple):
    """Scores of all leaves [leaves], one array a document, those with rows raised; and of each document the headings.

    `headings[d]` gives for a leaf whose score was raised the first and the end character of the heading of its rows.
    """

    values: list[np.ndarray]
    headings: list[dict[int, tuple[int, int]]]


def credited(
    question: str, found: LexicalScores, indexes: Sequence[LexicalIndex], documents: Sequence[Rows | None]
) -> Credited:
    """The scores with each row under its heading; None: a document without tables."""
    raised, headings = list(found.values), [dict[int, tuple[int, int]]() for _ in indexes]
    if not found.matched or not any(documents):
        return Credited(raised, headings)
    weighed = weighed_terms(question, indexes)
    for place, (values, index, rows) in enumerate(zip(found.values, indexes, documents, strict=True)):
        if rows is None or not values.any():
            continue
        weights: dict[str, float] = {}
        for slot, weight in weighed:
            if form := slot.get(index.language):
                weights[form] = max(weights.get(form, 0.0), weight)
        raised[place], headings[place] = _raised(values, rows, weights, index.language)
    return Credited(raised, headings)


def _raised(
    values: np.ndarray, rows: Rows, weights: Mapping[str, float], language: str
) -> tuple[np.ndarray, dict[int, tuple[int, int]]]:
    looked_at = frozenset(np.argsort(-values, kind="stable")[:MOST_LEAVES].tolist())
    credit: dict[int, float] = {}
    there: dict[int, frozenset[str]] = {}
    headings: dict[int, tuple[int, int]] = {}
    first: list[tuple[int, frozenset[int]]] = []
    for table in rows.tables:
        middles = [(start + end) // 2 for start, end in table.rows]
        leaves = np.searchsorted(rows.leaf_starts, middles, side="right") - 1
        places = [number for number, leaf in enumerate(leaves.tolist()) if leaf in looked_at and values[leaf] > 0]
        if not places:
            continue
        heads = _held(f"{table.title} {table.heading}", weights, language)
        best: tuple[float, set[int]] = (0.0, set())
        for number in places:
            own = _held(rows.text[slice(*table.rows[number])], weights, language)
            if own - heads:
                leaf = int(leaves[number])
                fit = _sum(weights, own - heads)
                if fit >= best[0]:
                    best = (fit, {leaf} | (best[1] if fit == best[0] else set()))
                if leaf not in there:
                    there[leaf] = _held(rows.leaf_text(leaf), weights, language)
                worth = ONCE * _sum(weights, [*own, *(heads - own - there[leaf])])
                if worth > credit.get(leaf, 0.0):
                    credit[leaf] = worth
                    headings[leaf] = table.start, table.start + len(table.heading)
        if len(best[1]) == 1:
            first.append((min(best[1]), frozenset(int(leaves[number]) for number in places)))
    raised = values.copy()
    for leaf, worth in credit.items():
        raised[leaf] += worth
    for leaf, others in first:
        highest = max((raised[other] for other in others - {leaf}), default=0.0)
        raised[leaf] = max(raised[leaf], np.nextafter(highest, np.inf))
    return raised, headings


def _held(text: str, weights: Mapping[str, float], language: str) -> frozenset[str]:
    """The terms of the question that a text holds."""
    return frozenset(term for word in words(text, language) for term in word.terms if term in weights)


def _sum(weights: Mapping[str, float], terms: Iterable[str]) -> float:
    return sum(weights[term] for term in terms)
