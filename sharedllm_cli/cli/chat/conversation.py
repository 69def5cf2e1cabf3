"""The state of a chat: which documents are open, what was said, how it is kept, and how a kept one is resumed.

Keeps text, no model state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sharedllm_cli.answer import Answer, AnswerSentence
from sharedllm_cli.cli.call import Call, translate
from sharedllm_cli.cli.chat.facts import show_recalled
from sharedllm_cli.cli.chat.session import Drawer, Record, SavedDocument, SavedTurn, Session
from sharedllm_cli.cli.chat.settings import KNOBS, shown_name, to_save
from sharedllm_cli.cli.preflight import failure_text, named_collections
from sharedllm_cli.cli.terminal.answers import FIRST_SOURCES, explain, receive
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.cli.terminal.tables import number_of
from sharedllm_cli.config import MAX_SOURCES, OF_A_QUESTION, Settings
from sharedllm_cli.documents.pages import PageRange
from sharedllm_cli.errors import DocumentError, SharedLLMError, UsageError

if TYPE_CHECKING:
    from sharedllm_cli.engine import Engine, Library, OpenDocument

BEGIN = "start one with: sharedllm chat DOC..."


@dataclass
class Conversation:
    """The state of a chat. `defaults` are the settings without flags; `absent` the documents that a resumed one lost.

    `record` is the file in which the conversation is kept after each answer, where `keeps`.
    """

    call: Call
    engine: Engine
    library: Library
    defaults: Settings
    drawer: Drawer
    record: Record
    pages: PageRange | None = None
    section: str | None = None
    sources: bool = True
    all_sources: bool = False
    stream: bool = True
    keeps: bool = True
    turns: list[SavedTurn] = field(default_factory=list)
    absent: list[SavedDocument] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    """The kept conversations as /load listed them last, for its numbers."""
    left: bool = False
    code: int = 0
    told_unkept: bool = False
    """Whether the user knows that it can't be kept."""

    @property
    def last(self) -> Answer | None:
        """The last answer; None before the first, and where it was stopped."""
        return self.turns[-1].result if self.turns else None

    def names(self) -> list[str]:
        """The names of the documents, as /docs counts them."""
        labels = [] if self.library.collection is None else self.library.collection.labels
        return [*(one.name for one in self.library.documents), *(gone.name for gone in self.absent), *labels]

    def ask(self, question: str, *, interactive: bool = True) -> None:
        """Answer one question; Ctrl-C stops the answer and, at a terminal, keeps the conversation."""
        from sharedllm_cli.generation.prompt import Turn

        console = self.call.console
        console.warn_again(but=self.library.warnings)
        history = [Turn(turn.question, turn.answer) for turn in self.turns]
        heard = Heard(self.engine.ask(self.library, question, history=history, pages=self.pages, section=self.section))
        try:
            marks = self.sources and not console.quiet
            answer = receive(console, heard.pieces(), show=not self.call.json, stream=self.stream, marks=marks)
        except KeyboardInterrupt:
            if heard.text.strip():
                self.turns.append(SavedTurn(question, heard.text))
            raise
        self.turns.append(SavedTurn(question, answer.answer, answer))
        if self.call.json:
            found = answer.to_json()
            found["warnings"] += [failure_text(name, error) for name, error in self.library.failures]
            console.json(found, one_line=True)
        else:
            several = self.library.several
            whole = self.all_sources or console.verbose
            shown = FIRST_SOURCES if interactive and not whole else MAX_SOURCES
            explain(console, answer, sources=self.sources, several=several, whole=whole, at_most=shown)

    def session(self) -> Session:
        """What is kept of this conversation."""
        return Session(
            documents=[
                *(saved(one) for one in self.library.documents if not one.attached),
                *self.absent,
                *([] if self.library.collection is None else map(saved_label, self.library.collection.labels)),
            ],
            turns=list(self.turns),
            settings=to_save(self.engine.settings, self.defaults),
            pages=None if self.pages is None else str(self.pages),
            section=self.section,
        )

    def keep(self) -> None:
        """Write the conversation down, once something has been said."""
        if not (self.keeps and self.turns):
            return
        console = self.call.console
        try:
            if self.record.keep(self.session()):
                console.note(f"another chat has resumed this conversation too: this one is kept in {self.record.path}")
            console.kept = "`sharedllm chat --resume` resumes this conversation"
        except (SharedLLMError, OSError) as problem:
            if not self.told_unkept:
                self.told_unkept = True
                console.warn(f"this conversation can't be saved: {translate(problem).message}")


def saved_label(label: str) -> SavedDocument:
    """A collection (`@notes`) among the documents of a session: it is opened again by its name."""
    return SavedDocument(label, label, "")


class Heard:
    """Passes an answer's pieces on and remembers their text, so that a stopped answer stays part of what was said."""

    def __init__(self, pieces: Iterator[str | AnswerSentence | Answer]) -> None:
        self._pieces = pieces
        self.text = ""

    def pieces(self) -> Iterator[str | AnswerSentence | Answer]:
        try:
            for piece in self._pieces:
                if isinstance(piece, str):
                    self.text += piece
                yield piece
        finally:
            close = getattr(self._pieces, "close", None)
            if close is not None:
                close()


def joined(library: Library, added: Library) -> tuple[Library, list[str]]:
    """A library with the documents of another after its own, and what became of each of these, in a line.

    A content that is already open is not opened twice; a file that has changed since takes its old place.
    """
    documents, told, warnings = list(library.documents), [], list(library.warnings)
    for new in added.documents:
        twin = next((one for one in documents if one.content_hash == new.content_hash), None)
        if twin is not None:
            told.append(f"{new.name} is already open" + ("" if twin.name == new.name else f", as {twin.name}"))
            continue
        old = next((place for place, one in enumerate(documents) if _same_file(one, new)), None)
        if old is None:
            documents.append(new)
            told.append(f"{new.name} is added")
        else:
            warnings = _without(warnings, documents[old], [*documents[:old], *documents[old + 1 :]])
            documents[old] = new
            told.append(f"{new.name} has changed and is opened again")
    if added.collection is not None:
        if library.collection is not None:
            raise UsageError(
                f"this chat is about {library.collection.label} already",
                hint=f"start one about both: sharedllm chat {library.collection.label} {added.collection.label}",
            )
        told.append(f"{added.collection.label} is added")
    both = replace(
        library,
        collection=library.collection or added.collection,
        documents=_named(documents),
        warnings=list(dict.fromkeys([*warnings, *added.warnings])),
        read_seconds=library.read_seconds + added.read_seconds,
        not_read=list(dict.fromkeys([*library.not_read, *added.not_read])),
    )
    return both, told


def without(library: Library, dropped: Sequence[OpenDocument]) -> Library:
    """A library without some of its documents, nor the warnings of these."""
    left = [one for one in library.documents if not any(one is gone for gone in dropped)]
    warnings = list(library.warnings)
    for gone in dropped:
        warnings = _without(warnings, gone, left)
    return replace(library, documents=left, warnings=warnings)


def chosen(documents: Sequence[OpenDocument], absent: Sequence[SavedDocument], words: Sequence[str]) -> list[object]:
    """The documents that these words mean: names, or numbers as /docs counts them; UsageError for any other.

    A name may be cut short where it is clear which one is meant.
    """
    return [_meant([*documents, *absent], word) for word in words]


def _meant(documents: Sequence[OpenDocument | SavedDocument], word: str) -> object:
    for matches in (
        [one for one in documents if one.name == word],
        [one for number, one in enumerate(documents, 1) if str(number) == word],
        [one for one in documents if one.path is not None and _resolved(one.path) == _resolved(word)],
        [one for one in documents if one.name.casefold().startswith(word.casefold())],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise UsageError(
                f"{word!r} matches {' or '.join(one.name for one in matches)}", hint="name one, or its number in /docs"
            )
    raise UsageError(f"no document {word!r} is open", hint=f"open are: {', '.join(one.name for one in documents)}")


def _named(documents: list[OpenDocument]) -> list[OpenDocument]:
    """The same documents by names that tell them apart, as if they had been opened together."""
    from sharedllm_cli.documents.sources import expand

    sources = expand([one.path for one in documents if one.path is not None], failures=[])
    names = {str(source.path): source.name for source in sources}
    return [_renamed(one, names.get(str(one.path), one.name)) for one in documents]


def _renamed(opened: OpenDocument, name: str) -> OpenDocument:
    return opened if opened.name == name else replace(opened, document=replace(opened.document, name=name))


def _without(warnings: list[str], gone: OpenDocument, left: Sequence[OpenDocument]) -> list[str]:
    """Warnings less those of a document, but for what others have to tell as well."""
    stay = {text for one in left for text in one.document.warnings}
    return [text for text in warnings if text in stay or text not in gone.document.warnings]


def _same_file(one: OpenDocument, other: OpenDocument) -> bool:
    return one.path is not None and other.path is not None and _resolved(one.path) == _resolved(other.path)


def _resolved(path: str) -> Path:
    return Path(path).expanduser().resolve()


def saved(opened: OpenDocument) -> SavedDocument:
    """A document as a session keeps it; its path is whole, since the session may be resumed from another folder."""
    return SavedDocument(opened.name, str(Path(opened.path or opened.name).absolute()), opened.content_hash)


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
            raise UsageError(f"--load resumes one conversation and takes no {other}", hint="/add opens more")
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

    labels = named_collections(documents)
    plain = [document for document in documents if document not in labels]
    found = drawer.about([*(str(source.path) for source in expand(plain)), *labels])
    if found is None:
        raise UsageError(
            f"no conversation about {', '.join(documents)} is kept", hint="without --resume a new one starts"
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
    labels = [] if library.collection is None else library.collection.labels
    now = {_resolved(one.path): one.content_hash for one in library.documents if one.path is not None}
    absent = []
    for document in session.documents:
        found = now.get(_resolved(document.path))
        if document.path in labels:
            continue
        if found is None and document.content_hash not in now.values():
            absent.append(document)
            console.warn(f"the conversation continues without {document.name}")
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
                f"the conversation used --{shown_name(name)} {wanted}, this chat uses {getattr(settings, name)}"
            )
    return [*told, *unknown(session)]


def unknown(session: Session) -> list[str]:
    """Settings of a conversation that this version doesn't have."""
    return [f"this version has no setting {name}: it is ignored" for name in session.settings if name not in KNOBS]


def tell_of(console: Console, session: Session) -> None:
    """Say which conversation goes on, and in brief what was said in it."""
    questions = number_of(len(session.turns), "question")
    console.say_plain(f"resuming the conversation of {session.when()}: {session.names()}, {questions}")
    show_recalled(console, session.turns)
