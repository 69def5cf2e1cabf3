"""The tables of `models probe` as pictures: gap and losses over M, and over the tokens a key stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sharedllm_cli.lab import plots
from sharedllm_cli.lab.evaluation.probe_cells import TREE
from sharedllm_cli.lab.plots import Panel, Series
from sharedllm_cli.progress import Reporter

Row = Mapping[str, Any]
LAYERS, RATIOS = "layers.png", "ratios.png"
_GAP, _LOSS = "gap: wrong − right (nats a token)", "loss (nats a token)"


def draw(folder: Path, found: Mapping[str, Any], reporter: Reporter) -> None:
    """Write a plot of each table that has rows; without matplotlib a warning."""
    if found["layers"]:
        plots.keep(folder / LAYERS, lambda: layers_plot(found["layers"], found["closed"]), reporter)
    if found["ratios"]:
        plots.keep(folder / RATIOS, lambda: ratios_plot(found["ratios"], found["closed"]), reporter)


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
