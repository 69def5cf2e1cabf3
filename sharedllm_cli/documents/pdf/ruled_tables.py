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
from sharedllm_cli.documents.pdf.lines import Segment
from sharedllm_cli.documents.pdf.page_pieces import Piece
from sharedllm_cli.documents.pdf.rows import CELLS, NUMBER, joined_lines
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
        for row in range(self.grid.rows):
            own = [cell for cell in self.cells if cell.place.top == row and self._is_used(cell)]
            own.sort(key=lambda cell: cell.place.left)
            if self.leftward:
                own.reverse()
            lines: list[str] = []
            if not any(cell.lines for cell in own):
                lines += writer.skip()
            elif any(cell.large for cell in own) or self._is_note(own):
                lines += writer.skip()
                whole = self._is_note(own)
                for cell in own:
                    lines += cell.lines if whole or cell.large else [joined_lines(cell.lines)]
            else:
                for part in self._parted(own):
                    lines += writer.row([self._written(cell, row < heads) for cell in part])
            lines = [line for line in lines if line.strip(" |")]
            if lines:
                found += self._at(row, own, lines, number)
        lines = writer.end()
        found += self._at(self.grid.rows - 1, [], lines, number) if lines else []
        for above, below in pairwise(found):
            below.y = min(below.y, above.y - 0.01)
        return found

    def _is_used(self, cell: _Cell) -> bool:
        """Whether a cell covers a column that has words, and is no part of a double line."""
        return any(self.used[cell.place.left : cell.place.right])

    def _is_note(self, own: Sequence[_Cell]) -> bool:
        """Whether a row is one cell over the table's width, of several lines."""
        return len(own) == 1 and own[0].place.right - own[0].place.left == self.grid.columns and len(own[0].lines) > 1

    def _parted(self, own: list[_Cell]) -> list[list[_Cell]]:
        """A row of the grid, in several where there are rows of words between its lines.

        That is so where numbers stand below each other in a cell, or where the grid has hardly any level lines and
        the lines of all cells are level.
        """
        row = own[0].place.top
        single = [cell for cell in own if cell.place.bottom == row + 1 and cell.lines]
        if len(single) < 2 or len(single) < sum(bool(cell.lines) for cell in own):
            return [own]
        size = statistics.median(piece.size for cell in single for piece in cell.pieces)
        baselines: list[float] = []
        for y in sorted((piece.y for cell in single for piece in cell.pieces), reverse=True):
            if not baselines or baselines[-1] - y > 0.5 * size:
                baselines.append(y)
        numbers = [cell for cell in single if len(cell.lines) > 1 and all(map(NUMBER.fullmatch, cell.lines))]
        if numbers:
            longest = max(numbers, key=lambda cell: len(cell.lines))
            starts = [any(abs(piece.y - y) <= 0.5 * size for piece in longest.pieces) for y in baselines]
        elif self.grid.rows <= 3 and len(baselines) > 2 and self._all_level(single, len(baselines)):
            starts = [True] * len(baselines)
        else:
            return [own]
        tops = [y + 0.5 * size for y, start in zip(baselines, starts, strict=True) if start][1:]
        if not tops:
            return [own]
        bounds = pairwise((math.inf, *tops, -math.inf))
        return [[self._part(cell, top, bottom) for cell in own] for top, bottom in bounds]

    def _all_level(self, single: Sequence[_Cell], lines: int) -> bool:
        first = single[-1 if self.leftward else 0]
        return len(first.lines) == lines and all(0.75 * lines <= len(cell.lines) <= lines for cell in single)

    def _part(self, cell: _Cell, top: float, bottom: float) -> _Cell:
        pieces = [piece for piece in cell.pieces if bottom < piece.y <= top]
        return _Cell(cell.place, pieces, self.ordered(pieces) if pieces else [])

    def _written(self, cell: _Cell, heading: bool) -> Cell:
        columns = sum(self.used[cell.place.left : cell.place.right])
        return Cell(joined_lines(cell.lines), max(1, columns), cell.place.bottom - cell.place.top, heading)

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
