"""A table in plain text (csv, tsv): a row a line, its number first, its columns named by the first row.

What separates the cells is found by trying: the sign that gives most rows the same number of cells.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from io import StringIO

from sharedllm_cli.documents.office.sheets import MOST_CELLS, Sheet, cell_text
from sharedllm_cli.documents.pages import ExtractedPage, Extraction

SEPARATORS = (",", ";", "\t", "|")
SAMPLE = 200
"""Rows that are looked at to find what separates the cells."""
LONGEST_FIELD = 1 << 20


def extract(text: str, name: str, warnings: Sequence[str]) -> Extraction:
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
