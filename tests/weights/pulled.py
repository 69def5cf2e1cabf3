"""What tests of pulling share: a reporter that remembers, and stand-ins for the registry and for pip."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sharedllm_cli.progress import Silent
from sharedllm_cli.weights import known as known_here
from sharedllm_cli.weights import pull as pulling
from sharedllm_cli.weights.known import KnownModel

MEMBER = "tiny_weights/tiny.gguf"


class Recorder(Silent):
    """Keeps the notes and what each task counted; `interrupt` is raised at the first advance of a task so called."""

    def __init__(self, interrupt: str | None = None) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.counted: dict[str, list[int]] = {}
        self.totals: dict[str, int] = {}
        self.interrupt = interrupt

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def task(self, description: str, total: int, unit: str) -> Iterator[Any]:
        assert unit == "bytes"
        counted = self.counted[description] = []
        self.totals[description] = total

        def advance(amount: int) -> None:
            if self.interrupt and self.interrupt in description:
                raise KeyboardInterrupt
            counted.append(amount)

        yield SimpleNamespace(advance=advance)


def use(model: KnownModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_here, "_KNOWN", (model,))


def left_in(home: Path) -> list[str]:
    """What lies in the models folder, but for locks and the memory of hashes."""
    names = (path.name for path in (home / "models").iterdir())
    return sorted(name for name in names if not name.endswith(".lock") and name != "hashes.json")


def stand_in(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Run a Python script in pip's place; it finds the destination folder as its argument."""
    monkeypatch.setattr(pulling, "pip_command", lambda _, folder: [sys.executable, "-c", script, str(folder)])
