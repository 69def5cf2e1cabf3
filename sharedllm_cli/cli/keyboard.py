"""Where a chat's lines come from: an editable prompt on a terminal, plain lines from a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sharedllm_cli.errors import SharedLLMError
from sharedllm_cli.home import ensure_private

if TYPE_CHECKING:
    from sharedllm_cli.cli.console import Console

PROMPT = "› "


class Keyboard(Protocol):
    """A source of lines; `interactive` where a person types them."""

    interactive: bool

    def lines(self) -> Iterator[str]:
        """Lines until the end of input (Ctrl-D)."""


class Pipe:
    """Lines of standard input that is no terminal."""

    interactive = False

    def lines(self) -> Iterator[str]:
        yield from sys.stdin


class Prompt:
    """An editable line with history and completion of slash commands; drawn on standard error."""

    interactive = True

    def __init__(self, console: Console, history: Path | None, words: Sequence[str]) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import WordCompleter
        from prompt_toolkit.history import FileHistory, InMemoryHistory
        from prompt_toolkit.output import create_output

        self._console = console
        self._session: PromptSession[str] = PromptSession(
            history=FileHistory(str(history)) if history else InMemoryHistory(),
            completer=WordCompleter(list(words), sentence=True),
            complete_while_typing=False,
            output=create_output(stdout=console.err),
        )

    def lines(self) -> Iterator[str]:
        while True:
            self._console.say("")
            try:
                yield self._session.prompt(PROMPT)
            except KeyboardInterrupt:
                self._console.say("Ctrl-D or /quit leaves", style="dim")
            except EOFError:
                return


def open_keyboard(console: Console, home: Path, words: Sequence[str]) -> Keyboard:
    """The prompt where a person sits at a terminal, else the pipe."""
    if not (sys.stdin.isatty() and console.err_is_terminal):
        return Pipe()
    history = None
    with suppress(OSError, SharedLLMError):
        history = private_file(ensure_private(home) / "chat-history")
    return Prompt(console, history, words)


def private_file(path: Path) -> Path:
    """Create a file that only the user can read, if there is none; returns it."""
    os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
    path.chmod(0o600)
    return path
