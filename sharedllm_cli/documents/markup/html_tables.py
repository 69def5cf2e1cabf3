"""The rows of an HTML table as lines, cells between bars: each cell in its column, merged cells in each of theirs.

A heading of several rows is one line, which names each column whole. What spans a table's width stands alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

BAR = " | "
MOST_COLUMNS = 1000
MOST_HEADS = 6
"""Rows of a heading."""
MOST_REPEATED = 1_000_000
"""Characters that merged cells may add to a table: above it, a merged cell's text stands once."""


@dataclass
class _Span:
    """A merged cell in its column: its text, and the rows below that it still reaches into."""

    text: str
    rows: int


@dataclass(frozen=True)
class Cell:
    """A cell as it stands: its text (on one line), the columns and rows that it covers, and whether it is a heading."""

    text: str
    columns: int = 1
    rows: int = 1
    heading: bool = False


@dataclass
class TableRows:
    """Takes a table row by row and gives the lines for each. `width`: the columns of the widest row so far."""

    width: int = 0
    _heads: list[list[str]] = field(default_factory=list)
    _in_body: bool = False
    _spans: dict[int, _Span] = field(default_factory=dict)
    _repeated: int = 0

    def begin_group(self) -> None:
        """A group of rows (`thead`, `tbody`) begins: no merged cell reaches into it."""
        self._spans.clear()

    def row(self, cells: list[Cell], *, head: bool = False) -> list[str]:
        """The lines of the next row; none for one of the heading, which comes with the first row below it."""
        columns, own = self._placed(cells)
        spanning = len(cells) == 1 and own == len(columns) and cells[0].columns >= max(self.width, 2)
        self.width = max(self.width, len(columns))
        if spanning:
            return [*self._heading(), cells[0].text] if cells[0].text else []
        headed = head or (bool(cells) and all(cell.heading for cell in cells))
        if headed and not self._in_body and len(self._heads) < MOST_HEADS:
            self._heads.append(columns)
            return []
        lines = self._heading()
        self._in_body = True
        return [*lines, _line(columns)] if any(columns) else lines

    def skip(self) -> list[str]:
        """A row that is written otherwise: merged cells reach past it. The lines of a heading that waits."""
        self._placed([])
        return self._heading()

    def end(self) -> list[str]:
        """The lines that still wait at the table's end: those of a heading above no row."""
        return [line for line in map(_line, self._heads) if line]

    def _heading(self) -> list[str]:
        """The line of the heading that still waits, if one does: each column's names from top to bottom."""
        heads, self._heads = self._heads, []
        width = max(map(len, heads), default=0)
        names = [dict.fromkeys(row[place] for row in heads if place < len(row)) for place in range(width)]
        columns = [" ".join(filter(None, parts)) for parts in names]
        return [_line(columns)] if any(columns) else []

    def _placed(self, cells: list[Cell]) -> tuple[list[str], int]:
        """A row's texts by column, merged cells of the rows above among them; and how many columns are its own."""
        columns: list[str] = []
        own = 0
        waiting = list(reversed(cells))
        last = max(self._spans, default=-1)
        while waiting or len(columns) <= last:
            place = len(columns)
            if (above := self._spans.get(place)) is not None:
                columns.append(self._again(above.text))
                above.rows -= 1
                if not above.rows:
                    del self._spans[place]
            elif waiting:
                cell = waiting.pop()
                count = max(1, min(cell.columns, MOST_COLUMNS - place))
                own += count
                columns += [cell.text, *(self._again(cell.text) for _ in range(count - 1))]
                if cell.rows > 1:
                    below = cell.text.replace("\0", "")
                    self._spans.update((place + number, _Span(below, cell.rows - 1)) for number in range(count))
            else:
                columns.append("")
        if self._repeated > MOST_REPEATED:
            self._spans.clear()
        return columns, own

    def _again(self, text: str) -> str:
        text = text.replace("\0", "")
        self._repeated += len(text) + len(BAR)
        return text if self._repeated <= MOST_REPEATED else ""


@dataclass
class OpenRow:
    """A row of a table whose cells are collected: those done, and where the text of the open one begins."""

    cells: list[Cell] = field(default_factory=list)
    head: bool = False
    start: int = 0


@dataclass
class OpenTable:
    """A table whose rows are written as they close. `headed`: it has headings; `head`: its `thead` is open."""

    rows: TableRows = field(default_factory=TableRows)
    headed: bool = False
    head: bool = False
    row: OpenRow | None = None


def _line(columns: list[str]) -> str:
    while columns and not columns[-1]:
        columns = columns[:-1]
    return " ".join(BAR.join(columns).split())
