"""The order in which a PDF's page is read aloud, from the places of its characters, whatever the order of drawing.

A page is cut at the white strips between its columns, with the lines that cross a strip (a title over both columns)
between the parts above and below. What stands left and right of a strip is either columns, read one after the other, or
cells, read row by row; `Region.verdict` in columns.py says by what. Turned text is read apart, behind the rest.
Numbers of lines in the margin and letters along a slope (a mark across the page) are no part of the lines.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from sharedllm_cli.documents.pdf.columns import (
    Region,
    bands,
    beside_each_other,
    extent,
    side_by_side,
    strips,
    usual_size,
)
from sharedllm_cli.documents.pdf.leftward import runs_left
from sharedllm_cli.documents.pdf.lines import Segment, segments
from sharedllm_cli.documents.pdf.open_tables import with_rows
from sharedllm_cli.documents.pdf.page_pieces import PagePieces, Piece
from sharedllm_cli.documents.pdf.rows import Line, joined, rows_of, whole_cells
from sharedllm_cli.documents.pdf.ruled_tables import without_tables
from sharedllm_cli.documents.pdf.rules import Rule, Rules
from sharedllm_cli.documents.pdf.struck import mark, written

WIDE_LEAD = 1.75
"""Lines that are farther from each other than this share of the usual lead are parted by a blank line."""
_NOTE = re.compile(r"[*†‡§]|\d(?!\d\d+[.,]\s)")  # `228. Springer.` ends a reference
"""What a note at the foot of a column begins with, where its mark is not raised."""
NEARLY_LEVEL = 4
"""Degrees: text at a smaller angle to a page's lines is part of them, as on a page that was scanned askew."""
SHORTEST_WALL = 250.0
"""Points: an upright line as long as this parts what is on both sides of it."""
MOST_WALLS = 50
PARTED = frozenset(("columns", "table", "beside"))
DEEPEST = 12
"""Columns within columns are followed so deep."""
MOST_STRIPS = 500
"""White strips that are looked at on a page; what is left then is read row by row."""


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


def page_text(page: PagePieces, rules: Rules | None = None) -> PageText:
    """The text of a page, whose ruled lines part the cells of tables; never raises for any places of its pieces."""
    result = PageText("", page.glyphs, page.unknown, page.doubled)
    frames: dict[int, list[Piece]] = {}
    for piece in gathered(page.pieces):
        frames.setdefault(piece.turn, []).append(piece)
    if not frames:
        return result
    main = max(frames, key=lambda turn: (turn % 90 == 0, sum(len(piece.text) for piece in frames[turn])))
    pieces = frames.pop(main)
    for turn in [turn for turn in frames if min((turn - main) % 360, (main - turn) % 360) <= NEARLY_LEVEL]:
        pieces = [*pieces, *_levelled(frames.pop(turn), turn, main)]
    rules = rules.turned(main) if rules is not None else None
    struck = rules is not None and main == 0 and mark(pieces, rules)
    rows: list[Segment] = []
    if rules is not None:
        rules = rules.joined()
        pieces, rows = without_tables(pieces, rules, lambda part: _lines(segments(part)))
    found = segments(pieces)
    found, result.line_numbers = without_line_numbers(found)
    lines = _lines([*found, *rows], rules)
    for _, pieces in sorted(frames.items(), key=lambda item: (item[0] % 90 != 0, item[0])):
        apart = _lines(segments(pieces))
        result.turned += apart
        lines += ["", *apart]
    text = "\n".join(lines)
    result.text = written(text) if struck else text
    return result


def _levelled(pieces: list[Piece], turn: int, main: int) -> Iterator[Piece]:
    """Pieces that stand at a small angle to the page's lines in the frame of these, a word or more each."""
    angle = math.radians(turn - main)
    for part in segments(pieces):
        x = part.x0 * math.cos(angle) - part.y * math.sin(angle)
        y = part.x0 * math.sin(angle) + part.y * math.cos(angle)
        yield Piece(part.text, x, x + part.x1 - part.x0, y, part.size, main, part.order, shown=part.shown)


def _lines(found: list[Segment], rules: Rules | None = None) -> list[str]:
    """The lines of segments of one direction; `rules` are the ruled lines between them."""
    rules = rules or Rules()
    leftward = sum(runs_left(segment.text) for segment in found) > 0.5 * len(found)
    if leftward:
        for segment in found:
            segment.x0, segment.x1 = -segment.x1, -segment.x0
        rules = rules.mirrored()
    return _Order(found, rules).lines()


def _judged(band: list[Segment], middle: float, crosses: bool) -> tuple[str, list[Segment], list[Segment]]:
    """What stands beside the middle of a strip: the verdict, and the two sides."""
    left = [segment for segment in band if (segment.x0 + segment.x1) / 2 < middle]
    right = [segment for segment in band if (segment.x0 + segment.x1) / 2 >= middle]
    if crosses or not side_by_side(left, right):
        return "flow", left, right
    return Region(*beside_each_other(left, right)).verdict(), left, right


class _Order:
    """Puts segments into the order of reading."""

    def __init__(self, found: list[Segment], rules: Rules) -> None:
        self.found = found
        self.rules = rules.level
        self.walls = [rule for rule in rules.upright if rule.end - rule.start >= SHORTEST_WALL][:MOST_WALLS]
        self.open_tables = sum(segment.upright for segment in found) <= 0.2 * len(found)
        self.tables = max((segment.table for segment in found), default=0)
        self.notes: list[list[Segment]] = []
        """The notes at the foot of each column, which are read behind all columns."""
        self.strips_left = MOST_STRIPS

    def lines(self) -> list[str]:
        lines = self._ordered(self.found, 0)
        body, foot = _without_foot(self.found) if self.notes else (self.found, [])
        if foot and body:  # it stands below the notes
            self.notes = []
            lines = self._ordered(body, 0)
        for group in (*self.notes, foot):
            lines += ["", *self._by_rows(group)] if group else []
        return lines

    def _ordered(self, found: list[Segment], depth: int) -> list[str]:
        if len(found) < 4 or depth > DEEPEST or self.strips_left <= 0:
            return self._by_rows(found)
        for wall in self.walls:
            parts = _parted_by(wall, found)
            if parts:
                return [line for part in parts if part for line in self._ordered(part, depth + 1)]
        if self.open_tables:
            found = with_rows(found, self.rules, self.tables + 1)
        self.tables = max([self.tables, *(segment.table for segment in found)])
        rows = rows_of(found)
        for low, high in strips(found):
            self.strips_left -= 1
            middle = (low + high) / 2
            judged = [(band, *_judged(band, middle, crosses)) for crosses, band in bands(rows, middle)]
            if any(verdict in PARTED for _, verdict, _, _ in judged):
                lines: list[str] = []
                for band, verdict, left, right in judged:
                    lines += self._band(band, verdict, left, right, depth)
                return lines
        return self._by_rows(found, rows)

    def _band(
        self, band: list[Segment], verdict: str, left: list[Segment], right: list[Segment], depth: int
    ) -> list[str]:
        if verdict == "columns":
            return self._columns(left, right, depth)
        if verdict == "table":
            return self._cells(left, right, depth)
        if verdict == "beside":
            note, main = (left, right) if extent(left) < extent(right) else (right, left)
            return self._ordered(main, depth + 1) + self._ordered(note, depth + 1)
        return self._ordered(band, depth + 1)

    def _columns(self, left: list[Segment], right: list[Segment], depth: int) -> list[str]:
        left, below = _without_foot(left, right)
        body = max(usual_size(left), usual_size(right))
        (left, first), (right, second) = _without_notes(left, body), _without_notes(right, body)
        if any(len(row.cells) > 1 for row in rows_of(second)):  # of several columns
            right, second = [*right, *second], []
        self.notes += [notes for notes in (first, second) if notes]
        lines = self._ordered(left, depth + 1) + self._ordered(right, depth + 1)
        return [*lines, "", *self._by_rows(below)] if below else lines

    def _cells(self, left: list[Segment], right: list[Segment], depth: int) -> list[str]:
        """The rows of a table whose cells are prose, each cell whole."""
        lines: list[str] = []
        tops = Region(*beside_each_other(left, right)).cuts()[1:]
        for top, bottom in zip((math.inf, *tops), (*tops, -math.inf), strict=True):
            for side in (left, right):
                lines += self._ordered([segment for segment in side if bottom < segment.y <= top], depth + 1)
            lines.append("")
        return lines[:-1]

    def _by_rows(self, found: list[Segment], rows: list[Line] | None = None) -> list[str]:
        rows = rows_of(found) if rows is None else rows
        leads = [above.y - below.y for above, below in pairwise(row for row in rows if not row.cells[0].table)]
        usual = statistics.median_low(leads) if leads else 0.0
        lines: list[str] = []
        lowest = 0.0
        table = 0
        for cells in whole_cells(rows):
            apart = lowest - cells[0].y > WIDE_LEAD * max(usual, 1.1 * cells[0].size)
            if table and cells[0].table == table:
                apart = False
            table = cells[0].table
            if lines and (apart or cells[0].marked):
                lines.append("")
            lines.append(joined(cells))
            lowest = cells[0].y - cells[0].drop
        return lines


def _parted_by(wall: Rule, found: Sequence[Segment]) -> list[list[Segment]]:
    """What is above, left, right and below of a long upright line that no text crosses; empty if it parts nothing."""
    above = [segment for segment in found if segment.y > wall.end]
    below = [segment for segment in found if segment.y < wall.start]
    left = [segment for segment in found if wall.start <= segment.y <= wall.end and segment.x1 <= wall.at + 2]
    right = [segment for segment in found if wall.start <= segment.y <= wall.end and segment.x0 >= wall.at - 2]
    if not left or not right or Region(left, right).aligned() >= 0.5:
        return []
    if len(above) + len(below) + len(left) + len(right) != len(found) or min(len(left), len(right)) < 0.2 * len(found):
        return []
    return [above, left, right, below]


def _without_foot(left: list[Segment], right: Sequence[Segment] = ()) -> tuple[list[Segment], list[Segment]]:
    """The left column (or the page) without a line or two far below both columns, and these: the foot of the page."""
    rows = rows_of(left)
    end = min((segment.bottom for segment in right), default=math.inf)
    for place in (len(rows) - 2, len(rows) - 1):
        if place > 0 and rows[place].y < end and rows[place - 1].y - rows[place].y > 2.5 * rows[place - 1].size:
            foot = [cell for row in rows[place:] for cell in row.cells]
            return [cell for row in rows[:place] for cell in row.cells], foot
    return left, []


def _without_notes(column: list[Segment], body: float) -> tuple[list[Segment], list[Segment]]:
    """A column without the notes at its foot, in type smaller than the body's size, and these."""
    rows = rows_of(column)
    place = len(rows)
    first = place
    while place > 1 and max(cell.size for cell in rows[place - 1].cells) <= 0.93 * body:
        place -= 1
        cell = rows[place].cells[0]
        if cell.marked or _NOTE.match(cell.text):
            first = place
    notes = [cell for row in rows[first:] for cell in row.cells]
    return [cell for row in rows[:first] for cell in row.cells], notes


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


_LEAST_LETTERS = 6
_LEAST_SLOPE = 0.09
"""A share of 1 as of rise to way, some 5 degrees; text at a smaller angle was scanned askew."""
_STEEPEST = 2.5
"""Signs that are set nearly below each other are a column."""
_MOST_LETTERS = 200
_FARTHEST = 3.0
"""Sizes from one letter to the next, at most."""
_OFF = 0.2
"""Sizes that a letter may be off the slope, at most."""
_WORD_STEP = 1.6
"""A step longer than the usual one by this factor is a space between words."""


def gathered(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """The pieces, those of a slope as one piece at its angle; the same sequence where there is none."""
    alone = [len(piece.text) == 1 and piece.turn == 0 for piece in pieces]
    if sum(alone) < _LEAST_LETTERS or not _in_a_row(alone):
        return pieces
    found: list[Piece] = []
    place = 0
    while place < len(pieces):
        end = _end(pieces, alone, place) if alone[place] else place
        if end - place >= _LEAST_LETTERS and len({piece.text for piece in pieces[place:end]}) > 2:
            found.append(_turned(pieces[place:end]))
            place = end
        else:
            found.append(pieces[place])
            place += 1
    return found


def _in_a_row(alone: Sequence[bool]) -> bool:
    """Whether enough letters that stand alone are drawn one after the other."""
    return bytes([True] * _LEAST_LETTERS) in bytes(alone)


def _end(pieces: Sequence[Piece], alone: Sequence[bool], place: int) -> int:
    """Where the letters end that follow the one at a place along one slope, in the order of drawing."""
    first = pieces[place]
    end = place + 1
    while end < min(len(pieces), place + _MOST_LETTERS) and alone[end]:
        before, piece = pieces[end - 1], pieces[end]
        way, rise = piece.x0 - first.x0, piece.y - first.y
        step = piece.x0 - before.x0, piece.y - before.y
        if step[0] <= 0.1 * first.size or math.hypot(*step) > _FARTHEST * first.size:
            break
        if not _LEAST_SLOPE * way <= abs(rise) <= _STEEPEST * way or abs(piece.size - first.size) > 0.05 * first.size:
            break
        if any(
            abs(one.y - first.y - rise / way * (one.x0 - first.x0)) > _OFF * first.size for one in pieces[place:end]
        ):
            break
        end += 1
    return end


def _turned(letters: Sequence[Piece]) -> Piece:
    """Letters of a slope as one piece in the frame of its angle."""
    first, last = letters[0], letters[-1]
    angle = math.atan2(last.y - first.y, last.x0 - first.x0)
    text = first.text + "".join(_with_space(letters))
    x = first.x0 * math.cos(angle) + first.y * math.sin(angle)
    y = first.y * math.cos(angle) - first.x0 * math.sin(angle)
    long = math.hypot(last.x0 - first.x0, last.y - first.y) + 0.6 * first.size
    turn = round(math.degrees(angle)) % 360
    return replace(first, text=text, x0=x, x1=x + long, y=y, turn=turn, lefts=(), rights=())


def _with_space(letters: Sequence[Piece]) -> Iterator[str]:
    """The letters behind the first, with a space where a step is long."""
    steps = [after.x0 - before.x0 for before, after in pairwise(letters)]
    usual = sorted(steps)[len(steps) // 2]
    for piece, step in zip(letters[1:], steps, strict=True):
        yield f" {piece.text}" if step > _WORD_STEP * usual else piece.text
