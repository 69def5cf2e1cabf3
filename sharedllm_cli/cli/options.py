"""Command-line options made from the fields of `config.Settings`, and the decorator that hands them to a command.

Help, default and checks are written once, in `config`; here stands only where an option is shown and on which commands
it acts. A flag that was not given is None, so that `config.resolve` can look at the environment, the configuration
file and the default in turn.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import Field, dataclass, fields
from typing import Annotated, Any

import typer

from sharedllm_cli.cli.session import open_call
from sharedllm_cli.config import Settings, flag
from sharedllm_cli.errors import UsageError

DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Group:
    """Options shown together on a help page: a title and the names of their settings."""

    title: str
    names: tuple[str, ...]


MODEL = Group("Model", ("model", "adapter", "device", "quantize", "dtype", "attention", "offline"))
READING = Group("Reading", ("policy", "evidence_tokens", "readings", "tree", "password", "index_dir"))
ANSWER = Group(
    "Answer", ("refuse_from", "candidates", "max_new_tokens", "temperature", "top_p", "seed", "cuda_graphs", "system")
)
TREE = Group(
    "Tree",
    ("preset", "lower_layers", "chunk_tokens", "tree_height", "ratios", "encoding", "stored_dtype", "injection"),
)
CONVERSATION = Group("Conversation", ("save",))
GROUPS = (MODEL, READING, ANSWER, TREE, CONVERSATION)
OUTPUT = "Output"

SHORT = {"model": "-m", "index_dir": "-o", "quiet": "-q", "verbose": "-v"}
"""The few short flags; every option has a long one."""

EVERYTHING = tuple(name for group in GROUPS if group is not CONVERSATION for name in group.names)
"""All settings of documents and answers: what `ask` and `chat` take."""

OUTPUT_FLAGS: tuple[tuple[str, str], ...] = (
    ("json", "Print one JSON object on standard output and nothing else there."),
    ("quiet", "No progress, sources or remarks; only results, warnings and errors."),
    ("verbose", "More remarks, whole quotes, and a traceback with every error."),
)


def knobs(names: Sequence[str]) -> Iterator[Field[Any]]:
    """The settings of these names, in the order given; KeyError for an unknown one."""
    known = {knob.name: knob for knob in fields(Settings)}
    for name in names:
        yield known[name]


def group_of(name: str) -> str:
    """The help panel that a setting is shown in."""
    return next(group.title for group in GROUPS if name in group.names)


def default_text(knob: Field[Any]) -> str | None:
    """A setting's default as the user would type it; None where the help text tells it."""
    if knob.default is None or knob.default is False:
        return None
    if knob.default is True:
        return flag(knob).removeprefix("--")
    return f"{knob.default:g}" if isinstance(knob.default, float) else str(knob.default)


def with_settings(
    *names: str, json: bool = True, quiet: bool = True, without: Collection[str] = ()
) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Give a command these settings and the output flags; the command gets a `Call` in place of all of them.

    `without` are choices that the command itself refuses, so that its help does not offer them.

    The decorated function has `call: Call` as its first parameter; what else it declares stays an argument or option
    of its own, shown before the settings.
    """
    settings = tuple(knobs(names))
    output = tuple(name for name, _ in OUTPUT_FLAGS if (json or name != "json") and (quiet or name != "quiet"))

    def decorate(function: Callable[..., int | None]) -> Callable[..., int | None]:
        signature = inspect.signature(function, eval_str=True)
        own = [parameter for parameter in signature.parameters.values() if parameter.name != "call"]

        @functools.wraps(function)
        def command(context: typer.Context, **values: Any) -> int | None:
            flags = {knob.name: number_from(knob, values.pop(knob.name)) for knob in settings}
            shown = {name: bool(values.pop(name)) for name in output}
            return function(open_call(context.obj, flags, **shown), **values)

        parameters = [_parameter("context", typer.Context), *own]
        parameters += [_setting(knob, without) for knob in settings]
        parameters += [_output_flag(name, help) for name, help in OUTPUT_FLAGS if name in output]
        command.__dict__["__signature__"] = inspect.Signature(
            [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        )
        command.__annotations__ = {}
        return command

    return decorate


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _setting(knob: Field[Any], without: Collection[str] = ()) -> inspect.Parameter:
    kind = bool if _kind(knob) == "bool" else str
    names = [flag(knob) + (f"/--no-{flag(knob)[2:]}" if kind is bool else "")]
    if knob.name in SHORT:
        names.append(SHORT[knob.name])
    default = default_text(knob)
    info = typer.Option(
        *names,
        help=knob.metadata["help"],
        show_default=default or False,
        metavar=_metavar(knob, without),
        rich_help_panel=group_of(knob.name),
        autocompletion=_completion(knob, without),
    )
    return _parameter(knob.name, Annotated[kind | None, info], None)


def _kind(knob: Field[Any]) -> str:
    return str(knob.type).split(" | ")[0]


def _choices(knob: Field[Any], without: Collection[str]) -> tuple[str, ...]:
    return tuple(choice for choice in knob.metadata["choices"] or () if choice not in without)


def _metavar(knob: Field[Any], without: Collection[str]) -> str | None:
    if choices := _choices(knob, without):
        return "|".join(choices)
    named = {"index_dir": "FOLDER", "adapter": "FOLDER", "model": "NAME", "ratios": "N,N,…"}
    return {"bool": None, "int": "N", "float": "X"}.get(_kind(knob), named.get(knob.name, "TEXT"))


def number_from(knob: Field[Any], text: Any) -> Any:
    """A flag's text as the setting's type: numbers are read here, everything else is checked by `Settings`."""
    kind = _kind(knob)
    if text is None or kind not in ("int", "float"):
        return text
    try:
        return int(text) if kind == "int" else float(text)
    except ValueError:
        what = "a whole number" if kind == "int" else "a number"
        raise UsageError(f"{flag(knob)} must be {what}, got {text!r}") from None


def _completion(knob: Field[Any], without: Collection[str]) -> Callable[[str], list[str]] | None:
    from sharedllm_cli.cli import completion

    if knob.name == "model":
        return completion.models
    choices = DEVICES if knob.name == "device" else _choices(knob, without)
    return completion.among(choices) if choices else None


def _output_flag(name: str, help: str) -> inspect.Parameter:
    short = (SHORT[name],) if name in SHORT else ()
    info = typer.Option(f"--{name}", *short, help=help, show_default=False, rich_help_panel=OUTPUT)
    return _parameter(name, Annotated[bool, info], False)
