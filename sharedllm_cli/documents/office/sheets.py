"""A sheet's cells as lines: a row each, its number first; tables that blank rows or columns part stand apart.

    Row | Part | Price
    2 | Hinge | 4.50

A table in plain text (csv, tsv) is separated by the sign that gives most rows the same number of cells.
Knows cells as text at places; no file format but that.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO

from sharedllm_cli.documents.markup.html_tables import BAR
from sharedllm_cli.documents.pages import ExtractedPage, Extraction

ROW = "Row"
"""The head of the column that holds the rows' numbers."""
MOST_CELLS = 2_000_000
"""Cells of a file that are read."""
LONGEST_CELL = 32_767
MOST_TITLES = 5
"""Lines of one cell alone above a table that are its titles."""
MOST_REPEATED = 100_000
"""Cells that merged ones may fill."""
_NUMBER = re.compile(r"[^\w]*\d[\d\s.,:/%+−–-]*[^\w]*")

Cells = dict[int, dict[int, str]]
"""The texts of a sheet by row and column, both from 1; empty cells have none."""


@dataclass
class Sheet:
    """A sheet as read. `merged` are rectangles (first row, first column, last row, last column) of merged cells.

    What is hidden is left out of `cells` and counted. `beside` are lines below the cells: notes, charts. `cut_at` is
    the last row that was read, where the sheet goes on.
    """

    name: str
    cells: Cells = field(default_factory=dict)
    merged: list[tuple[int, int, int, int]] = field(default_factory=list)
    hidden: bool = False
    hidden_rows: int = 0
    hidden_columns: int = 0
    beside: list[str] = field(default_factory=list)
    cut_at: int | None = None

    def text(self) -> str:
        """The sheet's name, its tables and what stands beside them."""
        _fill(self.cells, self.merged)
        blocks = ["\n".join(block) for block in _tables(self.cells)]
        return "\n\n".join([self.name, *blocks, *self.beside])


def cell_text(text: str) -> str:
    """A cell's text on one line."""
    return " ".join(text.split())[:LONGEST_CELL]


def _fill(cells: Cells, merged: Sequence[tuple[int, int, int, int]]) -> None:
    """Write the text of a merged cell into each of its places, since it is the name or the value of all of them."""
    left = MOST_REPEATED
    for top, first, bottom, last in merged:
        text = cells.get(top, {}).get(first)
        size = (bottom - top + 1) * (last - first + 1)
        # A title over the whole width, or a cell as high as a column, stands once.
        if not text or size > left or (top == bottom and not _is_head(cells, top, first, last)):
            continue
        left -= size
        for row in range(top, bottom + 1):
            if row in cells or top == bottom:
                for column in range(first, last + 1):
                    cells.setdefault(row, {}).setdefault(column, text)


def _is_head(cells: Cells, row: int, first: int, last: int) -> bool:
    """Whether a cell merged over some columns names them: others stand beside it in its row."""
    return any(not first <= column <= last for column in cells.get(row, {}))


def _tables(cells: Cells) -> Iterator[list[str]]:
    """The lines of each table, top to bottom, of those side by side the left one first."""
    for rows in _stretches(sorted(cells)):
        filled = sorted({column for row in rows for column in cells[row]})
        groups = _stretches(filled)
        if len(groups) > 1 and not all(_is_table(cells, rows, group) for group in groups):
            groups = [filled]
        for columns in groups:
            yield from _blocks(cells, [row for row in rows if any(column in cells[row] for column in columns)], columns)


def _is_table(cells: Cells, rows: Sequence[int], columns: Sequence[int]) -> bool:
    """Whether columns apart from others are a table of their own: more than one, with more than one row."""
    return len(columns) > 1 and sum(any(column in cells[row] for column in columns) for row in rows) > 1


def _blocks(cells: Cells, rows: Sequence[int], columns: Sequence[int]) -> Iterator[list[str]]:
    """A table's lines: titles above it, then its heading, then its rows."""
    position = 0
    while len(columns) > 1 and position < min(len(rows) - 1, MOST_TITLES):
        titles = _row(cells, rows[position], columns)
        if len(titles) > 1:
            break
        yield list(titles.values())
        position += 1
    body = rows[position:]
    if len(body) == 1 and len(alone := _row(cells, body[0], columns)) == 1:
        yield list(alone.values())
        return
    count = _heads(cells, body, columns)
    lines = []
    if count:
        names = _joined([_row(cells, row, columns) for row in body[:count]], columns)
        lines.append(_line(ROW, names))
    for row in body[count:]:
        values = _row(cells, row, columns)
        lines.append(_line(str(row), [values.get(column, "") for column in columns]))
    yield lines


def _heads(cells: Cells, rows: Sequence[int], columns: Sequence[int]) -> int:
    """How many rows name the columns: the first with words alone, and one above it that names groups of columns."""
    if len(columns) < 2 or len(rows) < 2:
        return 0
    texts = [_row(cells, row, columns) for row in rows[:3]]
    if not _names(texts[0]):
        return 0
    repeated = len(set(texts[0].values())) < len(texts[0]) or len(texts[0]) < len(columns) - 1
    below = len(texts) == 3 and _names(texts[1]) and len(texts[1]) >= len(texts[0]) - 1
    return 2 if below and repeated and _has_number(texts[2]) else 1


def _names(row: Mapping[int, str]) -> bool:
    """Whether a row's cells are names: words, or years."""
    years = re.compile(r"(?:1[5-9]|20)\d\d(?:[/–-]\d{2,4})?")
    return len(row) > 1 and all(not _NUMBER.fullmatch(text) or years.fullmatch(text) for text in row.values())


def _has_number(row: Mapping[int, str]) -> bool:
    return any(_NUMBER.fullmatch(text) for text in row.values())


def _joined(heads: Sequence[Mapping[int, str]], columns: Sequence[int]) -> list[str]:
    """The name of each column, from top to bottom."""
    return [" ".join(dict.fromkeys(filter(None, (head.get(column, "") for head in heads)))) for column in columns]


def _row(cells: Cells, row: int, columns: Sequence[int]) -> dict[int, str]:
    here = cells[row]
    return {column: here[column] for column in columns if column in here}


def _stretches(numbers: Sequence[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return found


def _line(first: str, cells: Sequence[str]) -> str:
    texts = [first, *cells]
    while not texts[-1]:
        texts.pop()
    return BAR.join(texts)


def told(name: str, sheets: Sequence[Sheet]) -> tuple[str, ...]:
    """The sentences on what is hidden in the sheets and what of them was not read."""
    found: list[str] = []
    hidden = [sheet.name for sheet in sheets if sheet.hidden]
    if hidden:
        found.append(f"{name}: hidden sheet{'s are' if len(hidden) > 1 else ' is'} left out: {', '.join(hidden[:8])}")
    for sheet in sheets:
        parts = [(sheet.hidden_rows, "row"), (sheet.hidden_columns, "column")]
        counts = [f"{count:,} hidden {noun}{'s' if count > 1 else ''}" for count, noun in parts if count]
        if counts:
            found.append(f"{name}, sheet {sheet.name}: {' and '.join(counts)} left out")
        if sheet.cut_at is not None:
            found.append(f"{name}, sheet {sheet.name}: read up to row {sheet.cut_at:,}; the rest is too large")
    return tuple(found)


SEPARATORS = (",", ";", "\t", "|")
SAMPLE = 200
"""Rows that are looked at to find what separates the cells."""
LONGEST_FIELD = 1 << 20


def delimited(text: str, name: str, warnings: Sequence[str]) -> Extraction:
    """The rows of a table in plain text; one that is no table is its lines."""
    separator = _separator(text, name)
    rows, problem = _rows(text, separator)
    sheet = Sheet("")
    count = 0
    for number, row in rows:
        texts = [cell_text(cell) for cell in row]
        count += sum(map(bool, texts))
        if count > MOST_CELLS:
            warnings = [*warnings, f"{name}: read up to row {number - 1:,}; the rest is too large"]
            break
        if any(texts):
            sheet.cells[number] = {place: cell for place, cell in enumerate(texts, 1) if cell}
    if problem:
        warnings = [*warnings, f"{name}: {problem}"]
    return Extraction(
        (ExtractedPage(sheet.text().lstrip("\n")),),
        False,
        reflow=False,
        layout=True,
        warnings=tuple(warnings),
    )


def _separator(text: str, name: str) -> str:
    """What separates the cells: as the file says in a line `sep=;`, else what fits the first rows best."""
    head = text[:20].removeprefix("\ufeff").lstrip()
    if head[:4].lower() == "sep=" and len(head) > 4:
        return head[4]
    if name.lower().endswith((".tsv", ".tab")) and "\t" in text:
        return "\t"
    return max(SEPARATORS, key=lambda sign: (_fit(text, sign), -SEPARATORS.index(sign)))


def _fit(text: str, separator: str) -> float:
    """The share of the first rows that have the commonest number of cells, more than one, weighted by that number."""
    counts = Counter(
        len(row) for _, row in zip(range(SAMPLE), _reader(text[: SAMPLE * 2000], separator), strict=False) if any(row)
    )
    if not counts:
        return 0.0
    width, rows = max(counts.items(), key=lambda one: (one[1] if one[0] > 1 else 0, one[0]))
    return 0.0 if width < 2 else rows / counts.total() + min(width, 50) / 1000


def _rows(text: str, separator: str) -> tuple[list[tuple[int, list[str]]], str | None]:
    """The rows with their numbers as a spreadsheet counts them."""
    rows: list[tuple[int, list[str]]] = []
    reader = _reader(text, separator)
    said = text.removeprefix("\ufeff").lstrip()[:4].lower() == "sep="
    problem = None
    try:
        for number, row in enumerate(reader, 0 if said else 1):
            if number and len(rows) < MOST_CELLS:
                rows.append((number, row))
    except csv.Error as failure:
        problem = f"read up to row {len(rows):,}: {failure}"
    return rows, problem


def _reader(text: str, separator: str) -> csv._reader:  # type: ignore[name-defined]
    csv.field_size_limit(LONGEST_FIELD)
    return csv.reader(StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=separator)
