"""Who hears of work in the thread that does it: the caller of the moment, and nobody once that caller has gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from sharedllm_cli.progress import Reporter, Silent, Task
from sharedllm_cli.serving.turns import Job

Progress = Callable[[str, int, int, str], None]
"""Gets a description, how much is done, of how much (0: not known), and the unit."""
Remark = tuple[str, tuple[str, ...]]
"""A note, warning or detail: the reporter's method and what it was given."""


class ProgressReporter(Silent):
    """A reporter that calls back with progress; warnings are kept, remarks passed over."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    @contextmanager
    def task(self, description: str, total: int, unit: str) -> Iterator[Task]:
        self._progress(description, 0, total, unit)
        yield _Counted(self._progress, description, total, unit)


class _Counted:
    def __init__(self, progress: Progress, description: str, total: int, unit: str) -> None:
        self._progress, self._description, self._total, self._unit = progress, description, total, unit
        self._done = 0

    def advance(self, amount: int) -> None:
        self._done += amount
        self._progress(self._description, self._done, self._total, self._unit)


class CurrentReporter:
    """The engine's reporter: passes on to that of the job that runs, and ends a job that nobody waits for."""

    def __init__(self) -> None:
        self._reporter: Reporter = Silent()
        self._job: Job | None = None
        self._remembered: list[list[Remark]] = []

    def begin(self, job: Job, reporter: Reporter) -> None:
        self._job, self._reporter = job, reporter

    def end(self) -> None:
        self._job, self._reporter = None, Silent()

    @contextmanager
    def remembering(self) -> Iterator[list[Remark]]:
        """What is remarked from here on."""
        remarks: list[Remark] = []
        self._remembered.append(remarks)
        try:
            yield remarks
        finally:
            self._remembered.pop()

    def repeat(self, remarks: Sequence[Remark]) -> None:
        for kind, texts in remarks:
            getattr(self._reporter, kind)(*texts)

    @contextmanager
    def task(self, description: str, total: int, unit: str) -> Iterator[Task]:
        self._check()
        inner: AbstractContextManager[Task] = self._reporter.task(description, total, unit)
        with inner as task:
            yield _Stoppable(task, self._check)

    def note(self, text: str) -> None:
        self._remember("note", text)
        self._reporter.note(text)

    def warn(self, text: str) -> None:
        self._remember("warn", text)
        self._reporter.warn(text)

    def detail(self, title: str, text: str) -> None:
        self._remember("detail", title, text)
        self._reporter.detail(title, text)

    def _remember(self, kind: str, *texts: str) -> None:
        for remarks in self._remembered:
            remarks.append((kind, texts))

    def _check(self) -> None:
        if self._job is not None:
            self._job.check()


class _Stoppable:
    def __init__(self, task: Task, check: Callable[[], None]) -> None:
        self._task, self._check = task, check

    def advance(self, amount: int) -> None:
        self._check()
        self._task.advance(amount)
