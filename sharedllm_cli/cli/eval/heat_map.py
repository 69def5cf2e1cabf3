"""A grid of shares on standard output: every cell has its figures, and on a terminal a colour."""

from __future__ import annotations

from collections.abc import Sequence

from sharedllm_cli.cli.terminal.console import Console, one_line

_COLOURS = (
    ("white", "#00224e"),
    ("white", "#35456c"),
    ("white", "#666970"),
    ("black", "#948e77"),
    ("black", "#c8b866"),
    ("black", "#fee838"),
)
"""Letters and ground from the lowest share to the highest: the map cividis, as in the plots."""


def show_heat_map(
    console: Console,
    corner: str,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    shares: Sequence[Sequence[float | None]],
) -> None:
    """Cells [rows][columns] of plain text, coloured by their shares from 0 to 1 (None: no colour)."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold", show_edge=False)
    grid.add_column(corner, justify="right", no_wrap=True)
    for column in columns:
        grid.add_column(column, justify="center", no_wrap=True)
    for name, line, values in zip(rows, cells, shares, strict=True):
        coloured = [Text(f" {one_line(text)} ", style(share)) for text, share in zip(line, values, strict=True)]
        grid.add_row(Text(name), *coloured)
    console.result(grid)


def style(share: float | None) -> str:
    """The colours of a cell by its share."""
    if share is None:
        return ""
    letters, ground = _COLOURS[min(int(share * len(_COLOURS)), len(_COLOURS) - 1)]
    return f"{letters} on {ground}"
