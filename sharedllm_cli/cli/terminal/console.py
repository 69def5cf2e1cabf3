"""All printing: results to standard output, everything else to standard error.

Text of documents and models is untrusted: it is stripped of control characters and never read as markup. Bars,
colours and live displays appear only on a terminal; NO_COLOR, TERM=dumb and --quiet are honoured.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from sharedllm_cli.errors import SharedLLMError
from sharedllm_cli.progress import Silent, Task

if TYPE_CHECKING:
    from rich.console import RenderableType

    from sharedllm_cli.cli.terminal.screen import Bars, Screen

CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Everything a terminal may obey or hide instead of show: C0 but tab and line feed, DEL, C1, marks of direction, tags
and all else without width that text can be hidden in, surrogates. What shapes letters and signs (U+200C, U+200D, the
selectors of Mongolian, those up to U+FE0F) stays."""


UNBOUNDED = 100_000
"""Columns of a stream that is no terminal: nothing is wrapped there."""


def harmless(text: str) -> str:
    """Text that a terminal can only show: no control characters but line feeds and tabs."""
    return CONTROLS.sub("", text)


def one_line(text: str) -> str:
    """Harmless text on a single line, runs of white space as one space."""
    return " ".join(harmless(text).split())


def one_line_indented(text: str) -> str:
    """Like `one_line`, with the spaces before the text kept."""
    return " " * (len(text) - len(text.lstrip(" "))) + one_line(text)


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """JSON in which every character that a terminal may obey is written as an escape."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return CONTROLS.sub(lambda match: json.dumps(match[0])[1:-1], text)


class Console:
    """The two streams of one call, and a `Reporter` that draws on the second."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self.quiet = False
        self.verbose = False
        self.kept: str | None = None
        """What an interrupted command leaves behind, told on Ctrl-C."""
        self.warned: set[str] = set()
        self._rich: dict[int, Screen] = {}
        self._bars: Bars | None = None

    # Streams

    @property
    def out_is_terminal(self) -> bool:
        return _is_terminal(self.out)

    @property
    def err_is_terminal(self) -> bool:
        return _is_terminal(self.err)

    def rich(self, stream: TextIO) -> Screen:
        """The styled console of a stream; on a non-terminal it writes plain text of any width."""
        key = id(stream)
        if key not in self._rich:
            from sharedllm_cli.cli.terminal.screen import Screen

            terminal = _is_terminal(stream)
            self._rich[key] = Screen(
                file=stream,
                force_terminal=terminal,
                no_color=not terminal or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb",
                highlight=False,
                markup=False,
                emoji=False,
                soft_wrap=not terminal,
                width=None if terminal else UNBOUNDED,
            )
        return self._rich[key]

    def width(self) -> int:
        """Columns of the terminal on standard error."""
        return self.rich(self.err).width

    def sign(self, sign: str, plain: str) -> str:
        """A sign, or plain letters where standard error can't encode it."""
        try:
            sign.encode(self.err.encoding or "utf-8")
        except (UnicodeEncodeError, LookupError):
            return plain
        return sign

    # Standard output: results

    def write(self, text: str) -> None:
        """A piece of the answer, as it comes."""
        self.out.write(harmless(text))
        self.out.flush()

    def result(self, renderable: RenderableType) -> None:
        """A command's result: a table or a block of text."""
        if self.out_is_terminal:
            self.rich(self.out).show(renderable)
        else:
            with self.rich(self.out).capture() as captured:
                self.rich(self.out).print(renderable)
            self.out.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()) or "\n")
        self.out.flush()

    def line(self, text: str) -> None:
        """A command's result in one line of plain text."""
        self.out.write(one_line(text) + "\n")
        self.out.flush()

    def line_as_is(self, text: str) -> None:
        """A command's result in one line, with the spaces before it."""
        self.out.write(one_line_indented(text) + "\n")

    def line_indented(self, text: str) -> None:
        """A detail below a line of a result."""
        self.out.write(f"  {one_line(text)}\n")

    def json(self, value: Any, *, one_line: bool = False) -> None:
        """An object of `--json`."""
        self.out.write(to_json(value, indent=None if one_line else 2) + "\n")
        self.out.flush()

    # Standard error: everything else

    def say(self, renderable: RenderableType, style: str | None = None) -> None:
        """A line beside the result; nothing with --quiet."""
        if not self.quiet:
            self._print(renderable, style=style)

    def say_plain(self, text: str) -> None:
        """A line beside the result that holds text of others (names of files and models)."""
        self.say(one_line_indented(text))

    def tell_plain(self, text: str) -> None:
        """The same, also with --quiet: what the user asked for and can't find otherwise."""
        self._print(one_line_indented(text))

    def note(self, text: str) -> None:
        """A remark that the user may like to know."""
        if not self.quiet:
            self._labelled("note", text, "cyan")

    def warn(self, text: str) -> None:
        """Something the user should know, also with --quiet; each text once until `warn_again`."""
        if text not in self.warned:
            self.warned.add(text)
            self._labelled("warning", text, "yellow")

    def warn_again(self, *, but: Iterable[str] = ()) -> None:
        """Another answer begins, and what it is warned of is told though an earlier one was warned of the same.

        `but` are warnings of no answer in particular, which every answer repeats: they are told once.
        """
        self.warned.intersection_update(but)

    def detail(self, title: str, text: str) -> None:
        """A long text under its title, with --verbose; its lines stay as they are."""
        from rich.text import Text

        if self.verbose:
            self._print(Text.assemble((f"{one_line(title)}:\n", "bold"), harmless(text).rstrip("\n")))

    def warn_all(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.warn(text)

    def problem(self, error: SharedLLMError, *, about: str | None = None) -> None:
        """An error as one line `error: …` and, where there is a way out, one line `hint: …`."""
        self._labelled(
            "error", f"{about}: {error.message}" if about and about not in error.message else error.message, "bold red"
        )
        if error.hint:
            self._labelled("hint", error.hint, "bold")

    def interrupted(self) -> None:
        """Ctrl-C: one line that says so, and what is kept."""
        self._print("interrupted" + (f": {self.kept}" if self.kept else ""))

    def traceback(self, error: BaseException) -> None:
        """The whole story of an error, for --verbose."""
        import traceback

        self.err.write(harmless("".join(traceback.format_exception(error))))

    def _labelled(self, label: str, text: str, style: str) -> None:
        from rich.text import Text

        self._print(Text.assemble((f"{label}: ", style), one_line(text)))

    def _print(self, renderable: RenderableType, style: str | None = None) -> None:
        self.rich(self.err).show(renderable, style)

    # Progress

    def task(self, description: str, total: int, unit: str) -> AbstractContextManager[Task]:
        """A context manager around work of `total` units; a bar on a terminal, silent elsewhere."""
        if not self.err_is_terminal or self.quiet or os.environ.get("TERM") == "dumb":
            return Silent().task(description, total, unit)
        from sharedllm_cli.cli.terminal.screen import Bar, Bars

        if self._bars is None:
            self._bars = Bars(self.rich(self.err))
        return Bar(self._bars, one_line(description), total, unit)

    def waiting(self, description: str) -> AbstractContextManager[Task]:
        """A context manager around work whose length nobody knows: on a terminal a sign of life with the seconds."""
        return self.task(description, 0, "")

    def confirm(self, question: str) -> bool:
        """Ask yes or no on the terminal; no answer is no."""
        self._print(f"{one_line(question)} [y/N] ", style="bold")
        with suppress(EOFError):
            return input().strip().lower() in ("y", "yes")
        return False


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:
        return False


def make_console(environment: Mapping[str, str] = os.environ) -> Console:
    """The console of this process; characters that its streams can't encode are replaced, never fatal.

    A stream that was closed before the process began takes everything and shows nothing.
    """
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    return Console()
