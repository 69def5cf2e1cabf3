"""What `models probe` compares: in which layers a tree is read, and how finely. Integers and words; knows no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sharedllm_cli.config import LayerSpan
from sharedllm_cli.errors import UsageError

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
