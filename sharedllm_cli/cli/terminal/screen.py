"""What rich draws on a terminal: a styled console, and progress bars in one live display that always ends.

Imported only where something styled is printed: loading rich takes longer than a help page may.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TaskID, TextColumn
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from sharedllm_cli.cli.terminal.tables import amount, count, duration

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.console import ConsoleOptions, RenderableType, RenderResult
    from rich.progress import Task as RichTask
    from rich.progress_bar import ProgressBar


LONG = 2.0
"""Seconds from which on a finished task leaves a line behind."""
NARROWEST = 10
"""Columns that a text has at least beside what stands before it."""


class Bars:
    """The live display: started by the first task, stopped by the last, whatever ends it."""

    def __init__(self, console: RichConsole) -> None:
        self.console = console
        self._progress: Progress | None = None
        self._running = 0

    def add(self, description: str, total: int, unit: str) -> TaskID:
        if self._progress is None:
            self._progress = Progress(
                SpinnerColumn(style="cyan", finished_text=" "),
                TextColumn("{task.description}", markup=False),
                KnownBar(bar_width=28, complete_style="cyan", finished_style="cyan"),
                Measure(),
                console=self.console,
                transient=True,
            )
            self._progress.start()
        self._running += 1
        return self._progress.add_task(description, total=total or None, unit=unit)

    def advance(self, task: TaskID | None, amount: int) -> None:
        if self._progress is not None and task is not None:
            self._progress.advance(task, amount)

    def finish(self, task: TaskID | None, summary: str | None) -> None:
        if self._progress is None or task is None:
            return
        self._progress.remove_task(task)
        if summary:
            self.console.print(Text(summary, style="dim"))
        self._running -= 1
        if self._running == 0:
            self._progress.stop()
            self._progress = None


class Bar:
    """One task: a context manager that is its own `progress.Task`."""

    def __init__(self, bars: Bars, description: str, total: int, unit: str) -> None:
        self._bars, self._description, self._total, self._unit = bars, description, total, unit
        self._done = 0
        self._task: TaskID | None = None
        self._started = monotonic()

    def __enter__(self) -> Bar:
        self._started = monotonic()
        self._task = self._bars.add(self._description, self._total, self._unit)
        return self

    def advance(self, amount: int) -> None:
        self._done += amount
        self._bars.advance(self._task, amount)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = monotonic() - self._started
        finished = kind is None and seconds >= LONG and self._done > 0
        self._bars.finish(self._task, self._summary(seconds) if finished else None)

    def _summary(self, seconds: float) -> str:
        rate = amount(self._done / seconds, self._unit)
        return f"{self._description} · {amount(self._done, self._unit)} in {duration(seconds)} · {rate}/s"


class KnownBar(BarColumn):
    """A bar where the end is known; elsewhere the spinner is sign of life enough."""

    def render(self, task: RichTask) -> ProgressBar | Text:  # type: ignore[override]
        return Text("") if task.total is None else super().render(task)


class Measure(ProgressColumn):
    """Done of all, the rate and the time left, in the task's own unit."""

    def render(self, task: RichTask) -> Text:
        unit = str(task.fields.get("unit", ""))
        if not task.total:
            return Text(amount(task.completed, unit) if task.completed else duration(task.elapsed or 0.0), style="dim")
        parts = [f"{count(task.completed, unit)} of {amount(task.total, unit)}"]
        if task.speed and not task.finished:
            parts.append(f"{amount(task.speed, unit)}/s")
            if task.time_remaining is not None:
                parts.append(f"{duration(task.time_remaining)} left")
        return Text(" · ".join(parts), style="dim")


class Screen(Console):
    """Leaves the breaking of lines to the terminal, so that what is copied has no others, and no blanks at their ends.

    Raises BrokenPipeError like any other stream; rich itself would end the process with a fault's exit code.
    """

    def show(self, renderable: RenderableType, style: str | None = None) -> None:
        """Print a text as it is; a table or a block as wide as the terminal."""
        if isinstance(renderable, str | Text):
            self.print(renderable, style=style, soft_wrap=True)
            return
        whole = Style.parse(style) if style else None
        for line in self.render_lines(renderable, style=whole, pad=False):
            self.print(Text.assemble(*((part.text, part.style or "") for part in _trimmed(line))), soft_wrap=True)

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


class Hanging:
    """A text behind what stands before its first line; its further lines are as far to the right."""

    def __init__(self, text: Text, before: Text) -> None:
        self._text, self._before = text, before

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        indent = self._before.cell_len
        for number, line in enumerate(self._text.wrap(console, max(options.max_width - indent, NARROWEST))):
            yield Text.assemble(" " * indent if number else self._before, line)


def _trimmed(line: Sequence[Segment]) -> list[Segment]:
    """A line without the blanks at its end, which only fill it up."""
    parts = [part for part in line if not part.control]
    while parts and not parts[-1].text.strip():
        parts.pop()
    if parts:
        parts[-1] = Segment(parts[-1].text.rstrip(), parts[-1].style)
    return parts
