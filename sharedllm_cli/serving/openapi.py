"""The OpenAPI description of the endpoints (`/openapi.json`), made from the tables that requests are read by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sharedllm_cli import __version__
from sharedllm_cli.config import POLICIES
from sharedllm_cli.serving.openai_requests import CHAT, MOST_MESSAGES, MOST_METADATA, MOST_SEED, NEUTRAL, RESPONSES

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}
_ROLES = ["system", "developer", "user", "assistant"]
_SAID = {"type": "string", "pattern": r"\S"}
_TEXT_PART = {
    "type": "object",
    "required": ["type", "text"],
    "properties": {"type": {"enum": ["text", "input_text", "output_text"]}, "text": _SAID},
}
_CONTENT = {"anyOf": [_SAID, {"type": "array", "minItems": 1, "items": _TEXT_PART}]}
_MESSAGE = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {"role": {"enum": _ROLES}, "content": _CONTENT, "name": {"type": "string"}},
    "additionalProperties": False,
}
_MESSAGES = {
    "type": "array",
    "minItems": 1,
    "maxItems": MOST_MESSAGES,
    "items": _MESSAGE,
    "description": "the first that is no system or developer message is a user's, and so is the last, the question",
}
_KNOWN: Mapping[str, Any] = {
    "messages": _MESSAGES,
    "input": {"anyOf": [_SAID, _MESSAGES]},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    "seed": {"type": "integer", "minimum": 0, "maximum": MOST_SEED},
    "evidence_tokens": {
        "type": "integer",
        "minimum": 0,
        "description": "0 needs an adapter that reads the tree",
    },
    "policy": {"enum": list(POLICIES)},
    "stream_options": {
        "type": "object",
        "properties": {"include_usage": {"type": "boolean"}},
        "additionalProperties": False,
    },
    "metadata": {
        "type": "object",
        "maxProperties": MOST_METADATA,
        "propertyNames": {"maxLength": 512},
        "additionalProperties": {"type": "string", "maxLength": 512},
    },
}
_CHAT_TOGETHER = [
    {
        "if": {"required": ["stream_options"], "properties": {"stream_options": {"type": "object"}}},
        "then": {"required": ["stream"], "properties": {"stream": {"const": True}}},
    },
    {
        "not": {
            "required": ["max_tokens", "max_completion_tokens"],
            "properties": {key: {"type": "integer"} for key in ("max_tokens", "max_completion_tokens")},
        }
    },
]
"""What `chat_request` refuses of parameters that are fine alone."""
_STATUSES = {
    "400": "a parameter that is unknown or can't be meant so",
    "401": "no token",
    "403": "from another site's page",
    "404": "a name that is not granted",
    "408": "too slow",
    "413": "too long",
    "421": "called by another name",
    "422": "a document that can't be read",
    "503": "too many questions wait, or no model can be had",
    "507": "not enough memory or disk",
}


def description(models: Sequence[str]) -> dict[str, Any]:
    """The OpenAPI 3.1 document, with the names of the models."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "sharedllm", "version": __version__},
        "paths": {
            "/health": {"get": _operation("Whether the model is loaded")},
            "/v1/models": {"get": _operation("The documents that may be asked about")},
            "/v1/models/{name}": {
                "get": _operation("One of them")
                | {"parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]}
            },
            "/v1/chat/completions": {
                "post": _asking("A chat completion", CHAT, ["model", "messages"], models, _CHAT_TOGETHER)
            },
            "/v1/responses": {"post": _asking("A response", RESPONSES, ["model", "input"], models)},
        },
        "components": {
            "schemas": {"Error": _error()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _asking(
    summary: str, known: Mapping[str, type], needed: list[str], models: Sequence[str], together: Sequence[Any] = ()
) -> dict[str, Any]:
    properties: dict[str, Any] = {name: {"enum": [*values, None]} for name, values in NEUTRAL.items()}
    for name, kind in known.items():
        schema = _KNOWN.get(name, {"type": _TYPES.get(kind)} | ({"minimum": 1} if kind is int else {}))
        properties[name] = schema if name in needed else {"anyOf": [schema, {"type": "null"}]}
    properties["model"] = {"type": "string", "enum": list(models)}
    body = {"type": "object", "required": needed, "properties": properties, "additionalProperties": False}
    body |= {"allOf": list(together)} if together else {}
    streamed: dict[str, Any] = {"text/event-stream": {}}  # 3.1 has no word for the form of each event
    found = _operation(summary, more=streamed)
    return found | {"requestBody": {"required": True, "content": {"application/json": {"schema": body}}}}


def _operation(summary: str, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}, **(more or {})}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    refused = {status: {"description": words, "content": error} for status, words in _STATUSES.items()}
    return {"summary": summary, "responses": {"200": {"description": "done", "content": content}, **refused}}


def _error() -> dict[str, Any]:
    text = {"type": ["string", "null"]}
    told = {"message": {"type": "string"}, "type": {"type": "string"}, "param": text, "code": text, "hint": text}
    inner = {"type": "object", "required": ["message", "type", "param", "code"], "properties": told}
    return {"type": "object", "required": ["error"], "properties": {"error": inner}}
