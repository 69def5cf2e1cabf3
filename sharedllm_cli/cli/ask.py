"""`sharedllm ask`: one question of one or more documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from sharedllm_cli.cli.call import Call
from sharedllm_cli.cli.options import (
    EVERYTHING,
    OUTPUT,
    SELDOM,
    SERVED,
    Pages,
    Reindex,
    Section,
    Sources,
    Stream,
    argument,
    option,
    with_settings,
)
from sharedllm_cli.cli.preflight import (
    announce_stdin,
    exit_code,
    failure_text,
    open_documents,
    page_range,
    split_question,
)
from sharedllm_cli.cli.terminal.answers import FIRST_SOURCES, explain, receive
from sharedllm_cli.config import MAX_SOURCES
from sharedllm_cli.documents.sources import FORMATS
from sharedllm_cli.errors import UsageError

MOST_OPENED = 1000
"""An answer that lists sentences has as many sources as it has found."""
Keep = Annotated[
    str | None,
    option("--keep TIME", "Leave the model loaded for the next questions, until idle for so long (10m).", SERVED.title),
]


@with_settings(*EVERYTHING, advanced=("stream", "overwrite", *SELDOM))
def ask(
    call: Call,
    arguments: Annotated[
        list[str],
        argument(
            "DOC... QUESTION",
            f"Files ({FORMATS}), folders, globs, @collections, or -; then the question.",
        ),
    ],
    pages: Pages = None,
    section: Section = None,
    reindex: Reindex = False,
    sources: Sources = None,
    stream: Stream = True,
    open_number: Annotated[
        int | None, option("--open N", "Show source N in the system's viewer: its page with the words marked.", OUTPUT)
    ] = None,
    report: Annotated[
        Path | None, option("--report FILE", "Write answer, sources and marked pages as one HTML file.", OUTPUT)
    ] = None,
    overwrite: Annotated[bool, option("--overwrite", "Let --report replace a file that is no report.", OUTPUT)] = False,
    keep: Keep = None,
) -> int:
    """Answer a question about documents, and show the pages that answer it.

    The last argument is the question. A document is read once; its index is kept for the questions that follow.
    """
    documents, question = split_question(arguments)
    wanted = page_range(pages)
    _check_files(report, overwrite, open_number)
    announce_stdin(call, documents)
    call.console.kept = "finished work is kept; run the same command again to continue"
    if keep is None:
        warm = call.warm_engine(documents)
    else:
        from sharedllm_cli.cli.warm import keep_engine

        warm = keep_engine(call, documents, keep)
    engine, library = open_documents(call, documents, reindex=reindex, warm=warm)
    pieces = engine.ask(library, question, pages=wanted, section=section)
    marks = sources is not False and not call.console.quiet
    answer = receive(call.console, pieces, show=not call.json, stream=stream, marks=marks)
    if call.json:
        found = answer.to_json()
        found["warnings"] += [failure_text(name, error) for name, error in library.failures]
        call.console.json(found)
    else:
        brief = call.console.err_is_terminal and not (sources or call.console.verbose)
        explain(
            call.console,
            answer,
            sources=sources is not False,
            several=library.several,
            at_most=FIRST_SOURCES if brief else MAX_SOURCES,
            whole=bool(sources) or call.console.verbose,
            more="--sources shows all",
        )
    if report is not None or open_number is not None:
        from sharedllm_cli.cli.looking import keep_report, open_source

        if report is not None:
            keep_report(call, answer, library, report.expanduser(), overwrite=overwrite)
        if open_number is not None:
            open_source(call, answer, library, open_number, password=call.settings.password)
    return exit_code(library.failures)


def _check_files(report: Path | None, overwrite: bool, open_number: int | None) -> None:
    """UsageError, before any work, for a report that can't be written and for a number that no source can have."""
    if open_number is not None and not 1 <= open_number <= MOST_OPENED:
        raise UsageError(f"--open counts sources from 1, got {open_number}")
    if overwrite and report is None:
        raise UsageError("--overwrite is for --report", hint="for example: --report answer.html --overwrite")
    if report is not None:
        from sharedllm_cli.serving.report import refuse_overwriting

        refuse_overwriting(report.expanduser(), overwrite=overwrite)
