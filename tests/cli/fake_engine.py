"""An engine that knows its answers by heart: the command line is tested without a model, in milliseconds.

`python tests/cli/fake_engine.py ask …` runs the whole command with it, in a process of its own.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sharedllm_cli.answer import (
    SECOND_EXTRACTION,
    Answer,
    AnswerSentence,
    Coverage,
    IndexUse,
    ModelUse,
    NotRead,
    Source,
    Timing,
    TreeRead,
)
from sharedllm_cli.cli import call as call_module
from sharedllm_cli.cli.app import run
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.config import Settings
from sharedllm_cli.documents.pages import Document, Page, PageRange
from sharedllm_cli.errors import DocumentError, SharedLLMError

PIECES = ("The lamp ", "is lit ", "at dusk.")


@dataclass
class FakeDocument:
    name: str
    path: str | None
    pages: int = 12
    tokens: int = 5000
    chunks: int = 10
    paged: bool = True
    pages_without_text: tuple[int, ...] = ()
    text_hit: bool = True
    index_path: Path | None = None
    content_hash: str = "f00d"
    data: bytes | None = None
    attached: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def parts(self) -> int:
        return 0

    @property
    def document(self) -> Document:
        pages = tuple(Page(number, None, number - 1, number, "x") for number in range(1, self.pages + 1))
        return Document(
            self.name, self.path, "pdf", self.content_hash, "x" * self.pages, pages, self.paged, warnings=self.warnings
        )

    @property
    def leaves(self) -> Any:
        return SimpleNamespace(trees=[SimpleNamespace(depth=3)] * self.chunks)


@dataclass
class FakeLibrary:
    documents: list[FakeDocument]
    failures: list[tuple[str, SharedLLMError]]
    warnings: list[str] = field(default_factory=list)
    read_seconds: float = 0.0
    not_read: list[NotRead] = field(default_factory=list)
    collection: None = None

    @property
    def several(self) -> bool:
        return len(self.documents) > 1

    def opened_for(self, names: set[str]) -> list[FakeDocument]:
        return [document for document in self.documents if document.name in names]


@dataclass
class FakeOutcome:
    name: str
    path: str | None
    index_path: Path
    pages: int = 12
    tokens: int = 5000
    chunks: int = 10
    bytes: int = 12_500_000
    seconds: float = 8.0
    tokens_per_s: float = 625.0
    skipped: bool = False
    reason: str | None = None


@dataclass
class FakePlanRow:
    name: str
    pages: int = 12
    tokens: int = 5000
    chunks: int = 10
    index_bytes: int = 12_500_000
    weights_bytes: int = 538_000_000
    memory_bytes: int = 1_200_000_000
    index_seconds: float = 90.0
    question_seconds: float = 2.5
    indexed: bool = False
    basis: str = "a matrix product timed here"
    batch_bytes: int = 20_000_000
    tree_bytes: int = 30_000_000
    cache_bytes: int = 40_000_000
    fits: bool = True
    where: str = "1.2 GB of 8.0 GB free on cpu"


def make_source(**changes: Any) -> Source:
    values: dict[str, Any] = {
        "document": "book.pdf",
        "page": 12,
        "page_label": "xii",
        "quote": "The lamp is lit at dusk and put out at dawn.",
        "verified": True,
        "checked": SECOND_EXTRACTION,
        "score": 0.83,
        "chunk": 3,
        "level": 3,
        "node": 5,
        "supports": True,
    }
    return Source(**(values | changes))


def make_answer(question: str = "When is the lamp lit?", **changes: Any) -> Answer:
    values: dict[str, Any] = {
        "question": question,
        "answer": "".join(PIECES),
        "sources": [make_source()],
        "coverage": Coverage(5000, 1024, 10, 12, []),
        "tree": TreeRead(0, 0, None, "hybrid"),
        "answered": True,
        "reason": None,
        "index": IndexUse(True, False, "/index/book", 12_500_000),
        "model": ModelUse("smollm2-135m-instruct", None, False, False, "none", "cpu"),
        "timing": Timing(first_token_s=1.25, total_s=2.0, new_tokens=6, tokens_per_s=14.5),
        "peak_bytes": 700_000_000,
        "route": "passages",
        "warnings": [],
    }
    return Answer(**(values | changes))


@dataclass
class Script:
    """What the fake engine does, and what it was asked to do."""

    pieces: Sequence[str | AnswerSentence] = PIECES
    changes: dict[str, Any] = field(default_factory=dict)
    failures: list[tuple[str, SharedLLMError]] = field(default_factory=list)
    error: BaseException | None = None
    late_error: BaseException | None = None
    hashes: dict[str, str] = field(default_factory=dict)
    """Content hashes of files by name, else the name itself."""
    only_named: bool = False
    """Opening has the failures of the documents that are named; otherwise all of them, whatever is named."""
    unpaged: tuple[str, ...] = ()
    """Files without pages, by name."""
    warnings: list[str] = field(default_factory=list)
    """What opening documents is warned of, which every answer repeats."""
    delay: float = 0.0
    settings: list[Settings] = field(default_factory=list)
    used: list[Settings] = field(default_factory=list)
    """The settings of each question."""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    closed: int = 0

    def make(self, settings: Settings, home: Path, reporter: Any) -> FakeEngine:
        self.settings.append(settings)
        return FakeEngine(self, settings, home, reporter)


class FakeEngine:
    def __init__(self, script: Script, settings: Settings, home: Path, reporter: Any) -> None:
        self.script, self.settings, self.home, self.reporter = script, settings, home, reporter

    def use(self, settings: Settings) -> None:
        self.settings = settings

    @property
    def reads_tree(self) -> bool:
        return bool(self.settings.tree)

    def facts(self) -> ModelUse:
        return make_answer(**self.script.changes).model

    @property
    def shared(self) -> Any:
        """What the adapter decides where the user does not."""
        return SimpleNamespace(
            passage_budget=lambda settings: 384,
            candidates=lambda settings: 4,
            reads_tree=lambda settings: False,
            refuse_from=lambda settings: 0.25,
        )

    def _begin(self, call: str, value: Any) -> None:
        self.script.calls.append((call, value))
        if self.script.error is not None:
            raise self.script.error

    def open(self, arguments: Sequence[str], *, reindex: bool = False, probe: Any = None) -> FakeLibrary:
        self._begin("open", (list(arguments), reindex))
        failed = {name for name, _ in self.script.failures}
        with self.reporter.task("reading", 12, "pages") as task:
            task.advance(12)
        documents = [
            FakeDocument(
                Path(name).name,
                name,
                paged=Path(name).name not in self.script.unpaged,
                content_hash=self.script.hashes.get(Path(name).name, Path(name).name),
            )
            for name in arguments
            if name not in failed
        ]
        for text in self.script.warnings:
            self.reporter.warn(text)
        if not documents:
            raise self.script.failures[0][1]
        every = not self.script.only_named
        failures = [(name, error) for name, error in self.script.failures if every or name in arguments]
        return FakeLibrary(documents, failures, list(self.script.warnings))

    def ask(
        self,
        library: FakeLibrary,
        question: str,
        *,
        history: Sequence[Any] = (),
        pages: PageRange | None = None,
        section: str | None = None,
    ) -> Iterator[str | Answer]:
        self.script.used.append(self.settings)
        self.script.calls.append(
            ("ask", (question, [(turn.question, turn.answer) for turn in history], pages and str(pages)))
        )
        if section is not None:
            self.script.calls.append(("section", section))
        try:
            for piece in self.script.pieces:
                yield piece
                time.sleep(self.script.delay)
            if self.script.late_error is not None:
                raise self.script.late_error
            text = "".join(piece for piece in self.script.pieces if isinstance(piece, str))
            changes = {"answer": text} | self.script.changes
            changes["warnings"] = [*self.script.warnings, *changes.get("warnings", [])]
            yield make_answer(question, **changes)
        finally:
            self.script.closed += 1

    def index(
        self, arguments: Sequence[str], *, reindex: bool = False, late_states: bool = False, probe: Any = None
    ) -> tuple[list[FakeOutcome], list[tuple[str, SharedLLMError]]]:
        self._begin("index", (list(arguments), reindex, late_states))
        failed = {name for name, _ in self.script.failures}
        done = [
            FakeOutcome(Path(name).name, name, self.home / "indexes" / "a") for name in arguments if name not in failed
        ]
        return done, list(self.script.failures)

    def plan(
        self, arguments: Sequence[str], *, probe: Any = None
    ) -> tuple[list[FakePlanRow], list[tuple[str, SharedLLMError]]]:
        self._begin("plan", list(arguments))
        return [FakePlanRow(Path(name).name) for name in arguments], list(self.script.failures)


SCRIPTS: dict[str, Callable[[], Script]] = {
    "plain": Script,
    "slow": lambda: Script(pieces=("The lamp ",) * 400, delay=0.05),
    "long": lambda: Script(pieces=("The lamp is lit at dusk.\n",) * 20_000),
    "stuck": lambda: Script(error=KeyboardInterrupt()),
    "failing": lambda: Script(failures=[("bad.pdf", DocumentError("bad.pdf is damaged", hint="get another copy"))]),
}


@dataclass
class Ran:
    """What a call of the command left: its exit code, standard output and standard error."""

    code: int
    out: str
    err: str


def call(script: Script, *arguments: str, terminal: bool = False) -> Ran:
    """Call the command in this process with a fake engine; `terminal` makes both streams claim to be one."""
    out, err = Stream(terminal), Stream(terminal)
    before = call_module.make_engine
    call_module.make_engine = script.make  # type: ignore[assignment]
    try:
        code = run(list(arguments), Console(out, err))
    finally:
        call_module.make_engine = before
    return Ran(code, out.getvalue(), err.getvalue())


class Stream(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def main() -> None:
    """Run the command of this process's arguments with the script that FAKE_ENGINE names."""
    import os

    from sharedllm_cli.cli.app import main as command

    call_module.make_engine = SCRIPTS[os.environ.get("FAKE_ENGINE", "plain")]().make  # type: ignore[assignment]
    command(sys.argv[1:])


if __name__ == "__main__":
    main()
