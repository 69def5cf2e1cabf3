"""The course of a run as a plot: losses with their controls, and the gates, over the steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sharedllm_cli.lab.plots import Panel, Series, curves

PLOT = "course.png"
_SMOOTHING = 0.9
_CONTROLS = {
    "validation_loss": "validation",
    "tree_right": "right tree",
    "tree_wrong": "wrong tree",
    "tree_none": "no tree",
}


def draw(metrics: Path) -> bytes:
    """A run's metrics as PNG; UsageError where matplotlib is not installed."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    return curves(panels(lines), x_title="step", title=f"Training in {metrics.parent.name}")


def panels(lines: Sequence[dict[str, Any]]) -> list[Panel]:
    """Losses, and gates where some are open. The training loss is smoothed: samples differ much in difficulty."""
    steps = [line for line in lines if "loss" in line]
    looks = [line for line in lines if "validation_loss" in line]
    smooth: list[float] = []
    for line in steps:
        smooth.append(line["loss"] if not smooth else _SMOOTHING * smooth[-1] + (1 - _SMOOTHING) * line["loss"])
    losses = [Series("training, smoothed", [line["step"] for line in steps], smooth)] if steps else []
    for key, name in _CONTROLS.items():
        known = [line for line in looks if key in line]
        # Where all samples read a tree, the right tree's loss is the validation loss.
        if known and not (key == "tree_right" and all(line["tree_right"] == line["validation_loss"] for line in known)):
            losses.append(Series(name, [line["step"] for line in known], [line[key] for line in known]))
    found = [Panel("loss per token (nats)", losses)]
    gates = [line for line in looks if "gate_mean" in line]
    if gates:
        values = [[line[key] for line in gates] for key in ("gate_mean", "gate_low", "gate_high")]
        found.append(Panel("open gates", [Series("mean", [line["step"] for line in gates], *values)], zero=True))
    return found
