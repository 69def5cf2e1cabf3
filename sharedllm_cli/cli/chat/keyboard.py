"""Where a chat's lines come from: an editable prompt on a terminal, with what Tab offers; plain lines from a pipe."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sharedllm_cli.cli.chat import settings as chat_settings
from sharedllm_cli.cli.chat.session import SUFFIX, TYPED
from sharedllm_cli.cli.chat.settings import SECRET, settable
from sharedllm_cli.documents.sources import SUFFIXES
from sharedllm_cli.errors import SharedLLMError, UsageError
from sharedllm_cli.home import ensure_private

if TYPE_CHECKING:
    from prompt_toolkit.completion import Completer
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.key_binding.key_processor import KeyPressEvent

    from sharedllm_cli.cli.terminal.console import Console


PROMPT = "› "
CONTINUED = "\\"
"""At the end of a line: the question goes on in the next one."""
SETS = re.compile(r"\s*/\s*set(.*)", re.IGNORECASE | re.DOTALL)
"""Lines that set something, or were meant to; with what follows."""

Complete = Callable[[str], tuple[int, list[tuple[str, str]]]]
"""From the text before the cursor to the length of the word to replace, and for each offer what to insert and show."""
Offers = list[tuple[str, str]]
"""What may stand in place of the word under the cursor: the text to insert, and what is shown of it."""


class Keyboard(Protocol):
    """A source of lines; `interactive` where a person types them."""

    interactive: bool

    def lines(self) -> Iterator[str]:
        """Lines until the end of input (Ctrl-D)."""


class Pipe:
    """Lines of standard input that is no terminal; one that ends with a backslash goes on in the next."""

    interactive = False

    def lines(self) -> Iterator[str]:
        if hasattr(sys.stdin, "reconfigure"):
            sys.stdin.reconfigure(errors="replace")
        begun = ""
        for line in sys.stdin:
            ended = line.rstrip("\r\n")
            if ended.endswith(CONTINUED):
                begun += ended.removesuffix(CONTINUED) + "\n"
            else:
                yield begun + line
                begun = ""
        if begun:
            yield begun


class Prompt:
    """An editable line or several, with history, its search and completion; drawn on standard error."""

    interactive = True

    def __init__(self, console: Console, history: Path | None, complete: Complete) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.output import create_output

        self._console = console
        self._sign = console.sign(PROMPT, "> ")
        self._session: PromptSession[str] = PromptSession(
            history=_history(history),
            completer=_completer(complete),
            complete_while_typing=False,
            multiline=True,
            prompt_continuation=lambda width, number, wrapped: " " * width,
            key_bindings=_keys(complete),
            output=create_output(stdout=console.err),
        )

    def lines(self) -> Iterator[str]:
        while True:
            try:
                self._console.say("")
                yield self._session.prompt([("bold", self._sign)])
            except KeyboardInterrupt:
                self._console.say("Ctrl-D or /quit leaves", style="dim")
            except EOFError:
                return


def _keys(complete: Complete) -> KeyBindings:
    """Enter sends, Alt-Enter or a backslash at the end begins a new line, Ctrl-C clears the input history.

    Tab puts the one offer that there is in place, so that what lies in a folder can follow at once; of several it
    shows a menu.
    """
    from prompt_toolkit.enums import DEFAULT_BUFFER
    from prompt_toolkit.filters import has_focus
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()
    typing = has_focus(DEFAULT_BUFFER)  # not while the history is searched

    @keys.add("enter", filter=typing)
    def enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state is not None and buffer.complete_state.current_completion is not None:
            buffer.complete_state = None  # takes what was chosen from the menu
        elif buffer.document.is_cursor_at_the_end and buffer.text.endswith(CONTINUED):
            buffer.delete_before_cursor(len(CONTINUED))
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter", filter=typing)
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("tab", filter=typing)
    def tab(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        length, offers = complete(buffer.document.text_before_cursor)
        if buffer.complete_state is None and len(offers) == 1:
            buffer.delete_before_cursor(length)
            buffer.insert_text(offers[0][0])
        elif buffer.complete_state is None:
            buffer.start_completion(insert_common_part=True)
        else:
            buffer.complete_next()

    @keys.add("c-c", filter=typing)
    def clear(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    return keys


def _completer(complete: Complete) -> Completer:
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document

    class Offering(Completer):
        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
            length, offers = complete(document.text_before_cursor)
            for text, shown in offers:
                yield Completion(text, start_position=-length, display=shown)

    return Offering()


def is_kept(line: str) -> bool:
    """Whether a line may stand in the history file: not one that sets a password, however the name is mistyped.

    Of lines that begin with /set only those are kept that name a setting which is no secret, or nothing.
    """
    setting = SETS.match(line)
    if setting is None or not setting[1].strip():
        return True
    try:
        name = settable(setting[1].split(maxsplit=1)[0])
    except UsageError:
        return False
    return setting[1][0].isspace() and name not in SECRET


def _history(path: Path | None) -> History:
    """The lines typed before, of this chat and earlier ones; without a file those of this chat alone."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    class Discreet(FileHistory):
        def store_string(self, string: str) -> None:
            if is_kept(string):
                super().store_string(string)

    return InMemoryHistory() if path is None else Discreet(str(path))


def open_keyboard(console: Console, home: Path, complete: Complete, remember: bool = True) -> Keyboard:
    """The prompt where a person sits at a terminal, else the pipe; `remember`: keep what is typed in a file."""
    if not (sys.stdin.isatty() and console.err_is_terminal):
        return Pipe()
    history = None
    with suppress(OSError, SharedLLMError):
        history = private_file(ensure_private(home) / TYPED) if remember else None
    return Prompt(console, history, complete)


def private_file(path: Path) -> Path:
    """Create a file that only the user can read, if there is none; returns it."""
    os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
    path.chmod(0o600)
    return path


@dataclass
class Suggestions:
    """Completes the text before the cursor. `commands` are the words and whether something follows them.

    `documents` gives the names of those that are open, once a conversation has begun.
    """

    commands: Mapping[str, bool]
    documents: Callable[[], Sequence[str]] = field(default=lambda: ())

    def offers(self, text: str) -> tuple[int, Offers]:
        """The length of the word to replace and what to replace it with; nothing for text that is no command."""
        command, space, rest = text.partition(" ")
        if not text.startswith("/") or "\n" in text:
            return 0, []
        if not space:
            return len(command), [
                (word + " " * follows, word) for word, follows in self.commands.items() if word.startswith(command)
            ]
        if command == "/set":
            return self._setting(rest)
        raw, word = last_word(rest)
        if command == "/drop":
            return len(raw), [(quoted(name), name) for name in self.documents() if _begins(name, word)]
        wanted = {"/add": (*SUFFIXES,), "/load": (SUFFIX,), "/save": (SUFFIX,)}.get(command)
        return (0, []) if wanted is None else (len(raw), paths(word, wanted))

    def _setting(self, rest: str) -> tuple[int, Offers]:
        name, space, value = rest.partition(" ")
        if not space:
            return len(name), [(one + " ", one) for one in chat_settings.names() if one.startswith(name)]
        return len(value), [(one, one) for one in chat_settings.values(name) if one.startswith(value)]


def paths(word: str, suffixes: Iterable[str]) -> Offers:
    """Folders and files of these kinds that a path may go on to; hidden ones only where a dot asks for them."""
    folder, begun = os.path.split(word)
    try:
        entries = sorted(os.scandir(Path(folder or ".").expanduser()), key=lambda entry: entry.name)
        found = [(entry.name, entry.is_dir()) for entry in entries]
    except (OSError, RuntimeError, ValueError):
        return []
    offers = []
    for name, is_folder in found:
        wanted = is_folder or Path(name).suffix.lower() in suffixes
        if wanted and name.startswith(begun) and (begun or not name.startswith(".")):
            path = os.path.join(folder, name)
            # The quote stays open after a folder, so that what lies in it can follow.
            offers.append((quoted(path + "/", is_open=True), name + "/") if is_folder else (quoted(path), name))
    return offers


def last_word(text: str) -> tuple[str, str]:
    """The word at the end of a line, as it stands there (quotes, escapes) and as it is meant; it may be unfinished."""
    start, quote, place = 0, "", 0
    while place < len(text):
        letter = text[place]
        if letter == "\\" and quote != "'":
            place += 1
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter.isspace():
            start = place + 1
        place += 1
    raw = text[start:]
    for ending in ("", "'", '"'):
        try:
            return raw, "".join(shlex.split(raw + ending))
        except ValueError:
            continue
    return raw, raw.rstrip("\\")


def quoted(text: str, *, is_open: bool = False) -> str:
    """Text as one word of a command; `is_open` leaves out the quote at its end. A leading `~/` stays a home folder."""
    home = "~/" if text.startswith("~/") else ""
    text = text.removeprefix(home)
    word = shlex.quote(text) if text else ""
    if "'" in text and not set(text) & set('"\\'):
        word = f'"{text}"'  # quotes within quotes are hard to read
    return home + (word[:-1] if is_open and word != text else word)


def _begins(name: str, word: str) -> bool:
    return name.casefold().startswith(word.casefold())
