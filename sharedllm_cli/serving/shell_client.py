"""A running engine in another process, as `ask` and `chat` use one of their own. Loads neither torch nor the model.

Where that process ends before it has answered, an engine is made here, and the user notices nothing but the time.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharedllm_cli.answer import Answer, AnswerSentence, NotRead, SearchResult
from sharedllm_cli.config import Settings
from sharedllm_cli.errors import ResourceError, SharedLLMError
from sharedllm_cli.progress import Reporter, Silent
from sharedllm_cli.serving import wire
from sharedllm_cli.serving.ahead import ask_request, can_open, open_request, take
from sharedllm_cli.serving.sockets import connect, socket_path

if TYPE_CHECKING:
    from sharedllm_cli.documents.readers import Probe
    from sharedllm_cli.engine import Engine
    from sharedllm_cli.reading.library import Library, OpenDocument

LOST = "the warm process ended before the answer"


class _LostError(Exception):
    """The other end has gone."""


class WarmDocuments(Sequence[Any]):
    """The documents that the other process has open; they are opened here, too, only where somebody looks at one."""

    def __init__(self, count: int, open_them: Callable[[], Library]) -> None:
        self._count, self._open_them = count, open_them
        self._opened: Library | None = None

    @property
    def library(self) -> Library:
        """The library as it is opened here."""
        if self._opened is None:
            self._opened = self._open_them()
        return self._opened

    def __len__(self) -> int:
        return self._count if self._opened is None else len(self._opened.documents)

    def __getitem__(self, place: Any) -> Any:
        return self.library.documents[place]


@dataclass
class WarmLibrary:
    """A library of another process, with the fields of `reading.library.Library`; `arguments` open it again."""

    documents: WarmDocuments
    failures: list[tuple[str, SharedLLMError]]
    read_seconds: float
    warnings: list[str]
    not_read: list[NotRead]
    text_hit: bool = True
    several: bool = False
    arguments: tuple[str, ...] = ()
    collection: None = None
    """A chat about a collection looks into it, and so is held without another process."""

    def opened_for(self, names: set[str]) -> list[OpenDocument]:
        """As `Library.opened_for`, in this process."""
        return self.documents.library.opened_for(names)

    @property
    def tokens(self) -> int:
        return sum(document.tokens for document in self.documents)

    @property
    def chunks(self) -> int:
        return sum(document.chunks for document in self.documents)


def find_warm(
    settings: Settings, home: Path, reporter: Reporter, own: Callable[[], Engine], *, keep: float | None = None
) -> WarmEngine | None:
    """The warm process for these settings, None where there is none. `own` makes the engine that stands in for it.

    `keep`: seconds that it stays at least after this question.
    """
    ahead = take(path := socket_path(settings, home))
    if ahead is not None:
        return WarmEngine(settings, home, reporter, own, ahead.connection, keep, ahead.sent)
    connection = connect(path)
    return None if connection is None else WarmEngine(settings, home, reporter, own, connection, keep)


class _Line:
    """A connection, what has been received over it, and the requests that were sent and not yet looked for."""

    def __init__(self, connection: socket.socket, sent: Sequence[bytes] = ()) -> None:
        self.connection, self.sent = connection, list(sent)
        self.received = connection.makefile("rb")

    def send(self, request: bytes, data: bytes) -> None:
        if self.sent:
            self.sent.pop(0)  # this one: others would have been closed
        else:
            self.connection.sendall(request + data)

    def close(self) -> None:
        self.received.close()
        self.connection.close()


class WarmEngine:
    """`Engine` over a socket: opens, asks, takes other settings for a question."""

    def __init__(
        self,
        settings: Settings,
        home: Path,
        reporter: Reporter,
        own: Callable[[], Engine],
        connection: socket.socket,
        keep: float | None = None,
        sent: Sequence[bytes] = (),
    ) -> None:
        """`sent`: requests that are under way over the connection already (`ahead.py`)."""
        self.settings = settings
        self.home = home
        self.reporter = reporter
        self._own = own
        self._engine: Engine | None = None
        self._line: _Line | None = _Line(connection, sent)
        self._newest: WarmLibrary | None = None
        self._keep = keep

    def use(self, settings: Settings) -> None:
        """As `Engine.use`."""
        self.settings = settings
        if self._engine is not None:
            self._engine.use(settings)

    @property
    def shared(self) -> Any:
        """What the adapter decides where the user does not: the questions of `SharedModel` that have these answers."""
        return self._engine.shared if self._engine is not None else _Adapter(self)

    @property
    def reads_tree(self) -> bool:
        """As `Engine.reads_tree`."""
        return bool(self.shared.reads_tree(self.settings))

    def open(
        self, arguments: Sequence[str], *, reindex: bool = False, probe: Probe | None = None
    ) -> WarmLibrary | Library:
        """As `Engine.open`, in the other process."""
        data = sys.stdin.buffer.read() if "-" in arguments and probe is None else None
        added_to_chat = self._newest is not None and any(argument.startswith("@") for argument in arguments)
        if self._engine is None and can_open(arguments) and not added_to_chat:
            request = open_request(arguments, self.settings, reindex=reindex)
            try:
                for told in self._told(request, data, last=False):
                    if "opened" in told:
                        opened = told["opened"]
                self._newest = _library(opened, arguments, lambda: self._opened_here(arguments, data))
                return self._newest
            except _LostError:
                pass
        return self._here().open(arguments, reindex=reindex, probe=probe or _standard_input(data, self.settings))

    def ask(
        self,
        library: Any,
        question: str,
        *,
        history: Sequence[Any] = (),
        pages: Any = None,
        section: str | None = None,
    ) -> Iterator[str | AnswerSentence | Answer]:
        """As `Engine.ask`; closing the iterator stops the answer there."""
        request = ask_request(question, self.settings, history=history, pages=pages, section=section)
        self._as_sent(request)
        paths: list[str] | None = None
        if self._line is None or library is not self._newest:
            paths = [one.path for one in library.documents if not one.attached]
            request |= {"documents": paths, "folder": os.getcwd()}
        self._newest = None
        text = ""
        try:
            if self._engine is not None:
                raise _LostError
            for told in self._told(request):
                if "piece" in told:
                    text += told["piece"]
                    yield told["piece"]
                elif "sentence" in told:
                    yield wire.sentence_from(told["sentence"])
                elif "answer" in told:
                    answer = wire.answer_from(told["answer"])
                    hit = getattr(library, "text_hit", True) and answer.index.text_hit
                    yield replace(answer, index=replace(answer.index, text_hit=hit))
        except _LostError:
            if text:
                raise ResourceError(LOST, hint="ask again, or with --no-serve") from None
            engine = self._here()
            again = engine.open(paths or library.arguments)
            yield from engine.ask(again, question, history=history, pages=pages, section=section)

    def search(
        self, documents: Sequence[str], query: str, *, limit: int, min_score: float | None, pages: Any
    ) -> tuple[WarmLibrary, SearchResult] | None:
        """What `search` finds in documents that are opened there, by the settings' policy; None where it has gone."""
        words = {"query": query, "limit": limit, "min_score": min_score, "pages": None if pages is None else str(pages)}
        request = {"op": "search", "documents": list(documents), "folder": os.getcwd(), **words}
        found = None
        with suppress(_LostError):
            for told in self._told({**request, "settings": asdict(self.settings)}):
                if "found" in told:
                    library = _library(told["opened"], documents, lambda: self._opened_here(documents, None))
                    found = library, wire.search_result_from(told["found"])
        return found

    def request(self, told: dict[str, Any]) -> Any:
        """The result of a request, None where the other process has gone."""
        with suppress(_LostError):
            for line in self._told(told):
                if "result" in line:
                    return line["result"]
        return None

    def _here(self) -> Engine:
        """An engine in this process, in place of one that has gone or can't be used."""
        if self._engine is None:
            self._engine = self._own()
            self._engine.use(self.settings)
        return self._engine

    def _opened_here(self, arguments: Sequence[str], data: bytes | None) -> Library:
        """The library, from the index that the other process has just used."""
        from sharedllm_cli.collections.opening import open_words
        from sharedllm_cli.reading.searching import WordSearcher

        searcher = WordSearcher(self.settings, home=self.home, reporter=Silent())
        return open_words(searcher, arguments, probe=_standard_input(data, self.settings))

    def _as_sent(self, request: dict[str, Any], data: bytes | None = None) -> bytes:
        """A request as bytes. Where another one was sent ahead in its place, that connection is closed."""
        if self._keep is not None:
            request["keep"] = self._keep
        if data is not None:
            request["stdin"] = len(data)
        text = wire.line(request)
        if self._line is not None and self._line.sent and self._line.sent[0] != text:
            self._line.close()
            self._line = None
        return text

    def _connected(self) -> _Line:
        """The connection that waits for a request, or a new one; whoever takes it puts it back or closes it."""
        line, self._line = self._line, None
        if line is not None:
            return line
        connection = connect(socket_path(self.settings, self.home))
        if connection is None:
            raise _LostError
        return _Line(connection)

    def _told(
        self, request: dict[str, Any], data: bytes | None = None, *, last: bool = True
    ) -> Iterator[dict[str, Any]]:
        """Send a request; what is told of it, but for progress and remarks, which go to the reporter.

        Leaving early closes the connection, and with it ends the work. With `last` it is closed in any case.
        """
        text = self._as_sent(request, data)
        line = self._connected()
        ended = False
        try:
            with ExitStack() as tasks:
                line.send(text, data or b"")
                for told in _remarked(wire.lines(line.received), self.reporter, tasks):
                    if "error" in told:
                        raise wire.raised(told["error"])
                    if "end" in told:
                        ended = True
                        break
                    yield told
        except (OSError, ValueError) as problem:
            if isinstance(problem, OSError) and not isinstance(problem, ConnectionError):
                raise
            raise _LostError from None
        finally:
            if ended and not last:
                self._line = line
            else:
                line.close()
        if not ended:
            raise _LostError


class _Adapter:
    """What the adapter decides for some settings, asked in the other process."""

    def __init__(self, engine: WarmEngine) -> None:
        self._engine = engine

    def _asked(self, name: str, settings: Settings) -> Any:
        found = self._engine.request({"op": "adapter", "settings": asdict(settings)})
        return getattr(self._engine._here().shared, name)(settings) if found is None else found[name]

    def passage_budget(self, settings: Settings) -> int:
        return int(self._asked("passage_budget", settings))

    def candidates(self, settings: Settings) -> int:
        return int(self._asked("candidates", settings))

    def reads_tree(self, settings: Settings) -> bool:
        return bool(self._asked("reads_tree", settings))

    def refuse_from(self, settings: Settings) -> float | None:
        found = self._asked("refuse_from", settings)
        return None if found is None else float(found)


def _remarked(told: Iterator[dict[str, Any]], reporter: Reporter, tasks: ExitStack) -> Iterator[dict[str, Any]]:
    """Tell a reporter what is meant for it, and pass on the rest."""
    running: dict[int, tuple[AbstractContextManager[Any], Any]] = {}
    for line in told:
        if "note" in line:
            reporter.note(line["note"])
        elif "warn" in line:
            reporter.warn(line["warn"])
        elif "detail" in line:
            reporter.detail(*line["detail"])
        elif "task" in line:
            number, description, total, unit = line["task"]
            manager = reporter.task(description, total, unit)
            running[number] = manager, manager.__enter__()
            tasks.callback(_left, running, number)
        elif "advance" in line:
            number, amount = line["advance"]
            running[number][1].advance(amount)
        elif "done" in line:
            _left(running, line["done"])
        else:
            yield line


def _left(running: dict[int, tuple[AbstractContextManager[Any], Any]], number: int) -> None:
    if number in running:
        running.pop(number)[0].__exit__(None, None, None)


def _library(opened: dict[str, Any], arguments: Sequence[str], open_here: Callable[[], Library]) -> WarmLibrary:
    failures = [(name, _of_ours(wire.raised(problem))) for name, problem in opened["failures"]]
    not_read = [NotRead(**file) for file in opened["not_read"]]
    return WarmLibrary(
        WarmDocuments(len(opened["names"]), open_here),
        failures,
        0.0,
        list(opened["warnings"]),
        not_read,
        bool(opened["text_hit"]),
        bool(opened["several"]),
        tuple(arguments),
    )


def _of_ours(problem: Exception) -> SharedLLMError:
    return problem if isinstance(problem, SharedLLMError) else SharedLLMError(str(problem))


def _standard_input(data: bytes | None, settings: Settings) -> Probe | None:
    if data is None:
        return None
    from sharedllm_cli.documents.readers import Limits, Probe
    from sharedllm_cli.documents.sources import STANDARD_INPUT, SourceFile

    return Probe(SourceFile(STANDARD_INPUT, None), data=data, limits=Limits.of(settings))
