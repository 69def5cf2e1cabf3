"""Connections that say nothing or read nothing are closed, and do not keep others from being answered."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from http.client import HTTPConnection
from typing import Any

import pytest

from sharedllm_cli.serving import http as http_module
from sharedllm_cli.serving import patience as patience_module
from sharedllm_cli.serving.host import Host

FLOOD = 40_000_000


def connected(address: str) -> socket.socket:
    """A connection that takes little at a time."""
    name, _, port = address.removeprefix("http://").partition(":")
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.settimeout(0.1)
    made.connect((name, int(port)))
    return made


def closed(connection: socket.socket, more: bytes = b"", *, within: float = 15.0) -> bool:
    """Whether the server ends a connection, to which a byte after the other is sent."""
    begun, sent = time.monotonic(), 0
    while time.monotonic() - begun < within:
        try:
            if sent < len(more):
                connection.sendall(more[sent : sent + 1])
                sent += 1
            if connection.recv(100_000) == b"":
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


def health(address: str) -> int:
    connection = HTTPConnection(address.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    finally:
        connection.close()


def test_silent_connections_make_room_for_others(serving: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "MOST_CONNECTIONS", 4)
    monkeypatch.setattr(patience_module, "SILENT_SECONDS", 1.0)
    with serving() as address:
        silent = [connected(address) for _ in range(6)]
        time.sleep(0.3)
        assert health(address) == 503
        begun = time.monotonic()
        while health(address) != 200:
            assert time.monotonic() - begun < 15
            time.sleep(0.2)
        assert all(closed(one) for one in silent)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.1\r\n" + b"X-More: 1\r\n" * 100,
        b"x" * 1000,
        # Refused by its head: the body is read by nobody.
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: elsewhere\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000,
    ],
    ids=["head", "nothing", "refused"],
)
def test_a_request_that_never_becomes_whole_is_ended(
    serving: Callable[..., Any], sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience_module, "SILENT_SECONDS", 1.0)
    with serving() as address, connected(address) as connection:
        at_once = sent.find(b"\r\n\r\n") + 4 if b"elsewhere" in sent else 0
        connection.sendall(sent[:at_once])
        assert closed(connection, sent[at_once:])


def test_an_answer_that_nobody_reads_is_ended_and_its_work_stopped(
    serving: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    ended = []

    async def flood(request: Any) -> Any:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                for _ in range(FLOOD // 100_000):
                    yield b"x" * 100_000
            finally:
                ended.append(time.monotonic())

        return StreamingResponse(pieces())

    monkeypatch.setattr(patience_module, "UNREAD_SECONDS", 1.0)
    with serving(more_routes=[Route("/flood", flood)]) as address, connected(address) as connection:
        connection.sendall(f"GET /flood HTTP/1.1\r\nHost: {address.removeprefix('http://')}\r\n\r\n".encode())
        begun = time.monotonic()
        while not ended:
            assert time.monotonic() - begun < 15
            assert health(address) == 200  # others are served meanwhile
            time.sleep(0.1)
        taken = 0
        with suppress(OSError):
            while piece := connection.recv(1_000_000):
                taken += len(piece)
        assert taken < FLOOD


def test_a_slow_reader_and_a_slow_answer_are_waited_for(
    serving: Callable[..., Any], host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    async def flood(request: Any) -> Any:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(FLOOD // 100_000):
                yield b"x" * 100_000

        return StreamingResponse(pieces())

    def slow(job: Any) -> Any:
        time.sleep(3.5)
        yield 1

    monkeypatch.setattr(patience_module, "SILENT_SECONDS", 1.0)
    monkeypatch.setattr(patience_module, "UNREAD_SECONDS", 2.0)
    with serving(more_routes=[Route("/flood", flood)]) as address, connected(address) as connection:
        name = address.removeprefix("http://")
        running = host.run(slow)
        body = json.dumps({"model": "sharedllm", "messages": [{"role": "user", "content": "Who lights the beacon?"}]})
        waiting = HTTPConnection(name, timeout=60)
        waiting.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        connection.settimeout(20)
        connection.sendall(f"GET /flood HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        taken = 0
        while piece := connection.recv(1_000_000):
            taken += len(piece)
            if taken < 100_000:
                time.sleep(0.05)
        assert taken > FLOOD
        assert waiting.getresponse().status == 200
        waiting.close()
        assert list(running) == [1]
