"""What `models probe` compares: in which layers a tree is read, and how finely. Integers and words; knows no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sharedllm_cli.errors import UsageError

Span = tuple[int, int]
"""Layers [first, end), counted from 0 at the bottom, so that M = end."""
Ratio = int | Literal["tree"]
TREE: Literal["tree"] = "tree"
"""The real tree with all its ratios; a number is a stride through every chunk."""
RATIOS: tuple[Ratio, ...] = (1, 2, 4, 8, 16, TREE)


@dataclass(frozen=True)
class Cell:
    """One way to read a tree: in which layers, at which ratio."""

    span: Span
    layers: tuple[int, ...]
    ratio: Ratio

    @property
    def key(self) -> str:
        return f"{self.span[0]}-{self.span[1]}/{self.ratio}"


def parse_span(text: str) -> Span:
    """`10-25` as layers 10 to 24, counted from 0; UsageError for anything else."""
    first, dash, end = text.strip().partition("-")
    if not (dash and first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise UsageError(f"layers look like 0-15 (the bottom fifteen) or 10-25, got {text.strip()!r}")
    return int(first), int(end)


def parse_ratio(text: str) -> Ratio:
    """A whole number of at least 1, or `tree`; UsageError for anything else."""
    if text.strip() == TREE:
        return TREE
    if not text.strip().isdecimal() or int(text) < 1:
        raise UsageError(f"a ratio is a whole number of at least 1, or tree, got {text.strip()!r}")
    return int(text)


def default_spans(layer_count: int) -> tuple[Span, ...]:
    """Of N layers the bottom third, half, two thirds, five sixths and all; some without their lowest third or half."""
    edges = [round(layer_count * sixths / 6) for sixths in (2, 3, 4, 5, 6)]
    spans = [(0, edge) for edge in edges] + [(edges[0], edge) for edge in edges[3:]] + [(edges[1], layer_count)]
    return tuple(dict.fromkeys(span for span in spans if span[0] < span[1]))
