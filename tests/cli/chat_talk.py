"""Scripted conversations with the fake engine: from a pipe, and as if a person sat at the prompt."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from fake_engine import Ran, Script, call

ANSWER = "The lamp is lit at dusk."


def talk(
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
    *lines: str,
    flags: tuple[str, ...] = (),
    documents: tuple[str, ...] = ("book.pdf",),
) -> Ran:
    """A chat whose lines come from a pipe."""
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    return call(script, "chat", *documents, *flags)


def asked(script: Script) -> list[Any]:
    return [value for name, value in script.calls if name == "ask"]


class Typist:
    """A person at the prompt."""

    interactive = True

    def __init__(self, *lines: str) -> None:
        self._lines = lines

    def lines(self) -> Iterator[str]:
        yield from self._lines


class Impatient(Script):
    """Interrupts an answer, the first unless `at` says otherwise, after its first piece."""

    at = 1

    def make(self, *arguments: Any) -> Any:
        engine = super().make(*arguments)
        plain = engine.ask

        def ask(*values: Any, **named: Any) -> Any:
            pieces = plain(*values, **named)
            yield next(pieces)
            if len(asked(self)) == self.at:
                try:
                    raise KeyboardInterrupt
                finally:
                    pieces.close()
            yield from pieces

        engine.ask = ask
        return engine
