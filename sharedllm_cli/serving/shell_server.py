"""The shell's side of a warm process: `ask` and `chat` of the same user come here over a Unix socket (`wire.py`).

A connection has a thread, which sends, and another, which notices that the other end has gone: what it asked for is
stopped then. The work itself is done in the host's turn.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import count
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from sharedllm_cli.answer import Answer, AnswerSentence
from sharedllm_cli.config import Settings
from sharedllm_cli.documents.readers import Limits, Probe
from sharedllm_cli.documents.sources import STANDARD_INPUT, SourceFile
from sharedllm_cli.errors import SharedLLMError, UsageError
from sharedllm_cli.progress import Task
from sharedllm_cli.serving import wire
from sharedllm_cli.serving.host import Host, Work
from sharedllm_cli.serving.sockets import same_user
from sharedllm_cli.serving.turns import Ended, Job

if TYPE_CHECKING:
    from sharedllm_cli.engine import Engine, Library

MOST_CONNECTIONS = 64


class ShellServer:
    """Answers connections of one listening socket until it is stopped. `stopped` is called once, in any thread.

    With `idle_seconds` it stops by itself when nobody has asked for so long; a caller may ask for longer (`keep`).
    """

    def __init__(
        self, host: Host, listener: socket.socket, *, stopped: Callable[[], None], idle_seconds: float | None = None
    ) -> None:
        self.host = host
        self.idle_seconds = idle_seconds
        self.started = time.time()
        self.connections: set[_Connection] = set()
        self.numbers = count(1)
        self._listener = listener
        self._stopped = stopped

    def start(self) -> None:
        """Listen in a thread of its own."""
        threading.Thread(target=self._accept, name="sharedllm-shell", daemon=True).start()
        if self.idle_seconds is not None:
            threading.Thread(target=self._watch, name="sharedllm-idle", daemon=True).start()

    def stop(self) -> None:
        """End the process, as whoever started it does that."""
        self._stopped()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed: the process ends
            if same_user(connection) and len(self.connections) < MOST_CONNECTIONS:
                _Connection(self, connection).start()
            else:
                connection.close()

    def _watch(self) -> None:
        while True:
            time.sleep(min(1.0, self.idle_seconds or 1.0))
            idle = time.monotonic() - self.host.turns.idle_since
            if self.idle_seconds is not None and idle > self.idle_seconds and not len(self.host.turns):
                self.stop()
                return


class _Connection:
    """One client: its requests, one after another, and the library that it opened last."""

    def __init__(self, server: ShellServer, connection: socket.socket) -> None:
        self._server = server
        self._socket = connection
        self._requests: SimpleQueue[tuple[dict[str, Any], bytes | None] | None] = SimpleQueue()
        self._caller = f"shell {next(server.numbers)}"
        self._job: Job | None = None
        self._gone = False
        self._library: Library | None = None

    def start(self) -> None:
        self._server.connections.add(self)
        for work in (self._read, self._answer):
            threading.Thread(target=work, name="sharedllm-client", daemon=True).start()

    def _read(self) -> None:
        """Take requests until the other end closes, and stop what it then no longer waits for."""
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError), self._socket.makefile("rb") as file:
            for request in wire.lines(file):
                size = request.pop("stdin", None)
                data = None if size is None else file.read(int(size))
                self._requests.put((request, data))
        self._gone = True
        if (job := self._job) is not None:
            self._server.host.turns.stop(job)
        self._requests.put(None)

    def _answer(self) -> None:
        try:
            while (taken := self._requests.get()) is not None:
                try:
                    self._one(*taken)
                except (SharedLLMError, ValueError, TypeError, KeyError, OSError) as problem:
                    self._send({"error": wire.error(problem)})
        finally:
            self._server.connections.discard(self)
            self._library = None
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def _one(self, request: dict[str, Any], data: bytes | None) -> None:
        keep = request.pop("keep", None)
        if keep is not None and self._server.idle_seconds is not None:
            self._server.idle_seconds = max(self._server.idle_seconds, float(keep))
        operations: dict[str, Callable[..., None]] = {
            "open": self._open,
            "ask": self._ask,
            "search": self._search,
            "adapter": self._adapter,
            "status": self._status,
            "stop": self._stop,
        }
        name = request.pop("op", None)
        if name not in operations:
            raise UsageError(f"unknown request {name!r:.80}")
        if name in ("open", "ask"):
            request["data"] = data
        operations[name](**request)

    # -- requests ---------------------------------------------------------------------------------------------------

    def _open(
        self,
        *,
        documents: list[str],
        folder: str,
        settings: dict[str, Any],
        reindex: bool = False,
        data: bytes | None = None,
    ) -> None:
        out = _Outgoing()
        work = self._server.host.opening(
            documents,
            settings=Settings(**settings),
            reporter=out,
            reindex=reindex,
            probe=_standard_input(data, Settings(**settings)),
            folder=folder,
            then=lambda _, library: {"opened": self._opened(library)},
        )
        self._run(work, out)

    def _ask(
        self,
        *,
        question: str,
        settings: dict[str, Any],
        documents: list[str] | None = None,
        folder: str | None = None,
        history: list[list[str]] | None = None,
        pages: str | None = None,
        section: str | None = None,
        data: bytes | None = None,
    ) -> None:
        from sharedllm_cli.generation.prompt import Turn

        library = self._library if documents is None else None
        if documents is None and library is None:
            raise UsageError("no document was opened")
        out = _Outgoing()
        work = self._server.host.asking(
            library or documents or [],
            question,
            history=[Turn(*turn) for turn in history or []],
            pages=pages,
            section=section,
            settings=Settings(**settings),
            reporter=out,
            probe=_standard_input(data, Settings(**settings)),
            folder=folder,
            heard=True,
        )
        self._run(work, out)

    def _search(
        self,
        *,
        documents: list[str],
        folder: str,
        query: str,
        limit: int,
        min_score: float | None,
        pages: str | None,
        settings: dict[str, Any],
    ) -> None:
        out = _Outgoing()
        work = self._server.host.searching(
            documents,
            query,
            limit=limit,
            min_score=min_score,
            pages=pages,
            settings=Settings(**settings),
            reporter=out,
            folder=folder,
            then=lambda library, found: {"opened": _told_of(library), "found": asdict(found)},
        )
        self._run(work, out)

    def _adapter(self, *, settings: dict[str, Any]) -> None:
        asked, out = Settings(**settings), _Outgoing()

        def facts(engine: Engine) -> dict[str, Any]:
            shared = engine.shared
            names = ("passage_budget", "candidates", "reads_tree", "refuse_from")
            return {"result": {name: getattr(shared, name)(asked) for name in names}}

        self._run(self._server.host.using(facts, settings=asked, reporter=out), out)

    def _status(self) -> None:
        host, turns = self._server.host, self._server.host.turns
        idle = None if len(turns) else time.monotonic() - turns.idle_since
        self._send(
            {
                "result": {
                    "pid": os.getpid(),
                    "model": host.settings.model,
                    "loaded": host.loaded,
                    "started": self._server.started,
                    "idle_s": idle,
                    "keep_s": self._server.idle_seconds,
                    "done": turns.done,
                    "waiting": len(turns),
                    "address": host.address,
                }
            }
        )
        self._send({"end": True})

    def _stop(self) -> None:
        self._send({"end": True})
        self._server.stop()

    # -- answers ----------------------------------------------------------------------------------------------------

    def _opened(self, library: Library) -> dict[str, Any]:
        self._library = library
        return _told_of(library)

    def _run(self, work: Work, out: _Outgoing) -> None:
        """Queue work and send what comes of it, until it has ended or nobody takes it any more."""
        turns = self._server.host.turns
        # Like without a server, a question of this user's own shell has all the time that it needs.
        self._job = turns.submit(Job(work, out.pieces.put, self._caller, None))
        if self._gone:
            turns.stop(self._job)
        while not isinstance(piece := out.pieces.get(), Ended):
            told = piece if isinstance(piece, dict) else wire.piece(piece)
            if not self._send(told):
                turns.stop(self._job)
        self._job = None
        self._send({"end": True} if piece.error is None else {"error": wire.error(piece.error)})

    def _send(self, told: dict[str, Any]) -> bool:
        try:
            self._socket.sendall(wire.line(told))
        except OSError:
            return False
        return True


def _told_of(library: Library) -> dict[str, Any]:
    return {
        "several": library.several,
        "names": [opened.name for opened in library.documents],
        "text_hit": all(opened.text_hit for opened in library.documents),
        "failures": [[name, wire.error(problem)] for name, problem in library.failures],
        "warnings": library.warnings,
        "not_read": [asdict(file) for file in library.not_read],
    }


class _Outgoing:
    """A reporter whose words go the same way as the pieces, in their order."""

    def __init__(self) -> None:
        self.pieces: SimpleQueue[dict[str, Any] | str | AnswerSentence | Answer | Ended] = SimpleQueue()
        self._tasks = count(1)

    @contextmanager
    def task(self, description: str, total: int, unit: str) -> Iterator[Task]:
        number = next(self._tasks)
        self.pieces.put({"task": [number, description, total, unit]})
        try:
            yield _Advancing(self.pieces, number)
        finally:
            self.pieces.put({"done": number})

    def note(self, text: str) -> None:
        self.pieces.put({"note": text})

    def warn(self, text: str) -> None:
        self.pieces.put({"warn": text})

    def detail(self, title: str, text: str) -> None:
        self.pieces.put({"detail": [title, text]})


class _Advancing:
    def __init__(self, pieces: SimpleQueue[Any], number: int) -> None:
        self._pieces, self._number = pieces, number

    def advance(self, amount: int) -> None:
        self._pieces.put({"advance": [self._number, amount]})


def _standard_input(data: bytes | None, settings: Settings) -> Probe | None:
    return None if data is None else Probe(SourceFile(STANDARD_INPUT, None), data=data, limits=Limits.of(settings))
