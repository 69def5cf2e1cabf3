"""The part of opened documents that a question names in quotation marks (`retrieval/sections.py`), as leaves.

Knows opened documents; no model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.retrieval import bm25
from sharedllm_cli.retrieval.sections import NamedPart, named_part


def named_in(question: str, documents: Sequence[OpenDocument]) -> NamedPart | None:
    """The part that a question names, unless nothing else that it asks stands in the documents."""
    part = named_part(question, [opened.titled for opened in documents])
    if part is None:
        return None
    rest = bm25.scores(part.question, [opened.leaves.lexical for opened in documents])
    return part if rest.matched else None


def leaves_inside(opened: OpenDocument, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """Which leaves have some of their text in one of the spans of characters: [leaves]."""
    leaves = opened.leaves
    starts = leaves.tokens.starts[leaves.leaf_spans[:, 0]]
    ends = leaves.tokens.ends[leaves.leaf_spans[:, 1] - 1]
    found = np.zeros(leaves.leaf_count, dtype=bool)
    for start, end in spans:
        found |= (ends > start) & (starts < end)
    return found


def part_first(
    scores: Sequence[np.ndarray], documents: Sequence[OpenDocument], spans: Sequence[Sequence[tuple[int, int]]]
) -> list[np.ndarray]:
    """The scores, in which leaves of a part that was named in quotation marks come before all others."""
    highest = max((float(values.max(initial=0.0)) for values in scores), default=0.0)
    return [
        values + np.where(leaves_inside(opened, own) & (values > 0), highest, 0.0)
        for values, opened, own in zip(scores, documents, spans, strict=True)
    ]
