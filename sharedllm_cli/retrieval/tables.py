"""Rows of a table in plain text, and the heading of its columns, which may stand hundreds of rows above them.

A row is a line whose cells are parted by ` | `, or by gaps of two spaces.

A question that names a row and a column finds the row (`credited`). Its leaf may lack the heading, which has more of
the question's words. So a leaf with rows gets, for the row that fits best, the weights of the question's words in the
heading or the title above it that the leaf lacks, and of those in the row, since they are in one row and not in
several. No other leaf of a table comes before that of the row that fits best: the first one has the heading and the
words above the table, too. Knows numbers and characters alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sharedllm_cli.retrieval.bm25 import K1, LexicalIndex, LexicalScores, weighed_terms
from sharedllm_cli.retrieval.terms import words

BAR = " | "
FEWEST_COLUMNS = 3
"""Columns of a table parted by gaps, and of one whose rows are named by their columns."""
MOST_NAMED = 4
"""Rows of a passage that are written out with the names of their columns: those with most of the question's words."""
LONGEST_TITLE = 150
LONGEST_HEADING = 600
"""Characters of a heading that is carried to its rows."""
FEWEST_ROWS = 2
"""Lines of a table, its heading included."""
LONGEST_GAPPED = 60
"""Characters of a cell that gaps part from others: longer ones are sentences with two spaces between them."""
_GAP = re.compile(r" {2,}|\t+")
_NUMBER = re.compile(r"[^\w]*\d[\d\s.,:/%+−–-]*[^\w]*")
_SENTENCE = re.compile(r"[^\W\d_]{3,}[.!?][\"'”’)]?$")
_YEAR = re.compile(r"(?:1[5-9]|20)\d\d(?:[/–-]\d{2,4})?")


def cells(line: str) -> list[str]:
    """The cells of a row; empty for a line that is none."""
    if BAR in line or line.startswith("| "):
        return [cell.strip() for cell in line.split("|")]
    parts = _GAP.split(line.strip())
    return parts if len(parts) >= FEWEST_COLUMNS else []


def heading_above(text: str, start: int) -> str | None:
    """The heading of the table whose row stands at `start`; None where no row does, and for the heading itself."""
    line = _heading_line(text, start)
    return None if line is None else line.strip()


def _heading_line(text: str, start: int) -> str | None:
    """The same with the white space around it, which shows where its columns are."""
    first, end = _line(text, start)
    if not cells(text[first:end]):
        return None
    block = text.rfind("\n\n", 0, first) + 2 if "\n\n" in text[:first] else 0
    while block < first:
        stop = text.find("\n", block)
        if cells(text[block:stop]):
            heading = text[block:stop]
            return heading if len(heading.strip()) <= LONGEST_HEADING else None
        block = stop + 1
    return None


@dataclass(frozen=True)
class Table:
    """A table of a text: the names of its columns as one line, where that begins, where each row lies, and its title.

    The title is the short line right above, empty where there is none.
    """

    heading: str
    start: int
    rows: tuple[tuple[int, int], ...]
    title: str = ""


def tables(text: str) -> list[Table]:
    """The tables whose first line names their columns, in order."""
    found: list[Table] = []
    block: list[tuple[int, int]] = []
    start = 0
    for line in text.split("\n"):
        if line.strip():
            block.append((start, start + len(line)))
        elif block:
            found += _table(text, block)
            block = []
        start += len(line) + 1
    return [*found, *_table(text, block)]


def _table(text: str, block: Sequence[tuple[int, int]]) -> list[Table]:
    """The table that some lines are; none where fewer than two of them are rows."""
    lines = [(start, end) for start, end in block if is_row(text[start:end])]
    if len(lines) < FEWEST_ROWS:
        return []
    heading = text[slice(*lines[0])].strip()
    names = cells(heading)
    rows = tuple(line for line in lines[1:] if text[slice(*line)].strip() != heading)
    named = bool(rows) and _names_columns([name for name in names if name], cells(text[slice(*rows[0])]))
    above = [text[slice(*line)].strip() for line in block if line < lines[0]][-1:]
    title = next((line for line in above if len(line) <= LONGEST_TITLE and not _SENTENCE.search(line)), "")
    return [Table(heading, lines[0][0], rows, title)] if named and len(heading) <= LONGEST_HEADING else []


def is_row(line: str) -> bool:
    """Whether a line is a row: cells between bars, or short ones parted by gaps."""
    found = cells(line)
    if len(found) < 2 or BAR in line:
        return len(found) > 1
    return max(map(len, found)) <= LONGEST_GAPPED and not any(map(_SENTENCE.search, found))


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


def rows_with(text: str, sought: Iterable[int]) -> dict[tuple[int, int], int]:
    """The rows in which words stand that are sought, by first and end character, and how many each has."""
    hits = Counter(_line(text, place) for place in sought)
    return {span: count for span, count in hits.items() if cells(text[span[0] : span[1]])}


def _named_rows(text: str, start: int, end: int, sought: Sequence[int]) -> list[tuple[int, int, str]]:
    """The rows with most of the words sought, in order, as (first, end, the row with its columns' names)."""
    hits = rows_with(text, [place for place in sought if start <= place < end])
    most = max(hits.values(), default=0)
    best = sorted(span for span in hits if hits[span] == most)
    found = [(span[0], span[1], _named(text, span)) for span in best]
    return [(first, stop, row) for first, stop, row in found if row] if len(best) <= MOST_NAMED else []


def _named(text: str, span: tuple[int, int]) -> str:
    """A row with the name of each cell's column; empty where the first line of the table names no columns."""
    heading = _heading_line(text, span[0]) or ""
    line = text[span[0] : span[1]]
    names, row = cells(heading), cells(line)
    if len(names) < FEWEST_COLUMNS or len(row) > len(names) or not _names_columns(names, row):
        return ""
    by_place = list(zip(names, row, strict=False))
    pairs = by_place if _has_bars(line) and _has_bars(heading) else _by_column(heading, line)
    return BAR.join(f"{name}: {cell}" if name else cell for name, cell in pairs if cell)


def _has_bars(line: str) -> bool:
    return BAR in line or line.startswith("| ")


def _by_column(heading: str, line: str) -> list[tuple[str, str]]:
    """The cells of a row that gaps part, each with the name above it; none where that can't be said of each.

    A row with an empty cell has fewer cells than there are names: where each stands tells which one is missing.
    """
    names, row = _placed(heading), _placed(line)
    pairs: list[tuple[str, str]] = []
    last = -1
    for start, end, cell in row:
        apart = [max(start - stop, first - end) for first, stop, _ in names]
        place = min(range(len(names)), key=apart.__getitem__)
        if place <= last:
            return [(name, cell) for (_, _, name), (_, _, cell) in zip(names, row, strict=False)] * (
                len(names) == len(row)
            )
        pairs.append((names[place][2], cell))
        last = place
    return pairs


def _placed(line: str) -> list[tuple[int, int, str]]:
    """The cells of a line that gaps part, with the first and the end character of each."""
    found: list[tuple[int, int, str]] = []
    position = len(line) - len(line.lstrip())
    for piece in _GAP.split(line.strip()):
        start = line.index(piece, position)
        position = start + len(piece)
        found.append((start, position, piece))
    return found


def _names_columns(names: Sequence[str], row: Sequence[str]) -> bool:
    """Whether a first line is a heading: it has words (or years) where the row has numbers, or words alone."""
    words = [not _NUMBER.fullmatch(name) or _YEAR.fullmatch(name) is not None for name in names]
    return all(words) and (any(map(_NUMBER.fullmatch, row)) or len(set(names)) == len(names))


def _line(text: str, place: int) -> tuple[int, int]:
    end = text.find("\n", place)
    return text.rfind("\n", 0, place) + 1, len(text) if end < 0 else end


MOST_LEAVES = 200
"""Leaves of a document whose rows are looked at: those that score best by their words."""
ONCE = 1 / (1 + K1)
"""What BM25 gives for one occurrence, as a share of the term's weight."""


class Rows(NamedTuple):
    """The tables of a document, its text, and where each of its leaves begins, in characters [leaves]."""

    text: str
    tables: Sequence[Table]
    leaf_starts: np.ndarray

    def leaf_text(self, leaf: int) -> str:
        """The characters of a leaf."""
        start = int(self.leaf_starts[leaf])
        return (
            self.text[start : int(self.leaf_starts[leaf + 1])]
            if leaf + 1 < len(self.leaf_starts)
            else self.text[start:]
        )


class Credited(NamedTuple):
    """Scores of all leaves [leaves], one array a document, those with rows raised; and of each document the headings.

    `headings[d]` gives for a leaf whose score was raised the first and the end character of the heading of its rows.
    """

    values: list[np.ndarray]
    headings: list[dict[int, tuple[int, int]]]


def credited(
    question: str, found: LexicalScores, indexes: Sequence[LexicalIndex], documents: Sequence[Rows | None]
) -> Credited:
    """The scores with each row under its heading; None: a document without tables."""
    raised, headings = list(found.values), [dict[int, tuple[int, int]]() for _ in indexes]
    if not found.matched or not any(documents):
        return Credited(raised, headings)
    weighed = weighed_terms(question, indexes)
    for place, (values, index, rows) in enumerate(zip(found.values, indexes, documents, strict=True)):
        if rows is None or not values.any():
            continue
        weights: dict[str, float] = {}
        for slot, weight in weighed:
            if form := slot.get(index.language):
                weights[form] = max(weights.get(form, 0.0), weight)
        raised[place], headings[place] = _raised(values, rows, weights, index.language)
    return Credited(raised, headings)


def _raised(
    values: np.ndarray, rows: Rows, weights: Mapping[str, float], language: str
) -> tuple[np.ndarray, dict[int, tuple[int, int]]]:
    looked_at = frozenset(np.argsort(-values, kind="stable")[:MOST_LEAVES].tolist())
    credit: dict[int, float] = {}
    there: dict[int, frozenset[str]] = {}
    headings: dict[int, tuple[int, int]] = {}
    first: list[tuple[int, frozenset[int]]] = []
    for table in rows.tables:
        middles = [(start + end) // 2 for start, end in table.rows]
        leaves = np.searchsorted(rows.leaf_starts, middles, side="right") - 1
        places = [number for number, leaf in enumerate(leaves.tolist()) if leaf in looked_at and values[leaf] > 0]
        if not places:
            continue
        heads = _held(f"{table.title} {table.heading}", weights, language)
        best: tuple[float, set[int]] = (0.0, set())
        for number in places:
            own = _held(rows.text[slice(*table.rows[number])], weights, language)
            if own - heads:
                leaf = int(leaves[number])
                fit = _sum(weights, own - heads)
                if fit >= best[0]:
                    best = (fit, {leaf} | (best[1] if fit == best[0] else set()))
                if leaf not in there:
                    there[leaf] = _held(rows.leaf_text(leaf), weights, language)
                worth = ONCE * _sum(weights, [*own, *(heads - own - there[leaf])])
                if worth > credit.get(leaf, 0.0):
                    credit[leaf] = worth
                    headings[leaf] = table.start, table.start + len(table.heading)
        if len(best[1]) == 1:
            first.append((min(best[1]), frozenset(int(leaves[number]) for number in places)))
    raised = values.copy()
    for leaf, worth in credit.items():
        raised[leaf] += worth
    for leaf, others in first:
        highest = max((raised[other] for other in others - {leaf}), default=0.0)
        raised[leaf] = max(raised[leaf], np.nextafter(highest, np.inf))
    return raised, headings


def _held(text: str, weights: Mapping[str, float], language: str) -> frozenset[str]:
    """The terms of the question that a text holds."""
    return frozenset(term for word in words(text, language) for term in word.terms if term in weights)


def _sum(weights: Mapping[str, float], terms: Iterable[str]) -> float:
    return sum(weights[term] for term in terms)
