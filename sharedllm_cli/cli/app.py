"""The `sharedllm` command: its commands, and the ONE border at which every error becomes a line and an exit code."""

from __future__ import annotations

import difflib
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

from sharedllm_cli import __version__
from sharedllm_cli.cli.call import INTERRUPTED, broken_pipe, translate
from sharedllm_cli.cli.help import ADVANCED, Command, Group
from sharedllm_cli.cli.terminal.console import Console, make_console
from sharedllm_cli.errors import SharedLLMError, UsageError

NAME = "sharedllm"
HELP_NAMES = ["-h", "--help"]

COMMANDS = {
    "ask": ("ask", "ask", "Documents"),
    "chat": ("chat.command", "chat", "Documents"),
    "search": ("search", "search", "Documents"),
    "read": ("read", "read", "Documents"),
    "serve": ("serve", "serve", "Documents"),
    "mcp": ("mcp", "mcp", "Documents"),
    "index": ("index", "index", "Documents"),
    "plan": ("index", "plan", "Documents"),
    "collections": ("collections", "app", "Documents"),
    "train": ("train", "train", "Training"),
    "eval": ("eval", "app", "Evaluation"),
    "bench": ("bench", "bench", "Evaluation"),
    "indexes": ("indexes", "app", "Housekeeping"),
    "chats": ("chats", "app", "Housekeeping"),
    "models": ("models", "app", "Housekeeping"),
    "config": ("configuration", "app", "Housekeeping"),
    "doctor": ("doctor", "doctor", "Housekeeping"),
}
"""Every command: the file in this room that has it, its function or group there, and its panel."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Ask questions of long documents on your own machine, with the page that answers."""


def make_app(*names: str) -> typer.Typer:
    """The command line with some of the commands, all of them unless named: the others' files are not imported."""
    app = typer.Typer(name=NAME, cls=Group, context_settings={"help_option_names": HELP_NAMES})
    app.callback(
        epilog="Every setting can also be given as an environment variable (SHAREDLLM_MODEL, …) or in a configuration"
        " file; `sharedllm doctor` shows where each came from.",
    )(root)
    for name in names or COMMANDS:
        file, what, panel = COMMANDS[name]
        found = getattr(import_module(f"sharedllm_cli.cli.{file}"), what)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name, rich_help_panel=panel)
        else:
            app.command(name, cls=Command, rich_help_panel=panel)(found)
    return app


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and leave the process with its exit code."""
    if f"_{NAME.upper()}_COMPLETE" in os.environ:
        make_app()(prog_name=NAME)
    code = run(sys.argv[1:] if arguments is None else arguments, make_console())
    gc.freeze()  # or the process would spend a second on looking once more through all that the libraries made
    sys.exit(code)


def run(arguments: Sequence[str], console: Console) -> int:
    """Run the command and return its exit code; every error ends here, as one line on standard error."""
    try:
        return _answer_for(arguments, console)
    except BrokenPipeError:
        return broken_pipe()


def _answer_for(arguments: Sequence[str], console: Console) -> int:
    """Run the command and tell its error; BrokenPipeError where nobody reads what is told."""
    try:
        return _invoke(list(arguments), console)
    except typer.Exit as leave:
        return leave.exit_code
    except (KeyboardInterrupt, typer.Abort):
        console.interrupted()
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except TyperException as error:
        return _report(usage_error(error), error, console)
    except Exception as error:
        return _report(translate(error), error, console)


def _invoke(arguments: list[str], console: Console) -> int:
    """Find the command that the first words name and call it.

    Going straight to the command, past the groups above it, spares a help page the import of typer's validation.
    """
    named = arguments[:1] if arguments and arguments[0] in COMMANDS else []
    command: Any = get_command(make_app(*named))
    path = [NAME]
    while isinstance(command, TyperGroup) and arguments and arguments[0] in command.commands:
        path.append(arguments.pop(0))
        command = command.commands[path[-1]]
    if isinstance(command, TyperGroup):
        if not arguments:
            arguments = ["--help"]
        elif not arguments[0].startswith("-"):
            raise _unknown_command(arguments[0], list(command.commands), path)
    try:
        with command.make_context(" ".join(path), arguments, obj=console, help_option_names=HELP_NAMES) as context:
            return command.invoke(context) or 0
    except UsageError as error:
        error.hint = error.hint or _help_hint(" ".join(path), command, error.message)
        raise


def _help_hint(path: str, command: Any, message: str) -> str:
    """Where to read on; an option may be one that `--help` leaves out."""
    more = "--" in message and hasattr(getattr(command, "callback", None), ADVANCED)
    return f"see: {path} --help{'-all' if more else ''}"


def _unknown_command(word: str, known: list[str], path: list[str]) -> UsageError:
    near = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean: {' '.join([*path, near[0]])}" if near else f"one of: {', '.join(known)}"
    return UsageError(f"unknown command {' '.join([*path[1:], word])!r}", hint=hint)


def usage_error(error: TyperException) -> UsageError:
    """A mistake found while the command line was parsed, in this project's words."""
    message = error.format_message().strip().rstrip(".")
    context = getattr(error, "ctx", None)
    path, command = (context.command_path, context.command) if context is not None else (NAME, None)
    return UsageError(message[:1].lower() + message[1:], hint=_help_hint(path, command, message))


def _report(problem: SharedLLMError, cause: BaseException, console: Console) -> int:
    if console.verbose:
        console.traceback(cause)
    console.problem(problem)
    return problem.exit_code
