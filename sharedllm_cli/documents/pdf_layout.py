"""The order in which a PDF's page is read aloud, from the places of its characters, whatever the order of drawing.

A page is cut at the white strips between its columns, with the lines that cross a strip (a title over both columns)
between the parts above and below. What stands left and right of a strip is either columns, read one after the other, or
cells, read row by row; `_Region.verdict` says by what. Turned text is read apart, behind the rest.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from sharedllm_cli.documents.pdf_characters import PagePieces, Piece
from sharedllm_cli.documents.pdf_lines import Segment, runs_left, segments

CELLS = "  "
"""Between the cells of a row."""
LEAST_STRIP = 0.6
"""A strip between columns is at least as wide as this share of the size."""
WIDE_LEAD = 1.75
"""Lines that are farther from each other than this share of the usual lead are parted by a blank line."""
_NUMBER = re.compile(r"\d{1,3}(?:\.\d{1,3})*\.?|[A-Z]|[IVX]{1,5}\.?")
_BULLETS = frozenset("•◦▪▸‣·●○■□–—-*")


@dataclass
class PageText:
    """A page's text in the order of reading, and how many glyphs are not in it, by reason."""

    text: str
    glyphs: int = 0
    unknown: int = 0
    doubled: int = 0
    line_numbers: tuple[str, ...] = ()
    turned: list[str] = field(default_factory=list)
    """Lines that stand at an angle to the others, such as a watermark; they are the last of the text."""


def page_text(page: PagePieces) -> PageText:
    """The text of a page; never raises for any places of its pieces."""
    result = PageText("", page.glyphs, page.unknown, page.doubled)
    frames: dict[int, list[Piece]] = {}
    for piece in page.pieces:
        frames.setdefault(piece.turn, []).append(piece)
    if not frames:
        return result
    main = max(frames, key=lambda turn: (turn % 90 == 0, sum(len(piece.text) for piece in frames[turn])))
    found = segments(frames.pop(main))
    found, result.line_numbers = without_line_numbers(found)
    lines = _lines(found)
    for _, pieces in sorted(frames.items(), key=lambda item: (item[0] % 90 != 0, item[0])):
        apart = _lines(segments(pieces))
        result.turned += apart
        lines += ["", *apart]
    result.text = "\n".join(lines)
    return result


def _lines(found: list[Segment]) -> list[str]:
    """The lines of segments of one direction."""
    leftward = sum(runs_left(segment.text) for segment in found) > 0.5 * len(found)
    if leftward:
        for segment in found:
            segment.x0, segment.x1 = -segment.x1, -segment.x0
    return _Order(found).lines()


@dataclass
class _Line:
    """Segments on one baseline."""

    y: float
    size: float
    cells: list[Segment]


def _rows(found: Iterable[Segment]) -> list[_Line]:
    """The segments by baselines, from the top."""
    rows: list[_Line] = []
    for segment in sorted(found, key=lambda segment: -segment.y):
        last = rows[-1] if rows else None
        if last is not None and last.y - segment.y <= 0.35 * min(last.size, segment.size):
            last.cells.append(segment)
            last.size = max(last.size, segment.size)
        else:
            rows.append(_Line(segment.y, segment.size, [segment]))
    for row in rows:
        row.cells.sort(key=lambda segment: segment.x0)
    return rows


def _joined(cells: Sequence[Segment]) -> str:
    """The segments of a row as a line; gaps wider than between words stay visible."""
    text = ""
    before: Segment | None = None
    numbered = len(cells) == 2 and _NUMBER.fullmatch(cells[0].text) is not None and cells[1].text[0].isupper()
    for cell in cells:
        if before is not None:
            gap = cell.x0 - before.x1
            text += CELLS if gap > 1.6 * max(before.size, cell.size) and not numbered else " "
        text += cell.text
        before = cell
    return text


class _Order:
    """Puts segments into the order of reading."""

    def __init__(self, found: list[Segment]) -> None:
        self.found = found
        self.notes: list[Segment] = []

    def lines(self) -> list[str]:
        lines = self._ordered(self.found, 0)
        if self.notes:
            lines += [_joined(row.cells) for row in _rows(self.notes)]
        return lines

    def _ordered(self, found: list[Segment], depth: int) -> list[str]:
        if len(found) < 4 or depth > 12:
            return self._by_rows(found)
        for low, high in _strips(found):
            middle = (low + high) / 2
            lines: list[str] = []
            parted = False
            notes = len(self.notes)
            for crosses, band in _bands(found, low, high):
                left = [segment for segment in band if (segment.x0 + segment.x1) / 2 < middle]
                right = [segment for segment in band if (segment.x0 + segment.x1) / 2 >= middle]
                parts = not crosses and _side_by_side(left, right)
                verdict = _Region(*_beside_each_other(left, right)).verdict() if parts else "flow"
                if verdict == "columns":
                    parted = True
                    lines += self._columns(left, right, depth)
                elif verdict == "table":
                    parted = True
                    lines += self._cells(left, right, depth)
                elif verdict == "beside":
                    parted = True
                    note, main = (left, right) if _extent(left) < _extent(right) else (right, left)
                    lines += self._ordered(main, depth + 1) + self._ordered(note, depth + 1)
                elif len(band) < len(found):
                    lines += self._ordered(band, depth + 1)
                else:
                    break
            else:
                if parted:
                    return lines
            del self.notes[notes:]
        return self._by_rows(found)

    def _columns(self, left: list[Segment], right: list[Segment], depth: int) -> list[str]:
        left, notes = _without_notes(left, right)
        self.notes += notes
        left, below = _without_foot(left, right)
        lines = self._ordered(left, depth + 1) + self._ordered(right, depth + 1)
        return [*lines, "", *self._by_rows(below)] if below else lines

    def _cells(self, left: list[Segment], right: list[Segment], depth: int) -> list[str]:
        """The rows of a table whose cells are prose, each cell whole."""
        lines: list[str] = []
        tops = _Region(*_beside_each_other(left, right)).cuts()[1:]
        for top, bottom in zip((math.inf, *tops), (*tops, -math.inf), strict=True):
            for side in (left, right):
                lines += self._ordered([segment for segment in side if bottom < segment.y <= top], depth + 1)
            lines.append("")
        return lines[:-1]

    def _by_rows(self, found: list[Segment]) -> list[str]:
        rows = _rows(found)
        usual = statistics.median_low([above.y - below.y for above, below in pairwise(rows)]) if len(rows) > 1 else 0.0
        lines: list[str] = []
        lowest = 0.0
        for cells in _whole_cells(rows):
            apart = lowest - cells[0].y > WIDE_LEAD * max(usual, 1.1 * cells[0].size)
            if lines and (apart or cells[0].marked):
                lines.append("")
            lines.append(_joined(cells))
            lowest = cells[0].y
        return lines


def _extent(found: Sequence[Segment]) -> float:
    return max(segment.x1 for segment in found) - min(segment.x0 for segment in found)


def _side_by_side(left: Sequence[Segment], right: Sequence[Segment]) -> bool:
    """Whether both sides have text at the same height."""
    if not left or not right:
        return False
    top = min(max(segment.top for segment in side) for side in (left, right))
    bottom = max(min(segment.bottom for segment in side) for side in (left, right))
    return top > bottom


def _beside_each_other(left: list[Segment], right: list[Segment]) -> tuple[list[Segment], list[Segment]]:
    """What of both sides stands at the same height, with a line more."""
    sides = left, right
    top = min(max(segment.top for segment in side) for side in sides)
    bottom = max(min(segment.bottom for segment in side) for side in sides)
    kept = [
        [segment for segment in side if bottom - segment.size < segment.y < top + 0.25 * segment.size] for side in sides
    ]
    return (kept[0], kept[1]) if all(kept) else sides


def _without_foot(left: list[Segment], right: list[Segment]) -> tuple[list[Segment], list[Segment]]:
    """The left column without a line or two far below both columns, and these: the foot of the page."""
    rows = _rows(left)
    end = min(segment.bottom for segment in right)
    for place in (len(rows) - 2, len(rows) - 1):
        if place > 0 and rows[place].y < end and rows[place - 1].y - rows[place].y > 2.5 * rows[place - 1].size:
            foot = [cell for row in rows[place:] for cell in row.cells]
            return [cell for row in rows[:place] for cell in row.cells], foot
    return left, []


def _strips(found: Sequence[Segment]) -> list[tuple[float, float]]:
    """White strips that may part columns, the best first: little crosses them, and much is on both sides."""
    start = min(segment.x0 for segment in found)
    end = max(segment.x1 for segment in found)
    size = statistics.median([segment.size for segment in found])
    step = max(size / 5, (end - start) / 4000, 0.01)
    count = int((end - start) / step) + 2
    steps = np.zeros(count + 1)
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


def _bands(found: Sequence[Segment], low: float, high: float) -> list[tuple[bool, list[Segment]]]:
    """From the top: each stretch of lines that cross a strip (True), and what is between them (False)."""
    bands: list[tuple[bool, list[Segment]]] = []
    middle = (low + high) / 2
    for row in _rows(found):
        crosses = any(cell.x0 < middle < cell.x1 for cell in row.cells)
        if bands and crosses == bands[-1][0]:
            bands[-1][1].extend(row.cells)
        else:
            bands.append((crosses, list(row.cells)))
    return bands


class _Region:
    """What stands left and right of a strip."""

    def __init__(self, left: list[Segment], right: list[Segment]) -> None:
        self.sides = left, right
        self.rows = _rows(left), _rows(right)

    def verdict(self) -> str:
        """`columns`, `cells`, `table` for cells of prose, or `beside` for notes in the margin."""
        left, right = self.rows
        aligned = self._aligned()
        prose = [_is_prose(rows) for rows in self.rows]
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

    def _aligned(self) -> float:
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
        widths = sorted(_extent(side) for side in self.sides)
        return widths[0] < 0.45 * widths[1]

    def _notes_beside(self) -> bool:
        """Whether the narrow side is notes: in smaller type than the prose beside them."""
        narrow, wide = sorted(self.sides, key=_extent)
        return _size(narrow) < 0.93 * _size(wide)

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
        if all(_bulleted(rows) for rows in self.rows):
            return True
        if self._drawn_by_rows():
            return False
        if self._aligned() < 0.85 and all(_words(rows) >= 3 * len(rows) for rows in self.rows):
            return True
        texts = [[_joined(row.cells) for row in rows] for rows in self.rows]
        for side in texts:
            if sum(any(letter.isalpha() for letter in text) for text in side) < 0.8 * len(side):
                return False
        words = [statistics.mean(len(text.split()) for text in side) for side in texts]
        widths = [_extent(side) for side in self.sides]
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


def _size(found: Sequence[Segment]) -> float:
    weights: Counter[float] = Counter()
    for segment in found:
        weights[round(segment.size, 1)] += len(segment.text)
    return weights.most_common(1)[0][0]


def _is_prose(rows: Sequence[_Line], depth: int = 0) -> bool:
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
    for low, high in _strips(found)[:3]:
        middle = (low + high) / 2
        left = [segment for segment in found if (segment.x0 + segment.x1) / 2 < middle]
        right = [segment for segment in found if (segment.x0 + segment.x1) / 2 >= middle]
        if _is_prose(_rows(left), depth + 1) and _is_prose(_rows(right), depth + 1):
            return True
    return False


def _is_block(rows: Sequence[_Line]) -> bool:
    """Whether lines stand near each other."""
    leads = [above.y - below.y for above, below in pairwise(rows)]
    return statistics.median(leads) < 2.5 * rows[0].size


def _words(rows: Sequence[_Line]) -> int:
    return sum(cell.words for row in rows for cell in row.cells)


def _bulleted(rows: Sequence[_Line]) -> bool:
    marks = sum(row.cells[0].text[:1] in _BULLETS for row in rows)
    return marks >= 2 and marks >= 0.3 * len(rows)


def _blocks(rows: Sequence[_Line]) -> list[list[_Line]]:
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


def _without_notes(left: list[Segment], right: list[Segment]) -> tuple[list[Segment], list[Segment]]:
    """A column without the notes at its foot, and these."""
    body = max(_size(left), _size(right))
    rows = _rows(left)
    place = len(rows)
    first = place
    while place > 1 and max(cell.size for cell in rows[place - 1].cells) <= 0.93 * body:
        place -= 1
        cell = rows[place].cells[0]
        if cell.marked or cell.text[:1] in "*†‡§" or cell.text[:1].isdigit():
            first = place
    notes = [cell for row in rows[first:] for cell in row.cells]
    return [cell for row in rows[:first] for cell in row.cells], notes


def _whole_cells(rows: Sequence[_Line]) -> Iterable[list[Segment]]:
    """The rows of a table, with the lines of a cell that is broken over several joined to it.

    A line goes on in the cells of the row above if that row has three or more, if it is nearer to it than rows are to
    each other, and begins none of the first column's cells. A label with a paragraph beside it stays as it is.
    """
    leads = [above.y - below.y for above, below in pairwise(rows)]
    full = [lead for place, lead in enumerate(leads) if _same_table(rows[place], rows[place + 1])]
    apart = min(full, default=0.0)
    waiting: list[Segment] = []
    for row, lead in zip(rows, [0.0, *leads], strict=True):
        near = waiting and lead < min(0.85 * apart, 1.6 * row.size)
        if near and len(waiting) > 2 and all(_goes_on(cell, waiting[1:]) for cell in row.cells):
            for cell in row.cells:
                place = next(place for place, other in enumerate(waiting) if _overlap(other, cell))
                above = waiting[place]
                text = above.text + ("" if above.text.endswith("-") else " ") + cell.text
                waiting[place] = replace(above, text=text, x1=max(above.x1, cell.x1))
            continue
        if waiting:
            yield waiting
        waiting = list(row.cells)
    if waiting:
        yield waiting


def _same_table(one: _Line, other: _Line) -> bool:
    """Whether two rows have cells, and begin in the same column."""
    first, second = one.cells[0], other.cells[0]
    return len(one.cells) > 2 and len(other.cells) > 1 and abs(first.x0 - second.x0) < first.size


def _goes_on(cell: Segment, row: Sequence[Segment]) -> bool:
    """Whether a cell may be the next line of one of a row: words, below one of them alone."""
    words = any(letter.isalpha() for letter in cell.text)
    return words and sum(_overlap(other, cell) for other in row) == 1


def _overlap(one: Segment, other: Segment) -> bool:
    return min(one.x1, other.x1) - max(one.x0, other.x0) > 0


# Numbers of lines in the margin


def without_line_numbers(found: list[Segment]) -> tuple[list[Segment], tuple[str, ...]]:
    """The segments without the numbers that count the lines of prose in a margin, and these numbers.

    They stand in one column left or right of everything else, on the lines' baselines, count on by one (or by five),
    and what they count is prose: in a table or a list each number begins something new.
    """
    numbers = [segment for segment in found if segment.text.isdecimal() and len(segment.text) <= 4]
    if len(numbers) < 4:
        return found, ()
    for column in _margin_columns(numbers, found):
        others = [segment for segment in found if segment not in column]
        if others and _counts_lines(column, others):
            return others, tuple(cell.text for cell in column)
    return found, ()


def _margin_columns(numbers: Sequence[Segment], found: Sequence[Segment]) -> Iterable[list[Segment]]:
    """The numbers that stand in a column at the left or the right of everything else beside them."""
    size = statistics.median([segment.size for segment in found])
    for side in ("left", "right"):
        if side == "left":
            edge = min(segment.x0 for segment in numbers)
            column = [segment for segment in numbers if segment.x0 - edge < 2.5 * size]
            inner = max(number.x1 for number in column)
            beside = [segment for segment in found if segment.x0 < inner and segment not in column]
        else:
            edge = max(segment.x1 for segment in numbers)
            column = [segment for segment in numbers if edge - segment.x1 < 2.5 * size]
            inner = min(number.x0 for number in column)
            beside = [segment for segment in found if segment.x1 > inner and segment not in column]
        column.sort(key=lambda segment: -segment.y)
        top, bottom = column[0].top, column[-1].bottom
        if len(column) >= 4 and not any(bottom < segment.y < top for segment in beside):
            yield column


def _counts_lines(column: Sequence[Segment], others: Sequence[Segment]) -> bool:
    values = [int(segment.text) for segment in column]
    steps = Counter(after - before for before, after in pairwise(values))
    step, times = steps.most_common(1)[0]
    if step not in (1, 2, 5, 10) or times < 0.8 * (len(values) - 1):
        return False
    top, bottom = column[0].y + column[0].size, column[-1].y - column[-1].size
    rows = [row for row in _rows(others) if bottom < row.y < top]
    numbered = sum(any(abs(number.y - row.y) < 0.4 * row.size for row in rows) for number in column)
    if len(rows) < 4 or numbered < 0.8 * len(column):
        return False
    single = sum(_is_one(row) for row in rows)
    small = sum(row.cells[0].text[:1].islower() for row in rows)
    return single >= 0.8 * len(rows) and small >= 0.25 * len(rows)


def _is_one(row: _Line) -> bool:
    """Whether a row is one line of prose: no gap as wide as between cells."""
    return all(after.x0 - before.x1 < 2.0 * row.size for before, after in pairwise(row.cells))
