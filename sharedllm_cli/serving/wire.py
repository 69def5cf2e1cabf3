"""What goes over the shell's socket: one JSON object a line, each way.

A request is `{"op": …}` with its arguments; bytes of standard input follow its line, as many as `stdin` says. It is
answered by lines of one key each, `end` or `error` the last:

    note · warn · detail                   what a reporter is told
    task · advance · done                  progress
    opened · result                        facts of opened documents, and of other requests
    piece · sentence · answer              what `Engine.ask` yields

Errors keep their class, so that a command ends as it would have without a socket.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from dataclasses import MISSING, asdict, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from sharedllm_cli import errors
from sharedllm_cli.answer import Answer, AnswerSentence, SearchResult
from sharedllm_cli.errors import SharedLLMError

MOST_LINE_BYTES = 64_000_000
"""A line is at most so long: a history of a long chat, or an answer with all its sources."""


def line(value: dict[str, Any]) -> bytes:
    """An object as a line; half surrogate pairs, as damaged files hold them, survive."""
    return json.dumps(value).encode("ascii") + b"\n"


def lines(file: Any) -> Iterator[dict[str, Any]]:
    """The objects of a stream, until it ends; ValueError for anything else."""
    while text := file.readline(MOST_LINE_BYTES):
        if not text.endswith(b"\n"):
            if len(text) >= MOST_LINE_BYTES:
                raise ValueError("a line is too long")
            return  # cut off: the other end has gone
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("a line is no object")
        yield value


def piece(value: Any) -> dict[str, Any]:
    """A piece of an answer as an object."""
    if isinstance(value, str):
        return {"piece": value}
    return {"sentence" if isinstance(value, AnswerSentence) else "answer": asdict(value)}


def error(problem: BaseException) -> dict[str, Any]:
    """An error as an object, with all that telling it needs."""
    told: dict[str, Any] = {"kind": type(problem).__name__, "text": str(problem)}
    if isinstance(problem, SharedLLMError):
        told |= {"message": problem.message, "hint": problem.hint, "exit_code": problem.exit_code}
    if isinstance(problem, OSError):
        told["os"] = [problem.errno, problem.strerror, _text(problem.filename)]
    told["traceback"] = "".join(traceback.format_exception(problem))
    return told


def raised(told: dict[str, Any]) -> Exception:
    """The error of an object: one of ours as itself, any other of the same name and text."""
    kind = str(told.get("kind"))
    found: Exception
    if "message" in told:
        codes = {one.exit_code: one for one in SharedLLMError.__subclasses__()}
        known = getattr(errors, kind, None) or codes.get(told["exit_code"], SharedLLMError)
        found = known(told["message"], hint=told.get("hint"))
    elif kind == "MemoryError":
        found = MemoryError(told.get("text"))
    elif "os" in told:
        found = OSError(*told["os"])
    else:
        found = type(kind, (Exception,), {})(told.get("text"))
    found.add_note(str(told.get("traceback", "")))
    return found


def answer_from(value: dict[str, Any]) -> Answer:
    """The answer of an object."""
    made: Answer = _made(Answer, value)
    return made


def search_result_from(value: dict[str, Any]) -> SearchResult:
    """What was found, of an object."""
    made: SearchResult = _made(SearchResult, value)
    return made


def sentence_from(value: dict[str, Any]) -> AnswerSentence:
    """The sentence of an object."""
    made: AnswerSentence = _made(AnswerSentence, value)
    return made


def _made(kind: Any, value: Any) -> Any:
    """A value of JSON as the dataclass, or the list of such, that it was."""
    if isinstance(kind, UnionType):
        inner = next(one for one in get_args(kind) if one is not NoneType)
        return None if value is None else _made(inner, value)
    if get_origin(kind) is list:
        return [_made(get_args(kind)[0], one) for one in value]
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        needed = {part.name for part in fields(kind) if part.default is MISSING and part.default_factory is MISSING}
        if not needed <= set(value) <= set(hints):
            raise ValueError(f"no {kind.__name__}")
        return kind(**{name: _made(hints[name], part) for name, part in value.items()})
    return value


def _text(name: Any) -> str | None:
    return None if name is None else str(name)
