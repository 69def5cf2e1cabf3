"""Grids of ruled lines on a PDF's page: which lines make one, and the cells between them, merged ones too."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharedllm_cli.documents.pdf.rules import SNAP, Rule, Rules

MOST_RULES = 800
"""Level or upright lines of a page, joined; a page with more is a drawing."""
MOST_CELLS = 10_000
_OPEN = 8.0
"""Points that lines reach beyond the last line across them where a table has no border there."""
_COVERED = 0.6
"""Share of a cell's side that a line must cover to part it from the next cell."""

_Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Place:
    """A cell's rows and columns, merged ones together: first and one behind the last."""

    top: int
    bottom: int
    left: int
    right: int


class Grid:
    """The lines of one table: `xs` from the left, `ys` from the top, and for each field the cell that it belongs to."""

    def __init__(self, level: Sequence[Rule], upright: Sequence[Rule]) -> None:
        self.xs = _levels([(rule.at, rule.at) for rule in upright], [(rule.start, rule.end) for rule in level])
        self.ys = _levels([(rule.at, rule.at) for rule in level], [(rule.start, rule.end) for rule in upright])[::-1]
        self.rows, self.columns = max(0, len(self.ys) - 1), max(0, len(self.xs) - 1)
        self.fits = self.columns >= 2 and self.rows >= 1 and self.rows * self.columns <= MOST_CELLS
        if self.fits:
            self._upright = self._parted(upright, self.xs, self.ys[::-1])[:, ::-1]
            self._level = self._parted(level, self.ys, self.xs)
            self._owners, self.places = self._cells()
            self._sizes = Counter(number for row in self._owners for number in row)

    @property
    def is_table(self) -> bool:
        """Whether nearly all cells are rectangles; the lines of charts and drawings leave others."""
        whole = sum(
            (place.bottom - place.top) * (place.right - place.left)
            for number, place in enumerate(self.places)
            if self._sizes[number] == (place.bottom - place.top) * (place.right - place.left)
        )
        return whole >= 0.9 * self.rows * self.columns

    @property
    def area(self) -> float:
        return (self.xs[-1] - self.xs[0]) * (self.ys[0] - self.ys[-1])

    def cell(self, x: float, y: float) -> int | None:
        """The number of the cell at a point, None outside the grid."""
        if not (self.xs[0] <= x < self.xs[-1] and self.ys[-1] < y <= self.ys[0]):
            return None
        return self._owners[self.row(y)][bisect_right(self.xs, x) - 1]

    def row(self, y: float) -> int:
        return min(self.rows - 1, max(0, bisect_right([-one for one in self.ys], -y) - 1))

    def cuts(self, x0: float, x1: float, y: float) -> list[float]:
        """The upright lines that a text from x0 to x1 at this height lies across."""
        if not self.ys[-1] < y <= self.ys[0]:
            return []
        row = self.row(y)
        inner = range(1, self.columns)
        return [self.xs[place] for place in inner if x0 + 1 < self.xs[place] < x1 - 1 and self._upright[place][row]]

    @staticmethod
    def _parted(rules: Sequence[Rule], along: Sequence[float], across: Sequence[float]) -> _Array:
        """For each line of the grid and each field beside it, whether ruled lines part the fields there."""
        parted = np.zeros((len(along), max(1, len(across) - 1)), bool)
        places, ends = np.array(along), np.array(across)
        cover = np.zeros(parted.shape)
        for rule in rules:
            place = int(np.abs(places - rule.at).argmin())
            if abs(along[place] - rule.at) <= SNAP:
                shared = np.minimum(ends[1:], rule.end + 1) - np.maximum(ends[:-1], rule.start - 1)
                cover[place] += np.maximum(shared, 0)
        wide = ends[1:] - ends[:-1]
        parted[:] = cover >= _COVERED * wide
        return parted

    def _cells(self) -> tuple[list[list[int]], list[Place]]:
        """The fields joined to cells where no line parts them: the cell of each field, and the cells' places."""
        above = list(range(self.rows * self.columns))

        def first(one: int) -> int:
            while above[one] != one:
                above[one] = above[above[one]]
                one = above[one]
            return one

        for row in range(self.rows):
            for column in range(self.columns):
                here = row * self.columns + column
                if column and not self._upright[column][row]:
                    above[first(here)] = first(here - 1)
                if row and not self._level[row][column]:
                    above[first(here)] = first(here - self.columns)
        numbers: dict[int, int] = {}
        members: list[list[int]] = []
        owners: list[list[int]] = []
        for row in range(self.rows):
            owners.append([])
            for column in range(self.columns):
                root = first(row * self.columns + column)
                if root not in numbers:
                    numbers[root] = len(members)
                    members.append([])
                members[numbers[root]].append(row * self.columns + column)
                owners[-1].append(numbers[root])
        places = []
        for fields in members:
            rows, columns = [one // self.columns for one in fields], [one % self.columns for one in fields]
            places.append(Place(min(rows), max(rows) + 1, min(columns), max(columns) + 1))
        return owners, places


def grids(rules: Rules) -> list[Grid]:
    """The grids of two columns or more that a page's lines make, joined ones (`Rules.joined`); the smallest first."""
    level, upright = rules.level, rules.upright
    if len(level) < 2 or len(upright) < 1 or max(len(level), len(upright)) > MOST_RULES:
        return []
    across = np.array([(rule.at, rule.start, rule.end) for rule in level])
    down = np.array([(rule.at, rule.start, rule.end) for rule in upright])
    meets = (down[None, :, 0] >= across[:, None, 1] - SNAP) & (down[None, :, 0] <= across[:, None, 2] + SNAP)
    meets &= (across[:, None, 0] >= down[None, :, 1] - SNAP) & (across[:, None, 0] <= down[None, :, 2] + SNAP)
    found = []
    for levels, uprights in _together(meets):
        grid = Grid([level[place] for place in levels], [upright[place] for place in uprights])
        if grid.fits and grid.is_table:
            found.append(grid)
    return sorted(found, key=lambda grid: grid.area)


def _together(meets: _Array) -> Iterator[tuple[list[int], list[int]]]:
    """The level and upright lines that hang together."""
    left: _Array = np.ones(meets.shape[0], bool)
    for start in range(meets.shape[0]):
        if not left[start]:
            continue
        levels: _Array = np.zeros(meets.shape[0], bool)
        levels[start] = True
        uprights: _Array = np.zeros(meets.shape[1], bool)
        while True:
            more: _Array = np.asarray(meets[levels].any(axis=0))
            rest: _Array = np.asarray(meets[:, more].any(axis=1)) | levels
            if (more == uprights).all() and (rest == levels).all():
                break
            uprights, levels = more, rest
        left &= ~levels
        if levels.sum() > 1 and uprights.any():
            yield np.flatnonzero(levels).tolist(), np.flatnonzero(uprights).tolist()


def _levels(lines: Sequence[tuple[float, float]], ends: Sequence[tuple[float, float]]) -> list[float]:
    """The places of a grid's lines in one direction; where there is no border, the ends of the lines across."""
    places = sorted(at for at, _ in lines)
    found: list[float] = []
    for place in places:
        if not found or place - found[-1] > SNAP:
            found.append(place)
    low, high = min(start for start, _ in ends), max(end for _, end in ends)
    if not found or low < found[0] - _OPEN:
        found.insert(0, low)
    if high > found[-1] + _OPEN:
        found.append(high)
    return found
