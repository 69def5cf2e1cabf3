"""The arguments of a tool: their JSON Schema for the client, and the check of what it sends.

The protocol's library passes on whatever comes. Here unknown names, wrong types and values out of bounds are refused
in one sentence, with the nearest name.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sharedllm_cli.errors import UsageError

Kind = Literal["text", "texts", "whole", "number", "boolean"]

WORDS: Mapping[Kind, str] = {
    "text": "text",
    "texts": "a list of texts",
    "whole": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}
MOST_TEXT = 10_000
"""Characters of a text at most, unless the argument has a bound of its own."""
MOST_TEXTS = 1_000


@dataclass(frozen=True)
class Argument:
    """One argument. `least` and `most` bound a number, or the characters of a text, or how many texts there are."""

    name: str
    kind: Kind
    help: str
    required: bool = False
    default: Any = None
    least: float | None = None
    most: float | None = None

    def schema(self) -> dict[str, Any]:
        """Its JSON Schema."""
        found: dict[str, Any] = {"description": self.help}
        if self.default is not None:
            found["default"] = self.default
        if self.kind == "texts":
            return found | {"type": "array", "items": {"type": "string"}, "maxItems": MOST_TEXTS}
        if self.kind == "text":
            return found | {"type": "string", "minLength": 1, "maxLength": int(self.most or MOST_TEXT)}
        if self.kind == "boolean":
            return found | {"type": "boolean"}
        bounds = {"minimum": self.least, "maximum": self.most}
        known = {name: bound for name, bound in bounds.items() if bound is not None}
        return found | {"type": "integer" if self.kind == "whole" else "number"} | known

    def read(self, value: Any) -> Any:
        """A value as the tool gets it; UsageError for one of another type or out of bounds."""
        if not _fits(self.kind, value):
            raise UsageError(f"{self.name} must be {WORDS[self.kind]}, got {_shown(value)}")
        if self.kind == "text":
            if not value.strip():
                raise UsageError(f"{self.name} is empty")
            if len(value) > (self.most or MOST_TEXT):
                raise UsageError(f"{self.name} has at most {int(self.most or MOST_TEXT):,} characters")
        elif self.kind == "texts" and len(value) > MOST_TEXTS:
            raise UsageError(f"{self.name} has at most {MOST_TEXTS:,} names")
        elif self.kind in ("whole", "number"):
            value = int(value) if self.kind == "whole" else float(value)
            if (self.least is not None and value < self.least) or (self.most is not None and value > self.most):
                raise UsageError(f"{self.name} must be {self._bounds()}, got {value:g}")
        return value

    def _bounds(self) -> str:
        if self.most is None:
            return f"at least {self.least:g}"
        return f"from {self.least or 0:g} to {self.most:g}"


def schema_of(arguments: Sequence[Argument]) -> dict[str, Any]:
    """The JSON Schema of a tool's arguments, which allows no others."""
    found: dict[str, Any] = {
        "type": "object",
        "properties": {one.name: one.schema() for one in arguments},
        "additionalProperties": False,
    }
    required = [one.name for one in arguments if one.required]
    return found | {"required": required} if required else found


def checked(tool: str, arguments: Sequence[Argument], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a client sends, checked and with the defaults; a null stands for an argument that is not given.

    Raises UsageError for an unknown argument, one that is missing, and an invalid value.
    """
    given = given or {}
    known = {one.name: one for one in arguments}
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name[:100], known, n=1)
            hint = f"did you mean: {near[0]}" if near else f"it has: {', '.join(known) or 'none'}"
            raise UsageError(f"{tool} has no argument {name!r:.100}", hint=hint)
    missing = [one.name for one in arguments if one.required and given.get(one.name) is None]
    if missing:
        raise UsageError(f"{tool} needs {missing[0]}", hint=f"{missing[0]}: {known[missing[0]].help}")
    return {one.name: one.default if given.get(one.name) is None else one.read(given[one.name]) for one in arguments}


def _fits(kind: Kind, value: Any) -> bool:
    if isinstance(value, bool) or kind == "boolean":
        return kind == "boolean" and isinstance(value, bool)
    if kind == "text":
        return isinstance(value, str)
    if kind == "texts":
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    if not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return kind == "number" or float(value).is_integer()


def _shown(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: str(value).lower(), type(None): "null"}
    return names.get(type(value), str(value)[:40])
