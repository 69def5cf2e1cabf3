"""The page's server for tests: the real engine on a tiny model finds the sources, and says what a test lets it say."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sharedllm_cli.answer import Answer, AnswerSentence
from sharedllm_cli.config import Settings
from sharedllm_cli.engine import Engine
from sharedllm_cli.progress import Reporter
from sharedllm_cli.serving.granted import Granted
from sharedllm_cli.serving.host import Host
from sharedllm_cli.serving.http import make_app
from sharedllm_cli.serving.page_routes import MORE_BYTES, Page
from sharedllm_cli.serving.uploads import Uploads


@dataclass
class Said:
    """What the engine says, and what it was asked."""

    pieces: list[str] = field(default_factory=lambda: ["The lamp ", "is lit ", "at dusk."])
    delay: float = 0.0
    error: Exception | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    questions: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)
    closed: int = 0


class SayingEngine(Engine):
    """The real engine, whose answers have real sources and given words."""

    said: Said

    def ask(self, library: Any, question: str, *, history: Sequence[Any] = (), **more: Any) -> Iterator[Any]:
        self.said.questions.append((question, [(turn.question, turn.answer) for turn in history]))
        if self.said.error is not None:
            raise self.said.error
        answer = [*super().ask(library, question, **more)][-1]
        assert isinstance(answer, Answer)
        try:
            for piece in self.said.pieces:
                yield piece
                time.sleep(self.said.delay)
            text = "".join(self.said.pieces)
            sentences = [AnswerSentence(text, [1], [])]
            yield AnswerSentence(text, [1], [])
            first = [replace(one, supports=place == 0, read=True) for place, one in enumerate(answer.sources)]
            changes = {"answer": text, "answered": True, "reason": None, "sentences": sentences, "sources": first}
            yield replace(answer, **(changes | self.said.changes))
        finally:
            self.said.closed += 1


@dataclass
class Served:
    """A running server: its port, what it says, and the documents that it grants."""

    port: int
    said: Said
    granted: Granted
    uploads: Uploads

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One request; status, headers with small names, body."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, {key.lower(): value for key, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def json(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        status, _, data = self.request(method, path, body)
        return status, json.loads(data)

    def ask(self, question: str, documents: Sequence[str], **more: Any) -> list[tuple[str, Any]]:
        """The events of a question."""
        body = json.dumps({"question": question, "documents": list(documents), **more}).encode()
        status, headers, data = self.request("POST", "/page/ask", body)
        assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8"), data
        events = [block.split("\n") for block in data.decode("utf-8").split("\n\n") if block]
        return [(name.removeprefix("event: "), json.loads(text.removeprefix("data: "))) for name, text in events]

    def upload(self, name: str, data: bytes) -> tuple[int, Any]:
        return self.json("POST", f"/page/documents?name={quote(name, safe='')}", data)


@contextmanager
def serving(
    model: Path,
    home: Path,
    documents: Sequence[Path],
    *,
    said: Said | None = None,
    uploads: Uploads | None = None,
    sets: Callable[[], dict[str, list[str]]] | None = None,
) -> Iterator[Served]:
    """A server on a free port of the loopback, with these documents and `sets` of documents granted."""
    import uvicorn

    said = said or Said()
    settings = Settings(model=str(model), device="cpu", evidence_tokens=400, max_new_tokens=2, chunk_tokens=512)

    def make(reporter: Reporter) -> Engine:
        engine = SayingEngine(settings, home=home, reporter=reporter)
        engine.said = said
        return engine

    host = Host(make, settings=settings, home=home)
    granted = Granted([str(path) for path in documents], sets=sets)
    uploads = uploads or Uploads()
    page = Page(host, granted, uploads)
    app = make_app(host, granted, more_routes=page.routes(), more_bytes=MORE_BYTES)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield Served(server.servers[0].sockets[0].getsockname()[1], said, granted, uploads)
    finally:
        server.should_exit = True
        thread.join(20)
        host.close()
        uploads.close()


def wait_for(true: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait until something is so; an error where it does not become so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)
