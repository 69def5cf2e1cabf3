"""Where the answer's words stand, and how often a policy ranks that leaf among its best.

Numbers and text; knows no model.
"""

from __future__ import annotations

import re
from math import comb

import numpy as np

from sharedllm_cli.lab.evaluation.questions import Asked
from sharedllm_cli.reading.library import OpenDocument


def answer_span(asked: Asked, text: str) -> tuple[tuple[int, int], ...]:
    """The spans of characters that hold the answer: the data's evidence, else where the answer stands, if only once.

    Of several accepted answers the first that occurs exactly once counts: whole words, whatever white space and case,
    and within the question's own document (in one joined to it the same words answer something else). Nothing where the
    question is unanswerable or no answer occurs exactly once.
    """
    if asked.evidence:
        return asked.evidence
    for answer in asked.answers if asked.answerable else ():
        words = answer.rstrip(".").split()
        if not words:
            continue
        pattern = r"\s+".join(map(re.escape, words))
        matches = re.finditer(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE)
        first, second = next(matches, None), next(matches, None)
        own = asked.within or (0, len(text))
        if first is not None and second is None and own[0] <= first.start() < own[1]:
            return (first.span(),)
    return ()


def gold_leaves(opened: OpenDocument, spans: tuple[tuple[int, int], ...]) -> frozenset[int]:
    """The leaves that hold the spans: those more than half inside one, else the one with the most of it."""
    leaves, text = opened.leaves, opened.document
    places = np.array([leaves.leaf_characters(leaf, text) for leaf in range(leaves.leaf_count)], dtype=np.int64)
    found: set[int] = set()
    for start, end in spans:
        shared = np.minimum(places[:, 1], end) - np.maximum(places[:, 0], start)
        inside = np.flatnonzero(2 * shared > places[:, 1] - places[:, 0])
        found.update(inside.tolist() or [int(shared.argmax())])
    return frozenset(found)


def recall_at(scores: np.ndarray, gold: frozenset[int], k: int) -> float:
    """How likely one of the gold leaves is among the k best; 0 or 1 but for ties, whose order is left to chance.

    `scores` [leaves]. With all scores equal and one gold leaf it is k out of the number of leaves.
    """
    best = max(float(scores[leaf]) for leaf in gold)
    above, tied = int((scores > best).sum()), int((scores == best).sum())
    golden = sum(float(scores[leaf]) == best for leaf in gold)
    places = min(k - above, tied)
    if places <= 0:
        return 0.0
    return 1.0 - comb(tied - golden, places) / comb(tied, places)
