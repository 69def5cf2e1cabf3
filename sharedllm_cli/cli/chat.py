"""`sharedllm chat`: questions and answers about documents, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sharedllm_cli.answer import Answer
from sharedllm_cli.cli.answers import explain, receive, show_sources
from sharedllm_cli.cli.arguments import Documents, Pages, Reindex, Sources, Stream, exit_code, open_documents, page_span
from sharedllm_cli.cli.keyboard import Keyboard, open_keyboard
from sharedllm_cli.cli.options import EVERYTHING, takes
from sharedllm_cli.cli.quantities import number_of, page_list
from sharedllm_cli.cli.session import Call
from sharedllm_cli.config import MAX_SOURCES
from sharedllm_cli.errors import SharedLLMError, UsageError

if TYPE_CHECKING:
    from sharedllm_cli.engine import Engine, Library
    from sharedllm_cli.generation.prompt import Turn

FIRST_SOURCES = 3
"""Sources shown below each answer of a chat at a terminal; `/sources` has all."""


@takes(*EVERYTHING)
def chat(
    call: Call,
    documents: Documents,
    pages: Pages = None,
    reindex: Reindex = False,
    sources: Sources = True,
    stream: Stream = True,
) -> int:
    """Talk about documents: each question sees the ones before it.

    Type a question, or /help. Ctrl-C stops an answer, Ctrl-D leaves. With --json every answer is one JSON object on a
    line of its own.
    """
    if "-" in documents:
        raise UsageError(
            "chat reads its questions from standard input, so no document can come from there",
            hint="save the document to a file first",
        )
    span = page_span(pages)
    engine, library = open_documents(call, documents, reindex=reindex)
    conversation = Conversation(call, engine, library, span, sources=sources, stream=stream)
    return conversation.run(open_keyboard(call.console, call.home, list(COMMANDS))) or exit_code(library.failures)


@dataclass
class Conversation:
    """The state of a chat: what was said, and the last answer. Keeps text, no model state."""

    call: Call
    engine: Engine
    library: Library
    pages: tuple[int, int] | None = None
    sources: bool = True
    stream: bool = True
    turns: list[Turn] = field(default_factory=list)
    last: Answer | None = None
    left: bool = False
    code: int = 0

    def run(self, keyboard: Keyboard) -> int:
        """Take lines until there are no more; the exit code: 0, or that of the first question that failed."""
        if keyboard.interactive:
            self._greet()
        for line in keyboard.lines():
            self._take(line.strip(), interactive=keyboard.interactive)
            if self.left:
                break
        return 0 if keyboard.interactive else self.code

    def _take(self, line: str, *, interactive: bool) -> None:
        try:
            if line.startswith("/"):
                self.command(line)
            elif line:
                self.ask(line, interactive=interactive)
        except SharedLLMError as error:
            if self.call.console.verbose:
                self.call.console.traceback(error)
            self.call.console.problem(error)
            self.code = self.code or error.exit_code

    def ask(self, question: str, *, interactive: bool = True) -> None:
        """Answer one question; Ctrl-C stops the answer and, at a terminal, keeps the conversation."""
        from sharedllm_cli.generation.prompt import Turn

        console = self.call.console
        heard = Heard(self.engine.ask(self.library, question, history=self.turns, pages=self.pages))
        try:
            answer = receive(console, heard.pieces(), show=not self.call.json, stream=self.stream)
        except KeyboardInterrupt:
            if not interactive:
                raise
            console.say("stopped", style="yellow")
            if heard.text.strip():
                self.turns.append(Turn(question, heard.text))
            return
        self.turns.append(Turn(question, answer.answer))
        self.last = answer
        if self.call.json:
            console.json(answer.to_json(), one_line=True)
        else:
            several = len(self.library.documents) > 1
            shown = FIRST_SOURCES if interactive and not console.verbose else MAX_SOURCES
            explain(console, answer, sources=self.sources, several=several, at_most=shown)

    def command(self, line: str) -> None:
        """A line that starts with a slash; UsageError for an unknown one."""
        word = line.split()[0]
        if word not in COMMANDS:
            raise UsageError(f"there is no command {word}", hint=f"one of: {', '.join(COMMANDS)}")
        COMMANDS[word][1](self)

    def help(self) -> None:
        for word, (meaning, _) in COMMANDS.items():
            self.call.console.say(f"  {word:<10}{meaning}")
        self.call.console.say("  Anything else is a question. Ctrl-C stops an answer, Ctrl-D leaves.", style="dim")

    def show_sources(self) -> None:
        if self.last is None or not self.last.sources:
            self.call.console.say("no sources yet: ask a question first" if self.last is None else "no sources")
            return
        show_sources(self.call.console, self.last, several=len(self.library.documents) > 1, whole=True)

    def show_documents(self) -> None:
        for document in self.library.documents:
            extent = [number_of(document.pages, "page")] if document.paged else []
            extent.append(f"{number_of(document.tokens, 'token')} in {number_of(document.chunks, 'chunk')}")
            if silent := list(document.pages_without_text):
                extent.append(f"no text on {page_list(silent)}")
            self.call.console.say_plain(f"  {document.name}: {', '.join(extent)}")

    def clear(self) -> None:
        self.turns.clear()
        self.last = None
        self.call.console.say("the conversation starts anew")

    def leave(self) -> None:
        self.left = True

    def _greet(self) -> None:
        self.show_documents()
        self.call.console.say("  Ask a question, or type /help. Ctrl-D leaves.", style="dim")


COMMANDS: dict[str, tuple[str, Callable[[Conversation], None]]] = {
    "/help": ("this list", Conversation.help),
    "/sources": ("the sources of the last answer, quoted in full", Conversation.show_sources),
    "/docs": ("the documents of this chat", Conversation.show_documents),
    "/clear": ("forget what was said so far", Conversation.clear),
    "/quit": ("leave (also Ctrl-D)", Conversation.leave),
}


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
