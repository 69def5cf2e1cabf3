"""Errors as HTTP responses, in the form that OpenAI's clients understand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sharedllm_cli.errors import DocumentError, ModelError, ResourceError, SharedLLMError, UsageError
from sharedllm_cli.serving.granted import NotGrantedError
from sharedllm_cli.serving.turns import BusyError

_STATUS: tuple[tuple[type[SharedLLMError], int], ...] = (
    (BusyError, 503),
    (NotGrantedError, 404),
    (UsageError, 400),
    (DocumentError, 422),
    (ModelError, 503),
    (ResourceError, 507),
)


class RefusedError(UsageError):
    """A request that can't be meant so: `parameter` names what is wrong in it."""

    def __init__(self, message: str, *, parameter: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.parameter, self.code = parameter, code


def status_of(error: BaseException) -> int:
    """The HTTP status that an error is answered with."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def error_object(error: BaseException) -> dict[str, Any]:
    """An error as OpenAI's clients read it, with our sentence, hint and exit code; of our faults the kind."""
    if not isinstance(error, SharedLLMError):
        message = "not enough memory" if isinstance(error, MemoryError) else f"internal error: {type(error).__name__}"
        return _object(message, "server_error", None, None)
    kind = "invalid_request_error" if status_of(error) < 500 else "server_error"
    code = getattr(error, "code", None) or ("model_not_found" if isinstance(error, NotGrantedError) else None)
    found = _object(error.message, kind, getattr(error, "parameter", None), code)
    found["error"]["hint"] = error.hint
    found["error"]["exit_code"] = error.exit_code
    return found


def failure_response(error: BaseException) -> Any:
    """A JSON response for an error that ended a request."""
    from starlette.responses import JSONResponse

    status = status_of(error)
    return JSONResponse(error_object(error), status, headers={"retry-after": "5"} if status == 503 else None)


def error_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> Any:
    """A JSON response for a request that is refused for what it is."""
    from starlette.responses import JSONResponse

    kind = "server_error" if status >= 500 else "invalid_request_error"
    return JSONResponse(_object(message, kind, None, None), status, headers=dict(headers or {}))


def _object(message: str, kind: str, parameter: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": parameter, "code": code}}
