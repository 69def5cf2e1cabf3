"""`sharedllm chat`: questions and answers about documents, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sharedllm_cli.cli.arguments import Pages, Reindex, Sources, Stream, exit_code, open_documents, page_range
from sharedllm_cli.cli.chat.completion import Suggestions
from sharedllm_cli.cli.chat.conversation import Conversation
from sharedllm_cli.cli.chat.keyboard import open_keyboard
from sharedllm_cli.cli.chat.loop import run
from sharedllm_cli.cli.chat.resuming import BEGIN, documents_report, opening_again, tell_of, unknown, wanted_session
from sharedllm_cli.cli.chat.session import Drawer, Record, kept_in, read_session
from sharedllm_cli.cli.chat.settings import defaults_of, resumed
from sharedllm_cli.cli.chat.slash_commands import COMMANDS
from sharedllm_cli.cli.options import CONVERSATION, EVERYTHING, with_settings
from sharedllm_cli.cli.session import Call
from sharedllm_cli.errors import UsageError

Documents = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[DOC...]",
        help="Files (PDF, txt, md, rst, html, epub), folders or globs; without any, the last conversation goes on.",
        show_default=False,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        "-r",
        help="Go on with the last conversation; with documents, with the last one about them.",
        rich_help_panel=CONVERSATION.title,
        show_default=False,
    ),
]
Load = Annotated[
    str | None,
    typer.Option("--load", metavar="FILE", help="Go on with what /save wrote.", rich_help_panel=CONVERSATION.title),
]


@with_settings("save", *EVERYTHING)
def chat(
    call: Call,
    documents: Documents = None,
    resume: Resume = False,
    load: Load = None,
    pages: Pages = None,
    reindex: Reindex = False,
    sources: Sources = None,
    stream: Stream = True,
) -> int:
    """Talk about documents: each question sees the ones before it.

    Type a question, or /help. Ctrl-C stops an answer, Ctrl-D leaves. The conversation is kept after every answer, and
    `sharedllm chat` without documents goes on with it. With --json every answer is one JSON object on a line of its
    own.
    """
    named = documents or []
    if "-" in named:
        raise UsageError(
            "chat reads its questions from standard input, so no document can come from there",
            hint="save the document to a file first",
        )
    wanted, save = page_range(pages), call.settings.save
    drawer = kept_in(call.home)
    suggestions = Suggestions({word: bool(command.takes) for word, command in COMMANDS.items()})
    keyboard = open_keyboard(call.console, call.home, suggestions.offers, save)
    path = wanted_session(drawer, named, resume=resume, load=load, interactive=keyboard.interactive)
    if path is None:
        engine, library = open_documents(call, named, reindex=reindex)
        conversation = Conversation(call, engine, library, defaults_of(call), drawer, Record(drawer))
    else:
        conversation = go_on(call, drawer, path, reindex=reindex)
    conversation.pages = wanted or conversation.pages
    conversation.sources, conversation.all_sources = sources is not False, bool(sources)
    conversation.stream, conversation.keeps = stream, save
    suggestions.documents = conversation.names
    failures = conversation.library.failures
    return run(conversation, keyboard) or exit_code(failures)


def go_on(call: Call, drawer: Drawer, path: Path, *, reindex: bool) -> Conversation:
    """A saved conversation with its documents open, its settings (but for what flags say) and what was said."""
    try:
        session, digest = read_session(path)
    except UsageError as problem:
        before = "move it away to go on with the one before, or " if path.parent == drawer.folder else ""
        problem.hint = problem.hint or before + BEGIN
        raise
    defaults, going_on = defaults_of(call), resumed(call, session.settings, path.name)
    tell_of(call.console, session)
    for line in unknown(session):
        call.console.note(line)
    with opening_again(path):
        engine, library = open_documents(going_on, [document.path for document in session.documents], reindex=reindex)
    absent = documents_report(call.console, session, library)
    # The call as it was given: /load starts from it anew, and takes nothing over from this conversation.
    conversation = Conversation(call, engine, library, defaults, drawer, Record(drawer), page_range(session.pages))
    conversation.turns, conversation.absent = list(session.turns), absent
    conversation.record = drawer.record(path, conversation.session(), digest)
    return conversation
