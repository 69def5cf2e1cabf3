"""Lists, facts and quantities as people read them, on standard output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharedllm_cli.cli.terminal.console import Console, one_line

if TYPE_CHECKING:
    from rich.console import RenderableType


Pairs = Iterable[tuple[str, str]]


GAP = 3
"""Cells between two columns."""

LEAST_TEXT = 12
"""Cells that a column of text is left at least; what is longer is folded there."""


def show_table(
    console: Console,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: str = "",
    spare: str = "",
) -> None:
    """A table of plain text; `right` names the headings whose columns are aligned right, joined by commas.

    `spare` names those that a terminal too narrow for all of them goes without, the first to go first. Where even so
    the numbers would not stand whole, each row becomes a block of its own: a cut number is a wrong number.
    """
    columns = list(zip(headings, *rows, strict=True))
    numbers = right.split(",")
    if console.out_is_terminal:
        width = console.rich(console.out).width
        for heading in spare.split(","):
            if _width(columns) > width:
                columns = [column for column in columns if column[0] != heading]
        if _width(columns, numbers) > width and any(heading in numbers for heading, *_ in columns):
            console.result(_blocks(columns))
            return
    console.result(_grid(columns, numbers))


def _width(columns: Sequence[Sequence[str]], whole: Sequence[str] | None = None) -> int:
    """Cells that a table takes where nothing is folded, or nothing but what is not under the headings `whole`."""
    from rich.cells import cell_len

    total = GAP * (len(columns) - 1)
    for column in columns:
        width = max(cell_len(one_line(cell)) for cell in column)
        total += width if whole is None or column[0] in whole else min(width, LEAST_TEXT)
    return total


def _grid(columns: Sequence[Sequence[str]], numbers: Sequence[str]) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for heading, *_ in columns:
        number = heading in numbers
        table.add_column(heading, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in list(zip(*columns, strict=True))[1:]:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    return table


def _blocks(columns: Sequence[Sequence[str]]) -> RenderableType:
    """Each row below the name in its first column, a line for every other column."""
    from rich.console import Group
    from rich.text import Text

    headings, *rows = zip(*columns, strict=True)
    parts: list[RenderableType] = []
    for name, *cells in rows:
        parts += [facts_table(zip(headings[1:], cells, strict=True), title=name), Text("")]
    return Group(*parts[:-1])


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


def count(value: float, unit: str) -> str:
    """A number in its unit's scale: bytes in MB, all else whole, with thousands marked."""
    if unit == "bytes":
        return f"{value / 1e6:,.1f}"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def amount(value: float, unit: str) -> str:
    """A number with its unit: `131,072 tokens`, `98.4 MB`."""
    return f"{count(value, unit)} {'MB' if unit == 'bytes' else unit}".rstrip()


def number_of(count: int, noun: str) -> str:
    """A number of things in the grammatical number that goes with it: `1 chunk`, `1,024 chunks`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def duration(seconds: float) -> str:
    """Seconds as people say them: `0.4 s`, `12 s`, `3 min 20 s`, `1 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(number: float) -> str:
    """Bytes as people say them: `512 B`, `331 MB`, `3.5 GB` (powers of 1,000)."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= scale:
            value = number / scale
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{number:.0f} B"


def page_list(numbers: list[int], noun: str = "page") -> str:
    """Pages by their numbers: `page 4`, `pages 4, 7–9`."""
    return f"{noun if len(set(numbers)) == 1 else noun + 's'} {ranges(numbers)}"


def ranges(numbers: list[int]) -> str:
    """Page numbers as people write them: `4, 7–9`."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in runs)
