"""The grid of a Word table: which columns each cell covers, and how far it reaches down."""

from __future__ import annotations

from collections.abc import Iterable

from lxml import etree

from sharedllm_cli.documents.office.package import attribute, child, local, number

MOST_SPANNED = 1000
"""Columns that a cell may cover."""
Cells = list[tuple[int, etree._Element, int]]
"""The cells of a row: the column of the grid where each begins, the cell, and how many columns it covers."""


def rows(table: etree._Element) -> Iterable[tuple[etree._Element, Cells]]:
    for row in _unwrapped(table, "tr"):
        column = number(attribute(child(row, "trPr", "gridBefore"), "val"))
        cells: Cells = []
        for cell in _unwrapped(row, "tc"):
            span = number(attribute(child(cell, "tcPr", "gridSpan"), "val", "1"), 1)
            span = min(max(span, 1), MOST_SPANNED)
            cells.append((column, cell, span))
            column += span
        yield row, cells


def _unwrapped(parent: etree._Element, name: str) -> Iterable[etree._Element]:
    """The rows of a table or the cells of a row, those in content controls and the like among them."""
    for one in parent:
        if local(one) == name:
            yield one
        elif local(one) in ("sdt", "sdtContent", "customXml", "ins", "moveTo", "smartTag"):
            yield from _unwrapped(one, name)


def merged(rows: list[tuple[etree._Element, Cells]]) -> dict[tuple[int, int], int]:
    """How many rows a cell merged downwards covers, by row and column; 0 for those that it covers."""
    found: dict[tuple[int, int], int] = {}
    above: dict[int, int] = {}
    for place, (_, cells) in enumerate(rows):
        here: dict[int, int] = {}
        for column, cell, _span in cells:
            merge = child(cell, "tcPr", "vMerge")
            if merge is None:
                continue
            if attribute(merge, "val", "continue") == "restart":
                here[column] = place
                found[place, column] = 1
            elif column in above:
                here[column] = above[column]
                found[above[column], column] += 1
                found[place, column] = 0
        above = here
    return found
