"""Arguments and options that several commands share, and the checks that a settings field can't make."""

from __future__ import annotations

import glob
import os
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sharedllm_cli.cli.options import OUTPUT, READING
from sharedllm_cli.cli.preflight import probe_first, refuse_unwritable
from sharedllm_cli.cli.session import Call
from sharedllm_cli.documents.page_ranges import PageRange
from sharedllm_cli.errors import DocumentError, SharedLLMError, UsageError

if TYPE_CHECKING:
    from sharedllm_cli.engine import Engine, Library

EXAMPLE = 'sharedllm ask book.pdf "Who wrote the letter?"'

DELETING = "Deleting"

Failures = Sequence[tuple[str, SharedLLMError]]

Documents = Annotated[
    list[str],
    typer.Argument(
        metavar="DOC...",
        help="Files (PDF, txt, md, rst, html, epub), folders, globs, or - for standard input.",
        show_default=False,
    ),
]
Pages = Annotated[
    str | None,
    typer.Option(
        "--pages",
        metavar="A-B",
        help="Read only these pages, as printed (12-30, xii, A-3..A-7), else as counted; counted:A-B is as counted.",
        rich_help_panel=READING.title,
    ),
]
Reindex = Annotated[
    bool,
    typer.Option(
        "--reindex",
        help="Read the document again, even where an index is on disk.",
        rich_help_panel=READING.title,
        show_default=False,
    ),
]
Sources = Annotated[
    bool | None,
    typer.Option(
        "--sources/--no-sources",
        help="Show all places where the answer stands, quoted whole, or none; else the first few, at a terminal.",
        rich_help_panel=OUTPUT,
        show_default=False,
    ),
]
Stream = Annotated[
    bool, typer.Option("--stream/--no-stream", help="Show the answer while it is written.", rich_help_panel=OUTPUT)
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Don't ask before deleting.", show_default=False, rich_help_panel=DELETING)
]


def split_question(arguments: Sequence[str]) -> tuple[list[str], str]:
    """`DOC... QUESTION` as documents and question; UsageError with an example where one of them is missing."""
    *documents, question = arguments
    example = f"for example: {EXAMPLE}"
    if not question.strip():
        raise UsageError("the question is empty", hint=example)
    if not documents:
        missing = "question" if _exists(question) else "document"
        raise UsageError(f"no {missing} given: {question!r} stands alone", hint=example)
    if _exists(question):
        raise UsageError(f"no question given: the last argument, {question!r}, is a file or folder", hint=example)
    for argument in documents:
        if _reads_as_question(argument):
            given = [document for document in documents if not _reads_as_question(document)]
            if not given:
                raise UsageError(f"no document given, only {len(arguments)} questions", hint=example)
            raise UsageError(
                f"{argument!r} is no document: one question is asked at a time, and it is the last argument",
                hint=f"to ask several: {shlex.join(['sharedllm', 'chat', *given])}",
            )
    if _looks_unquoted(documents, question):
        if not _exists(documents[0]) and documents[0].isalpha():
            raise UsageError("no document given, and a question of several words must be quoted", hint=example)
        words = " ".join([*documents[1:], question])
        raise UsageError(
            f"{documents[-1]!r} is no document; a question of several words must be quoted",
            hint=f'sharedllm ask {documents[0]} "{words}"',
        )
    return documents, question.strip()


def _exists(argument: str) -> bool:
    with suppress(OSError, ValueError):
        return Path(argument).expanduser().exists()
    return False


def _reads_as_question(argument: str) -> bool:
    """Whether an argument in a document's place matches no file and is worded like a question, not like a path."""
    path_like = re.search(r"[/\\]|\.\w{1,8}$", argument)
    worded = argument.rstrip().endswith("?") or (len(argument.split()) > 1 and not path_like)
    return worded and not _exists(argument) and not glob.glob(os.path.expanduser(argument), recursive=True)


def _looks_unquoted(documents: Sequence[str], question: str) -> bool:
    """Whether the words after the first document look like a question that lost its quotes."""
    later = documents[1:]
    bare = all(word.isalpha() or word.rstrip("?,'").isalpha() for word in later)
    return bool(later) and bare and not any(_exists(word) for word in later) and " " not in question.strip()


def page_range(pages: str | None) -> PageRange | None:
    """What --pages means; UsageError for what can be no range of pages."""
    return None if pages is None else PageRange.parse(pages)


def announce_stdin(call: Call, documents: Sequence[str]) -> None:
    """Say that a document is expected on the keyboard, lest the command seem to hang."""
    if "-" in documents and sys.stdin is not None and sys.stdin.isatty():
        call.console.note("reading a document from standard input; end it with Ctrl-D")


def open_documents(call: Call, documents: Sequence[str], *, reindex: bool) -> tuple[Engine, Library]:
    """The engine with its model loaded and the documents open; those that can't be read are told at once."""
    refuse_unwritable(call)
    probe = probe_first(call, documents, reindex=reindex)
    engine = call.engine()
    with call.console.waiting("loading the model"):
        library = engine.open(documents, reindex=reindex, probe=probe)
    report_failures(call, library.failures)
    return engine, library


def exit_code(failures: Failures) -> int:
    """The exit code of a command that did its work for the documents that could be read."""
    return DocumentError.exit_code if failures else 0


def report_failures(call: Call, failures: Failures) -> None:
    """Tell each document that could not be read."""
    for name, error in failures:
        call.console.problem(error, about=name)
        if call.console.verbose:
            call.console.traceback(error)


def failure_text(name: str, error: SharedLLMError) -> str:
    """A document's failure in one sentence, for the warnings of `--json`."""
    return error.message if name in error.message else f"{name}: {error.message}"


def agreed(call: Call, question: str, yes: bool) -> bool:
    """Whether something may be deleted: by --yes or by the user at a terminal; UsageError where nobody can be asked."""
    if yes:
        return True
    if not (sys.stdin is not None and sys.stdin.isatty() and call.console.err_is_terminal):
        raise UsageError("nothing is deleted without being asked", hint="on no terminal, say so with --yes")
    return call.console.confirm(question)
