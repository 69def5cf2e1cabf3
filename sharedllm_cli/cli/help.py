"""Help pages: what a command takes, read off the command itself, and laid out for the terminal.

`describe` is also what docs/cli.md is generated from, so that page and terminal can't disagree.
"""

from __future__ import annotations

import inspect
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from typer.core import TyperCommand, TyperGroup

HELP_ALL = "help_all"
ADVANCED = "advanced"
"""The attribute of a command's function that names the options which `--help` leaves out."""
OWN = "…"
"""Stands for every section that only one command has."""
ORDER = (
    "Arguments",
    "Commands",
    "Deleting",
    "Documents",
    "Training",
    "Evaluation",
    "Housekeeping",
    OWN,
    "Reading",
    "Answer",
    "Output",
    "Model",
    "Tree",
    "Options",
)
WIDEST = 100
NAMES = 30
"""Columns for the names of options; a longer name stands on a line of its own."""


@dataclass(frozen=True)
class Entry:
    """One line of a help page: an argument, an option or a command."""

    name: str
    names: str
    help: str
    default: str | None = None


@dataclass(frozen=True)
class Page:
    """A help page: how to call the command, what it does, and its entries by section."""

    usage: str
    paragraphs: tuple[str, ...]
    sections: tuple[tuple[str, tuple[Entry, ...]], ...]
    epilog: str = ""


def describe(command: Any, context: Any, *, everything: bool = False) -> Page:
    """The help page of a command: what a person needs, or with `everything` all its options."""
    sections: dict[str, list[Entry]] = {}
    left_out: frozenset[str] = frozenset() if everything else getattr(command.callback, ADVANCED, frozenset())
    for title, entry in _entries(command, context):
        if entry.name in left_out or (everything and entry.name == HELP_ALL):
            continue
        sections.setdefault(title, []).append(entry)
    ordered = sorted(sections.items(), key=lambda item: ORDER.index(item[0] if item[0] in ORDER else OWN))
    return Page(
        usage=_usage(command, context),
        paragraphs=tuple(" ".join(text.split()) for text in inspect.cleandoc(command.help or "").split("\n\n")),
        sections=tuple((title, tuple(entries)) for title, entries in ordered),
        epilog=command.epilog or "",
    )


def _usage(command: Any, context: Any) -> str:
    words = [context.command_path]
    if isinstance(command, TyperGroup):
        return " ".join([*words, "COMMAND …"])
    words += [_argument_name(parameter) for parameter in command.params if parameter.param_type_name == "argument"]
    return " ".join([*words, "[OPTIONS]"])


def _entries(command: Any, context: Any) -> Iterator[tuple[str, Entry]]:
    for parameter in command.get_params(context):
        help_text = " ".join((parameter.help or "").split())
        if parameter.param_type_name == "argument":
            name = _argument_name(parameter)
            yield "Arguments", Entry(parameter.name, name, help_text)
        else:
            title = parameter.rich_help_panel or "Options"
            yield title, Entry(parameter.name, _option_names(parameter), help_text, _default(parameter))
    if isinstance(command, TyperGroup):
        for name, child in command.commands.items():
            first = inspect.cleandoc(child.help or "").split("\n\n")[0]
            panel: Any = getattr(child, "rich_help_panel", None)
            yield panel if isinstance(panel, str) else "Commands", Entry(name, name, " ".join(first.split()))


def _argument_name(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _option_names(parameter: Any) -> str:
    shown = sorted([*parameter.opts, *parameter.secondary_opts], key=lambda name: name.startswith("--"))
    text = ", ".join(shown)
    if parameter.is_flag:
        return text
    return f"{text} {parameter.metavar or ('X' if isinstance(parameter.default, float) else 'N')}"


def _default(parameter: Any) -> str | None:
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if parameter.is_flag and parameter.secondary_opts and parameter.default is True:
        return str(parameter.opts[0]).removeprefix("--")
    if parameter.show_default and isinstance(parameter.default, int | float | str) and not parameter.is_flag:
        return f"{parameter.default:g}" if isinstance(parameter.default, float) else str(parameter.default)
    return "required" if parameter.required else None


class Command(TyperCommand):
    """A command whose help page is laid out here."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        write(describe(self, ctx))


class Group(TyperGroup):
    """A group of commands whose help page is laid out here."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        write(describe(self, ctx))


def write(page: Page) -> None:
    """Print a help page, as wide as the terminal."""
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    width = min(shutil.get_terminal_size().columns, WIDEST)
    sys.stdout.write("\n".join(lay_out(page, width, coloured=coloured)) + "\n")


def lay_out(page: Page, width: int, *, coloured: bool) -> Iterator[str]:
    """The lines of a help page."""
    bold, cyan, dim = ("\x1b[1m{}\x1b[0m", "\x1b[36m{}\x1b[0m", "\x1b[2m{}\x1b[0m") if coloured else ("{}",) * 3
    yield f"{bold.format('Usage:')} {page.usage}"
    for paragraph in page.paragraphs:
        yield ""
        yield from textwrap.wrap(paragraph, width)
    for title, entries in page.sections:
        yield ""
        yield bold.format(title)
        column = min(NAMES, max(len(entry.names) for entry in entries)) + 4
        for entry in entries:
            yield from _entry_lines(entry, column, width, cyan, dim)
    if page.epilog:
        yield ""
        yield from textwrap.wrap(page.epilog, width)


def _entry_lines(entry: Entry, column: int, width: int, cyan: str, dim: str) -> Iterator[str]:
    tail = {None: "", "required": " [required]"}.get(entry.default, f" [default: {entry.default}]")
    text = entry.help + tail
    lines = textwrap.wrap(text, max(20, width - column), break_on_hyphens=False) or [""]
    if tail:
        lines = _dimmed_tail(lines, len(tail) - 1, dim)
    names = f"  {cyan.format(entry.names)}"
    if len(entry.names) + 4 > column:
        yield names
        yield from (" " * column + line for line in lines)
        return
    yield names + " " * (column - 2 - len(entry.names)) + lines[0]
    yield from (" " * column + line for line in lines[1:])


def _dimmed_tail(lines: list[str], length: int, dim: str) -> list[str]:
    last = lines[-1]
    if length > len(last):
        return lines
    return [*lines[:-1], last[:-length] + dim.format(last[-length:])]


def commands(group: Any, path: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], Any]]:
    """Every command below a group with the words that call it, groups before their commands."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, TyperGroup):
            yield from commands(command, (*path, name))
