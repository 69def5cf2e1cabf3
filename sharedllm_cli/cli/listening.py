"""What commands that serve have in common: the host, who may ask about what, where they listen, how they end."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharedllm_cli.cli.call import INTERRUPTED, Call, make_engine
from sharedllm_cli.cli.preflight import named_collections, refuse_unknown
from sharedllm_cli.errors import DocumentError, SharedLLMError, UsageError

if TYPE_CHECKING:
    from sharedllm_cli.answer import NotRead
    from sharedllm_cli.serving.granted import Granted
    from sharedllm_cli.serving.host import Host

LEAST_TOKEN = 16
TERMINATED = 128 + 15
"""What a shell reports for a program that SIGTERM ended."""


def speaks_protocol() -> bool:
    """Whether the library of the Model Context Protocol is installed (extra `mcp`)."""
    return util.find_spec("mcp") is not None and util.find_spec("mcp.server") is not None


def quiet_protocol(*, verbose: bool) -> None:
    """The library's remarks go to standard error, warnings only unless asked for."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO if verbose else logging.WARNING, format="%(name)s: %(message)s"
    )


def host_of(call: Call) -> Host:
    """A host with the engine of a call, which is made when it is first needed."""
    from sharedllm_cli.serving.host import Host

    return Host(
        lambda reporter: make_engine(call.settings, call.home, reporter), settings=call.settings, home=call.home
    )


def token_of(token: str | None, file: Path | None) -> str | None:
    """What callers have to know, given or in a file; None for nothing. UsageError for one that is too short."""
    if token is not None and file is not None:
        raise UsageError("--token and --token-file exclude each other")
    if file is not None:
        try:
            token = file.expanduser().read_text("utf-8").strip()
        except (OSError, ValueError) as problem:
            reason = getattr(problem, "strerror", None) or "not text"
            raise UsageError(f"the token file {file} can't be read: {reason.lower()}") from None
    if token is not None and (len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable()):
        raise UsageError(
            f"a token has at least {LEAST_TOKEN} letters, digits or signs", hint="for example: openssl rand -hex 32"
        )
    return token


def granted_documents(call: Call, documents: Sequence[str], *, needed: bool = True) -> Granted:
    """The documents that may be asked about: those named, or all indexed ones whose files are still there.

    UsageError where there are none although they are `needed`.
    """
    from sharedllm_cli.serving.granted import Granted

    if documents:
        named = named_collections(documents)
        refuse_unknown(call, named)
        files = [document for document in documents if document not in named]
        granted = Granted(files, sets=_collections(call, named))
        granted.documents()  # says what is wrong with them
        _warn_of_unread(call, files)
        return granted
    from sharedllm_cli.index.catalog import entries

    granted = Granted([])
    for entry in entries(call.index_folder):
        if entry.source is not None:
            with suppress(SharedLLMError):
                granted.add(entry.source)
    if needed and not granted.documents():
        raise UsageError("no document is named and none is indexed", hint="for example: sharedllm serve book.pdf")
    return granted


def _warn_of_unread(call: Call, documents: Sequence[str]) -> None:
    """Name what folders and patterns hold that can't be read, and the folders that hold no document at all."""
    from sharedllm_cli.documents.sources import expand, told

    empty: list[tuple[str, DocumentError]] = []
    passed_over: dict[str, list[NotRead]] = {}
    expand(documents, empty, passed_over)
    for _, problem in empty:
        call.console.warn(problem.message + (f" ({problem.hint})" if problem.hint else ""))
    for argument, files in passed_over.items():
        call.console.warn(told(argument, files))


def _collections(call: Call, named: Sequence[str]) -> Callable[[], dict[str, list[str]]] | None:
    """The documents of collections as they are whenever they are asked for."""
    if not named:
        return None
    from sharedllm_cli.collections.opening import paths_of

    return lambda: {name: paths_of([name], call.home) for name in named}


def listen(host: str, port: int) -> Any:
    """A listening socket; UsageError where the port is in use or the address is not this machine's."""
    import socket

    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=256)
    except OSError as problem:
        import errno

        if problem.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} is in use", hint="choose another with --port (0: a free one)") from None
        reason = (problem.strerror or str(problem)).lower()
        raise UsageError(f"can't listen on {host}, port {port}: {reason}") from None
    return listener


class Ended:
    """How the process ends: by a signal, by `--stop`, or when idle. `code` is the exit code then."""

    def __init__(self) -> None:
        self.code = 0
        self.events = threading.Event()

    def set(self) -> None:
        self.events.set()

    @contextmanager
    def by_signals(self) -> Iterator[None]:
        """Signals end it, instead of the process at once."""

        def handler(code: int) -> Callable[[int, object], None]:
            def handle(number: int, frame: object) -> None:
                self.code = code
                self.events.set()

            return handle

        before = {
            number: signal.signal(number, handler(code))
            for number, code in ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED))
        }
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)

    def wait(self) -> None:
        """Until it is to end."""
        while not self.events.wait(3600):
            pass

    def wait_for(self, pieces: Any) -> None:
        """Until some work is done, whose error is raised, or it is to end."""
        done = threading.Event()
        failed: list[BaseException] = []

        def take() -> None:
            try:
                for _ in pieces:
                    pass
            except Exception as problem:
                failed.append(problem)
            done.set()

        threading.Thread(target=take, daemon=True).start()
        while not (done.is_set() or self.events.is_set()):
            done.wait(0.1)
        if failed:
            raise failed[0]
