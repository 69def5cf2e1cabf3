"""What Tab offers in a chat: commands, settings and their values, documents, paths, kept conversations. No terminal."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sharedllm_cli.cli.chat import settings as chat_settings
from sharedllm_cli.cli.chat.session import SUFFIX
from sharedllm_cli.documents.sources import SUFFIXES

Offers = list[tuple[str, str]]
"""What may stand in place of the word under the cursor: the text to insert, and what is shown of it."""


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
