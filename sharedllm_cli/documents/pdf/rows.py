"""Segments of a PDF's page by rows, and the cells of a table's rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from sharedllm_cli.documents.normalise import keeps_hyphen
from sharedllm_cli.documents.pdf.lines import HEIGHT, LEFT, Segment

CELLS = "  "
"""Between the cells of a row."""
NUMBER = re.compile(
    r"[^\w\s]{0,2}\s?(?:[A-Z]{3}\s|[A-Z]{1,3}(?=[$€£¥]))?[(+−–-]?\s?[$€£¥]?\s?"
    r"\d[\d\s.,:/'%+−–-]*(?:[^\W\d_]{1,3}|[%°*)]+)?"
)
"""A cell that is a number, with its sign, currency or unit."""
_BROKEN = re.compile(r"([^\W\d_]+)-$")
_WORD = re.compile(r"[^\W\d_]+")
_COUNT = re.compile(r"\d{1,3}(?:\.\d{1,3})*\.?|[A-Z]|[IVX]{1,5}\.?")


@dataclass
class Line:
    """Segments on one baseline."""

    y: float
    size: float
    cells: list[Segment]


def rows_of(found: Iterable[Segment]) -> list[Line]:
    """The segments by baselines, from the top."""
    rows: list[Line] = []
    last: Line | None = None
    for segment in sorted(found, key=HEIGHT, reverse=True):
        if last is not None and _on_line(last, segment):
            last.cells.append(segment)
            last.size = max(last.size, segment.size)
        else:
            last = Line(segment.y, segment.size, [segment])
            rows.append(last)
    for row in rows:
        if len(row.cells) > 1:
            row.cells.sort(key=LEFT)
    return rows


def _on_line(line: Line, segment: Segment) -> bool:
    """Whether a segment stands on a line, or a little below its last one and beside all of it, as in a scanned row."""
    size = line.size if line.size < segment.size else segment.size
    apart = line.y - segment.y
    if apart > 0.6 * size or (segment.table and any(cell.table == segment.table for cell in line.cells)):
        return False
    if apart <= 0.35 * size:
        return True
    if line.cells[-1].y - segment.y > 0.25 * size:
        return False
    return not any(_overlap(cell, segment) for cell in line.cells)


def joined(cells: Sequence[Segment]) -> str:
    """The segments of a row as a line; gaps wider than between words stay visible."""
    text = ""
    before: Segment | None = None
    numbered = len(cells) == 2 and _COUNT.fullmatch(cells[0].text) is not None and cells[1].text[0].isupper()
    for cell in cells:
        if before is not None:
            gap = cell.x0 - before.x1
            text += CELLS if gap > 1.6 * max(before.size, cell.size) and not numbered else " "
        text += cell.text
        before = cell
    return text


def joined_lines(lines: Sequence[str]) -> str:
    """The lines of a cell as one; a word that a hyphen breaks at a line's end is whole again."""
    text = ""
    for line in lines:
        broken, after = _BROKEN.search(text), _WORD.match(line)
        if broken and after:
            text = text if keeps_hyphen(broken[1], after[0]) else text[:-1]
        elif is_wide(text[-1:]) and is_wide(line[:1]):
            pass
        elif text and not (text.endswith("-") and line[:1].isalnum() and text[-2:-1].isalnum()):
            text += " "
        text += line
    return " ".join(text.split())


def is_wide(letter: str) -> bool:
    """Whether the character is of a script without spaces between words."""
    return "\u3000" <= letter <= "\u9fff" or "\uf900" <= letter <= "\uff60"


def whole_cells(rows: Sequence[Line]) -> Iterable[list[Segment]]:
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
                text = joined_lines((above.text, cell.text))
                waiting[place] = replace(above, text=text, x1=max(above.x1, cell.x1))
            continue
        if waiting:
            yield waiting
        waiting = list(row.cells)
    if waiting:
        yield waiting


def _same_table(one: Line, other: Line) -> bool:
    """Whether two rows have cells, and begin in the same column."""
    first, second = one.cells[0], other.cells[0]
    return len(one.cells) > 2 and len(other.cells) > 1 and abs(first.x0 - second.x0) < first.size


def _goes_on(cell: Segment, row: Sequence[Segment]) -> bool:
    """Whether a cell may be the next line of one of a row: words, below one of them alone."""
    words = any(letter.isalpha() for letter in cell.text)
    return words and sum(_overlap(other, cell) for other in row) == 1


def _overlap(one: Segment, other: Segment) -> bool:
    return min(one.x1, other.x1) - max(one.x0, other.x0) > 0
