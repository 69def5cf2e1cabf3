"""The HTTP application: a host, what is granted, and a plain list of routes that other surfaces extend.

    make_app(host, granted, more_routes=…)     guard ▸ routes ▸ the same host

Starlette is an extra (`serve`) and is imported only here and below.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from sharedllm_cli import __version__
from sharedllm_cli.errors import SharedLLMError, UsageError
from sharedllm_cli.serving.granted import Granted
from sharedllm_cli.serving.host import Host

MOST_CONNECTIONS = 512
"""More at once are refused with 503."""
MISSING = "serving HTTP needs libraries that are not installed"
HINT = "pip install 'sharedllm-cli[serve]'"


def require_libraries() -> None:
    """UsageError with the way to install them where the libraries of the extra `serve` are missing."""
    try:
        import starlette
        import uvicorn
    except ImportError:
        raise UsageError(MISSING, hint=HINT) from None
    del starlette, uvicorn


def make_app(
    host: Host,
    granted: Granted,
    *,
    token: str | None = None,
    hosts: Collection[str] | None = (),
    more_routes: Sequence[Any] = (),
    more_bytes: Mapping[str, int] | None = None,
    more_lifespans: Sequence[Callable[[], AbstractAsyncContextManager[Any]]] = (),
) -> Any:
    """The ASGI application, guarded. `host` and `granted` are on `request.app.state` in every route.

    `token` and `hosts` as `Guard` takes them; `more_routes` (Starlette routes or mounts) come after those of this room,
    `more_bytes` gives paths among them larger bodies, `more_lifespans` are entered while the server runs. Raises
    UsageError where the libraries are missing.
    """
    require_libraries()
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException

    from sharedllm_cli.serving.guard import BodyError, Guard
    from sharedllm_cli.serving.http_errors import error_response, failure_response

    async def failed(request: Any, error: Exception) -> Any:
        return failure_response(error)

    async def body_failed(request: Any, error: Any) -> Any:
        return error_response(error.status, error.message, headers={"connection": "close"})

    async def not_found(request: Any, error: Any) -> Any:
        return error_response(error.status_code, str(error.detail).lower(), headers=error.headers)

    handlers: dict[Any, Any] = {
        SharedLLMError: failed,
        BodyError: body_failed,
        HTTPException: not_found,
        Exception: failed,
    }

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for one in more_lifespans:
                await stack.enter_async_context(one())
            yield
            host.close()

    app: Any = Starlette(routes=[*routes(), *more_routes], exception_handlers=handlers, lifespan=lifespan)
    app.state.host = host
    app.state.granted = granted
    app.router.redirect_slashes = False
    return Guard(app, token=token, hosts=hosts, more_bytes=more_bytes)


def routes() -> list[Any]:
    """The routes of this room."""
    from starlette.routing import Route

    from sharedllm_cli.serving import openai_routes

    own = [Route("/health", _health, methods=["GET"]), Route("/openapi.json", _openapi, methods=["GET"])]
    return [*own, *openai_routes.routes()]


def run_app(app: Any, listener: Any, ended: threading.Event) -> None:
    """Serve an application at a listening socket until `ended` is set, then let what runs end within seconds."""
    import uvicorn

    from sharedllm_cli.serving.patience import Patience

    patience = Patience()

    class Server(uvicorn.Server):
        """Leaves the signals to the command, whose exit code tells them, and waits for nobody for ever."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

        async def on_tick(self, counter: int) -> bool:
            if counter % 10 == 0:  # once a second
                patience.look(self.server_state.connections)
            return await super().on_tick(counter) or ended.is_set()

    config = uvicorn.Config(
        app,
        log_level="critical",
        access_log=False,
        server_header=False,
        date_header=False,
        ws="none",
        lifespan="on",
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
        backlog=256,
    )
    Server(config).run(sockets=[listener])


async def _health(request: Any) -> Any:
    from starlette.responses import JSONResponse

    host: Host = request.app.state.host
    return JSONResponse({"version": __version__, "loaded": host.loaded, "waiting": len(host.turns)})


async def _openapi(request: Any) -> Any:
    from starlette.responses import JSONResponse

    from sharedllm_cli.serving.openai_requests import model_names
    from sharedllm_cli.serving.openapi import description

    return JSONResponse(description(model_names(request.app.state.granted)))
