"""What `models probe` compares, and what it comes to: cells, tables of gaps with their intervals, and plots.

Losses are in nats per answer token. Intervals are 95 % percentile bootstraps over documents, whose questions share
their trees, and pairs stay together. Knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sharedllm_cli.config import LayerSpan
from sharedllm_cli.errors import UsageError
from sharedllm_cli.lab import plots
from sharedllm_cli.lab.evaluation import metrics
from sharedllm_cli.lab.plots import Panel, Series
from sharedllm_cli.progress import Reporter

Ratio = int | Literal["tree"]
TREE: Literal["tree"] = "tree"
"""The real tree with all its ratios; a number is a stride through every chunk."""
RATIOS: tuple[Ratio, ...] = (1, 2, 4, 8, 16, TREE)


@dataclass(frozen=True)
class Cell:
    """One way to read a tree: in which layers, at which ratio."""

    span: LayerSpan
    layers: tuple[int, ...]
    ratio: Ratio

    @property
    def key(self) -> str:
        return f"{self.span[0]}-{self.span[1]}/{self.ratio}"


def parse_ratio(text: str) -> Ratio:
    """A whole number of at least 1, or `tree`; UsageError for anything else."""
    if text.strip() == TREE:
        return TREE
    if not text.strip().isdecimal() or int(text) < 1:
        raise UsageError(f"a ratio is a whole number of at least 1, or tree, got {text.strip()!r}")
    return int(text)


def default_spans(layer_count: int) -> tuple[LayerSpan, ...]:
    """Of N layers the bottom third, half, two thirds, five sixths and all; some without their lowest third or half."""
    edges = [round(layer_count * sixths / 6) for sixths in (2, 3, 4, 5, 6)]
    spans = [(0, edge) for edge in edges] + [(edges[0], edge) for edge in edges[3:]] + [(edges[1], layer_count)]
    return tuple(dict.fromkeys(span for span in spans if span[0] < span[1]))


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


Row = Mapping[str, Any]
LAYERS_PLOT, RATIOS_PLOT = "layers.png", "ratios.png"
_GAP, _LOSS = "gap: wrong − right (nats a token)", "loss (nats a token)"


def draw(folder: Path, found: Mapping[str, Any], reporter: Reporter) -> None:
    """Write a plot of each table that has rows; without matplotlib a warning."""
    if found["layers"]:
        plots.keep(folder / LAYERS_PLOT, lambda: layers_plot(found["layers"], found["closed"]), reporter)
    if found["ratios"]:
        plots.keep(folder / RATIOS_PLOT, lambda: ratios_plot(found["ratios"], found["closed"]), reporter)


def layers_plot(rows: Sequence[Row], closed: float) -> bytes:
    """Gap and right tree's loss over M, a line for each lowest layer, as PNG."""
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["first_layer"], row["lower_layers"])):
        groups.setdefault(f"from layer {row['first_layer']}", []).append(row)
    gaps = [_series(name, group, "lower_layers", "gap") for name, group in groups.items()]
    losses = [_series(f"right tree, {name}", group, "lower_layers", "right") for name, group in groups.items()]
    losses.append(_level("closed", rows, "lower_layers", closed))
    title = f"What an injection reads by its layers, {_grain(rows[0])}"
    return plots.curves([Panel(_GAP, gaps, zero=True), Panel(_LOSS, losses)], x_title="M", title=title)


def ratios_plot(rows: Sequence[Row], closed: float) -> bytes:
    """Gap and losses over the tokens that a key stands for, as PNG; the real tree is a point of its own."""
    strides = sorted((row for row in rows if row["ratio"] != TREE), key=lambda row: int(row["ratio"]))
    # Short last chunks make the tree's ratio a little less than whole: a tick of its own would hide its neighbour's.
    tree = [{**row, "ratio": round(row["tokens_per_key"])} for row in rows if row["ratio"] == TREE]
    panels = []
    for measure, names in ((_GAP, ("gap",)), (_LOSS, ("right", "wrong"))):
        series = [
            _series(f"{name}, {grain}", group, "ratio", name)
            for name in names
            for grain, group in (("even stride", strides), ("tree", tree))
            if group
        ]
        series += [] if measure == _GAP else [_level("closed", [*strides, *tree], "ratio", closed)]
        panels.append(Panel(measure, series, zero=measure == _GAP))
    title = f"What an injection reads by its compression, layers {rows[0]['layers']}"
    return plots.curves(panels, x_title="tokens a key", title=title, log_x=True)


def _series(name: str, rows: Sequence[Row], x: str, y: str) -> Series:
    """A line with its intervals as a band; a single point's, which has no width for one, as a line upright."""
    places, values = [row[x] for row in rows], [row[y] for row in rows]
    intervals = [row[f"{y}_interval"] for row in rows if f"{y}_interval" in row]
    if not intervals:
        return Series(name, places, values)
    low, high = ([one[side] for one in intervals] for side in (0, 1))
    if len(rows) == 1:
        return Series(name, places * 3, [*low, *values, *high])
    return Series(name, places, values, low, high)


def _level(name: str, rows: Sequence[Row], x: str, value: float) -> Series:
    places = sorted({row[x] for row in rows})
    return Series(name, places, [value] * len(places))


def _grain(row: Row) -> str:
    return "through the real tree" if row["ratio"] == TREE else f"one key kept of {row['ratio']}"
