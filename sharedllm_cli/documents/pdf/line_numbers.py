"""Numbers of lines in the margin of a PDF's page: they count the lines and are no part of the text."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from sharedllm_cli.documents.pdf.lines import Segment
from sharedllm_cli.documents.pdf.rows import Line, rows_of


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
    rows = [row for row in rows_of(others) if bottom < row.y < top]
    numbered = sum(any(abs(number.y - row.y) < 0.4 * row.size for row in rows) for number in column)
    if len(rows) < 4 or numbered < 0.8 * len(column):
        return False
    single = sum(_is_one(row) for row in rows)
    small = sum(row.cells[0].text[:1].islower() for row in rows)
    return single >= 0.8 * len(rows) and small >= 0.25 * len(rows)


def _is_one(row: Line) -> bool:
    """Whether a row is one line of prose: no gap as wide as between cells."""
    return all(after.x0 - before.x1 < 2.0 * row.size for before, after in pairwise(row.cells))
