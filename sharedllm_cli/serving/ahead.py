"""A question that is sent to the warm process before the command line is parsed, which takes as long as the search.

Only the plainest `ask` is sent: files that exist, a question, flags that change the output alone. Nothing depends on
it: the command then goes its usual way, and `WarmEngine` compares each request that it is to send with what was sent
ahead. Where they differ it closes that connection, which stops the work, and sends its own. Imports nothing heavy.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sharedllm_cli.config import Settings, resolve
from sharedllm_cli.errors import SharedLLMError
from sharedllm_cli.home import config_file, home_folder, run_folder
from sharedllm_cli.serving import wire
from sharedllm_cli.serving.sockets import connect, socket_path

OF_THE_OUTPUT = frozenset({"--json", "--quiet", "-q", "--verbose", "-v", "--sources", "--no-sources", "--no-stream"})
"""The flags with which a question is sent ahead: the other process need not know them."""


@dataclass(frozen=True)
class Ahead:
    """A connection and the requests that were sent over it."""

    path: Path
    connection: socket.socket
    sent: tuple[bytes, ...]


_waiting: list[Ahead] = []


def can_open(documents: Sequence[str]) -> bool:
    """Whether another process finds the same documents: no pipe is among them, and the current folder exists."""
    with suppress(OSError, ValueError):
        os.getcwd()
        return not any(map(_is_own, documents))
    return False


def _is_own(document: str) -> bool:
    """Whether a path means something in this process alone."""
    if document.startswith(("/dev/", "/proc/")):
        return True
    try:
        return stat.S_ISFIFO(os.stat(os.path.expanduser(document)).st_mode)
    except (OSError, ValueError):
        return False


def open_request(documents: Sequence[str], settings: Settings, *, reindex: bool = False) -> dict[str, Any]:
    """The request that opens documents."""
    opened = {"op": "open", "documents": list(documents), "reindex": reindex}
    return {**opened, "folder": os.getcwd(), "settings": asdict(settings)}


def ask_request(
    question: str,
    settings: Settings,
    *,
    history: Sequence[Any] = (),
    pages: Any = None,
    section: str | None = None,
) -> dict[str, Any]:
    """The request that asks about the documents opened last."""
    words = {"question": question, "section": section, "pages": None if pages is None else str(pages)}
    asked = {"op": "ask", "settings": asdict(settings), **words}
    return {**asked, "history": [[turn.question, turn.answer] for turn in history]}


def send_ahead(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Send a plain `ask` to the warm process, if there is one for it; nothing is raised or printed."""
    plain = [argument for argument in arguments[1:] if argument not in OF_THE_OUTPUT]
    *documents, question = plain or [""]
    with suppress(OSError, ValueError, RuntimeError, SharedLLMError):
        home = home_folder(environment)
        if arguments[:1] != ["ask"] or not run_folder(home).is_dir() or not _is_plain(documents, question):
            return
        settings = _settings(environment)
        connection = connect(path := socket_path(settings, home)) if settings.serve else None
        if connection is not None:
            requests = open_request(documents, settings), ask_request(question.strip(), settings)
            sent = tuple(map(wire.line, requests))
            _waiting.append(Ahead(path, connection, sent))
            connection.sendall(b"".join(sent))


def take(path: Path) -> Ahead | None:
    """What was sent ahead to the process at a socket, for the first who asks; what went elsewhere is given up."""
    while _waiting:
        found = _waiting.pop()
        if found.path == path:
            return found
        found.connection.close()
    return None


def _is_plain(documents: Sequence[str], question: str) -> bool:
    """Whether words are files, then a question that is none, and no flag is among them."""
    if any(word.startswith("-") for word in (*documents, question)) or not question.strip():
        return False
    are_files = bool(documents) and all(map(os.path.isfile, documents)) and can_open(documents)
    return are_files and not os.path.exists(question)


def _settings(environment: Mapping[str, str]) -> Settings:
    file: dict[str, Any] = {}
    if os.path.lexists(path := config_file(environment)):
        from sharedllm_cli.configuration import read_config

        file = read_config(path)
    return resolve({}, environment, file).settings
