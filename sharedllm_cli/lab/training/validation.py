"""What is followed beside a run's loss: samples never learned from, controls that tell reading from style, a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sharedllm_cli.lab.plots import Panel, Series, curves
from sharedllm_cli.lab.training.sample import Sample


@dataclass
class Validation:
    """Fixed samples whose loss is followed; they are never learned from.

    Those that read a tree are also tried with another one's tree and without any: if the wrong tree does as well as
    the right one, the tree is not read.
    """

    samples: Sequence[Sample] = field(default_factory=list)

    def controls(self) -> dict[str, list[Sample]]:
        """What is measured, by the name of its metric."""
        reading = [sample for sample in self.samples if sample.tree is not None]
        exchanged = exchanged_trees(reading)
        found = {"validation_loss": list(self.samples)}
        if exchanged:
            found["tree_right"] = reading
            found["tree_wrong"] = exchanged
            found["tree_none"] = [replace(sample, tree=None) for sample in reading]
        return found


def exchanged_trees(samples: Sequence[Sample]) -> list[Sample]:
    """Each sample with the tree of the next one that shares no document with it; empty where there is none for one."""
    exchanged = []
    for place, sample in enumerate(samples):
        assert sample.tree is not None
        own = {id(document) for document in sample.tree.documents}
        for other in (*samples[place + 1 :], *samples[:place]):
            if other.tree is not None and own.isdisjoint(id(document) for document in other.tree.documents):
                exchanged.append(replace(sample, tree=other.tree))
                break
        else:
            return []
    return exchanged


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
