"""The pieces of a host's work over HTTP: all at once or as server-sent events, stopped when the caller has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from sharedllm_cli.serving.host import Host, Work
from sharedllm_cli.serving.http_errors import error_object
from sharedllm_cli.serving.turns import pieces_of

FIRST_SECONDS = 10.0
"""So long an error may come as a status of its own; then the stream begins, and an error is one of its events."""
ALIVE_SECONDS = 15.0
"""A stream says at least so often that it is alive."""
CLIENT_GONE = 499


class Form(Protocol):
    """How pieces are written as events."""

    def begin(self) -> Iterator[bytes]:
        """The events before the first piece."""

    def piece(self, piece: Any) -> Iterator[bytes]:
        """The events of a piece."""

    def failed(self, error: dict[str, Any]) -> Iterator[bytes]:
        """The events of work that ended in an error."""


async def whole(request: Request, host: Host, work: Work, *, caller: str = "") -> list[Any] | None:
    """All pieces of some work; None where the caller went away, and the work was stopped. Raises the work's error."""
    pieces = pieces_of(host.turns, work, caller=caller, seconds=host.seconds)

    async def collect() -> list[Any]:
        return [piece async for piece in pieces]

    found: list[Any] | None = await _unless_gone(collect(), request.receive)
    return found


def gone() -> JSONResponse:
    """What nobody reads any more."""
    return JSONResponse({}, CLIENT_GONE)


async def _unless_gone(work: Any, receive: Callable[[], Awaitable[Any]]) -> Any:
    """The result of a coroutine; None where the caller goes away first, and the coroutine is cancelled."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _left(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream:
    """A response of server-sent events; the work is stopped when the caller goes away."""

    def __init__(self, pieces: AsyncIterator[Any], form: Form, first: asyncio.Future[Any]) -> None:
        self._pieces, self._form, self._first = pieces, form, first

    @classmethod
    async def begun(cls, request: Request, host: Host, work: Work, form: Form, *, caller: str = "") -> EventStream:
        """A stream whose first piece has come, or may take longer. Raises the error of work that fails before that."""
        pieces = pieces_of(host.turns, work, caller=caller, seconds=host.seconds)
        first = asyncio.ensure_future(anext(pieces))
        left = asyncio.ensure_future(_left(request.receive))
        try:
            await asyncio.wait({first, left}, timeout=FIRST_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
        if left.done() and not left.cancelled() and not first.done():
            first.cancel()
        if first.done():
            first.result()  # raises
        return cls(pieces, form, first)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await _unless_gone(self._send(send), receive)
        finally:
            self._first.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._first
            await self._pieces.aclose()  # type: ignore[attr-defined]

    async def _send(self, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for event in self._form.begin():
            await _body(send, event)
        coming = self._first
        try:
            while True:
                while not (await asyncio.wait({coming}, timeout=ALIVE_SECONDS))[0]:
                    await _body(send, b": waiting\n\n")
                for event in self._form.piece(coming.result()):
                    await _body(send, event)
                coming = asyncio.ensure_future(anext(self._pieces))
        except StopAsyncIteration:
            pass
        except Exception as problem:
            for event in self._form.failed(error_object(problem)):
                await _body(send, event)
        finally:
            coming.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
                await coming
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _body(send: Send, event: bytes) -> None:
    await send({"type": "http.response.body", "body": event, "more_body": True})
