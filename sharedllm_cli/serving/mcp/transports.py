"""The two ways to the protocol's server: standard input and output of one client, and HTTP for many (Streamable HTTP).

Over standard input and output nothing else is written there: the library moves the stream away from everyone else, so
that a stray `print` lands on standard error.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import Any, NoReturn

from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager

from sharedllm_cli.serving.guard import MOST_BODY_BYTES, BodyError, Guard
from sharedllm_cli.serving.host import Host
from sharedllm_cli.serving.http import run_app
from sharedllm_cli.serving.http_errors import error_response

PATH = "/mcp"
MOST_SESSIONS = 64
IDLE_SECONDS = 30 * 60.0


def run_stdio(server: Server[Any], host: Host, ended: threading.Event, leave: Callable[[], NoReturn]) -> None:
    """Serve the client at standard input and output until it closes the input.

    When `ended` is set, work is stopped and `leave` is called, which ends the process: a thread waits for the client's
    next line, and nothing else can end that wait.
    """

    def watch() -> None:
        ended.wait()
        host.close()
        leave()

    async def main() -> None:
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    threading.Thread(target=watch, name="sharedllm-end", daemon=True).start()
    try:
        asyncio.run(main())
    finally:
        host.close()


def mounted(server: Server[Any]) -> tuple[Any, Callable[[], AbstractAsyncContextManager[Any]]]:
    """The protocol over HTTP as a route (at `PATH`) of an application, and what is entered while that runs.

    Who may ask is for the application's guard to say, which knows the token, too.
    """
    from starlette.routing import Route

    manager = StreamableHTTPSessionManager(
        app=server,
        max_request_body_size=MOST_BODY_BYTES,
        max_sessions=MOST_SESSIONS,
        session_idle_timeout=IDLE_SECONDS,
    )
    return Route(PATH, StreamableHTTPASGIApp(manager)), manager.run


def run_http(
    server: Server[Any],
    host: Host,
    listener: Any,
    ended: threading.Event,
    *,
    token: str | None = None,
    hosts: Collection[str] | None = (),
) -> None:
    """Serve clients at a listening socket until `ended` is set; `token` and `hosts` as `Guard` takes them."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException

    route, lifespan = mounted(server)

    async def refused(request: Any, error: Any) -> Any:
        return error_response(error.status, error.message, headers={"connection": "close"})

    async def not_found(request: Any, error: Any) -> Any:
        return error_response(error.status_code, f"the address of this server is {PATH}", headers=error.headers)

    app: Any = Starlette(
        routes=[route],
        exception_handlers={BodyError: refused, HTTPException: not_found},
        lifespan=lambda _: lifespan(),
    )
    app.router.redirect_slashes = False
    try:
        run_app(Guard(app, token=token, hosts=hosts), listener, ended)
    finally:
        host.close()
