"""Plots as PNG: a grid of numbers, and series over an axis. Numbers and words in, a picture out.

matplotlib is an extra (`pip install 'sharedllm-cli[eval]'`), loaded when something is drawn. Whoever has numbers keeps
them first and draws afterwards by `keep`, which warns where there is nothing to draw with. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharedllm_cli import durable
from sharedllm_cli.errors import UsageError
from sharedllm_cli.progress import Reporter

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INSTALL = "install it with `pip install 'sharedllm-cli[eval]'`"
_DOTS_PER_INCH = 150
_SERIES_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette: told apart with any colour vision. Marks and dashes differ, too."""
_MARKS, _DASHES = "osD^vXP", ("-", "--", ":", "-.")
_MOST_TICKS, _MOST_MARKS = 12, 40
"""Up to so many different x have a tick each, and a series of up to so many points a mark at each."""


@dataclass(frozen=True)
class Series:
    """A named line. `low` and `high`, where given, bound a band around it, point by point; a NaN leaves a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass(frozen=True)
class Panel:
    """Series that share a vertical axis. `log_y`: it is logarithmic. `zero`: a thin line marks zero."""

    measure: str
    series: Sequence[Series]
    log_y: bool = False
    zero: bool = False


def heat_map(
    values: Sequence[Sequence[float | None]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    row_title: str,
    column_title: str,
    title: str,
    measure: str,
    bounds: tuple[float, float] | None = None,
    cells: Sequence[Sequence[str]] | None = None,
    centred: bool = False,
) -> bytes:
    """A grid [rows][columns] of coloured cells with their values, as PNG; None leaves a cell empty.

    `bounds` are the values at the ends of the colour scale (by default the smallest and the largest), `cells` the words
    in the cells (by default two decimals). `centred`: a scale of two colours about zero. `measure` names the scale.
    Raises UsageError where matplotlib is not installed, ValueError where the sizes do not agree.
    """
    if len(values) != len(rows) or any(len(line) != len(columns) for line in values):
        raise ValueError(f"{len(rows)} rows of {len(columns)} columns have other values")
    figure = _figure(1.8 + 0.85 * max(len(columns), 4), 1.6 + 0.5 * max(len(rows), 3))
    axes = figure.add_subplot()
    numbers = [[float("nan") if value is None else value for value in line] for line in values]
    low, high = bounds or _bounds(values, centred=centred)
    # Both maps keep their order in grey and for any colour vision.
    image = axes.imshow(numbers, cmap="PuOr" if centred else "cividis", vmin=low, vmax=high, aspect="auto")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel=column_title, ylabel=row_title, title=title)
    axes.set_xticks([place - 0.5 for place in range(1, len(columns))], minor=True)
    axes.set_yticks([place - 0.5 for place in range(1, len(rows))], minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)  # cells stay apart where their colours are the same
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, label=measure)
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            text = ("–" if value is None else f"{value:.2f}") if cells is None else cells[row][column]
            colour = "black" if value is None or _is_light(image, value) else "white"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    return _png(figure)


def curves(panels: Sequence[Panel], *, x_title: str, title: str, log_x: bool = False) -> bytes:
    """One or more panels below each other over the same x axis (logarithmic with `log_x`), as PNG.

    Raises UsageError where matplotlib is not installed.
    """
    figure = _figure(7.5, 1.2 + 3.0 * len(panels))
    rows = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(rows, panels, strict=True):
        _draw(axes, panel)
    if log_x:
        rows[-1].set_xscale("log")
    places = sorted({x for panel in panels for series in panel.series for x in series.x})
    if log_x and len(places) <= _MOST_TICKS:
        rows[-1].set_xticks(places, [f"{place:,.6g}" if place < 1 else f"{place:,.0f}" for place in places])
        rows[-1].set_xticks([], minor=True)
    rows[0].set_title(title)
    rows[-1].set_xlabel(x_title)
    return _png(figure)


def keep(path: Path, draw: Callable[[], bytes], reporter: Reporter) -> bool:
    """Write what `draw` gives beside `path` and rename it into place, readable by the user alone.

    Without matplotlib there is a warning instead, for the numbers are worth keeping without a picture of them. Returns
    whether there is a plot. Raises what `durable.writing` raises where the folder can't be written.
    """
    try:
        picture = draw()
    except UsageError as problem:
        reporter.warn(f"{path.name} is not drawn: {problem.message}; {problem.hint}")
        return False
    with durable.writing(path.parent):
        durable.replace_bytes(path, picture)
    return True


def _draw(axes: Axes, panel: Panel) -> None:
    if panel.log_y:
        axes.set_yscale("log")
    if panel.zero:
        axes.axhline(0, color="#888888", linewidth=0.8)
    for place, series in enumerate(panel.series):
        colour = _SERIES_COLOURS[place % len(_SERIES_COLOURS)]
        mark = _MARKS[place % len(_MARKS)] if len(series.x) <= _MOST_MARKS else None
        dash = _DASHES[place % len(_DASHES)]
        axes.plot(series.x, series.y, dash, marker=mark, markersize=4, color=colour, label=series.name)
        if series.low is not None and series.high is not None:
            axes.fill_between(series.x, series.low, series.high, color=colour, alpha=0.15, linewidth=0)
    axes.set_ylabel(panel.measure)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if len(panel.series) > 1:
        axes.legend(frameon=False, fontsize=9, ncols=1 + (len(panel.series) - 1) // 8)


def _bounds(values: Sequence[Sequence[float | None]], *, centred: bool) -> tuple[float, float]:
    """The ends of a colour scale that reaches over all values."""
    given = [value for line in values for value in line if value is not None] or [0.0]
    low, high = min(given), max(given)
    if centred:
        reach = max(abs(low), abs(high)) or 1.0
        return -reach, reach
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def _is_light(image: Any, value: float) -> bool:
    """Whether black letters are the better ones on a value's colour: its luminance (ITU-R BT.709) is above a half."""
    red, green, blue, _ = image.cmap(image.norm(value))
    return bool(0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5)


def _figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches; no window system and no state of matplotlib's own is touched."""
    with _installed():
        from matplotlib.figure import Figure
    return Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")


@contextmanager
def _installed() -> Iterator[None]:
    try:
        yield
    except ImportError as problem:
        raise UsageError("the library matplotlib is not installed", hint=INSTALL) from problem


def _png(figure: Figure) -> bytes:
    written = BytesIO()
    # Without the version of matplotlib equal numbers give equal bytes on one machine.
    figure.savefig(written, format="png", metadata={"Software": None})
    return written.getvalue()
