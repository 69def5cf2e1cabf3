"""The tables of `models probe` from single losses: right, wrong and closed, the gap and the gain with their intervals.

Losses are in nats per answer token. Intervals are 95 % percentile bootstraps over documents, whose questions share
their trees, and pairs stay together. Knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sharedllm_cli.lab.evaluation import metrics
from sharedllm_cli.lab.evaluation.probe_cells import Cell


def gaps(
    documents: Sequence[Sequence[Mapping[str, Any]]], by_layers: Sequence[Cell], by_ratios: Sequence[Cell], seed: int
) -> dict[str, Any]:
    """What the lines of predictions of each document come to: at least one document, at least one line each."""
    table = _Table(documents, seed)
    lines = [line for document in documents for line in document]
    return {
        "closed": table.mean([line["closed"] for line in lines]),
        "layers": [table.row(cell) for cell in by_layers],
        "ratios": [table.row(cell) for cell in by_ratios],
        "questions": {"asked": len(lines), "answer_tokens": sum(line["gold_tokens"] for line in lines)},
        "documents": {
            "asked": len(documents),
            "cut": sum(document[0]["cut"] for document in documents),
            "tokens": sum(document[0]["document_tokens"] for document in documents) / len(documents),
        },
    }


class _Table:
    """Losses per answer token over documents: the sum over their questions over the sum of answer tokens."""

    def __init__(self, documents: Sequence[Sequence[Mapping[str, Any]]], seed: int) -> None:
        self._documents = documents
        self._seed = seed
        self._weights = [sum(line["gold_tokens"] for line in document) for document in documents]

    def row(self, cell: Cell) -> dict[str, Any]:
        """A cell's losses, gap (wrong less right) and gain (closed less right) with their intervals."""
        lines = [line for document in self._documents for line in document]
        closed = [line["closed"] for line in lines]
        right, wrong = ([line["cells"][cell.key][name] for line in lines] for name in ("right", "wrong"))
        found: dict[str, Any] = {
            "layers": f"{cell.span[0]}-{cell.span[1]}",
            "first_layer": cell.span[0],
            "lower_layers": cell.span[1],
            "ratio": cell.ratio,
            "tokens_per_key": sum(line["document_tokens"] for line in lines)
            / sum(line["cells"][cell.key]["right_keys"] for line in lines),
            "right": self.mean(right),
            "wrong": self.mean(wrong),
        }
        for name, values, others in (("gap", wrong, right), ("gain", closed, right)):
            made = metrics.difference(
                self._by_document(values), self._by_document(others), self._weights, seed=self._seed
            )
            assert made is not None
            found |= {name: made.mean, f"{name}_interval": [made.low, made.high]}
        return found

    def mean(self, values: Sequence[float]) -> float:
        return float(np.average(self._by_document(values), weights=self._weights))

    def _by_document(self, values: Sequence[float]) -> list[float]:
        """Each document's mean loss per answer token, from the losses of all questions in their order."""
        left = iter(values)
        found = []
        for document, weight in zip(self._documents, self._weights, strict=True):
            found.append(sum(next(left) * line["gold_tokens"] for line in document) / weight)
        return found
