"""What is known at once is reported at once: a document that can't be read, a folder that can't be written.

The engine would find the same, in the same words, but only after its libraries have loaded for seconds.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sharedllm_cli.cli.call import Call
from sharedllm_cli.documents.pages import PageRange
from sharedllm_cli.documents.sources import SourceFile, expand
from sharedllm_cli.durable import replace_bytes, writing
from sharedllm_cli.errors import DocumentError, SharedLLMError, UsageError
from sharedllm_cli.errors import failure_text as failure_text
from sharedllm_cli.home import HOME_ELSEWHERE, INDEX_ELSEWHERE, obstacle

if TYPE_CHECKING:
    from sharedllm_cli.documents.readers import Probe
    from sharedllm_cli.engine import Engine, Library
    from sharedllm_cli.serving.shell_client import WarmEngine


EXAMPLES = {
    "ask": 'sharedllm ask book.pdf "Who wrote the letter?"',
    "search": 'sharedllm search book.pdf "letter seal"',
}

Failures = Sequence[tuple[str, SharedLLMError]]


def split_question(arguments: Sequence[str], *, of: str = "ask") -> tuple[list[str], str]:
    """`DOC... QUESTION` as documents and question; UsageError with an example where one of them is missing.

    `of` is the command: to `search` the last argument is a query, which may be a single word.
    """
    *documents, question = arguments
    example = f"for example: {EXAMPLES[of]}"
    if of == "search":
        return _split_query(documents, question, example)
    if not question.strip():
        raise UsageError("the question is empty", hint=example)
    if not documents:
        missing = "question" if _exists(question) else "document"
        raise UsageError(f"no {missing} given: only {question!r}", hint=example)
    if _exists(question):
        raise UsageError(f"no question given: the last argument, {question!r}, is a file or folder", hint=example)
    for argument in documents:
        if _reads_as_question(argument):
            given = [document for document in documents if not _reads_as_question(document)]
            if not given:
                raise UsageError(f"no document given, only {len(arguments)} questions", hint=example)
            raise UsageError(
                f"{argument!r} is not a document: ask one question at a time, as the last argument",
                hint=f"to ask several: {shlex.join(['sharedllm', 'chat', *given])}",
            )
    if _looks_unquoted(documents, question):
        if not _exists(documents[0]) and documents[0].isalpha():
            raise UsageError("no document given: put a question of several words in quotes", hint=example)
        words = " ".join([*documents[1:], question])
        raise UsageError(
            f"{documents[-1]!r} is not a document: put a question of several words in quotes",
            hint=f'sharedllm ask {shlex.quote(documents[0])} "{words}"',
        )
    return documents, question.strip()


def _split_query(documents: list[str], query: str, example: str) -> tuple[list[str], str]:
    if not query.strip():
        raise UsageError("the query is empty", hint=example)
    if not documents:
        missing = "query" if _exists(query) else "document"
        raise UsageError(f"no {missing} given: only {query!r}", hint=example)
    if _exists(query):
        raise UsageError(f"no query given: the last argument, {query!r}, is a file or folder", hint=example)
    return documents, query.strip()


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


def open_documents(
    call: Call, documents: Sequence[str], *, reindex: bool, warm: WarmEngine | None = None
) -> tuple[Engine, Library]:
    """The engine with its model loaded and the documents open; those that can't be read are told at once.

    `warm`: an engine that runs already in another process.
    """
    if warm is not None:
        engine, probe = cast("Engine", warm), None  # the same methods, over a socket
    else:
        refuse_unwritable(call)
        probe = probe_first(call, documents, reindex=reindex)
        engine = call.engine()
    with call.console.waiting("loading the model"):
        library = engine.open(documents, reindex=reindex, probe=probe)
    report_failures(call, library.failures)
    return engine, library


def named_collections(documents: Sequence[str]) -> list[str]:
    """The arguments that name collections (`@notes`); a file of that name is a file."""
    return [argument for argument in documents if argument.startswith("@") and not _exists(argument)]


def refuse_unknown(call: Call, named: Sequence[str]) -> None:
    """UsageError for a collection that does not exist, with the nearest name."""
    from sharedllm_cli.collections.names import find

    for name in named:
        find(call.home, name)


def exit_code(failures: Failures) -> int:
    """The exit code of a command that did its work for the documents that could be read."""
    return DocumentError.exit_code if failures else 0


def report_failures(call: Call, failures: Failures) -> None:
    """Tell each document that could not be read."""
    for name, error in failures:
        call.console.problem(error, about=name)
        if call.console.verbose:
            call.console.traceback(error)


def write_failures(path: Path, failures: Sequence[Mapping[str, object]]) -> None:
    """Write what could not be read to a file, one JSON object a line; nothing failed: an empty file."""
    text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in failures)
    with writing(path.parent):
        replace_bytes(path, text.encode("utf-8", "surrogatepass"))


def agreed(call: Call, question: str, yes: bool) -> bool:
    """Whether something may be deleted: by --yes or by the user at a terminal; UsageError where nobody can be asked."""
    if yes:
        return True
    if not (sys.stdin is not None and sys.stdin.isatty() and call.console.err_is_terminal):
        raise UsageError("deleting needs your confirmation", hint="without a terminal, confirm with --yes")
    return call.console.confirm(question)


def refuse_unwritable(call: Call) -> None:
    """UsageError where the folder of indexes is not there and can't be made; one that is there may serve as it is."""
    chosen = call.settings.index_dir
    folder = call.index_folder if chosen else call.home
    if not folder.is_dir() and (why := obstacle(folder)):
        what, elsewhere = ("folder of indexes", INDEX_ELSEWHERE) if chosen else ("home folder", HOME_ELSEWHERE)
        raise UsageError(f"the {what} {folder} can't be used: {why}", hint=elsewhere)


def probe_first(call: Call, documents: Sequence[str], *, reindex: bool = False) -> Probe | None:
    """The first document that can be read, as far as one look shows: the engine goes on from it.

    None for standard input and pipes, which the engine reads. Raises the first document's DocumentError where none can
    be read; otherwise the engine reports each that can't.
    """
    if named := named_collections(documents):
        documents = [one for one in documents if one not in named]
        refuse_unknown(call, named)
        if not documents:
            return None
    missing: list[tuple[str, DocumentError]] = []
    sources = expand(documents, missing)
    problems = [problem for _, problem in missing]
    for source in sources:
        try:
            return _probe(call, source, reindex)
        except DocumentError as problem:
            problems.append(problem)
    if problems:
        raise problems[0]
    return None


def _probe(call: Call, source: SourceFile, reindex: bool) -> Probe | None:
    from sharedllm_cli.documents.readers import Limits
    from sharedllm_cli.index.store import IndexStore

    if source.path is None or source.path.is_fifo():
        return None
    store = IndexStore(call.index_folder)
    probe = store.probe(source, call.settings.password, Limits.of(call.settings))
    if not reindex and store.folder(probe.content_hash) is not None:
        probe.forget()  # its index serves: the file need not even open any more
    else:
        probe.open()
    return probe
