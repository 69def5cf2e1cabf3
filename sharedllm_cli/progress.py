"""How long work reports its progress. The command line draws it; a library user may ignore it.

Floor 0: knows nobody. Every long step takes a `Reporter` and never prints.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work under way."""

    def advance(self, amount: int) -> None:
        """`amount` more units are done."""


class Reporter(Protocol):
    """Where progress, remarks and warnings go."""

    def task(self, description: str, total: int, unit: str) -> AbstractContextManager[Task]:
        """A context manager around work of `total` units (`tokens`, `pages`, `bytes`); yields its `Task`."""

    def note(self, text: str) -> None:
        """A remark that the user may like to know."""

    def warn(self, text: str) -> None:
        """Something the user should know."""

    def detail(self, title: str, text: str) -> None:
        """Something long, under a title, for a user who asked to see everything."""


class Silent:
    """A reporter that says nothing, but keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    @contextmanager
    def task(self, description: str, total: int, unit: str) -> Iterator[Task]:
        yield _Ignored()

    def note(self, text: str) -> None:
        return None

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def detail(self, title: str, text: str) -> None:
        return None


class _Ignored:
    def advance(self, amount: int) -> None:
        return None


class RememberingReporter:
    """Another reporter, whose warnings are kept as well: for an answer, which is given back with its own."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.task = reporter.task
        self.note = reporter.note
        self.detail = reporter.detail
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        """Told once, however often it is said before `warnings` is cleared."""
        if text not in self.warnings:
            self.warnings.append(text)
            self._reporter.warn(text)
