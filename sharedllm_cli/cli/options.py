"""Command-line options made from the fields of `config.Settings`, and the decorator that hands them to a command.

Help, default and checks are written once, in `config`; here stands only where an option is shown and on which commands
it acts. A flag that was not given is None, so that `config.resolve` can look at the environment, the configuration
file and the default in turn.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import Field, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from sharedllm_cli.cli.call import open_call
from sharedllm_cli.cli.help import ADVANCED, HELP_ALL, describe, write
from sharedllm_cli.config import DEFAULT_MODEL, Settings, flag
from sharedllm_cli.documents.sources import FORMATS
from sharedllm_cli.errors import UsageError
from sharedllm_cli.home import home_folder, indexes_folder

Number = TypeVar("Number", int, float)
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Group:
    """Options shown together on a help page: a title and the names of their settings."""

    title: str
    names: tuple[str, ...]


MODEL = Group("Model", ("model", "adapter", "device", "quantize", "dtype", "attention", "offline"))
READ_LIMITS = ("read_seconds", "read_memory", "ocr")
"""Of every command that reads documents."""
READING = Group("Reading", ("policy", "evidence_tokens", "tree", "grains", "password", "index_dir", *READ_LIMITS))
ANSWER = Group(
    "Answer", ("refuse_from", "candidates", "max_new_tokens", "temperature", "top_p", "seed", "cuda_graphs", "system")
)
TREE = Group(
    "Tree",
    ("preset", "lower_layers", "chunk_tokens", "tree_height", "ratios", "encoding", "stored_dtype", "injection"),
)
CONVERSATION = Group("Conversation", ("save",))
SERVED = Group("Warm process", ("serve",))
GROUPS = (MODEL, SERVED, READING, ANSWER, TREE, CONVERSATION)

OUTPUT = "Output"
PLAIN = frozenset(
    {
        *("model", "device", "quantize", "offline", "password", "index_dir", "save", "ocr"),
        *("max_new_tokens", "temperature", "system"),
    }
)
"""The settings that `--help` shows. The others shape trees, decoding and experiments: `--help-all` shows them, too."""
SELDOM = ("device", "quantize", "index_dir", "temperature", "system")
"""Of these, those that `ask` and `chat` show with `--help-all` alone."""
SHORT = {"model": "-m", "index_dir": "-o", "quiet": "-q", "verbose": "-v"}
"""The few short flags; every option has a long one."""

EVERYTHING = tuple(name for group in GROUPS if group is not CONVERSATION for name in group.names)
"""All settings of documents and answers: what `ask` and `chat` take."""

OUTPUT_FLAGS: tuple[tuple[str, str], ...] = (
    ("json", "Print one JSON object, and nothing else, on standard output."),
    ("quiet", "Print only results, warnings and errors."),
    ("verbose", "Print more remarks, full quotes, and a traceback with every error."),
)

DELETING = "Deleting"


def complete_paths(kind: str) -> Callable[[str], list[str]]:
    """Completion of paths by a function of `cli/completion.py`, which is imported when a shell asks."""

    def complete(incomplete: str) -> list[str]:
        from sharedllm_cli.cli import completion

        found: list[str] = getattr(completion, kind)(incomplete)
        return found

    return complete


def option(spelled: str, help: str, panel: str | None = None, **more: Any) -> Any:
    """An option as its help page spells it: its flags, and the name of its value if it takes one (`--limit -n N`).

    `panel` is the help page's section; `more` goes to typer as it is.
    """
    flags, value = _spelled(spelled)
    return typer.Option(*flags, help=help, rich_help_panel=panel, **{"metavar": value} | more)


def argument(spelled: str, help: str, **more: Any) -> Any:
    """An argument as its help page spells it (`DOC...`); `more` goes to typer as it is."""
    completion = {"autocompletion": complete_paths("documents")} if spelled.startswith("DOC") else {}
    return typer.Argument(metavar=spelled, help=help, **{"show_default": False} | completion | more)


def names(text: str) -> tuple[str, ...]:
    """Names joined by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def numbers(flags: str, text: str, kind: type[Number] = int) -> tuple[Number, ...]:
    """Numbers joined by commas; UsageError for anything else."""
    try:
        found = tuple(kind(name) for name in names(text))
        if all(map(isfinite, found)):
            return found
        raise ValueError
    except (ValueError, OverflowError):  # a whole number can be too long for isfinite
        whole = "whole numbers" if kind is int else "numbers"
        raise UsageError(f"{flags} must be {whole} joined by commas, got {text!r}") from None


def _spelled(text: str) -> tuple[list[str], str | None]:
    words = text.split()
    return [word for word in words if word.startswith("-")], next((word for word in words if word[0] != "-"), None)


Documents = Annotated[
    list[str], argument("DOC...", f"Files ({FORMATS}), folders, globs, @collections, or - for standard input.")
]
Pages = Annotated[
    str | None,
    option(
        "--pages A-B",
        "Read only these pages, as printed (3,12-30, xii, A-3..A-7) or counted from 1 (counted:A-B).",
        READING.title,
    ),
]
Section = Annotated[
    str | None,
    option(
        "--section NAME",
        "Read only the sections with this number or these words in their heading (4.2, appendix B, Glossary).",
        READING.title,
    ),
]
Reindex = Annotated[bool, option("--reindex", "Read the document again even if it is indexed.", READING.title)]
Sources = Annotated[
    bool | None,
    option(
        "--sources/--no-sources",
        "Show all sources, quoted in full, or none; by default the first few, on a terminal.",
        OUTPUT,
    ),
]
Stream = Annotated[bool, option("--stream/--no-stream", "Show the answer as it is generated.", OUTPUT)]
Yes = Annotated[bool, option("--yes -y", "Don't ask before deleting.", DELETING)]


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


ON = "Cores and machines"
Workers = Annotated[
    int | None,
    option("--workers N", "Read with N processes; by default one a core, as memory allows.", ON, min=1, max=256),
]
ClusterOption = Annotated[
    str | None,
    option("--cluster WHERE", "Use Ray: local, auto (the one that runs here), or its address (ray://head:10001).", ON),
]
FailuresFile = Annotated[
    Path | None, option("--failures FILE", "Write what could not be read to FILE, one JSON object a line.", ON)
]


def with_settings(
    *names: str,
    json: bool = True,
    quiet: bool = True,
    file: bool = True,
    without: Collection[str] = (),
    advanced: Collection[str] = (),
) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Give a command these settings and the output flags; the command gets a `Call` in place of all of them.

    Without `file` the configuration file is not read: for a command that mends it. `without` are choices that the
    command itself refuses, so that its help does not offer them. `advanced` are options of the command's own that only
    `--help-all` shows, as it does the settings that are not `PLAIN`.

    The decorated function has `call: Call` as its first parameter; what else it declares stays an argument or option
    of its own, shown before the settings.
    """
    settings = tuple(knobs(names))
    hidden = frozenset({name for name in names if name not in PLAIN} | set(advanced))
    output = tuple(name for name, _ in OUTPUT_FLAGS if (json or name != "json") and (quiet or name != "quiet"))

    def decorate(function: Callable[..., int | None]) -> Callable[..., int | None]:
        signature = inspect.signature(function, eval_str=True)
        own = [parameter for parameter in signature.parameters.values() if parameter.name != "call"]

        @functools.wraps(function)
        def command(context: typer.Context, **values: Any) -> int | None:
            flags = {knob.name: number_from(knob, values.pop(knob.name)) for knob in settings}
            values.pop(HELP_ALL, None)
            shown = {name: bool(values.pop(name)) for name in output}
            _refuse_endless(values)
            return function(open_call(context.obj, flags, file=file, **shown), **values)

        parameters = [_parameter("context", typer.Context), *own]
        parameters += [_setting(knob, without) for knob in settings]
        parameters += [_output_flag(name, help) for name, help in OUTPUT_FLAGS if name in output]
        if hidden:
            parameters.append(_help_all())
            command.__dict__[ADVANCED] = hidden
        command.__dict__["__signature__"] = inspect.Signature(
            [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        )
        command.__annotations__ = {}
        return command

    return decorate


def _refuse_endless(values: Mapping[str, Any]) -> None:
    """UsageError for an option of a command's own that is infinite or no number: settings check theirs themselves."""
    for name, value in values.items():
        if isinstance(value, float) and not isfinite(value):
            raise UsageError(f"--{name.replace('_', '-')} must be a finite number, got {value}")


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


def _help_all() -> inspect.Parameter:
    def show(context: typer.Context, wanted: bool) -> None:
        if wanted:
            write(describe(context.command, context, everything=True))
            raise typer.Exit

    info = option(
        "--help-all",
        "Show every option: also those of the tree, decoding and experiments.",
        callback=show,
        is_eager=True,
    )
    return _parameter(HELP_ALL, Annotated[bool, info], False)


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
    if knob.name == "model":
        return complete_models
    if knob.name in ("adapter", "index_dir"):
        return complete_paths("adapters" if knob.name == "adapter" else "folders")
    choices = DEVICES if knob.name == "device" else _choices(knob, without)
    return complete_among(choices) if choices else None


def _output_flag(name: str, help: str) -> inspect.Parameter:
    short = (SHORT[name],) if name in SHORT else ()
    info = typer.Option(f"--{name}", *short, help=help, show_default=False, rich_help_panel=OUTPUT)
    return _parameter(name, Annotated[bool, info], False)


def complete_among(choices: Sequence[str]) -> Callable[[str], list[str]]:
    """Completion from a fixed list."""

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def complete_models(incomplete: str) -> list[str]:
    """Names of base models that are known or installed."""
    names = {DEFAULT_MODEL}
    with suppress(Exception):
        from sharedllm_cli.weights.known import known_models
        from sharedllm_cli.weights.registry import installed

        home = home_folder(os.environ)
        names |= {model.name for model in known_models()} | {model.name for model in installed(home)}
    return sorted(name for name in names if name.startswith(incomplete)) or complete_paths("weights")(incomplete)


def complete_setting(incomplete: str) -> list[str]:
    """Names of settings."""
    return [knob.name for knob in fields(Settings) if knob.name.startswith(incomplete)]


def complete_chats(incomplete: str) -> list[str]:
    """Names of kept conversations."""
    names: list[str] = []
    with suppress(Exception):
        from sharedllm_cli.cli.chat.session import kept_in

        names = [path.stem for path in kept_in(home_folder(os.environ)).paths()]
    return [name for name in names if name.startswith(incomplete)]


def complete_collections(incomplete: str) -> list[str]:
    """Names of collections, without their @."""
    names: list[str] = []
    with suppress(Exception):
        from sharedllm_cli.collections.names import existing

        names = [collection.name for collection in existing(home_folder(os.environ))]
    return [name for name in names if name.startswith(incomplete.removeprefix("@"))]


def complete_indexes(incomplete: str) -> list[str]:
    """Names of indexed documents in the default folder."""
    names: set[str] = set()
    with suppress(Exception):
        from sharedllm_cli.index.catalog import entries

        root = Path(os.environ.get("SHAREDLLM_INDEX_DIR") or indexes_folder(home_folder(os.environ)))
        names = {entry.name for entry in entries(root)}
    return sorted(name for name in names if name.startswith(incomplete))
