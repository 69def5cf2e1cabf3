"""`sharedllm chats`: the conversations that `chat` keeps."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sharedllm_cli.cli.call import Call
from sharedllm_cli.cli.chat.session import SUFFIX, TYPED, Drawer, SavedTurn, Session, kept_in, read_session
from sharedllm_cli.cli.help import Command, Group
from sharedllm_cli.cli.options import DELETING, Yes, argument, complete_chats, option, with_settings
from sharedllm_cli.cli.preflight import agreed
from sharedllm_cli.cli.terminal.answers import page_text
from sharedllm_cli.cli.terminal.console import Console, harmless, one_line
from sharedllm_cli.cli.terminal.tables import number_of, show_table, size
from sharedllm_cli.errors import ResourceError, UsageError

app = typer.Typer(help="Manage the conversations that `chat` keeps.", cls=Group)

WHICH = "A kept conversation: its name in `chats list`, or its first letters."
Which = Annotated[str, argument("CHAT", WHICH, autocompletion=complete_chats)]
Several = Annotated[list[str] | None, argument("[CHAT...]", WHICH, autocompletion=complete_chats)]
OlderThan = Annotated[
    float | None, option("--older-than DAYS", "Delete conversations that were not resumed for N days.", DELETING, min=0)
]
All = Annotated[bool, option("--all", "Delete all of them, and the input history.", DELETING)]


@app.command("list", cls=Command)
@with_settings()
def list_chats(call: Call) -> None:
    """List the kept conversations, the last one first."""
    drawer = kept_in(call.home)
    found = list(_read(drawer.paths()))
    if call.json:
        call.console.json({"folder": str(drawer.folder), "chats": [_told(*one) for one in found]})
    elif not found:
        call.console.note(f"no conversation is kept in {drawer.folder}")
    else:
        rows = [_row(path, session, problem) for path, session, problem in found]
        headings = ("Chat", "Documents", "Questions", "The last one", "Size")
        show_table(call.console, headings, rows, right="Questions,Size", spare="Size,The last one")
        call.console.say(
            f"\n{len(found):,} in {drawer.folder}, {size(sum(_bytes(one[0]) for one in found))}", style="dim"
        )


@app.command(cls=Command)
@with_settings()
def show(call: Call, which: Which) -> None:
    """Show a conversation whole: its questions, the answers, and the pages that they rest on."""
    path = named(kept_in(call.home), which)
    session, _ = read_session(path)
    if call.json:
        call.console.json({"name": path.stem, "path": str(path), **asdict(session)})
        return
    _tell(call.console, f"{session.names()}, {session.when()}")
    several = len(session.documents) > 1
    for turn in session.turns:
        _tell(call.console, "")
        _tell(call.console, f"> {one_line(turn.question)}", style="bold")
        for line in turn.answer.splitlines() or [""]:
            _tell(call.console, line)
        if places := " · ".join(dict.fromkeys(_places(turn, several=several))):
            _tell(call.console, places, style="dim")


def _tell(console: Console, line: str, style: str = "") -> None:
    """A line that a terminal folds between words."""
    from rich.text import Text

    if console.out_is_terminal:
        console.result(Text(harmless(line), style=style))
    else:
        console.line(line)


@app.command(cls=Command)
@with_settings()
def rm(
    call: Call, which: Several = None, everything: All = False, older_than: OlderThan = None, yes: Yes = False
) -> int:
    """Delete kept conversations; the documents and their indexes stay."""
    drawer = kept_in(call.home)
    if sum((bool(which), everything, older_than is not None)) != 1:
        raise UsageError(
            "say which conversations: by name, --all or --older-than DAYS", hint="`sharedllm chats list` shows them"
        )
    found = _chosen(drawer, which or [], older_than)
    typed = call.home / TYPED
    told = [found[0].stem if len(found) == 1 else number_of(len(found), "conversation")] if found else []
    if everything and typed.is_file():
        found.append(typed)
        told.append("the input history")
    if not found:
        call.console.note("nothing to delete")
    going = bool(found) and agreed(call, f"Delete {' and '.join(told)}?", yes)
    deleted = []
    for path in found if going else []:
        try:
            path.unlink(missing_ok=True)
        except OSError as problem:
            raise ResourceError(f"{path} can't be deleted: {(problem.strerror or '').lower()}") from None
        deleted.append(path)
        if not call.json:
            call.console.line(f"deleted {path.stem}")
    if call.json:
        call.console.json({"deleted": [str(path) for path in deleted]})
    return 0


def named(drawer: Drawer, text: str) -> Path:
    """The one kept conversation of this name, or whose name begins so; UsageError for none or several."""
    paths = drawer.paths()
    word = Path(text).name.removesuffix(SUFFIX)
    found = [path for path in paths if path.stem == word] or [path for path in paths if path.stem.startswith(word)]
    if len(found) == 1 and word:
        return found[0]
    hint = "`sharedllm chats list` shows them"
    if not found or not word:
        raise UsageError(f"no conversation called {text!r} is kept", hint=hint)
    raise UsageError(f"{len(found)} conversations begin with {text!r}", hint=", ".join(path.stem for path in found[:5]))


def _chosen(drawer: Drawer, which: Sequence[str], older_than: float | None) -> list[Path]:
    if which:
        return list(dict.fromkeys(named(drawer, text) for text in which))
    before = time.time() - (older_than or 0.0) * 86_400
    return [path for path in drawer.paths() if older_than is None or path.stat().st_mtime < before]


def _read(paths: Sequence[Path]) -> Iterator[tuple[Path, Session | None, str]]:
    """Each with its conversation, or why it can't be read: such a file can be deleted all the same."""
    for path in paths:
        try:
            yield path, read_session(path)[0], ""
        except UsageError as problem:
            yield path, None, problem.message


def _row(path: Path, session: Session | None, problem: str) -> tuple[str, ...]:
    if session is None:
        return path.stem, problem, "–", "–", size(_bytes(path))
    last = one_line(session.turns[-1].question) if session.turns else "–"
    return path.stem, session.names(), f"{len(session.turns):,}", last, size(_bytes(path))


def _told(path: Path, session: Session | None, problem: str) -> dict[str, Any]:
    found: dict[str, Any] = {"name": path.stem, "path": str(path), "bytes": _bytes(path), "problem": problem or None}
    if session is None:
        written = datetime.fromtimestamp(path.stat().st_mtime).astimezone().isoformat("T", "seconds")
        return {**found, "saved": written, "documents": [], "questions": 0, "last_question": None}
    last = session.turns[-1].question if session.turns else None
    documents = [asdict(document) for document in session.documents]
    return {
        **found,
        "saved": session.saved,
        "documents": documents,
        "questions": len(session.turns),
        "last_question": last,
    }


def _bytes(path: Path) -> int:
    return path.stat().st_size


def _places(turn: SavedTurn, *, several: bool) -> Iterator[str]:
    """Where an answer's passages stand."""
    if turn.result is None:
        yield "stopped early"
        return
    for source in turn.result.sources if turn.result.answered else ():
        if source.read and (several or source.paged):
            parts = [one_line(source.document)] if several or not source.paged else []
            yield ", ".join([*parts, *([page_text(source)] if source.paged else [])])
