"""`sharedllm chat`: begun or resumed, then read line by line: questions and slash commands.

A line that goes wrong does not end the chat.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from sharedllm_cli.cli.call import Call, translate
from sharedllm_cli.cli.chat.conversation import (
    BEGIN,
    Conversation,
    documents_report,
    opening_again,
    tell_of,
    unknown,
    wanted_session,
)
from sharedllm_cli.cli.chat.facts import remark, show_documents
from sharedllm_cli.cli.chat.keyboard import Keyboard, Suggestions, open_keyboard
from sharedllm_cli.cli.chat.session import Drawer, Record, kept_in, read_session
from sharedllm_cli.cli.chat.settings import defaults_of, resumed
from sharedllm_cli.cli.chat.slash_commands import COMMANDS, check_section, is_command, run_command
from sharedllm_cli.cli.options import (
    CONVERSATION,
    EVERYTHING,
    SELDOM,
    Pages,
    Reindex,
    Section,
    Sources,
    Stream,
    argument,
    option,
    with_settings,
)
from sharedllm_cli.cli.preflight import exit_code, named_collections, open_documents, page_range
from sharedllm_cli.documents.sources import FORMATS
from sharedllm_cli.errors import UsageError

if TYPE_CHECKING:
    from sharedllm_cli.serving.shell_client import WarmEngine

Documents = Annotated[
    list[str] | None,
    argument(
        "[DOC...]",
        f"Files ({FORMATS}), folders, globs or @collections; without any, the last one is resumed.",
    ),
]
Resume = Annotated[
    bool,
    option("--resume -r", "Resume the last conversation; with documents, the last one about them.", CONVERSATION.title),
]
Load = Annotated[str | None, option("--load FILE", "Resume a conversation that /save wrote.", CONVERSATION.title)]
FAREWELLS = frozenset({"exit", "quit"})
"""Typed alone at a terminal they mean /quit."""


@with_settings("save", *EVERYTHING, advanced=("stream", *SELDOM))
def chat(
    call: Call,
    documents: Documents = None,
    resume: Resume = False,
    load: Load = None,
    pages: Pages = None,
    section: Section = None,
    reindex: Reindex = False,
    sources: Sources = None,
    stream: Stream = True,
) -> int:
    """Talk about documents: each question sees the ones before it.

    Type a question, or /help. Ctrl-C stops an answer, Ctrl-D leaves. The conversation is kept after every answer, and
    `sharedllm chat` without documents resumes it. With --json every answer is one JSON object on a line of its
    own.
    """
    named = documents or []
    if "-" in named:
        raise UsageError(
            "chat reads questions from standard input, so it can't read a document there",
            hint="save the document to a file first",
        )
    wanted, save = page_range(pages), call.settings.save
    drawer = kept_in(call.home)
    suggestions = Suggestions({word: bool(command.takes) for word, command in COMMANDS.items()})
    keyboard = open_keyboard(call.console, call.home, suggestions.offers, save)
    path = wanted_session(drawer, named, resume=resume, load=load, interactive=keyboard.interactive)
    if path is None:
        engine, library = open_documents(call, named, reindex=reindex, warm=_warm(call, named))
        conversation = Conversation(call, engine, library, defaults_of(call), drawer, Record(drawer))
    else:
        conversation = go_on(call, drawer, path, reindex=reindex)
    conversation.pages = wanted or conversation.pages
    conversation.section = section or conversation.section
    check_section(conversation.library.documents, section)
    conversation.sources, conversation.all_sources = sources is not False, bool(sources)
    conversation.stream, conversation.keeps = stream, save
    suggestions.documents = conversation.names
    failures = conversation.library.failures
    return run(conversation, keyboard) or exit_code(failures)


def _warm(call: Call, documents: Sequence[str]) -> WarmEngine | None:
    """The running process that answers; none for collections, which a chat looks into."""
    return None if named_collections(documents) else call.warm_engine(documents)


def go_on(call: Call, drawer: Drawer, path: Path, *, reindex: bool) -> Conversation:
    """A saved conversation with its documents open, its settings (but for what flags say) and what was said."""
    try:
        session, digest = read_session(path)
    except UsageError as problem:
        before = "move it away to resume the one before, or " if path.parent == drawer.folder else ""
        problem.hint = problem.hint or before + BEGIN
        raise
    defaults, going_on = defaults_of(call), resumed(call, session.settings, path.name)
    tell_of(call.console, session)
    for line in unknown(session):
        call.console.note(line)
    with opening_again(path):
        paths = [document.path for document in session.documents]
        engine, library = open_documents(going_on, paths, reindex=reindex, warm=_warm(going_on, paths))
    absent = documents_report(call.console, session, library)
    # The call as it was given: /load starts from it anew, and takes nothing over from this conversation.
    conversation = Conversation(call, engine, library, defaults, drawer, Record(drawer), page_range(session.pages))
    conversation.section = session.section
    conversation.turns, conversation.absent = list(session.turns), absent
    conversation.record = drawer.record(path, conversation.session(), digest)
    return conversation


def run(conversation: Conversation, keyboard: Keyboard) -> int:
    """Take lines until there are no more; the exit code: 0, or that of the first question that failed."""
    interactive = keyboard.interactive
    if interactive:
        if conversation.turns:
            conversation.call.console.say("")
        show_documents(conversation.call.console, conversation.library, conversation.absent)
        remark(conversation.call.console, "Ask a question, or type /help. Ctrl-D leaves.")
    for line in keyboard.lines():
        try:
            _take(conversation, line.strip(), interactive=interactive)
        except KeyboardInterrupt:
            if not interactive:
                raise
            conversation.call.console.say("stopped", style="yellow")
        if conversation.left:
            break
    if interactive and conversation.keeps and conversation.turns and not conversation.told_unkept:
        conversation.call.console.say("kept: `sharedllm chat` resumes this conversation", style="dim")
    return 0 if interactive else conversation.code


def _take(conversation: Conversation, line: str, *, interactive: bool) -> None:
    console = conversation.call.console
    try:
        if is_command(line):
            run_command(conversation, line)
        elif interactive and line.lower() in FAREWELLS:
            conversation.left = True
        elif line:
            conversation.ask(line, interactive=interactive)
    except BrokenPipeError:
        raise
    except Exception as error:
        # Whatever went wrong with one line, what was said before it is worth more than an early end.
        problem = translate(error)
        if console.verbose:
            console.traceback(error)
        console.problem(problem)
        conversation.code = conversation.code or problem.exit_code
    finally:
        conversation.keep()
