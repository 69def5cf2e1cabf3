"""White strips of a PDF's page, and whether what stands beside one is columns or cells."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from sharedllm_cli.documents.normalise import is_entry
from sharedllm_cli.documents.pdf.lines import Segment
from sharedllm_cli.documents.pdf.rows import Line, joined, rows_of

LEAST_STRIP = 0.6
"""A strip between columns is at least as wide as this share of the size."""
_BULLETS = frozenset("•◦▪▸‣·●○■□–—-*")


def extent(found: Sequence[Segment]) -> float:
    return max(segment.x1 for segment in found) - min(segment.x0 for segment in found)


def side_by_side(left: Sequence[Segment], right: Sequence[Segment]) -> bool:
    """Whether both sides have text at the same height."""
    if not left or not right:
        return False
    top = min(max(segment.top for segment in side) for side in (left, right))
    bottom = max(min(segment.bottom for segment in side) for side in (left, right))
    return top > bottom


def beside_each_other(left: list[Segment], right: list[Segment]) -> tuple[list[Segment], list[Segment]]:
    """What of both sides stands at the same height, with a line more."""
    sides = left, right
    top = min(max(segment.top for segment in side) for side in sides)
    bottom = max(min(segment.bottom for segment in side) for side in sides)
    kept = [
        [segment for segment in side if bottom - segment.size < segment.y < top + 0.25 * segment.size] for side in sides
    ]
    return (kept[0], kept[1]) if all(kept) else sides


def strips(found: Sequence[Segment]) -> list[tuple[float, float]]:
    """White strips that may part columns, the best first: little crosses them, and much is on both sides."""
    start = min(segment.x0 for segment in found)
    end = max(segment.x1 for segment in found)
    size = statistics.median([segment.size for segment in found])
    step = max(size / 5, (end - start) / 4000, 0.01)
    count = int((end - start) / step) + 2
    steps = [0.0] * (count + 1)
    for segment in found:
        steps[int((segment.x0 - start) / step + 0.5)] += 1
        steps[int((segment.x1 - start) / step + 0.5)] -= 1
    cover = np.cumsum(steps)[:count]
    most_left = np.maximum.accumulate(cover)
    most_right = np.maximum.accumulate(cover[::-1])[::-1]
    low = cover <= 0.4 * np.minimum(most_left, most_right)
    strips: list[tuple[float, float, float]] = []
    edges = np.flatnonzero(np.diff(np.concatenate(([0], low.astype(np.int8), [0]))))
    for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if first == 0 or last >= count:
            continue
        least = cover[first:last].min()
        allowed = max(least, 0.25 * min(most_left[first], most_right[last - 1]))
        free = np.flatnonzero(cover[first:last] <= allowed) + first
        runs = np.split(free, np.flatnonzero(np.diff(free) > 1) + 1)
        widest = max(runs, key=len)
        begin, stop = start + widest[0] * step, start + (widest[-1] + 1) * step
        if stop - begin < LEAST_STRIP * size:
            continue
        score = float(min(most_left[first], most_right[last - 1]) - 2 * least)
        strips.append((score, begin, stop))
    return [(begin, stop) for _, begin, stop in sorted(strips, reverse=True)[:6]]


def bands(rows: Sequence[Line], middle: float) -> list[tuple[bool, list[Segment]]]:
    """From the top: each stretch of lines that cross the middle of a strip (True), and what is between them (False)."""
    bands: list[tuple[bool, list[Segment]]] = []
    for row in rows:
        crosses = any(cell.x0 < middle < cell.x1 for cell in row.cells)
        if bands and crosses == bands[-1][0]:
            bands[-1][1].extend(row.cells)
        else:
            bands.append((crosses, list(row.cells)))
    return bands


class Region:
    """What stands left and right of a strip."""

    def __init__(self, left: list[Segment], right: list[Segment]) -> None:
        self.sides = left, right
        self.rows = rows_of(left), rows_of(right)

    def verdict(self) -> str:
        """`columns`, `cells`, `table` for cells of prose, or `beside` for notes in the margin."""
        left, right = self.rows
        aligned = self.aligned()
        prose = [is_prose(rows) for rows in self.rows]
        if min(len(left), len(right)) < 3:
            return "cells"
        if all(prose):
            return "table" if self.cuts() else "columns"
        if aligned < 0.5:
            if not all(_is_block(rows) for rows in self.rows):
                return "cells"
            return "beside" if any(prose) and self._narrow() else "columns"
        if any(prose) and self._narrow() and self._notes_beside():
            return "beside"
        return "columns" if self._alike() else "cells"

    def aligned(self) -> float:
        """The share of the shorter side's lines that stand on the other side's baselines."""
        shorter, longer = sorted(self.rows, key=len)
        heights = np.array(sorted(row.y for row in longer))
        hits = 0
        for row in shorter:
            place = int(np.searchsorted(heights, row.y))
            near = [abs(heights[index] - row.y) for index in (place - 1, place) if 0 <= index < len(heights)]
            hits += min(near) <= 0.25 * row.size
        return hits / len(shorter)

    def _narrow(self) -> bool:
        widths = sorted(extent(side) for side in self.sides)
        return widths[0] < 0.45 * widths[1]

    def _notes_beside(self) -> bool:
        """Whether the narrow side is notes: in smaller type than the prose beside them."""
        narrow, wide = sorted(self.sides, key=extent)
        return usual_size(narrow) < 0.93 * usual_size(wide)

    def cuts(self) -> list[float]:
        """Where the rows of a table of prose begin: both sides part there, again and again; empty for columns."""
        blocks = [_blocks(rows) for rows in self.rows]
        if min(len(side) for side in blocks) < 3:
            return []
        size = self.rows[0][0].size
        pairs = [(one, other) for one in blocks[0] for other in blocks[1] if abs(one[0].y - other[0].y) < 0.25 * size]
        # In columns that happen to part at the same heights, the blocks are of equal length, too.
        uneven = sum(len(one) != len(other) for one, other in pairs)
        if len(pairs) < 0.8 * max(len(side) for side in blocks) or uneven < 0.3 * len(pairs):
            return []
        return [max(one[0].y, other[0].y) + 0.5 * size for one, other in pairs]

    def _alike(self) -> bool:
        """Whether both sides are lists of the same kind, one the continuation of the other: an index, a glossary."""
        if min(len(rows) for rows in self.rows) < 3:
            return False
        if all(_bulleted(rows) for rows in self.rows) or all(_are_entries(rows) for rows in self.rows):
            return True
        if self._drawn_by_rows():
            return False
        if self.aligned() < 0.85 and all(_words(rows) >= 3 * len(rows) for rows in self.rows):
            return True
        texts = [[joined(row.cells) for row in rows] for rows in self.rows]
        for side in texts:
            if sum(any(letter.isalpha() for letter in text) for text in side) < 0.8 * len(side):
                return False
        words = [statistics.mean(len(text.split()) for text in side) for side in texts]
        widths = [extent(side) for side in self.sides]
        if max(words) > 1.6 * min(words) or max(widths) > 1.6 * min(widths):
            return False
        if min(len(side) for side in texts) >= 8:
            return min(words) >= 1.6
        labels = sum(text.endswith(":") for text in texts[0])
        return min(words) >= 3 and labels < 0.3 * len(texts[0])

    def _drawn_by_rows(self) -> bool:
        """Whether the drawing goes from side to side, row by row."""
        sides = sorted((segment.order, side) for side, found in enumerate(self.sides) for segment in found)
        turns = sum(one[1] != other[1] for one, other in pairwise(sides))
        return turns > min(len(rows) for rows in self.rows)


def usual_size(found: Sequence[Segment]) -> float:
    weights: Counter[float] = Counter()
    for segment in found:
        weights[round(segment.size, 1)] += len(segment.text)
    return weights.most_common(1)[0][0]


def is_prose(rows: Sequence[Line], depth: int = 0) -> bool:
    """Whether lines of several words fill their column, or the columns that they are made of."""
    if len(rows) < 3:
        return False
    gaps = sum(len(row.cells) > 1 for row in rows)
    if gaps > 0.5 * len(rows):
        return depth < 3 and _are_columns([cell for row in rows for cell in row.cells], depth)
    start = min(row.cells[0].x0 for row in rows)
    end = max(row.cells[-1].x1 for row in rows)
    full = sum(row.cells[-1].x1 - start > 0.85 * (end - start) for row in rows)
    letters = sum(len(cell.text) for row in rows for cell in row.cells)
    words = _words(rows)
    many = words >= 3.5 * len(rows) or (letters > 12 * words and letters >= 10 * len(rows))
    return many and full >= 0.4 * len(rows)


def _are_columns(found: Sequence[Segment], depth: int) -> bool:
    for low, high in strips(found)[:3]:
        middle = (low + high) / 2
        left = [segment for segment in found if (segment.x0 + segment.x1) / 2 < middle]
        right = [segment for segment in found if (segment.x0 + segment.x1) / 2 >= middle]
        if is_prose(rows_of(left), depth + 1) and is_prose(rows_of(right), depth + 1):
            return True
    return False


def _is_block(rows: Sequence[Line]) -> bool:
    """Whether lines stand near each other."""
    leads = [above.y - below.y for above, below in pairwise(rows)]
    return statistics.median(leads) < 2.5 * rows[0].size


def _words(rows: Sequence[Line]) -> int:
    return sum(cell.words for row in rows for cell in row.cells)


def _are_entries(rows: Sequence[Line]) -> bool:
    """Whether lines are entries of a book's index."""
    return 2 * sum(is_entry(joined(row.cells)) for row in rows) >= len(rows)


def _bulleted(rows: Sequence[Line]) -> bool:
    marks = sum(row.cells[0].text[:1] in _BULLETS for row in rows)
    return marks >= 2 and marks >= 0.3 * len(rows)


def _blocks(rows: Sequence[Line]) -> list[list[Line]]:
    """The lines of one column, cut where the gap is wider than between lines."""
    if len(rows) < 2:
        return [list(rows)]
    leads = [above.y - below.y for above, below in pairwise(rows)]
    least = statistics.median_low(sorted(leads)[: max(1, len(leads) * 3 // 4)])
    blocks = [[rows[0]]]
    for lead, row in zip(leads, rows[1:], strict=True):
        if lead > 1.3 * least:
            blocks.append([row])
        else:
            blocks[-1].append(row)
    return blocks
