"""The state of a chat: what is open, what was said and how it is kept. Keeps text, no model state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sharedllm_cli.answer import Answer
from sharedllm_cli.cli.arguments import failure_text
from sharedllm_cli.cli.chat.documents import saved
from sharedllm_cli.cli.chat.session import Drawer, Record, SavedDocument, SavedTurn, Session
from sharedllm_cli.cli.chat.settings import to_save
from sharedllm_cli.cli.failures import translate
from sharedllm_cli.cli.session import Call
from sharedllm_cli.cli.terminal.answers import FIRST_SOURCES, explain, receive
from sharedllm_cli.config import MAX_SOURCES, Settings
from sharedllm_cli.documents.page_ranges import PageRange
from sharedllm_cli.errors import SharedLLMError

if TYPE_CHECKING:
    from sharedllm_cli.engine import Engine, Library


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
        return [*(one.name for one in self.library.documents), *(gone.name for gone in self.absent)]

    def ask(self, question: str, *, interactive: bool = True) -> None:
        """Answer one question; Ctrl-C stops the answer and, at a terminal, keeps the conversation."""
        from sharedllm_cli.generation.prompt import Turn

        console = self.call.console
        console.warn_again(but=self.library.warnings)
        history = [Turn(turn.question, turn.answer) for turn in self.turns]
        heard = Heard(self.engine.ask(self.library, question, history=history, pages=self.pages))
        try:
            answer = receive(console, heard.pieces(), show=not self.call.json, stream=self.stream)
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
            several = len(self.library.documents) > 1
            whole = self.all_sources or console.verbose
            shown = FIRST_SOURCES if interactive and not whole else MAX_SOURCES
            explain(console, answer, sources=self.sources, several=several, whole=whole, at_most=shown)

    def session(self) -> Session:
        """What is kept of this conversation."""
        return Session(
            documents=[*map(saved, self.library.documents), *self.absent],
            turns=list(self.turns),
            settings=to_save(self.engine.settings, self.defaults),
            pages=None if self.pages is None else str(self.pages),
        )

    def keep(self) -> None:
        """Write the conversation down, once something has been said."""
        if not (self.keeps and self.turns):
            return
        console = self.call.console
        try:
            if self.record.keep(self.session()):
                console.note(f"another chat goes on with this conversation too: this one is kept in {self.record.path}")
            console.kept = "`sharedllm chat --resume` goes on with this conversation"
        except (SharedLLMError, OSError) as problem:
            if not self.told_unkept:
                self.told_unkept = True
                console.warn(f"this conversation can't be kept: {translate(problem).message}")


class Heard:
    """Passes an answer's pieces on and remembers their text, so that a stopped answer stays part of what was said."""

    def __init__(self, pieces: Iterator[str | Answer]) -> None:
        self._pieces = pieces
        self.text = ""

    def pieces(self) -> Iterator[str | Answer]:
        try:
            for piece in self._pieces:
                if isinstance(piece, str):
                    self.text += piece
                yield piece
        finally:
            close = getattr(self._pieces, "close", None)
            if close is not None:
                close()
