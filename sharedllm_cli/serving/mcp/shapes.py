"""What each tool takes and returns, and what the client's model reads of it.

JSON Schema is read off the dataclasses whose JSON it is. The shapes of `index` and `plan` are written out here: their
dataclasses are in rooms that load torch, and a client asks for the list of tools at once. A test compares them.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
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
from sharedllm_cli.config import MAX_SOURCES
from sharedllm_cli.serving.mcp.arguments import Argument

MOST_SHOWN = 50
"""Passages that a search returns at most."""
READ_CHARACTERS, MOST_CHARACTERS = 20_000, 200_000
"""Characters of text that one `read` returns, unless it asks for another number, and at most."""
LISTED, MOST_LISTED = 200, 1_000
"""The same for the documents of one `list_documents`."""

TEXT, WHOLE, NUMBER, BOOLEAN = ({"type": name} for name in ("string", "integer", "number", "boolean"))

DOCUMENTS = Argument(
    "documents",
    "texts",
    "Names from list_documents (documents, collections such as @notes), or a granted folder's; without it all.",
)
NAMED = Argument(
    "documents",
    "texts",
    "Names from list_documents (documents, collections such as @notes), or a granted folder's.",
    required=True,
)
DOCUMENT = Argument("document", "text", "A name from list_documents.", required=True, most=1_000)
PAGES = Argument("pages", "text", "Only these pages, as printed (12-30, xii) or counted (counted:5-9).", most=200)
SECTION = Argument("section", "text", "Only the section with this number or heading (4.2, Glossary).", most=500)


@dataclass(frozen=True)
class Shape:
    """One tool: its name, title and description, its arguments, the schema of its result, what it may change."""

    name: str
    title: str
    description: str
    arguments: tuple[Argument, ...]
    output: Mapping[str, Any]
    writes: bool = False
    destroys: bool = False


def failures() -> dict[str, Any]:
    """Documents that could not be read."""
    return a_list(an_object({"document": TEXT, "error": TEXT, "hint": or_null(TEXT)}))


def read_schema() -> dict[str, Any]:
    """The object of `read --json`, a stretch of it, and where to go on."""
    place = {"page": WHOLE, "page_label": or_null(TEXT), "part": or_null(WHOLE)}
    heading = an_object({"title": TEXT, "level": WHOLE, **place})
    page = {**place, "part_title": or_null(TEXT)}
    properties = {
        "document": TEXT,
        "kind": TEXT,
        "page_count": WHOLE,
        "outline": a_list(heading),
        "pages": a_list(an_object({**page, "text": TEXT})),
        "warnings": a_list(TEXT),
        "total_characters": WHOLE,
        "next_start": or_null(WHOLE),
    }
    return an_object(properties, optional=("pages",))


def list_schema() -> dict[str, Any]:
    """The documents; what only an index knows is null without one."""
    facts = {name: or_null(WHOLE) for name in ("pages", "tokens", "bytes")}
    document = an_object({"name": TEXT, "uri": TEXT, "indexed": BOOLEAN, **facts})
    collections = a_list(an_object({"name": TEXT, "documents": WHOLE}))
    rest = {"total": WHOLE, "next_start": or_null(WHOLE)}
    return an_object({"documents": a_list(document), "collections": collections, **rest})


def plan_schema() -> dict[str, Any]:
    """A list of `planning.PlanRow`."""
    whole = ("pages", "tokens", "chunks", "index_bytes", "weights_bytes", "memory_bytes")
    row = {"name": TEXT, **dict.fromkeys(whole, WHOLE), "index_seconds": NUMBER, "question_seconds": NUMBER}
    rest = {"indexed": BOOLEAN, "basis": TEXT, "batch_bytes": WHOLE, "tree_bytes": WHOLE, "cache_bytes": WHOLE}
    row |= {**rest, "fits": BOOLEAN, "where": TEXT}
    return an_object({"documents": a_list(an_object(row)), "failures": failures()})


def index_schema() -> dict[str, Any]:
    """A list of `engine.IndexOutcome`."""
    row = {"name": TEXT, "path": or_null(TEXT), "index_path": TEXT}
    row |= dict.fromkeys(("pages", "tokens", "chunks", "bytes"), WHOLE)
    row |= {"seconds": NUMBER, "tokens_per_s": NUMBER, "skipped": BOOLEAN, "reason": or_null(TEXT)}
    return an_object({"indexed": a_list(an_object(row)), "failures": failures()})


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


SHAPES = (
    Shape(
        "ask",
        "Ask the documents",
        "Answer a question from the user's documents with a small model on this machine. Returns the answer, the "
        "sources (document, page, exact words, whether they were found again on the page), how much was read, and "
        "answered=false with the reason where the documents do not say. Put one self-contained question.",
        (
            Argument("question", "text", "One question, which needs no other text.", required=True, most=4_000),
            *(DOCUMENTS, PAGES, SECTION),
            Argument("max_new_tokens", "whole", "Longest answer, in tokens.", least=1, most=2_048),
        ),
        answer_schema(),
    ),
    Shape(
        "search",
        "Search the documents",
        "Find the passages of the user's documents that hold some words: document, page, heading, score and the "
        "exact text. Quick, and asks no model.",
        (
            Argument("query", "text", "Words to look for.", required=True, most=2_000),
            *(DOCUMENTS, PAGES),
            Argument("limit", "whole", "Passages at most.", default=MAX_SOURCES, least=1, most=MOST_SHOWN),
            Argument("min_score", "number", "Leave out passages with a lower score."),
        ),
        search_schema(),
    ),
    Shape(
        "read",
        "Read a document",
        "The text of pages or sections of one document, or its headings with their pages. Long texts come in "
        "stretches: next_start says where the next one begins.",
        (
            *(DOCUMENT, PAGES, SECTION),
            Argument("outline", "boolean", "The headings instead of the text.", default=False),
            Argument("start", "whole", "Characters to pass over, as next_start has it.", default=0, least=0),
            Argument(
                "max_characters",
                "whole",
                "Longest stretch of text.",
                default=READ_CHARACTERS,
                least=1,
                most=MOST_CHARACTERS,
            ),
        ),
        read_schema(),
    ),
    Shape(
        "list_documents",
        "List the documents",
        "The documents that may be asked about, which of them are indexed already, and the collections they are in.",
        (
            Argument("match", "text", "Only names that contain this.", most=500),
            Argument("start", "whole", "Documents to pass over, as next_start has it.", default=0, least=0),
            Argument("limit", "whole", "Documents at most.", default=LISTED, least=1, most=MOST_LISTED),
        ),
        list_schema(),
    ),
    Shape(
        "plan",
        "Plan the work",
        "What reading documents would take, before any of it is done: tokens, disk, memory, seconds.",
        (DOCUMENTS,),
        plan_schema(),
    ),
    Shape(
        "index",
        "Index documents",
        "Read documents and store their indexes beforehand. May take minutes; reports progress.",
        (NAMED, Argument("reindex", "boolean", "Read them again even if they are indexed.", default=False)),
        index_schema(),
        writes=True,
    ),
    Shape(
        "remove",
        "Remove an index",
        "Delete the stored index of a document. The document itself stays.",
        (DOCUMENT,),
        an_object({"removed": TEXT, "bytes": WHOLE}),
        writes=True,
        destroys=True,
    ),
)
"""All tools; those that write come last."""
