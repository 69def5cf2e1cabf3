"""Lists and facts on standard output: the results of `plan`, `indexes`, `models` and `doctor`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharedllm_cli.cli.console import Console, one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

Pairs = Iterable[tuple[str, str]]


GAP = 3
"""Cells between two columns."""


def show_table(
    console: Console,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: str = "",
    spare: str = "",
) -> None:
    """A table of plain text; `right` names the headings whose columns are aligned right, joined by commas.

    `spare` names those that a terminal too narrow for all of them goes without, the first to go first.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    numbers = right.split(",")
    columns = list(zip(headings, *rows, strict=True))
    for heading in spare.split(",") if console.out_is_terminal else ():
        if _width(columns) > console.rich(console.out).width:
            columns = [column for column in columns if column[0] != heading]
    for heading, *_ in columns:
        number = heading in numbers
        table.add_column(heading, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in list(zip(*columns, strict=True))[1:]:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    console.result(table)


def _width(columns: Sequence[Sequence[str]]) -> int:
    """Cells that a table takes where nothing is folded."""
    from rich.cells import cell_len

    widths = [max(cell_len(one_line(cell)) for cell in column) for column in columns]
    return sum(widths) + GAP * (len(widths) - 1)


def show_facts(console: Console, pairs: Pairs, *, title: str | None = None) -> None:
    """Names and values, one a line, the values aligned."""
    console.result(facts_table(pairs, title))


def facts_table(pairs: Pairs, title: str | None = None) -> RenderableType:
    """Names and values as something to print; names dim, values plain."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(Text(one_line(name)), Text(one_line(value)))
    return Group(Text(one_line(title), style="bold"), grid) if title else grid


def plain(value: Any) -> Any:
    """A result as JSON takes it: dataclasses as objects, paths as text, tuples as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(part) for name, part in asdict(value).items()}
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value
