"""Going on with a saved conversation: its documents opened again, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sharedllm_cli.cli.chat.facts import show_recalled
from sharedllm_cli.cli.chat.session import Drawer, SavedDocument, Session
from sharedllm_cli.cli.chat.settings import KNOBS, OF_A_QUESTION, shown_name
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.cli.terminal.quantities import number_of
from sharedllm_cli.config import Settings
from sharedllm_cli.errors import DocumentError, UsageError

if TYPE_CHECKING:
    from sharedllm_cli.engine import Library

BEGIN = "begin one with: sharedllm chat DOC..."


def wanted_session(
    drawer: Drawer, documents: list[str], *, resume: bool, load: str | None, interactive: bool
) -> Path | None:
    """The file of the conversation to go on with; None begins a new one.

    Without documents the last one is meant, at a terminal: a script has to say --resume. UsageError where there is
    none, or where two things are asked for at once.
    """
    if load is not None:
        if documents or resume:
            other = "--resume" if resume else "documents"
            raise UsageError(f"--load goes on with one conversation and takes no {other}", hint="/add opens more")
        return Path(load).expanduser()
    if documents and not resume:
        return None
    if not documents and not resume and not interactive:
        raise UsageError("no document given", hint="sharedllm chat DOC..., or --resume for the last conversation")
    if documents:
        return _about(drawer, documents)
    if not (kept := drawer.paths()):
        lack = "no conversation is kept yet" if resume else "no document given, and no conversation is kept yet"
        raise UsageError(lack, hint=BEGIN)
    return kept[0]


def _about(drawer: Drawer, documents: list[str]) -> Path:
    from sharedllm_cli.documents.sources import expand

    found = drawer.about([str(source.path) for source in expand(documents)])
    if found is None:
        raise UsageError(
            f"no conversation about {', '.join(documents)} is kept", hint="without --resume a new one begins"
        )
    return found


@contextmanager
def opening_again(path: Path) -> Iterator[None]:
    """A DocumentError that names the conversation, where none of its documents can be opened."""
    try:
        yield
    except DocumentError as problem:
        raise DocumentError(
            f"no document of the conversation {path.name} can be opened: {problem.message}",
            hint="put them back where they were, or " + BEGIN,
        ) from None


def documents_report(console: Console, session: Session, library: Library) -> list[SavedDocument]:
    """Tell which documents are not there any more, or not as they were; returns those that are not there."""
    now = {_resolved(one.path): one.content_hash for one in library.documents if one.path is not None}
    absent = []
    for document in session.documents:
        found = now.get(_resolved(document.path))
        if found is None and document.content_hash not in now.values():
            absent.append(document)
            console.warn(f"the conversation goes on without {document.name}")
        elif found not in (None, document.content_hash):
            console.warn(f"{document.name} has changed: the answers so far are from its earlier text")
    return absent


def fixed(session: Session, settings: Settings, defaults: Settings) -> list[str]:
    """What of a conversation's settings this chat can't take over, a line each."""
    told = []
    for name, knob in KNOBS.items():
        wanted = session.settings.get(name, getattr(defaults, name))
        if name not in OF_A_QUESTION and name in session.settings and wanted != getattr(settings, knob.name):
            told.append(
                f"the conversation was had with --{shown_name(name)} {wanted}, this chat goes on with"
                f" {getattr(settings, name)}"
            )
    return [*told, *unknown(session)]


def unknown(session: Session) -> list[str]:
    """Settings of a conversation that this version doesn't have."""
    return [f"this version has no setting {name}: it is left out" for name in session.settings if name not in KNOBS]


def tell_of(console: Console, session: Session) -> None:
    """Say which conversation goes on, and in brief what was said in it."""
    questions = number_of(len(session.turns), "question")
    console.say_plain(f"going on with the conversation of {session.when()}: {session.names()}, {questions}")
    show_recalled(console, session.turns)


def _resolved(path: str) -> Path:
    return Path(path).resolve()
