"""The `sharedllm` command: its commands, and the ONE border at which every error becomes a line and an exit code."""

from __future__ import annotations

import difflib
import gc
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

from sharedllm_cli import __version__
from sharedllm_cli.cli import ask, bench, chats, doctor, index, indexes, models, train
from sharedllm_cli.cli.call import broken_pipe, translate
from sharedllm_cli.cli.chat import command as chat
from sharedllm_cli.cli.eval import questions, texts
from sharedllm_cli.cli.help import ADVANCED, Command, Group
from sharedllm_cli.cli.terminal.console import Console, make_console
from sharedllm_cli.errors import SharedLLMError, UsageError

NAME = "sharedllm"
INTERRUPTED = 130
HELP_NAMES = ["-h", "--help"]

app = typer.Typer(name=NAME, cls=Group, context_settings={"help_option_names": HELP_NAMES})


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit


@app.callback(
    epilog="Every setting can also be given as an environment variable (SHAREDLLM_MODEL, …) or in a configuration file;"
    " `sharedllm doctor` shows where each came from.",
)
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Ask questions of long documents on your own machine, with the page that answers."""


def _register() -> None:
    for name, function in (("ask", ask.ask), ("chat", chat.chat), ("index", index.index), ("plan", index.plan)):
        app.command(name, cls=Command, rich_help_panel="Documents")(function)
    app.command("train", cls=Command, rich_help_panel="Training")(train.train)
    measures = typer.Typer(
        help="Measure retrieval and answers on data with known answers, and how well text is predicted.", cls=Group
    )
    for function in (questions.retrieval, questions.qa, texts.needle, texts.ppl, questions.compare):
        measures.command(cls=Command)(function)
    app.add_typer(measures, name="eval", rich_help_panel="Evaluation")
    app.command("bench", cls=Command, rich_help_panel="Evaluation")(bench.bench)
    app.add_typer(indexes.app, name="indexes", rich_help_panel="Housekeeping")
    app.add_typer(chats.app, name="chats", rich_help_panel="Housekeeping")
    app.add_typer(models.app, name="models", rich_help_panel="Housekeeping")
    app.command("doctor", cls=Command, rich_help_panel="Housekeeping")(doctor.doctor)


_register()


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and leave the process with its exit code."""
    if f"_{NAME.upper()}_COMPLETE" in os.environ:
        app(prog_name=NAME)
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
    command: Any = get_command(app)
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
