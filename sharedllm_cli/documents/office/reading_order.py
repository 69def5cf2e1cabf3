"""The order in which the boxes of a slide are read: rows from top to bottom, in each from left to right; or columns.

Where the boxes can be read either way, the order of the file decides: that of who made the slide. Knows places alone.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from typing import NamedTuple

OVERLAP = 0.3
"""Boxes may overlap by this share of the smaller one and still stand apart."""
MOST_BOXES = 500
"""Boxes of a slide that are ordered by place; of more the order of the file stands."""


class Box(NamedTuple):
    """A place on a slide, and the box's number in the file."""

    left: float
    top: float
    right: float
    bottom: float
    number: int


def ordered(boxes: Sequence[Box]) -> list[int]:
    """The numbers of the boxes in the order of reading."""
    if len(boxes) > MOST_BOXES:
        return [box.number for box in boxes]
    return [box.number for box in _ordered(list(boxes), MOST_BOXES)]


def _ordered(boxes: list[Box], depth: int) -> list[Box]:
    if len(boxes) < 2 or not depth:
        return boxes
    rows = _apart(boxes, lambda box: (box.top, box.bottom))
    columns = _apart(boxes, lambda box: (box.left, box.right))
    ways = [
        [box for group in groups for box in _ordered(group, depth - 1)] for groups in (rows, columns) if len(groups) > 1
    ]
    if not ways:
        return sorted(boxes, key=lambda box: box.number)
    return min(ways, key=_inversions)


def _apart(boxes: Sequence[Box], edges: Callable[[Box], tuple[float, float]]) -> list[list[Box]]:
    """The boxes in groups that no line between them cuts."""
    groups: list[list[Box]] = []
    reach = 0.0
    for box in sorted(boxes, key=edges):
        first, last = edges(box)
        sizes = [last - first, *(edges(one)[1] - edges(one)[0] for one in (groups[-1] if groups else ()))]
        if groups and first < reach - OVERLAP * min(sizes):
            groups[-1].append(box)
            reach = max(reach, last)
        else:
            groups.append([box])
            reach = max(reach, last) if groups[:-1] else last
    return groups


def _inversions(boxes: Sequence[Box]) -> int:
    """How many pairs stand in another order than in the file."""
    seen: list[int] = []
    count = 0
    for box in boxes:
        count += len(seen) - bisect_left(seen, box.number)
        insort(seen, box.number)
    return count
