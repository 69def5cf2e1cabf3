"""Requests in the form of OpenAI's API, read strictly: what is not understood is refused by its name, never ignored.

A parameter that asks for nothing (`n: 1`, `store: false`) is taken. Roles: `system` and `developer` messages are the
system prompt, the last `user` message is the question, those before it with their answers the conversation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sharedllm_cli.config import Settings
from sharedllm_cli.errors import UsageError
from sharedllm_cli.serving.granted import Granted, NotGrantedError
from sharedllm_cli.serving.http_errors import RefusedError

PREFIX = "sharedllm"
"""`sharedllm/NAME` is the model for a document; `sharedllm` alone for all that are granted."""
MOST_MESSAGES = 1000
MOST_SEED = 2**53
MOST_METADATA = 16

_OURS = {"pages": str, "section": str, "policy": str, "evidence_tokens": int}
"""Parameters of this tool's own, as the flags of those names take them."""
_SAMPLING = {"temperature": float, "top_p": float, "stream": bool, "metadata": dict, "user": str}
CHAT = {
    "model": str,
    "messages": list,
    "seed": int,
    "max_tokens": int,
    "max_completion_tokens": int,
    "stream_options": dict,
    **_SAMPLING,
    **_OURS,
}
RESPONSES = {"model": str, "input": object, "instructions": str, "max_output_tokens": int, **_SAMPLING, **_OURS}
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "store": (False,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "stop": ([],),
    "text": ({}, {"format": {"type": "text"}}),
    "background": (False,),
    "include": ([],),
    "truncation": ("disabled",),
}
"""Parameters whose only values are those that ask for nothing; `null` is one of any."""


@dataclass(frozen=True)
class Asked:
    """A question as a request has it. `documents` are granted paths, `history` pairs of question and answer."""

    model: str
    documents: list[str]
    question: str
    history: list[tuple[str, str]]
    settings: Settings
    pages: str | None
    section: str | None
    stream: bool
    usage: bool
    instructions: str | None
    metadata: dict[str, str]


def chat_request(body: bytes, granted: Granted, settings: Settings) -> Asked:
    """A body of `/v1/chat/completions`. Raises RefusedError and NotGrantedError."""
    given = _checked(body, CHAT, needed=("model", "messages"))
    options = given.get("stream_options") or {}
    if set(options) - {"include_usage"} or not isinstance(options.get("include_usage", False), bool):
        raise RefusedError("stream_options takes include_usage alone", parameter="stream_options")
    if "stream_options" in given and not given.get("stream"):
        raise RefusedError("stream_options needs stream", parameter="stream_options")
    if "max_tokens" in given and "max_completion_tokens" in given:
        raise RefusedError("max_tokens and max_completion_tokens exclude each other", parameter="max_tokens")
    longest = given.get("max_completion_tokens", given.get("max_tokens"))
    system, turns, question = _conversation(given["messages"], "messages")
    usage = bool(options.get("include_usage"))
    return _asked(given, granted, settings, system, turns, question, longest, usage=usage)


def responses_request(body: bytes, granted: Granted, settings: Settings) -> Asked:
    """A body of `/v1/responses`. Raises RefusedError and NotGrantedError."""
    given = _checked(body, RESPONSES, needed=("model", "input"))
    instructions, wanted = given.get("instructions"), given["input"]
    if isinstance(wanted, str):
        system, turns, question = None, list[tuple[str, str]](), wanted
    else:
        system, turns, question = _conversation(wanted, "input")
    both = "\n\n".join(filter(None, [instructions, system])) or None
    return _asked(given, granted, settings, both, turns, question, given.get("max_output_tokens"), usage=True)


def _asked(
    given: Mapping[str, Any],
    granted: Granted,
    settings: Settings,
    system: str | None,
    turns: list[tuple[str, str]],
    question: str,
    longest: int | None,
    *,
    usage: bool,
) -> Asked:
    if not question.strip():
        raise RefusedError("the question is empty", parameter="messages" if "messages" in given else "input")
    names = {"temperature": "temperature", "top_p": "top_p", "seed": "seed", "policy": "policy"}
    values = {name: given[key] for key, name in names.items() if key in given}
    if "evidence_tokens" in given:
        values["evidence_tokens"] = given["evidence_tokens"]
    if longest is not None:
        values["max_new_tokens"] = longest
    if system is not None:
        values["system"] = system
    if not 0 <= values.get("seed", 0) <= MOST_SEED:
        raise RefusedError(f"seed must be from 0 to {MOST_SEED}", parameter="seed")
    try:
        chosen = replace(settings, **values)
    except UsageError as problem:
        parameter = next((name for name in values if name.replace("_", "-") in problem.message), None)
        raise RefusedError(problem.message.removeprefix("--"), parameter=parameter) from None
    return Asked(
        model=given["model"],
        documents=_documents(given["model"], granted),
        question=question,
        history=turns,
        settings=chosen,
        pages=given.get("pages"),
        section=given.get("section"),
        stream=bool(given.get("stream")),
        usage=usage,
        instructions=given.get("instructions"),
        metadata=given.get("metadata", {}),
    )


def model_names(granted: Granted) -> list[str]:
    """The models that a caller may name."""
    names = granted.names()
    return [*([PREFIX] if len(names) > 1 else []), *(f"{PREFIX}/{name}" for name in names)]


def _documents(model: str, granted: Granted) -> list[str]:
    first, _, name = model.partition("/")
    if first != PREFIX:
        raise NotGrantedError(f"there is no model {model!r:.200}", hint=f"models are called {PREFIX}/NAME")
    if model == PREFIX:
        return granted.resolve()
    return granted.resolve([name])


def _checked(body: bytes, known: Mapping[str, type], needed: tuple[str, ...]) -> dict[str, Any]:
    """The parameters of a body, without those that ask for nothing."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError("the body is not JSON") from None
    if not isinstance(given, dict):
        raise RefusedError("the body is not a JSON object")
    _whole_characters(body)
    given = {name: value for name, value in given.items() if value is not None}
    if unknown := [name for name in given if name not in known and name not in NEUTRAL]:
        names = ", ".join(f"{name!r:.80}" for name in unknown[:8])
        raise RefusedError(f"unknown parameters: {names}", parameter=unknown[0][:80], code="unknown_parameter")
    for name in [name for name in given if name in NEUTRAL and name not in known]:
        value = given.pop(name)
        if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in NEUTRAL[name]):
            raise RefusedError(f"{name} can't be {value!r:.80}: not supported", parameter=name)
    for name, value in given.items():
        _of_type(name, value, known[name])
    for name in needed:
        if name not in given:
            raise RefusedError(f"{name} is missing", parameter=name, code="missing_required_parameter")
    return given


def _of_type(name: str, value: Any, kind: type) -> None:
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}
    fits = isinstance(value, kind) and (kind in (bool, object) or not isinstance(value, bool))
    if not (fits or (kind is float and isinstance(value, int) and not isinstance(value, bool))):
        raise RefusedError(f"{name} must be {words.get(kind, 'an object')}", parameter=name)
    if name == "temperature" and not 0 <= value <= 2:
        raise RefusedError("temperature must be from 0 to 2", parameter=name)
    if name == "metadata":
        texts = [*value, *value.values()]
        if len(value) > MOST_METADATA or not all(isinstance(text, str) and len(text) <= 512 for text in texts):
            raise RefusedError(f"metadata has at most {MOST_METADATA} short texts", parameter=name)


def _whole_characters(body: bytes) -> None:
    """RefusedError for half a surrogate pair, which is no character: no tokenizer takes it."""
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise RefusedError("the body has half a surrogate pair, which is no character") from None


def _conversation(messages: Any, parameter: str) -> tuple[str | None, list[tuple[str, str]], str]:
    """System prompt, earlier turns and question of a list of messages; messages of one role in a row are one."""
    if not isinstance(messages, list) or not messages:
        raise RefusedError(f"{parameter} must be a list of messages", parameter=parameter)
    if len(messages) > MOST_MESSAGES:
        raise RefusedError(f"there are at most {MOST_MESSAGES:,} messages", parameter=parameter)
    system: list[str] = []
    said: list[tuple[str, str]] = []
    for number, message in enumerate(messages):
        role, text = _message(message, f"{parameter}[{number}]")
        if role == "system":
            system.append(text)
        elif said and said[-1][0] == role:
            said[-1] = (role, f"{said[-1][1]}\n\n{text}")
        else:
            said.append((role, text))
    if not said or said[0][0] != "user":
        raise RefusedError("the conversation must begin with a user's message", parameter=parameter)
    if said[-1][0] != "user":
        raise RefusedError("the last message must be the user's question", parameter=parameter)
    turns = [(said[place][1], said[place + 1][1]) for place in range(0, len(said) - 1, 2)]
    return "\n\n".join(system) or None, turns, said[-1][1]


def _message(message: Any, place: str) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise RefusedError(f"{place} is no message", parameter=place)
    # What a client sends back of an answer's message holds more than role and content: none of it is an instruction.
    known = {"role", "content", "type", "name", "id", "status", "annotations", "refusal", "phase", "sharedllm"}
    if unknown := [name for name, value in message.items() if name not in known and value is not None]:
        raise RefusedError(f"{place} has unknown parts: {unknown[0]!r:.80}", parameter=f"{place}.{unknown[0][:80]}")
    if message.get("type", "message") != "message":
        raise RefusedError(f"{place} is no message", parameter=f"{place}.type")
    role = message.get("role")
    if role not in ("system", "developer", "user", "assistant"):
        raise RefusedError(f"{place}.role can't be {role!r:.40}", parameter=f"{place}.role")
    return "system" if role == "developer" else role, _content(message.get("content"), f"{place}.content")


def _content(content: Any, place: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise RefusedError(f"{place} must be text", parameter=place)
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("text") if isinstance(part, dict) else None
        if kind not in ("text", "input_text", "output_text") or not isinstance(text, str):
            raise RefusedError(f"{place} can only hold text, not {kind!r:.40}", parameter=place)
        texts.append(text)
    return "\n".join(texts)
