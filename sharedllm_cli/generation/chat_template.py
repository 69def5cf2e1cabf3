"""A model's chat template, run within bounds: it is a program that came with the model.

Jinja's sandbox keeps it from files and from Python. Here its loops, its time and the size of what it makes are bounded
too. What transformers gives templates is given here: `raise_exception`, `strftime_now`, `tojson`, `break` and
`continue` in loops, the `generation` tag.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import datetime
from functools import lru_cache, wraps
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sharedllm_cli.errors import ModelError

MOST_STEPS = 100_000
"""Rounds of loops and calls of macros; a conversation takes a few for each of its turns."""
MOST_SECONDS = 10.0
LONGEST = 1_000_000
"""Characters, or entries of lists within lists, of anything that a template makes."""
LONGEST_SOURCE = 1 << 20
_WIDEST = 64
_WIDE_METHODS = frozenset(
    {"center", "expandtabs", "format", "format_map", "ljust", "rjust", "translate", "zfill", "encode"}
)
_WIDE_FILTERS = ("batch", "center", "filesizeformat", "format", "pprint", "random", "slice", "urlize", "wordwrap")
_WIDTH = re.compile(r"%[^a-zA-Z%]*(?:\d{3}|\*)")


class TooMuchError(TemplateError):
    """A template that would take more steps, time or memory than any conversation needs."""


class _Budget:
    """What is left to one rendering."""

    def __init__(self) -> None:
        self.steps = MOST_STEPS
        self.ends = time.monotonic() + MOST_SECONDS

    def step(self) -> None:
        self.steps -= 1
        if self.steps < 0 or time.monotonic() > self.ends:
            raise TooMuchError("it never ends, or takes too long")


_budget: ContextVar[_Budget] = ContextVar("budget")


def rendered(template: str, variables: Mapping[str, Any]) -> str:
    """The template's text for these variables. Raises ModelError where it fails or takes more than the bounds."""
    held = _budget.set(_Budget())
    try:
        if len(template) > LONGEST_SOURCE:
            raise TooMuchError("it is too long")
        return "".join(_bounded_parts(_compiled(template).generate(**variables)))
    except Exception as error:  # code that came with a model can raise anything
        raise ModelError(
            f"the model's chat template can't be used: {str(error)[:200] or type(error).__name__}"
        ) from error
    finally:
        _budget.reset(held)


def _bounded_parts(parts: Iterable[str]) -> Iterator[str]:
    length = 0
    for part in parts:
        length += len(part)
        if length > LONGEST:
            raise TooMuchError("it makes a text that is too long")
        yield part


@lru_cache(maxsize=4)
def _compiled(template: str) -> Any:
    environment = _Bounded(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, LoopControlExtension], finalize=_sized
    )
    tree = environment.parse(template)
    for repeated in tree.find_all((nodes.For, nodes.Macro, nodes.Block)):
        body: list[nodes.Node] = repeated.body  # type: ignore[attr-defined]
        body.insert(0, nodes.ExprStmt(_own("step")))
    tree = _without_concatenations(tree)
    tree.set_environment(environment)
    return environment.from_string(tree)


def _own(name: str, *arguments: nodes.Expr) -> nodes.Call:
    """A call of the environment's own function, which no variable of a template can hide."""
    return nodes.Call(nodes.EnvironmentAttribute(name), list(arguments), [], None, None)


def _sized(value: Any) -> Any:
    """The value, which is not larger than the bound however deep its lists nest."""
    left, waiting = LONGEST, [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str | bytes):
            left -= len(one)
        elif isinstance(one, dict):
            left -= 2 * len(one)
            waiting += [*one, *one.values()] if left >= 0 else []
        elif isinstance(one, list | tuple | set | frozenset):
            left -= len(one)
            waiting += one if left >= 0 else []
        elif isinstance(one, int):
            left -= one.bit_length() // 4
        if left < 0:
            raise TooMuchError("it makes texts or lists that are too long")
    return value


def _joined(*parts: Any) -> str:
    _sized(parts)
    return "".join(map(str, parts))


def _concatenated(parts: Any) -> str:
    return _joined(*parts)


def _without_concatenations(node: Any) -> Any:
    """The tree with a bounded call in place of each `a ~ b`, which could double a text without end."""
    for name, value in node.iter_fields():
        if isinstance(value, nodes.Node):
            setattr(node, name, _without_concatenations(value))
        elif isinstance(value, list):
            value[:] = [_without_concatenations(one) if isinstance(one, nodes.Node) else one for one in value]
    return _own("joined", *node.nodes) if isinstance(node, nodes.Concat) else node


class _Bounded(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with bounds on what operators, methods and filters make."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    concat = staticmethod(_concatenated)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.joined = _joined
        for name in _WIDE_FILTERS:
            self.filters.pop(name, None)
        self.filters |= {"tojson": _to_json, "join": _join, "replace": _replaced, "indent": _indented}
        self.filters = {name: _guarded(function) for name, function in self.filters.items()}
        self.globals.pop("lipsum", None)
        self.globals |= {"raise_exception": _raise, "strftime_now": _now}

    def step(self) -> str:
        """Count a round of a loop."""
        _budget.get().step()
        return ""

    def wrap_str_format(self, value: Any) -> None:
        """Leaves `format` the method that it is, which `is_safe_attribute` refuses."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Also refuses the methods that make a text of any width."""
        wide = isinstance(obj, str | bytes) and attr in _WIDE_METHODS
        return not wide and bool(super().is_safe_attribute(obj, attr, value))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """A call whose arguments and result are within the bounds."""
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str) and name == "join":
            return _join(args[0], owner)
        if isinstance(owner, str) and name == "replace":
            return _replaced(owner, *args)
        _sized(args)
        return _sized(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An operation whose result is within the bounds."""
        if operator == "+" and isinstance(left, str | list | tuple):
            _sized([left, right])
        if operator == "%" and isinstance(left, str) and _WIDTH.search(left):
            raise TooMuchError("it makes texts that are too wide")
        if operator in ("*", "**"):
            _check_product(operator, left, right)
        return super().call_binop(context, operator, left, right)


def _check_product(operator: str, left: Any, right: Any) -> None:
    sizes = [one.bit_length() if isinstance(one, int) else 64 for one in (left, right)]
    if operator == "**":
        if isinstance(right, int) and sizes[0] * abs(right) > 4096:
            raise TooMuchError("it makes numbers that are too large")
        return
    for one, other in ((left, right), (right, left)):
        if isinstance(one, str | bytes | list | tuple) and isinstance(other, int) and len(one) * other > LONGEST:
            raise TooMuchError("it makes texts or lists that are too long")
    if sum(sizes) > 4096:
        raise TooMuchError("it makes numbers that are too large")


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose arguments and result are within the bounds."""

    @wraps(function)
    def within(*values: Any, **named: Any) -> Any:
        _sized(list(values))
        _sized(list(named.values()))
        return _sized(function(*values, **named))

    return within


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    if indent is not None and not (isinstance(indent, int) and 0 <= indent <= _WIDEST):
        raise TooMuchError("it indents too far")
    return json.dumps(
        _sized(value), ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _join(values: Any, between: Any = "", attribute: Any = None) -> str:
    if attribute is not None:
        values = [
            value[attribute] if isinstance(value, Mapping) else getattr(value, str(attribute), "") for value in values
        ]
    values = list(values)
    if len(values) * len(str(between)) > LONGEST:
        raise TooMuchError("it makes texts that are too long")
    _sized(values)
    return str(between).join(map(str, values))


def _replaced(text: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new = str(text), str(old), str(new)
    if text.count(old) * len(new) > LONGEST:
        raise TooMuchError("it makes texts that are too long")
    return str(text).replace(old, new, -1 if count is None else count)


def _indented(text: Any, width: Any = 4, first: bool = False, blank: bool = False) -> str:
    begin = width if isinstance(width, str) else " " * width if 0 <= width <= _WIDEST else None
    if begin is None or len(begin) > _WIDEST:
        raise TooMuchError("it indents too far")
    lines = str(text).splitlines() or [""]
    rest = [begin + line if line or blank else line for line in lines[1:]]
    return "\n".join([begin + lines[0] if first else lines[0], *rest])


def _raise(message: Any) -> None:
    raise TemplateError(str(message))


def _now(form: str) -> str:
    if len(form) > _WIDEST:
        raise TooMuchError("it makes texts that are too wide")
    return datetime.now().strftime(form)


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks an answer for training; here it is its content."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The content between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)
