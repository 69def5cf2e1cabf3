"""The commands of a chat: lines that begin with a slash. What they show goes to standard error, asked for as it is."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharedllm_cli.cli import options
from sharedllm_cli.cli.chat import facts as chat_facts
from sharedllm_cli.cli.chat import settings as chat_settings
from sharedllm_cli.cli.chat.conversation import (
    Conversation,
    chosen,
    documents_report,
    fixed,
    joined,
    opening_again,
    saved,
    tell_of,
    without,
)
from sharedllm_cli.cli.chat.session import SUFFIX, Record, dated, read_session, write_session
from sharedllm_cli.cli.chat.settings import DEFAULT, KNOBS, OF_THE_CHAT, is_switch, shown_name
from sharedllm_cli.cli.preflight import exit_code, page_range, report_failures
from sharedllm_cli.cli.terminal.answers import show_sources
from sharedllm_cli.cli.terminal.tables import number_of
from sharedllm_cli.config import OF_A_QUESTION
from sharedllm_cli.documents.pages import PageRange, resolve
from sharedllm_cli.errors import UsageError

if TYPE_CHECKING:
    from sharedllm_cli.answer import Answer
    from sharedllm_cli.engine import OpenDocument


LISTED = 10
"""So many kept conversations are listed by /load."""
COMMAND = re.compile(r"/[^\s/]*(\s|$)")
"""`/etc/fstab` begins a question; a command has one slash."""
NUMBER = re.compile(r"\d{1,9}")
ALIASES = {"/exit": "/quit", "/q": "/quit", "/?": "/help", "/h": "/help"}
YES, NO = ("on", "true", "yes", "1"), ("off", "false", "no", "0")


@dataclass(frozen=True)
class Command:
    """What a command takes, what it does, and the function that does it with the text after its name."""

    takes: str
    meaning: str
    run: Callable[[Conversation, str], None]


def is_command(line: str) -> bool:
    return COMMAND.match(line) is not None


def run_command(conversation: Conversation, line: str) -> None:
    """Do what a line that begins with a slash asks for; UsageError for an unknown command."""
    word, rest = (*line.split(maxsplit=1), "")[:2]
    word = ALIASES.get(word, word)
    command = COMMANDS.get(word)
    if command is None:
        near = difflib.get_close_matches(word, COMMANDS, n=1)
        hint = f"did you mean {near[0]}? /help lists all" if near else f"one of: {', '.join(COMMANDS)}"
        raise UsageError(f"unknown command {word}", hint=hint)
    if rest and not command.takes:
        raise UsageError(f"{word} takes nothing after it, got {rest!r}")
    console = conversation.call.console
    # With --quiet too: what a command shows is what it was typed for.
    quiet, console.quiet = console.quiet, False
    try:
        command.run(conversation, rest.strip())
    finally:
        console.quiet = quiet


def split(text: str, example: str) -> list[str]:
    """Words as a shell splits them; text that is a whole path is one word, blanks and all."""
    with suppress(OSError, RuntimeError, ValueError):
        if any(blank in text for blank in " '\"") and Path(text).expanduser().exists():
            return [text]
    try:
        return shlex.split(text)
    except ValueError:
        raise UsageError(
            "unbalanced quotation mark, or a backslash at the end", hint=f"for example: {example}"
        ) from None


def one_path(text: str, example: str) -> Path | None:
    """The path that a command's text names, None for none; UsageError for several."""
    words = split(text, example)
    if len(words) > 1:
        raise UsageError("give one file; put a name with spaces in quotes", hint=f"for example: {example}")
    if not words:
        return None
    with suppress(RuntimeError):  # no such user: the name is taken as it stands
        return Path(words[0]).expanduser()
    return Path(words[0])


def show_help(conversation: Conversation, _: str) -> None:
    pairs = [(f"{word} {command.takes}".rstrip(), command.meaning) for word, command in COMMANDS.items()]
    chat_facts.rows(conversation.call.console, pairs)
    chat_facts.remark(
        conversation.call.console,
        "Anything else is a question. Alt-Enter or a backslash at the end starts a new line, Tab completes, Ctrl-R"
        " searches what was typed before, Ctrl-C stops an answer, Ctrl-D leaves.",
    )


def sources(conversation: Conversation, _: str) -> None:
    if last := last_answer(conversation, "sources"):
        show_sources(conversation.call.console, last, several=conversation.library.several, whole=True)


def look(conversation: Conversation, text: str) -> None:
    from sharedllm_cli.cli.looking import open_source

    if last := last_answer(conversation, "sources"):
        if not NUMBER.fullmatch(text or "1"):
            raise UsageError(f"/open takes the number of a source, got {text!r}", hint="/sources shows them")
        number, password = int(text or "1"), conversation.engine.settings.password
        open_source(conversation.call, last, conversation.library, number, password=password, asked_by="/open")


def tree(conversation: Conversation, _: str) -> None:
    if last := last_answer(conversation, "tree"):
        chat_facts.show_tree(conversation.call.console, last, conversation.library, conversation.engine.settings)


def last_answer(conversation: Conversation, wanted: str) -> Answer | None:
    """The last answer; None, with a line about it, where there is none or it has no sources, if these are wanted."""
    last = conversation.last
    if last is None:
        said = f"no {wanted}" + (
            ": the last answer was stopped" if conversation.turns else " yet: ask a question first"
        )
    elif wanted == "sources" and not last.sources:
        said = "no sources"
    else:
        return last
    conversation.call.console.say(said)
    return None


def documents(conversation: Conversation, _: str) -> None:
    chat_facts.show_documents(conversation.call.console, conversation.library, conversation.absent)


def add(conversation: Conversation, text: str) -> None:
    """Open more documents; where none of them can be read or asked, the chat stays as it was."""
    call = conversation.call
    words = split(text, '/add "my notes.pdf" letters/*.txt')
    if not words:
        raise UsageError("/add needs a document", hint="for example: /add notes.pdf letters/")
    if "-" in words:
        raise UsageError("chat reads questions from standard input, so it can't read a document there")
    with call.console.waiting("reading"):
        added = conversation.engine.open(words)
    check_pages(added.documents, conversation.pages)
    check_section([*conversation.library.documents, *added.documents], conversation.section)
    conversation.library, told = joined(conversation.library, added)
    here = {saved(document).path for document in conversation.library.documents}
    conversation.absent = [gone for gone in conversation.absent if gone.path not in here]
    report_failures(call, added.failures)
    conversation.code = conversation.code or exit_code(added.failures)
    for line in told:
        call.console.say_plain(line)
    documents(conversation, "")


def drop(conversation: Conversation, text: str) -> None:
    """Close documents; what was answered from them stays said."""
    open_now, absent = conversation.library.documents, conversation.absent
    names = conversation.names()
    words = [text] if text in names else split(text, '/drop "my notes.pdf"')
    if not words:
        raise UsageError("/drop needs a document: its name, or its number in /docs", hint=f"open: {', '.join(names)}")
    dropped = chosen(open_now, absent, words)
    gone = [document for document in open_now if any(document is one for one in dropped)]
    if len(gone) == len(open_now) and conversation.library.collection is None:
        raise UsageError(
            "the last document can't be dropped" if len(gone) == 1 else "not all documents can be dropped",
            hint="/add another one first, or /quit",
        )
    conversation.library = without(conversation.library, gone)
    conversation.absent = [one for one in absent if not any(one is other for other in dropped)]
    documents(conversation, "")


def clear(conversation: Conversation, _: str) -> None:
    """Begin anew, with the same documents and settings; what was said so far stays in its file."""
    conversation.turns.clear()
    conversation.record = Record(conversation.drawer)
    conversation.call.console.say("the conversation is cleared")


def save(conversation: Conversation, text: str) -> None:
    """Write the conversation to a file of the user's, or to where conversations are kept."""
    console = conversation.call.console
    path = one_path(text, "/save talk.json")
    if path is None:
        conversation.record.keep(conversation.session(), again=True)
        path = conversation.record.path
    else:
        path = path if path.suffix or path.is_dir() else path.with_suffix(SUFFIX)
        if path.is_dir():
            raise UsageError(f"{path} is a folder", hint="name a file in it")
        write_session(path, dated(conversation.session()))
    console.say_plain(f"saved, readable by you alone: {path}")


def load(conversation: Conversation, text: str) -> None:
    """Go on with another conversation; where it can't be, this one stays as it was. Without a name, list them."""
    if not text:
        list_kept(conversation)
        return
    path = named_session(conversation, text)
    try:
        session, digest = read_session(path)
    except UsageError as problem:
        problem.hint = problem.hint or "this chat is unchanged; /load without a name lists the kept ones"
        raise
    call, engine = conversation.call, conversation.engine
    settings = chat_settings.resumed(call, session.settings, path.name).settings
    with opening_again(path), call.console.waiting("opening the documents"):
        library = engine.open([document.path for document in session.documents])
    report_failures(call, library.failures)
    conversation.code = conversation.code or exit_code(library.failures)
    conversation.absent = documents_report(call.console, session, library)
    conversation.library = library
    for line in fixed(session, engine.settings, conversation.defaults):
        call.console.note(line)
    engine.use(chat_settings.for_questions(settings, engine.settings))
    conversation.turns, conversation.pages = list(session.turns), page_range(session.pages)
    conversation.section = session.section
    conversation.record = conversation.drawer.record(path, conversation.session(), digest)
    tell_of(call.console, session)
    call.console.say("")
    documents(conversation, "")


def named_session(conversation: Conversation, text: str) -> Path:
    """The file that /load means: by its path, or by its number in the list that /load showed."""
    if text.isdecimal() and not Path(text).exists():
        listed = conversation.listed or [str(path) for path in conversation.drawer.paths()[:LISTED]]
        if not 1 <= int(text) <= len(listed):
            raise UsageError(f"there is no conversation number {text}", hint="/load without a name lists them")
        return Path(listed[int(text) - 1])
    path = one_path(text, "/load talk.json")
    assert path is not None
    return path if path.suffix or path.exists() else path.with_suffix(SUFFIX)


def list_kept(conversation: Conversation) -> None:
    """The kept conversations, the last one first, by number."""
    console = conversation.call.console
    pairs: list[tuple[str, str]] = []
    conversation.listed.clear()
    for path, session in islice(conversation.drawer.sessions(), LISTED):
        conversation.listed.append(str(path))
        here = " (this one)" if path == conversation.record.path else ""
        questions = number_of(len(session.turns), "question")
        pairs.append((str(len(pairs) + 1), f"{session.when()}  {session.names()}, {questions}{here}"))
    if not pairs:
        console.say("no conversation is kept yet; /load FILE takes one that /save wrote")
        return
    chat_facts.rows(console, pairs, title="Kept conversations")
    chat_facts.remark(console, "/load NUMBER resumes one of them, /load FILE one that /save wrote")


def settings(conversation: Conversation, text: str) -> None:
    """Show the settings, one of them with its meaning, or change one."""
    console = conversation.call.console
    word, value = (*text.split(maxsplit=1), "", "")[:2]
    if not word:
        show_settings(conversation)
        return
    name = chat_settings.settable(word)
    if value:
        change(conversation, name, unquoted(value))
        if name == "tree" and conversation.engine.settings.tree and not conversation.engine.reads_tree:
            console.note("the model's adapter reads no tree, so this has no effect")
    show_setting(conversation, name, meaning=not value)


def unquoted(text: str) -> str:
    """A value without the quotes around the whole of it; any other text as it stands."""
    quote, inner = text[:1], text[1:-1]
    whole = len(text) > 1 and quote in ("'", '"') and text.endswith(quote) and quote not in inner
    return inner if whole else text


def show_settings(conversation: Conversation) -> None:
    console = conversation.call.console
    every = (*OF_A_QUESTION, *chat_settings.OF_THE_CHAT)
    chat_facts.rows(console, [setting_row(conversation, name) for name in every])
    chat_facts.remark(console, "/set NAME VALUE changes one, /set NAME default resets it, /set NAME explains it")


def show_setting(conversation: Conversation, name: str, *, meaning: bool) -> None:
    chat_facts.rows(conversation.call.console, [setting_row(conversation, name)])
    if meaning:
        text = chat_settings.meaning(name)
        choices = chat_settings.values(name)
        chat_facts.remark(conversation.call.console, f"{text} One of: {', '.join(choices)}." if choices[1:] else text)


def setting_row(conversation: Conversation, name: str) -> tuple[str, str]:
    value, default = chat_settings.told(conversation, name), chat_settings.default_told(conversation, name)
    return chat_settings.shown_name(name), value if default is None else f"{value} (default: {default})"


def stats(conversation: Conversation, _: str) -> None:
    chat_facts.show_stats(conversation.call.console, conversation.turns)


def leave(conversation: Conversation, _: str) -> None:
    conversation.left = True


COMMANDS: dict[str, Command] = {
    "/help": Command("", "this list", show_help),
    "/sources": Command("", "the sources of the last answer, quoted in full", sources),
    "/open": Command("[N]", "show source N, its page with the words marked, in the system's viewer", look),
    "/tree": Command("", "the nodes of the context tree that it read, and where its passages are", tree),
    "/stats": Command("", "tokens, pages, seconds and memory of the last answer, and of all", stats),
    "/docs": Command("", "the documents of this chat, by number", documents),
    "/add": Command("DOC...", "open more documents: files, folders, globs", add),
    "/drop": Command("NAME|NUMBER", "close a document", drop),
    "/set": Command("[NAME [VALUE]]", "show the settings, or change one", settings),
    "/clear": Command("", "start again: forget the conversation so far", clear),
    "/save": Command("[FILE]", "save the conversation", save),
    "/load": Command("[FILE|NUMBER]", "resume a saved conversation, or list those kept", load),
    "/quit": Command("", "leave (also Ctrl-D)", leave),
}


def change(conversation: Conversation, name: str, text: str) -> None:
    """Set a setting to what the user typed, or back to its default.

    Raises UsageError, with the words that the flag has for it, and then nothing is changed.
    """
    back = text.lower() == DEFAULT
    if name == "pages":
        wanted = None if back else page_range(text)
        for remark in check_pages(conversation.library.documents, wanted):
            conversation.call.console.note(remark)
        conversation.pages = wanted
    elif name == "section":
        for remark in check_section(conversation.library.documents, None if back else text):
            conversation.call.console.note(remark)
        conversation.section = None if back else text
    elif name in OF_THE_CHAT:
        setattr(conversation, name, True if back else _switch(name, text))
    else:
        value = getattr(conversation.defaults, name) if back else _parsed(name, text)
        conversation.engine.use(replace(conversation.engine.settings, **{name: value}))


def check_pages(documents: Sequence[OpenDocument], wanted: PageRange | None) -> list[str]:
    """How the pages are meant, where that must be told; UsageError where a document has none of them."""
    remarks = []
    for opened in documents if wanted else ():
        assert wanted is not None
        try:
            remarks.append(resolve(wanted, opened.document).remark)
        except UsageError as problem:
            there_is = f"{problem.hint}; " if problem.hint else ""
            raise UsageError(problem.message, hint=f"{there_is}/set pages default reads every page") from None
    return [remark for remark in remarks if remark]


def check_section(documents: Sequence[OpenDocument], wanted: str | None) -> list[str]:
    """Which sections are meant, where that must be told; UsageError where no document has one."""
    if wanted is None:
        return []
    from sharedllm_cli.answering.addresses import section_remarks, section_tokens

    section_tokens(wanted, documents)
    return section_remarks(wanted, documents)


def _parsed(name: str, text: str) -> Any:
    if is_switch(name):
        return _switch(name, text)
    return options.number_from(KNOBS[name], text)


def _switch(name: str, text: str) -> bool:
    if text.lower() not in YES + NO:
        raise UsageError(f"--{shown_name(name)} can't be {text!r}", hint="choose one of on, off, default")
    return text.lower() in YES
