"""`sharedllm ask`: one question of one or more documents."""

from __future__ import annotations

from typing import Annotated

from sharedllm_cli.cli.call import Call
from sharedllm_cli.cli.options import EVERYTHING, Pages, Reindex, Section, Sources, Stream, argument, with_settings
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


@with_settings(*EVERYTHING, advanced=("stream",))
def ask(
    call: Call,
    arguments: Annotated[
        list[str],
        argument(
            "DOC... QUESTION",
            "Files (PDF, txt, md, rst, html, epub), folders, globs, or - for standard input; then the question.",
        ),
    ],
    pages: Pages = None,
    section: Section = None,
    reindex: Reindex = False,
    sources: Sources = None,
    stream: Stream = True,
) -> int:
    """Answer a question about documents, and show the pages that answer it.

    The last argument is the question. A document is read once; its index is kept for the questions that follow.
    """
    documents, question = split_question(arguments)
    wanted = page_range(pages)
    announce_stdin(call, documents)
    call.console.kept = "finished work is kept; run the same command again to continue"
    engine, library = open_documents(call, documents, reindex=reindex)
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
            several=len(library.documents) > 1,
            at_most=FIRST_SOURCES if brief else MAX_SOURCES,
            whole=bool(sources) or call.console.verbose,
            more="--sources shows all",
        )
    return exit_code(library.failures)
