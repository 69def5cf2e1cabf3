"""Tables between ruled lines: each row of the grid as one line, merged cells in each row and column that they cover.

The lines of text in a cell are joined. A cell as large as a section of the page is read as the page is; where most of
the text stands in such cells, the lines are a frame and no table.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from sharedllm_cli.documents.markup.html_tables import Cell, TableRows
from sharedllm_cli.documents.pdf.grids import Grid, Place, grids
from sharedllm_cli.documents.pdf.lines import Segment, segments
from sharedllm_cli.documents.pdf.page_pieces import Piece
from sharedllm_cli.documents.pdf.rows import CELLS, NUMBER, is_wide, joined, joined_lines, rows_of
from sharedllm_cli.documents.pdf.rules import Rules

LARGE = 12
"""Lines of a cell that is read as a section of the page."""
_FRAME = 0.5
"""A grid with more than this share of its text in large cells is a frame."""
Ordered = Callable[[list[Piece]], list[str]]
"""The lines of pieces in the order of reading."""


@dataclass
class _Cell:
    """The words within a cell."""

    place: Place
    pieces: list[Piece] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def large(self) -> bool:
        return len(self.lines) > LARGE or sum(CELLS in line for line in self.lines) > 2

    @property
    def letters(self) -> int:
        return sum(map(len, self.lines))


def without_tables(pieces: Sequence[Piece], rules: Rules, ordered: Ordered) -> tuple[list[Piece], list[Segment]]:
    """The pieces that stand in no table, and the rows of the tables as segments."""
    rest = list(pieces)
    rows: list[Segment] = []
    for number, grid in enumerate(grids(rules), 1):
        within, outside = _within(grid, rest)
        if len(within) < 3 or any(grid.cell((row.x0 + row.x1) / 2, row.y) is not None for row in rows):
            continue
        table = _Table(grid, within, ordered)
        if table.is_one:
            rows += table.segments(number)
            rest = outside
    return rest, rows


def _within(grid: Grid, pieces: Sequence[Piece]) -> tuple[list[Piece], list[Piece]]:
    """The pieces in a grid, cut at its lines, and the others."""
    within: list[Piece] = []
    outside: list[Piece] = []
    for piece in pieces:
        y = piece.y + 0.25 * piece.size
        cuts = grid.cuts(piece.x0, piece.x1, y) if piece.lefts else []
        for part in _cut(piece, cuts) if cuts else [piece]:
            (outside if grid.cell((part.x0 + part.x1) / 2, y) is None else within).append(part)
    return within, outside


def _cut(piece: Piece, cuts: Sequence[float]) -> list[Piece]:
    """A piece in several, cut at places."""
    letters = [place for place, letter in enumerate(piece.text) if letter not in " \x02\x03"]
    if len(letters) != len(piece.lefts):
        return [piece]
    middles = [(left + right) / 2 for left, right in zip(piece.lefts, piece.rights, strict=True)]
    bounds = [0, *(sum(middle < cut for middle in middles) for cut in cuts), len(middles)]
    parts = []
    for first, last in pairwise(bounds):
        if first < last:
            start = 0 if first == 0 else letters[first]
            text = piece.text[start : letters[last] if last < len(letters) else len(piece.text)].strip(" ")
            sides = piece.lefts[first:last], piece.rights[first:last]
            part = replace(piece, text=text, x0=sides[0][0], x1=sides[1][-1], lefts=sides[0], rights=sides[1])
            parts.append(part)
    return parts


class _Lines:
    """The lines of text in a cell and the room that they have."""

    def __init__(self, cell: _Cell, grid: Grid) -> None:
        self.cell = cell
        self.lines = rows_of(segments(cell.pieces))
        left, right = grid.xs[cell.place.left], grid.xs[cell.place.right]
        margin = min(line.cells[0].x0 for line in self.lines) - left
        self.room = right - left - 2 * max(0.0, min(margin, 6.0))

    @property
    def numbers(self) -> bool:
        return all(NUMBER.fullmatch(joined(line.cells)) for line in self.lines)

    def at(self, y: float) -> int:
        """The number of the line at a height; 0 for none, and for the first."""
        return next((place for place, line in enumerate(self.lines) if abs(line.y - y) < 0.4 * line.size), 0)

    def goes_on(self, place: int) -> bool | None:
        """Whether a line goes on in the sentence of the one above it; None if nothing says so."""
        above, line = self.lines[place - 1], self.lines[place]
        text, word = joined(above.cells), line.cells[0].text.split(" ", 1)[0]
        if text[:1].isdigit() and word[:1].isdigit():
            return False
        wide = above.cells[-1].x1 - above.cells[0].x0
        unspaced = is_wide(word[:1])
        if wide * (1 + (1 if unspaced else len(word) + 1) / len(text)) <= self.room:
            return False
        return True if unspaced or " " in text or word[:1].islower() else None


class _Table:
    """A grid with its words."""

    def __init__(self, grid: Grid, pieces: Sequence[Piece], ordered: Ordered) -> None:
        self.grid = grid
        self.pieces = pieces
        self.ordered = ordered
        self.leftward = sum(piece.leftward for piece in pieces) > 0.5 * len(pieces)
        self.cells = [_Cell(place) for place in grid.places]
        for piece in pieces:
            number = grid.cell((piece.x0 + piece.x1) / 2, piece.y + 0.25 * piece.size)
            if number is not None:
                self.cells[number].pieces.append(piece)
        for cell in self.cells:
            if cell.pieces:
                cell.lines = [line for line in ordered(cell.pieces) if line]
        self.used = [
            any(cell.lines and cell.place.left == column for cell in self.cells) for column in range(grid.columns)
        ]

    @property
    def is_one(self) -> bool:
        """Whether the lines make a table: words in several cells, some beside each other, and no section in one."""
        filled = [cell for cell in self.cells if cell.lines]
        letters = sum(cell.letters for cell in filled)
        large = sum(cell.letters for cell in filled if cell.large)
        rows = [sum(cell.place.top <= row < cell.place.bottom for cell in filled) for row in range(self.grid.rows)]
        return len(filled) >= 3 and max(rows, default=0) >= 2 and large <= _FRAME * letters

    def segments(self, number: int) -> list[Segment]:
        """The rows, each a segment over the whole width; one for each line of a large cell."""
        writer = TableRows()
        heads = self._heads()
        found: list[Segment] = []
        rows = [self._own(row) for row in range(self.grid.rows)]
        parts = [[own] if self._is_apart(own) else self._parted(own) for own in rows]
        counts = [len(part) for part in parts]
        for row, own in enumerate(rows):
            lines: list[str] = []
            if not any(cell.lines for cell in own):
                lines += writer.skip()
            elif self._is_apart(own):
                lines += writer.skip()
                whole = self._is_note(own)
                for cell in own:
                    lines += cell.lines if whole or cell.large else [joined_lines(cell.lines)]
            else:
                for part in parts[row]:
                    lines += writer.row([self._written(cell, counts, row < heads) for cell in part])
            lines = [line for line in lines if line.strip(" |")]
            if lines:
                found += self._at(row, own, lines, number)
        lines = writer.end()
        found += self._at(self.grid.rows - 1, [], lines, number) if lines else []
        for above, below in pairwise(found):
            below.y = min(below.y, above.y - 0.01)
        return found

    def _own(self, row: int) -> list[_Cell]:
        """The cells that begin in a row, in the order of reading."""
        own = [cell for cell in self.cells if cell.place.top == row and self._is_used(cell)]
        return sorted(own, key=lambda cell: cell.place.left, reverse=self.leftward)

    def _is_apart(self, own: Sequence[_Cell]) -> bool:
        """Whether a row is written otherwise than as one line."""
        return not own or any(cell.large for cell in own) or self._is_note(own)

    def _is_used(self, cell: _Cell) -> bool:
        """Whether a cell covers a column that has words, and is no part of a double line."""
        return any(self.used[cell.place.left : cell.place.right])

    def _is_note(self, own: Sequence[_Cell]) -> bool:
        """Whether a row is one cell over the table's width, of several lines."""
        return len(own) == 1 and own[0].place.right - own[0].place.left == self.grid.columns and len(own[0].lines) > 1

    def _by_rows(self, cell: _Cell) -> list[_Cell]:
        """A merged cell, in one for each row that it covers where its lines are those of the rows, level with them."""
        top, bottom = cell.place.top, cell.place.bottom
        if bottom - top < 2 or len(cell.lines) < 2:
            return [cell]
        lines = _Lines(cell, self.grid).lines
        rows = [self.grid.row(line.y + 0.25 * line.size) for line in lines]
        level = {
            row: [piece.y for one in self.cells if one.place.top == row == one.place.bottom - 1 for piece in one.pieces]
            for row in rows
        }
        aligned = [
            not level[row] or any(abs(y - line.y) < 0.25 * line.size for y in level[row])
            for row, line in zip(rows, lines, strict=True)
        ]
        votes = [_Lines(cell, self.grid).goes_on(place) for place in range(1, len(lines))]
        if len(set(rows)) < len(rows) or not all(aligned) or not any(level.values()):
            return [cell]
        if votes.count(True) >= max(1, votes.count(False)):
            return [cell]
        parts = []
        for row in range(top, bottom):
            place = Place(row, row + 1, cell.place.left, cell.place.right)
            pieces = [piece for piece in cell.pieces if self.grid.row(piece.y + 0.25 * piece.size) == row]
            parts.append(_Cell(place, pieces, [line for line in self.ordered(pieces) if line] if pieces else []))
        return parts

    def _parted(self, own: list[_Cell]) -> list[list[_Cell]]:
        """A row of the grid, in several where it has rows of words without a line between them.

        There are if the first cell and another have lines at one height, and most of these don't go on in the cell:
        they are numbers, or had room for the next one's first word.
        """
        filled = [cell for cell in own if cell.lines]
        bottom = min((cell.place.bottom for cell in filled), default=0)
        single = [cell for cell in filled if cell.place.bottom == bottom]
        lists = [_Lines(cell, self.grid) for cell in single if len(cell.lines) > 1]
        first = single[-1 if self.leftward else 0] if single else None
        if first is None or len(lists) < 2 or lists[-1 if self.leftward else 0].cell is not first:
            return [own]
        head = lists[-1 if self.leftward else 0]
        tops = []
        for place, line in enumerate(head.lines[1:], 1):
            level = [(one, one.at(line.y)) for one in lists if one is not head]
            level = [(head, place), *((one, number) for one, number in level if number)]
            votes = [one.goes_on(number) for one, number in level]
            apart = votes.count(False) - votes.count(True)
            small = line.cells[0].text[:1].islower()
            if len(level) > 1 and (apart > 0 or (apart == 0 and not small) or any(one.numbers for one, _ in level)):
                tops.append(line.y + 0.5 * line.size)
        bounds = pairwise((math.inf, *tops, -math.inf))
        parts = [[self._part(cell, top, bottom) for cell in own] for top, bottom in bounds]
        parts[0] = [cell if whole in single else whole for cell, whole in zip(parts[0], own, strict=True)]
        for part in parts[1:]:
            part[:] = [cell for cell, whole in zip(part, own, strict=True) if whole.place.bottom == bottom]
        return parts if tops else [own]

    def _part(self, cell: _Cell, top: float, bottom: float) -> _Cell:
        pieces = [piece for piece in cell.pieces if bottom < piece.y <= top]
        place = replace(cell.place, bottom=cell.place.top + 1)
        return _Cell(place, pieces, self.ordered(pieces) if pieces else [])

    def _written(self, cell: _Cell, counts: Sequence[int], heading: bool) -> Cell:
        columns = sum(self.used[cell.place.left : cell.place.right])
        rows = sum(counts[cell.place.top : cell.place.bottom])
        single = cell.place.bottom - cell.place.top == 1
        return Cell(joined_lines(cell.lines), max(1, columns), 1 if single else rows, heading)

    def _heads(self) -> int:
        """Rows of the heading: two or more where the first has cells above several columns."""
        first = 0
        rows, columns = self.grid.rows, self.grid.columns
        while first < rows - 1 and any(
            cell.place.top == first and cell.place.right - cell.place.left == columns for cell in self.cells
        ):
            first += 1
        own = [cell.place for cell in self.cells if cell.place.top == first and cell.lines]
        wide = any(1 < place.right - place.left < columns for place in own)
        deepest = max([place.bottom - first for place in own if place.bottom - first <= 4], default=1)
        heads = max(2, deepest) if wide else 1
        return first + heads if wide and first + heads < rows else 0

    def _at(self, row: int, own: Sequence[_Cell], lines: Sequence[str], number: int) -> list[Segment]:
        """Segments for the lines of a row, spread over its height."""
        pieces = [piece for cell in own for piece in cell.pieces]
        size = statistics.median(piece.size for piece in pieces or self.pieces)
        top = max((piece.y for piece in pieces), default=self.grid.ys[row] - size)
        low = min((piece.y for piece in pieces), default=top)
        count = len(lines)
        step = max((top - low) / count, 0.5 * size)
        return [
            Segment(
                text=line,
                x0=self.grid.xs[0],
                x1=self.grid.xs[-1],
                y=low + step * (count - 1 - place) if count > 1 else top,
                size=size,
                order=min((piece.order for piece in pieces), default=self.pieces[0].order),
                words=line.count(" ") + 1,
                table=number,
                drop=top - low if count == 1 else 0.0,
            )
            for place, line in enumerate(lines)
        ]
