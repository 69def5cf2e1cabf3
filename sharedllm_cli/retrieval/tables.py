"""Rows of a table in plain text, and the heading of its columns, which may stand hundreds of rows above them.

A row is a line whose cells are parted by ` | `, or by gaps of two spaces. Knows characters alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

BAR = " | "
FEWEST_COLUMNS = 3
"""Columns of a table parted by gaps, and of one whose rows are named by their columns."""
MOST_NAMED = 4
"""Rows of a passage that are written out with the names of their columns: those with most of the question's words."""
LONGEST_HEADING = 600
"""Characters of a heading that is carried to its rows."""
_GAP = re.compile(r" {2,}|\t+")
_NUMBER = re.compile(r"[^\w]*\d[\d\s.,:/%+−–-]*[^\w]*")
_YEAR = re.compile(r"(?:1[5-9]|20)\d\d(?:[/–-]\d{2,4})?")


def cells(line: str) -> list[str]:
    """The cells of a row; empty for a line that is none."""
    if BAR in line or line.startswith("| "):
        return [cell.strip() for cell in line.split("|")]
    parts = _GAP.split(line.strip())
    return parts if len(parts) >= FEWEST_COLUMNS else []


def heading_above(text: str, start: int) -> str | None:
    """The heading of the table whose row stands at `start`; None where no row does, and for the heading itself."""
    first, end = _line(text, start)
    if not cells(text[first:end]):
        return None
    block = text.rfind("\n\n", 0, first) + 2 if "\n\n" in text[:first] else 0
    while block < first:
        stop = text.find("\n", block)
        if cells(text[block:stop]):
            heading = text[block:stop].strip()
            return heading if len(heading) <= LONGEST_HEADING else None
        block = stop + 1
    return None


def written_out(text: str, start: int, end: int, sought: Sequence[int] = ()) -> str:
    """The characters `[start, end)` as they are read in a prompt.

    Rows without their heading get it before them. Those with most of the words sought (`sought`: where in the text they
    stand) name the column of each cell, so that a value is read in its row and column.
    """
    heading = heading_above(text, start)
    named = _named_rows(text, start, end, sought)
    pieces = [f"{heading}\n"] if heading else []
    position = start
    for first, stop, row in named:
        pieces += [text[position : max(first, start)], row]
        position = min(stop, end)
    return "".join([*pieces, text[position:end]])


def _named_rows(text: str, start: int, end: int, sought: Sequence[int]) -> list[tuple[int, int, str]]:
    """The rows with most of the words sought, in order, as (first, end, the row with its columns' names)."""
    hits = Counter(_line(text, place) for place in sought if start <= place < end)
    rows = [span for span in hits if cells(text[span[0] : span[1]])]
    most = max((hits[span] for span in rows), default=0)
    best = sorted(span for span in rows if hits[span] == most)
    found = [(span[0], span[1], _named(text, span)) for span in best]
    return [(first, stop, row) for first, stop, row in found if row] if len(best) <= MOST_NAMED else []


def _named(text: str, span: tuple[int, int]) -> str:
    """A row with the name of each cell's column; empty where the first line of the table names no columns."""
    heading = heading_above(text, span[0])
    names, row = cells(heading or ""), cells(text[span[0] : span[1]])
    if len(names) < FEWEST_COLUMNS or len(row) > len(names) or not _names_columns(names, row):
        return ""
    pairs = zip(names, row, strict=False)
    return BAR.join(f"{name}: {cell}" if name else cell for name, cell in pairs if cell)


def _names_columns(names: Sequence[str], row: Sequence[str]) -> bool:
    """Whether a first line is a heading: it has words (or years) where the row has numbers, or words alone."""
    words = [not _NUMBER.fullmatch(name) or _YEAR.fullmatch(name) is not None for name in names]
    return all(words) and (any(map(_NUMBER.fullmatch, row)) or len(set(names)) == len(names))


def _line(text: str, place: int) -> tuple[int, int]:
    end = text.find("\n", place)
    return text.rfind("\n", 0, place) + 1, len(text) if end < 0 else end
