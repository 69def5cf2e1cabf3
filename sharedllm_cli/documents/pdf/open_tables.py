"""Tables without upright lines: their columns from the white between cells, their rows from white or level lines.

A row is one line, its cells joined from the lines of text that each is broken into. Columns of prose have white between
them, too: what tells a table are level lines across it, or rows that begin together and end apart.
"""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sharedllm_cli.documents.pdf.columns import is_prose
from sharedllm_cli.documents.pdf.lines import Segment
from sharedllm_cli.documents.pdf.rows import CELLS, NUMBER, Line, joined, joined_lines, rows_of
from sharedllm_cli.documents.pdf.rules import Rule
from sharedllm_cli.documents.pdf.stretches import LEAST_GAP, WIDEST_LEAD, seen_rows, stands_over, stretches

BAR = " | "
LONGEST = 8.0
"""Lines of a cell on average, and a third of those of the longest; the cells of a table are no longer."""
MOST_ROWS = 3_000
"""Of a page; more are not looked at."""


@dataclass
class _Row:
    """A row of a table: the lines of each cell, by column."""

    cells: list[list[Line]]
    found: list[Segment]

    @property
    def filled(self) -> list[list[Line]]:
        return [cell for cell in self.cells if cell]

    @property
    def longest(self) -> int:
        return max(map(len, self.cells))


def with_rows(found: list[Segment], rules: Sequence[Rule], first: int) -> list[Segment]:
    """The segments of a region, with those of its tables joined to rows, which are numbered from `first` by table."""
    rows = seen_rows(found)
    if len(rows) > MOST_ROWS:
        return found
    kept: list[Segment] = []
    number = first
    done = 0
    for begin, end, gaps in stretches(rows, rules):
        if len(gaps) == 1 and _are_columns(rows[begin:end], sum(gaps[0]) / 2):
            continue
        table = _Table(rows[begin:end], rules)
        if table.is_one():
            kept += [cell for row in rows[done:begin] for cell in row.cells]
            kept += table.segments(number)
            number += 1
            done = end
    return kept + [cell for row in rows[done:] for cell in row.cells] if done else found


def _are_columns(lines: Sequence[Line], middle: float) -> bool:
    """Whether both sides of the white between cells are prose, and no columns themselves."""
    sides: tuple[list[Line], list[Line]] = [], []
    for line in lines:
        for side, cells in enumerate(
            ([cell for cell in line.cells if cell.x1 < middle], [cell for cell in line.cells if cell.x1 >= middle])
        ):
            if cells:
                sides[side].append(Line(line.y, line.size, cells))
    single = all(sum(len(line.cells) > 1 for line in side) <= 0.15 * len(side) for side in sides)
    return single and all(map(is_prose, sides))


def _are_numbers(lines: Sequence[Line]) -> bool:
    count = sum(NUMBER.fullmatch(joined(line.cells)) is not None for line in lines)
    return count >= max(2, 0.5 * len(lines))


def _starts_small(line: Line) -> bool:
    letter = line.cells[0].text[:1]
    return letter.isalpha() and not letter.isupper()


class _Table:
    """Lines that may be a table."""

    def __init__(self, lines: Sequence[Line], rules: Sequence[Rule]) -> None:
        self.lines = lines
        self.found = [cell for line in lines for cell in line.cells]
        self.size = statistics.median(cell.size for cell in self.found)
        self.x0, self.x1 = min(cell.x0 for cell in self.found), max(cell.x1 for cell in self.found)
        self.rows: list[_Row] = []
        self.bounds = self._bounds()
        if not self.bounds:
            return
        self.lines = [self._cut(line) for line in lines]
        self.found = [cell for line in self.lines for cell in line.cells]
        self.rules = self._across(rules)
        columns = self._columns(self.found)
        self.lead = self._lead(columns)
        self.numeric = {column for column, rows in enumerate(columns) if column and _are_numbers(rows)}
        self.small = {column for column, rows in enumerate(columns) if sum(map(_starts_small, rows)) > 0.7 * len(rows)}
        self.prose = bool(columns) and all(map(is_prose, columns))
        self.widths = [max((row.cells[-1].x1 - row.cells[0].x0 for row in rows), default=0.0) for rows in columns]
        self.rows = self._rows()

    def _bounds(self) -> list[float]:
        """The middle of the white between each two columns; headings may stand over several."""
        step = max(self.size / 5, (self.x1 - self.x0) / 4000)
        count = int((self.x1 - self.x0) / step) + 2
        changes = np.zeros(count + 1)
        several = [line for line in self.lines if len(line.cells) > 1]
        if stands_over(self.lines):
            del several[0]
        for line in several:
            for cell in line.cells:
                for low, high in cell.parts(LEAST_GAP * self.size):
                    changes[int((low - self.x0) / step + 0.5)] += 1
                    changes[int((high - self.x0) / step + 0.5)] -= 1
        cover = np.cumsum(changes)[:count]
        white = cover <= (0 if len(several) < 4 else max(1, 0.1 * len(several)))
        edges = np.flatnonzero(np.diff(np.concatenate(([0], white.astype(np.int8), [0]))))
        bounds = []
        for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            if begin > 0 and end < count and (end - begin) * step >= LEAST_GAP * self.size:
                least = np.flatnonzero(cover[begin:end] == cover[begin:end].min()) + begin
                run = max(np.split(least, np.flatnonzero(np.diff(least) > 1) + 1), key=len)
                bounds.append(self.x0 + step * (int(run[0]) + int(run[-1]) + 1) / 2)
        return [bound for bound in bounds if sum(len(line.cells) > 1 for line in self.lines) > 1]

    def _cut(self, line: Line) -> Line:
        """A line whose segments are cut at the white between columns."""
        cells = line.cells
        for bound in self.bounds:
            cells = [part for cell in cells for part in (cell.cut(bound) if cell.x0 < bound < cell.x1 else [cell])]
        return Line(line.y, line.size, cells) if len(cells) > len(line.cells) else line

    def _across(self, rules: Sequence[Rule]) -> list[float]:
        """The heights of level lines over at least two columns, between the first line of text and the last."""
        if not self.bounds:
            return []
        high, low = self.lines[0].y, self.lines[-1].y
        return [
            rule.at
            for rule in rules
            if low < rule.at < high
            and min(rule.end, self.x1) - max(rule.start, self.x0) > 0.85 * (self.x1 - self.x0)
            and rule.end - rule.start < 1.6 * (self.x1 - self.x0)
        ]

    def _column(self, cell: Segment) -> int:
        """The column that a cell begins in."""
        return bisect_right(self.bounds, cell.x0 + 0.2 * self.size)

    def _columns(self, found: Sequence[Segment]) -> list[list[Line]]:
        columns: list[list[Segment]] = [[] for _ in range(len(self.bounds) + 1)]
        for cell in found:
            columns[self._column(cell)].append(cell)
        return [rows_of(column) for column in columns]

    def _lead(self, columns: Sequence[Sequence[Line]]) -> float:
        """Points between the lines within a cell: the least between lines of a column."""
        leads = (above.y - below.y for column in columns for above, below in pairwise(column))
        return min([*(lead for lead in leads if lead > 0.8 * self.size), WIDEST_LEAD * self.size])

    def _rows(self) -> list[_Row]:
        if not self.lead > 0:
            return []
        bands: list[list[Line]] = [[]]
        bottom = 0.0
        white = self.lead - self.size + 0.22 * self.size
        for line in self.lines:
            top = max(cell.top for cell in line.cells)
            ruled = bands[-1] and any(line.y < at < bands[-1][-1].y for at in self.rules)
            if bands[-1] and (ruled or (not self._ruled_rows() and bottom - top > white)):
                bands.append([])
            bottom = min([bottom] * bool(bands[-1]) + [cell.bottom for cell in line.cells])
            bands[-1].append(line)
        return [self._row(part) for band in bands for part in self._by_numbers(band)]

    def _ruled_rows(self) -> bool:
        """Whether each row stands between two level lines."""
        if len(self.rules) < 2:
            return False
        full = [line.y for line in self.lines if len({self._column(cell) for cell in line.cells}) > len(self.bounds)]
        edges = sorted(self.rules, reverse=True)
        counts = [0] * (len(edges) + 1)
        for y in full:
            counts[sum(y < edge for edge in edges)] += 1
        return sum(count > 1 for count in counts) < 0.4 * len(counts)

    def _by_numbers(self, band: Sequence[Line]) -> list[list[Line]]:
        """A band of lines, cut before each line with a number where numbers stand below each other: no cell has two."""
        numbers: dict[int, int] = {}
        starts: list[bool] = []
        for line in band:
            held = {self._column(cell) for cell in line.cells if NUMBER.fullmatch(cell.text)} & self.numeric
            for column in held:
                numbers[column] = numbers.get(column, 0) + 1
            starts.append(bool(held))
        most = max(numbers.values(), default=0)
        if most == 0 or len(self.bounds) < 2:
            return self._by_labels(band)
        parts: list[list[Line]] = [[]]
        for line, start in zip(band, starts, strict=True):
            before = parts[-1][-1] if parts[-1] else None
            numbered = any(starts[place] for place, one in enumerate(band) if one in parts[-1])
            head = before is not None and (start or most > 1) and self._is_head(before, line, start)
            heading = any(self._begins_row(one) or self._names_numbers(one) for one in parts[-1])
            if head or (start and (numbered or heading)):
                parts.append([])
            parts[-1].append(line)
        return parts if most > 1 else [rows for part in parts for rows in self._by_labels(part)]

    def _names_numbers(self, line: Line) -> bool:
        """Whether a line has words above columns of numbers, as a heading does."""
        held = {self._column(cell) for cell in line.cells if not NUMBER.fullmatch(cell.text)}
        return len(held & self.numeric) > 1

    def _begins_row(self, line: Line, first: int = 0) -> bool:
        """Whether a line has a cell in the first column and others."""
        return len(line.cells) > 1 and self._column(line.cells[0]) == first

    def _is_head(self, before: Line, line: Line, numbered: bool) -> bool:
        """Whether one of two lines is a head of the rows below it, or a row without numbers, and no part of a label."""
        alone = before if numbered else line
        if len(alone.cells) > 1 or self._column(alone.cells[0]) > 0:
            return False
        return not (_starts_small(line) or before.cells[0].text.endswith((",", "-", "/", "&")))

    def _by_labels(self, band: Sequence[Line]) -> list[list[Line]]:
        """A band of lines, cut before each that begins in the first column and has more, if they don't go on."""
        first = min(self._column(line.cells[0]) for line in band)
        starts = [self._begins_row(line, first) for line in band]
        if sum(starts) < 2:
            return [list(band)]
        parts: list[list[Line]] = [[]]
        above: dict[int, Line] = {}
        for line, start in zip(band, starts, strict=True):
            cells = [(self._column(cell), Line(line.y, line.size, [cell])) for cell in line.cells]
            votes = [self._goes_on(column, above[column], cell) for column, cell in cells if column in above]
            if start and parts[-1] and votes.count(True) <= votes.count(False):
                parts.append([])
            parts[-1].append(line)
            above.update(cells)
        return parts

    def _goes_on(self, column: int, line: Line, after: Line) -> bool | None:
        """Whether the second of two lines of a column goes on in the sentence of the first; None if nothing says so.

        It does if it starts small, unless most lines of the column do, or if its first word had no room.
        """
        text, next_text = joined(line.cells), joined(after.cells)
        if text.endswith((".", ";", ":", "…")) and not text.endswith(("etc.", "No.", "e.g.")):
            return False
        if next_text[:1].isdigit() and (text[:1].isdigit() or not text[-1:].islower()):
            return text.endswith((",", "-", "–", "/", "("))
        small = _starts_small(after)
        if small and column not in self.small:
            return True
        word = next_text.split(" ", 1)[0]
        wide = line.cells[-1].x1 - line.cells[0].x0
        if wide * (1 + (len(word) + 1) / len(text)) <= self.widths[column]:
            return False
        return True if small or " " in text else None

    def _row(self, lines: Sequence[Line]) -> _Row:
        found = [cell for line in lines for cell in line.cells]
        return _Row(self._columns(found), found)

    def is_one(self) -> bool:
        """Whether the lines are a table that has cells of several lines, or level lines between its rows."""
        rows = [row for row in self.rows if len(row.filled) > 1]
        if len(rows) < 2 or len(self.bounds) > 40:
            return False
        broken = [row for row in rows if row.longest > 1]
        if not (self._are_short(rows) and self._whole(rows) and self._together(rows)):
            return False
        if self._seams() > 0.25 or (self.prose and not self._is_prose_table(rows)):
            return False
        if not broken or len(self.rules) >= 2:
            return len(self.rules) >= 2 or self._has_holes(rows)
        if broken == rows[:1] and len(self.bounds) > 1:
            return (
                len(rows) > 2 and rows[0].longest <= 4 and not any(NUMBER.fullmatch(one.text) for one in rows[0].found)
            )
        uneven = sum(len({len(cell) for cell in row.filled}) > 1 for row in broken)
        if uneven < 0.5 * len(broken) or not self._go_on(broken):
            return False
        return len(self.bounds) > 1 or self._labels(rows)

    def _is_prose_table(self, rows: Sequence[_Row]) -> bool:
        """Whether columns that are all prose are a table: rows that are full, with no sentence over two of them."""
        full = sum(len(row.filled) == len(row.cells) for row in rows)
        return len(rows) >= 3 and full >= 0.9 * len(self.rows) and self._seams() < 0.1

    @staticmethod
    def _are_short(rows: Sequence[_Row]) -> bool:
        lines = [len(cell) for row in rows for cell in row.filled]
        return statistics.mean(lines) <= LONGEST and max(lines) <= 3 * LONGEST

    def _together(self, rows: Sequence[_Row]) -> bool:
        """Whether the cells of each row begin or end together, or have their middles at one height."""
        hits = count = 0
        for row in rows:
            longest = max(row.filled, key=len)
            top, low = longest[0].y, longest[-1].y
            for cell in row.filled:
                if len(cell) < row.longest:
                    count += 1
                    offsets = top - cell[0].y, low - cell[-1].y, (top + low - cell[0].y - cell[-1].y) / 2
                    hits += min(map(abs, offsets)) < 0.3 * self.size
        return hits >= 0.85 * count

    def _has_holes(self, rows: Sequence[_Row]) -> bool:
        """Whether rows of single lines, in columns of numbers, leave cells out, so that bars must say which."""
        columns = len(self.bounds) + 1
        if any(cell.x0 < bound < cell.x1 for cell in self.found for bound in self.bounds):
            return False
        if columns < 3 or len(rows) < 4 or len(rows) < 0.8 * len(self.rows):
            return False
        cells = [cell for row in rows[1:] for cell in row.cells[1:] if cell]
        numbers = sum(NUMBER.fullmatch(joined(cell[0].cells)) is not None for cell in cells)
        full = sum(len(row.filled) == columns for row in rows)
        return numbers >= 0.7 * len(cells) and full >= 0.3 * len(rows) and full < len(rows)

    def _whole(self, rows: Sequence[_Row]) -> bool:
        """Whether there is no white within cells as there is between rows."""
        cells = [cell for row in rows for cell in row.filled if len(cell) > 1]
        whole = sum(max(one.y - two.y for one, two in pairwise(cell)) < 1.35 * self.lead for cell in cells)
        return whole >= 0.8 * len(cells)

    def _go_on(self, rows: Sequence[_Row]) -> bool:
        """Whether lines go on in the next ones of their cells: these start small, or had no room."""
        votes = [
            self._goes_on(column, one, two)
            for row in rows
            for column, cell in enumerate(row.cells)
            for one, two in pairwise(cell)
        ]
        return votes.count(True) >= votes.count(False)

    def _seams(self) -> float:
        """The share of cells that seem to go on in the next row's, as lines of columns do."""
        pairs = [
            (one.cells[column][-1], two.cells[column][0], column)
            for one, two in pairwise(self.rows)
            for column in range(len(one.cells))
            if one.cells[column] and two.cells[column]
        ]
        broken = sum(
            _starts_small(two) and column not in self.small and not joined(one.cells).endswith((".", ";", ":"))
            for one, two, column in pairs
        )
        return broken / max(1, len(pairs))

    def _labels(self, rows: Sequence[_Row]) -> bool:
        """Whether the first of two columns is labels: short ones, in type as large as the other's, beside each row."""
        labels = [row.cells[0] for row in rows if row.cells[0]]
        left = [cell for row in rows for line in row.cells[0] for cell in line.cells]
        right = [cell for row in rows for line in row.cells[1] for cell in line.cells]
        if not left or not right or len(rows) < 0.7 * len(self.rows):
            return False
        narrow = max(cell.x1 for cell in left) - min(cell.x0 for cell in left) < 0.5 * (self.x1 - self.x0)
        words = statistics.mean(sum(cell.words for line in label for cell in line.cells) for label in labels)
        small = statistics.median(cell.size for cell in left) < 0.93 * statistics.median(cell.size for cell in right)
        small |= statistics.median(cell.size for cell in right) < 0.93 * statistics.median(cell.size for cell in left)
        return narrow and words <= 6 and not small and max(map(len, labels)) < 2.5

    def segments(self, number: int) -> list[Segment]:
        """The rows, each a segment over the table's width."""
        several = [row for row in self.rows if len(row.filled) > 1]
        holes = len(self.bounds) > 1 and any(not all(row.cells[1 : self._last(row)]) for row in several[1:])
        found = []
        for row in self.rows:
            cells = self._with_spans(row) if row is self.rows[0] else row.cells
            texts = [joined_lines([joined(line.cells) for line in cell]) for cell in cells]
            if holes and len(row.filled) > 1:
                text = " ".join(BAR.join(texts[: self._last(row) + 1]).split())
            else:
                text = CELLS.join(filter(None, texts))
            top, low = max(cell.y for cell in row.found), min(cell.y - cell.drop for cell in row.found)
            found.append(
                Segment(
                    text=text,
                    x0=self.x0,
                    x1=self.x1,
                    y=top,
                    size=self.size,
                    order=min(cell.order for cell in row.found),
                    words=text.count(" ") + 1,
                    table=number,
                    drop=top - low,
                )
            )
        return found

    def _with_spans(self, row: _Row) -> list[list[Line]]:
        """The cells of a heading; a line that stands over the words of several columns is in each of them."""
        top = max(line.y for cell in row.filled for line in cell)
        heads = {column: cell[0] for column, cell in enumerate(row.cells) if cell and top - cell[0].y < 0.3 * self.size}
        below = [cell[column in heads :] for column, cell in enumerate(row.cells)]
        spans = [self._span(column, line, below, heads) for column, line in heads.items()]
        cells = [list(cell) for cell in row.cells]
        if all(one[1] < other[0] for one, other in pairwise(spans)):
            for (column, line), (first, last) in zip(heads.items(), spans, strict=True):
                for other in {*range(first, last + 1)} - {column}:
                    cells[other].insert(0, line)
        return cells

    def _span(self, column: int, head: Line, below: Sequence[Sequence[Line]], heads: Container[int]) -> tuple[int, int]:
        """The first and the last column that a line of a heading stands over, by where its middle is."""
        x0, x1 = head.cells[0].x0, head.cells[-1].x1
        free = [bool(lines) and (other == column or other not in heads) for other, lines in enumerate(below)]
        starts_alike = below[column] and abs(below[column][0].cells[0].x0 - x0) < 0.3 * self.size
        if not free[column] or column == 0 or (starts_alike and not any(x0 < bound < x1 for bound in self.bounds)):
            return column, column
        lefts, rights = zip(*(self._sides(other, lines) for other, lines in enumerate(below)), strict=True)
        ends = [*lefts[1:], self.x1]  # a column reaches to its words' end, or to the next column
        spans = [
            (abs(lefts[first] + end - x0 - x1), first, last)
            for first in range(1, column + 1)
            for last in range(column, len(free))
            for end in (rights[last], ends[last])
            if all(free[first : last + 1]) and x0 < rights[last] and x1 > lefts[first]
        ]
        if starts_alike:  # both at the left
            return column, max(last for _, first, last in spans if first == column and lefts[last] < x1)
        return min(spans, key=lambda span: (round(span[0]), span[1] - span[2]))[1:]

    def _sides(self, column: int, below: Sequence[Line]) -> tuple[float, float]:
        """Where the words of a column begin and end, its heading's first line left out."""
        rows = (row.cells[column] for row in self.rows[1:])
        cells = [cell for lines in (below, *rows) for line in lines for cell in line.cells]
        return min((cell.x0 for cell in cells), default=0.0), max((cell.x1 for cell in cells), default=0.0)

    @staticmethod
    def _last(row: _Row) -> int:
        """The last column that a row has words in."""
        return max(column for column, cell in enumerate(row.cells) if cell)
