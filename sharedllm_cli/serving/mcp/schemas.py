"""JSON Schema of what tools return, read off the dataclasses whose JSON it is: written once, where the fields are."""

from __future__ import annotations

import types
import typing
from dataclasses import fields, is_dataclass
from typing import Any, Literal

from sharedllm_cli.answer import (
    Answer,
    Coverage,
    IndexUse,
    ModelUse,
    SearchResult,
    Source,
    Timing,
    TreeRead,
)

SCALARS: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


def answer_schema() -> dict[str, Any]:
    """The object of `ask --json`."""
    found = of_dataclass(Answer)
    found["properties"]["memory"] = an_object({"peak_bytes": {"type": "integer"}})
    return _as_in(found, _ANSWER.to_json())


def search_schema() -> dict[str, Any]:
    """The object of `search --json`, without the files that were passed over."""
    found = SearchResult("", "", [_SOURCE], [], [], 0.0, [])
    return _as_in(of_dataclass(SearchResult), found.to_json())


def an_object(properties: dict[str, Any], *, optional: typing.Collection[str] = ()) -> dict[str, Any]:
    """The schema of an object with these properties and no others, all of them there unless `optional`."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def a_list(items: dict[str, Any]) -> dict[str, Any]:
    """The schema of a list."""
    return {"type": "array", "items": items}


def or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a value that may be missing."""
    return schema | {"type": [schema["type"], "null"]}


def of_dataclass(kind: type) -> dict[str, Any]:
    """The schema of a dataclass as `asdict` makes it JSON."""
    hints = typing.get_type_hints(kind)
    return an_object({field.name: _of(hints[field.name]) for field in fields(kind)})


def _of(kind: Any) -> dict[str, Any]:
    if kind in SCALARS:
        return {"type": SCALARS[kind]}
    if isinstance(kind, type) and is_dataclass(kind):
        return of_dataclass(kind)
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        return a_list(_of(inside[0]))
    if origin is Literal:
        return {"type": "string", "enum": list(inside)}
    if origin in (typing.Union, types.UnionType):
        [other] = [one for one in inside if one is not type(None)]
        return or_null(_of(other))
    raise TypeError(f"no schema for {kind}")


def _as_in(schema: dict[str, Any], sample: Any) -> dict[str, Any]:
    """A schema with the properties alone that a sample has: its JSON leaves some of the fields out."""
    if isinstance(sample, list):
        return schema | {"items": _as_in(schema["items"], sample[0])} if sample else schema
    if not isinstance(sample, dict):
        return schema
    return an_object({name: _as_in(schema["properties"][name], value) for name, value in sample.items()})


_SOURCE = Source("", 1, None, "", True, 0.0, 0, 0, 0)
_ANSWER = Answer(
    question="",
    answer="",
    sources=[_SOURCE],
    coverage=Coverage(0, 0, 0, 0, []),
    tree=TreeRead(0, 0, None, ""),
    answered=True,
    reason=None,
    index=IndexUse(True, True, None, 0),
    model=ModelUse("", None, True, True, "", ""),
    timing=Timing(),
    peak_bytes=0,
)
