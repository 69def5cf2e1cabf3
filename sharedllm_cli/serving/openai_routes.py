"""`/v1/models`, `/v1/chat/completions` and `/v1/responses`: requests read, asked in turn, answered in their form."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sharedllm_cli.serving.granted import Granted, NotGrantedError
from sharedllm_cli.serving.host import Host
from sharedllm_cli.serving.http_errors import RefusedError
from sharedllm_cli.serving.http_streams import EventStream, gone, whole
from sharedllm_cli.serving.openai_answers import ChatCompletion, Response
from sharedllm_cli.serving.openai_requests import Asked, chat_request, model_names, responses_request

_STARTED = int(time.time())


def routes() -> list[Route]:
    """The endpoints of OpenAI's API."""
    return [
        Route("/v1/models", _models, methods=["GET"]),
        Route("/v1/models/{name:path}", _model, methods=["GET"]),
        Route("/v1/chat/completions", _chat, methods=["POST"]),
        Route("/v1/responses", _responses, methods=["POST"]),
    ]


async def _models(request: Request) -> JSONResponse:
    names = await run_in_threadpool(model_names, request.app.state.granted)
    return JSONResponse({"object": "list", "data": [_told(name) for name in names]})


async def _model(request: Request) -> JSONResponse:
    name = request.path_params["name"]
    if name not in await run_in_threadpool(model_names, request.app.state.granted):
        raise NotGrantedError(f"there is no model {name!r:.200}", hint="GET /v1/models lists them")
    return JSONResponse(_told(name))


def _told(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _STARTED, "owned_by": "sharedllm"}


async def _chat(request: Request) -> Any:
    return await _answered(request, chat_request, ChatCompletion)


async def _responses(request: Request) -> Any:
    return await _answered(request, responses_request, Response)


async def _answered(
    request: Request, read: Callable[..., Asked], form: type[ChatCompletion] | type[Response]
) -> EventStream | JSONResponse:
    from sharedllm_cli.generation.prompt import Turn

    host: Host = request.app.state.host
    granted: Granted = request.app.state.granted
    if request.query_params:
        raise RefusedError("parameters belong in the body", parameter=next(iter(request.query_params))[:80])
    asked = await run_in_threadpool(read, await request.body(), granted, host.settings)
    work = host.asking(
        asked.documents,
        asked.question,
        history=[Turn(*turn) for turn in asked.history],
        pages=asked.pages,
        section=asked.section,
        settings=asked.settings,
    )
    # A program that opens a connection for each question is one caller still.
    caller = "program" if request.client is None else f"program {request.client.host}"
    told = form(asked)
    if asked.stream:
        return await EventStream.begun(request, host, work, told, caller=caller)
    pieces = await whole(request, host, work, caller=caller)
    return gone() if pieces is None else JSONResponse(told.whole(pieces))
