"""Where tables without upright lines may be on a PDF's page: rows with white between their cells at the same place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from sharedllm_cli.documents.pdf.lines import HEIGHT, LEFT, Segment
from sharedllm_cli.documents.pdf.rows import Line
from sharedllm_cli.documents.pdf.rules import Rule

LEAST_GAP = 0.6
"""Columns are parted by at least this share of the size."""
WIDEST_LEAD = 1.7
"""Lines of a cell are no farther apart than this share of the size."""
FARTHEST = 5.0
"""Rows of one table are no farther apart than this share of the size, unless a line is between them."""


def seen_rows(found: Sequence[Segment]) -> list[Line]:
    """The segments that are seen beside each other, if their baselines are less than a line apart."""
    rows: list[Line] = []
    for cell in sorted(found, key=HEIGHT, reverse=True):
        last = rows[-1] if rows else None
        if last is not None and last.y - cell.y <= 0.75 * min(last.size, cell.size):
            level = last.y - cell.y <= 0.35 * min(last.size, cell.size)
            if level or all(other.x1 <= cell.x0 or other.x0 >= cell.x1 for other in last.cells):
                last.cells.append(cell)
                continue
        rows.append(Line(cell.y, cell.size, [cell]))
    for row in rows:
        if len(row.cells) > 1:
            row.cells.sort(key=LEFT)
    return rows


def stretches(rows: Sequence[Line], rules: Sequence[Rule]) -> Iterator[tuple[int, int, list[tuple[float, float]]]]:
    """Rows below each other that leave some white between their cells at the same place, and this white."""
    begin = done = 0
    while begin < len(rows):
        gaps = _gaps(rows[begin])
        end = begin + 1
        alone = 0
        while gaps and end < len(rows):
            rest = _narrowed(gaps, rows[end])
            lead = rows[end - 1].y - rows[end].y
            far = lead > FARTHEST * rows[end].size
            if not rest or (far and not _ruled(rules, rows[end - 1].y, rows[end])):
                break
            alone = alone + 1 if len(rows[end].cells) == 1 and lead > 1.6 * rows[end].size else 0
            if alone == 2:  # lines that stand by themselves, as those below a table do
                end -= 1
                break
            gaps = rest
            end += 1
        if end > begin + 1 and len(rows[end - 1].cells) == 1:
            end -= rows[end - 2].y - rows[end - 1].y > 1.6 * rows[end - 1].size
        if end - begin > 1:
            while begin > done and _is_above(rows[begin - 1], rows[begin], gaps):
                begin -= 1
            yield begin, end, gaps
            done = end
        begin = end


def _is_above(line: Line, first: Line, gaps: Sequence[tuple[float, float]]) -> bool:
    """Whether a line of one cell is the first of a cell in a row whose label stands lower, at half its height."""
    near = line.y - first.y <= 1.5 * line.size
    return near and len(line.cells) == 1 and any(high <= line.cells[0].x0 + 1 for _, high in gaps)


def _gaps(row: Line) -> list[tuple[float, float]]:
    if any(cell.table for cell in row.cells):
        return []
    gaps: list[tuple[float, float]] = []
    right = row.cells[0].x1
    for cell in row.cells[1:]:
        if cell.x0 - right >= LEAST_GAP * row.size:
            gaps.append((right, cell.x0))
        right = max(right, cell.x1)
    return gaps


def _narrowed(gaps: Sequence[tuple[float, float]], row: Line) -> list[tuple[float, float]]:
    """What a row leaves of the white between cells."""
    if any(cell.table for cell in row.cells):
        return []
    least = LEAST_GAP * row.size
    left = _without(gaps, [(cell.x0, cell.x1) for cell in row.cells], least)
    return left or _without(gaps, [part for cell in row.cells for part in cell.parts(least)], least)


def _without(
    gaps: Sequence[tuple[float, float]], words: Sequence[tuple[float, float]], least: float
) -> list[tuple[float, float]]:
    left: list[tuple[float, float]] = list(gaps)
    for begin, end in words:
        cut: list[tuple[float, float]] = []
        for low, high in left:
            if end <= low or begin >= high:
                cut.append((low, high))
            else:
                cut += [part for part in ((low, begin), (end, high)) if part[1] - part[0] >= least]
        left = cut
    return left


def _ruled(rules: Sequence[Rule], above: float, row: Line) -> bool:
    return any(row.y < rule.at < above for rule in rules)


def stands_over(lines: Sequence[Line]) -> bool:
    """Whether the first of the lines of a table is a heading of several words, each over the white of the next line."""
    if len(lines) < 4 or not 1 < len(lines[0].cells) < min(len(line.cells) for line in lines[1:4]):
        return False
    first, second = lines[:2]
    middles = [(one.x1 + two.x0) / 2 for one, two in pairwise(second.cells)]
    near = first.y - second.y <= WIDEST_LEAD * first.size
    return near and all(any(cell.x0 < middle < cell.x1 for middle in middles) for cell in first.cells)
