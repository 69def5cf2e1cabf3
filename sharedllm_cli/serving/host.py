"""One loaded engine for many callers: questions in turn, documents kept open between them. The page to read first.

Every surface that stays up (the shell's socket, HTTP, MCP) asks here, and gets the same `Answer` as the command. All
work runs in one thread (`turns.py`); the model is loaded with the first question that needs it. Knows no transport.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharedllm_cli.answer import Answer, AnswerSentence, SearchResult
from sharedllm_cli.config import Settings
from sharedllm_cli.documents.readers import Probe
from sharedllm_cli.errors import UsageError
from sharedllm_cli.home import indexes_folder
from sharedllm_cli.progress import Reporter, Silent
from sharedllm_cli.serving.opened import ModelFiles, model_files
from sharedllm_cli.serving.reporting import CurrentReporter, ProgressReporter, Remark
from sharedllm_cli.serving.sockets import fixed_settings
from sharedllm_cli.serving.turns import MOST_SECONDS, Job, Running, Turns

if TYPE_CHECKING:
    from sharedllm_cli.documents.pages import PageRange
    from sharedllm_cli.engine import Engine, Library
    from sharedllm_cli.generation.prompt import Turn
    from sharedllm_cli.index.catalog import Entry
    from sharedllm_cli.reading.searching import WordSearcher
    from sharedllm_cli.serving.opened import OpenedLibraries

Pages = Any
"""Pages as `Engine.ask` takes them: a PageRange, `12-30` as --pages takes it, or first and last as counted."""
Piece = str | AnswerSentence | Answer
__all__ = ["Host", "Pages", "Piece", "ProgressReporter", "Work"]
Work = Callable[[Job], Iterator[Any]]
WORDS = "bm25"


class Host:
    """One engine, which is loaded once, and the documents that were asked about last.

    `make` makes the engine for a reporter; it is called in the working thread when a question needs the model.
    All methods may be called from any thread. Those that return an iterator return at once: the pieces come in turn,
    and closing the iterator stops the work. The others wait.
    """

    def __init__(
        self,
        make: Callable[[Reporter], Engine],
        *,
        settings: Settings,
        home: Path,
        seconds: float | None = MOST_SECONDS,
        turns: Turns | None = None,
    ) -> None:
        self.settings = settings
        self.home = home
        self.seconds = seconds
        self.turns = turns or Turns()
        self.index_root = indexes_folder(home) if settings.index_dir is None else Path(settings.index_dir).expanduser()
        self.address: str | None = None
        """Where programs and people find it over HTTP, once they can."""
        self._make = make
        self._reporter = CurrentReporter()
        self._engine: Engine | None = None
        self._loaded: list[Remark] = []
        self._files: ModelFiles = ()
        self._searcher: WordSearcher | None = None
        self._libraries: OpenedLibraries | None = None

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._engine is not None

    def close(self) -> None:
        """Stop what is running and refuse what waits."""
        self.turns.close()

    # -- a question -------------------------------------------------------------------------------------------------

    def asking(
        self,
        documents: Sequence[str] | Library,
        question: str,
        *,
        history: Sequence[Turn] = (),
        pages: Pages = None,
        section: str | None = None,
        settings: Settings | None = None,
        reporter: Reporter | None = None,
        opened: Callable[[Library], None] | None = None,
        reindex: bool = False,
        probe: Probe | None = None,
        folder: str | None = None,
        heard: bool = False,
    ) -> Work:
        """An answer as work for `run` or `turns.pieces_of`: `Engine.ask`'s pieces; closing them stops it.

        `documents` are paths that somebody else has granted, or open documents. `settings` may differ from the host's
        in those of a question alone. `reporter` hears progress, remarks and warnings in the working thread
        (`ProgressReporter`); `opened` gets the open documents there, before the first piece. `reindex` and `probe` as
        `Engine.open` takes them; `folder`: where relative documents are; `heard`: what was remarked of the loaded model
        and of these documents is known. The work raises what `Engine.open` and `Engine.ask` do.
        """
        asked = self._fitting(settings)

        def work(job: Job) -> Iterator[Piece]:
            with self._reporting(job, reporter), _within(folder):
                engine = self._ready(asked, heard=heard)
                if isinstance(documents, Sequence):
                    library = self._open(documents, engine.open, asked, reindex=reindex, probe=probe, heard=heard)
                else:
                    library = documents
                if opened is not None:
                    opened(library)
                yield from engine.ask(library, question, history=history, pages=pages, section=section)

        return work

    # -- documents --------------------------------------------------------------------------------------------------

    def opening(
        self,
        documents: Sequence[str],
        *,
        settings: Settings | None = None,
        reporter: Reporter | None = None,
        reindex: bool = False,
        probe: Probe | None = None,
        folder: str | None = None,
        then: Callable[[Engine, Library], Any] = lambda engine, library: library,
    ) -> Work:
        """Documents opened as a question does, as work: `then` makes its result of the engine and the library."""
        asked = self._fitting(settings)

        def work(job: Job) -> Iterator[Any]:
            with self._reporting(job, reporter), _within(folder):
                engine = self._ready(asked)
                yield then(engine, self._open(documents, engine.open, asked, reindex=reindex, probe=probe))

        return work

    def using(
        self,
        then: Callable[[Engine], Any],
        *,
        settings: Settings | None = None,
        reporter: Reporter | None = None,
    ) -> Work:
        """Work that yields what `then` makes of the loaded engine, for `Turns` to run."""
        asked = self._fitting(settings)

        def work(job: Job) -> Iterator[Any]:
            with self._reporting(job, reporter):
                yield then(self._ready(asked))

        return work

    def searching(
        self,
        documents: Sequence[str],
        query: str,
        *,
        limit: int = 8,
        min_score: float | None = None,
        pages: Pages = None,
        settings: Settings | None = None,
        reporter: Reporter | None = None,
        folder: str | None = None,
        then: Callable[[Library, SearchResult], Any] = lambda library, found: found,
    ) -> Work:
        """The best passages as work: `then` makes its result of the library and what was found.

        They are found by words, without the model, unless `settings` name a policy.
        """
        asked = self._fitting(settings or replace(self.settings, policy=WORDS))

        def work(job: Job) -> Iterator[Any]:
            from sharedllm_cli.collections.opening import open_words
            from sharedllm_cli.reading.searching import Search, WordSearcher

            wanted = Search(query, limit, min_score)
            with self._reporting(job, reporter), _within(folder):
                if asked.policy == WORDS:
                    if self._searcher is None:
                        self._searcher = WordSearcher(self.settings, home=self.home, reporter=self._reporter)
                    self._searcher.settings = asked
                    library = self._open(documents, partial(open_words, self._searcher), asked).narrowed(query)
                    found = self._searcher.search(library, wanted, pages=pages)
                else:
                    engine = self._ready(asked)
                    library = self._open(documents, engine.open, asked).narrowed(query)
                    found = engine.search(library, wanted, pages=pages)
                yield then(library, found)

        return work

    def reading(
        self,
        document: str,
        *,
        pages: PageRange | str | None = None,
        section: str | None = None,
        outline: bool = False,
        reporter: Reporter | None = None,
    ) -> Work:
        """The text of a document as work, or with `outline` its headings: the object of `read --json`."""

        def work(job: Job) -> Iterator[dict[str, Any]]:
            from sharedllm_cli.index.store import IndexStore
            from sharedllm_cli.reading import document_text

            with self._reporting(job, reporter):
                found = document_text.opened(IndexStore(self.index_root), document, self.settings, self._reporter)
                yield document_text.as_json(found, document_text.chosen(found, pages, section), outline=outline)

        return work

    def documents(self) -> list[Entry]:
        """The indexed documents, by name."""
        from sharedllm_cli.index.catalog import entries

        return entries(self.index_root)

    def indexing(self, documents: Sequence[str], *, reporter: Reporter | None = None, reindex: bool = False) -> Work:
        """The trees of documents built and stored, as work: outcomes and failures, as `index` returns them."""

        def work(job: Job) -> Iterator[Any]:
            with self._reporting(job, reporter):
                yield self._ready(self.settings).index(documents, reindex=reindex)

        return work

    def removing(self, name: str) -> Work:
        """The index of a document deleted, as work: what it was. `name` as `indexes rm` takes it.

        Raises UsageError for none.
        """

        def work(job: Job) -> Iterator[Entry]:
            from sharedllm_cli.index.catalog import find, remove

            entry = find(self.index_root, name)
            self._forget()
            remove(entry)
            yield entry

        return work

    def planning(self, documents: Sequence[str], *, reporter: Reporter | None = None) -> Work:
        """What documents would take, as `plan` finds it, for `Turns` to run: rows and failures. Loads no model."""

        def work(job: Job) -> Iterator[Any]:
            with self._reporting(job, reporter):
                yield (self._engine or self._make(self._reporter)).plan(documents)

        return work

    def run(self, work: Work, *, caller: str = "", seconds: float | None = -1) -> Running:
        """Work in its turn, in the working thread: an iterator of its pieces; closing it stops the work.

        Work of one `caller` waits for its own, not that of others for all of it. Raises BusyError at once if too much
        waits; the iterator raises what the work does.
        """
        return Running(self.turns, work, caller=caller, seconds=self.seconds if seconds == -1 else seconds)

    # -- in the working thread --------------------------------------------------------------------------------------

    def _fitting(self, settings: Settings | None) -> Settings:
        """The settings of a question; UsageError for one that needs another model."""
        if settings is None:
            return self.settings
        for name in fixed_settings():
            if getattr(settings, name) != getattr(self.settings, name):
                raise UsageError(f"the loaded model can't change --{name.replace('_', '-')}")
        return settings

    def _ready(self, settings: Settings, *, heard: bool = False) -> Engine:
        """The engine with its model in memory, set to these settings. Loading is told to whoever asks first.

        A model or adapter whose files have changed is loaded again.
        """
        if self._engine is not None and model_files(self.settings, self.home) != self._files:
            self._engine = None
            self._forget()
        if self._engine is None:
            with self._reporter.remembering() as remarks:
                engine = self._make(self._reporter)
                engine.load()
            # Warnings of loading belong to every answer; what was fetched or converted is past.
            self._loaded = [remark for remark in remarks if remark[0] != "note"]
            self._files = model_files(self.settings, self.home)
            self._engine = engine
        elif not heard:
            self._reporter.repeat(self._loaded)
        if self._engine.settings != settings:
            self._engine.use(settings)
        return self._engine

    def _forget(self) -> None:
        if self._libraries is not None:
            self._libraries.forget()

    def _open(
        self,
        documents: Sequence[str],
        open_them: Callable[..., Library],
        settings: Settings,
        *,
        reindex: bool = False,
        probe: Probe | None = None,
        heard: bool = False,
    ) -> Library:
        """Open documents, or take those that are open and have not changed; remarks of opening are told again."""
        from sharedllm_cli.serving.opened import OpenedLibraries

        if self._libraries is None:
            self._libraries = OpenedLibraries()
        made = False

        def make() -> tuple[Library, list[Remark]]:
            nonlocal made
            made = True
            with self._reporter.remembering() as remarks:
                return open_them(documents, reindex=reindex, probe=probe), remarks

        if reindex or probe is not None:
            library, remarks = make()
        else:
            key = (os.getcwd(), settings.password, settings.ocr, getattr(open_them, "__self__", None) is self._searcher)
            library, remarks = self._libraries.open(key, documents, make)
        if not made and not heard:
            self._reporter.repeat(remarks)
        warnings = [texts[0] for kind, texts in (*self._loaded, *remarks) if kind == "warn"]
        return replace(library, warnings=list(dict.fromkeys(warnings)))

    @contextmanager
    def _reporting(self, job: Job, reporter: Reporter | None) -> Iterator[None]:
        self._reporter.begin(job, reporter or Silent())
        try:
            yield
        finally:
            self._reporter.end()


@contextmanager
def _within(folder: str | None) -> Iterator[None]:
    """Relative paths within mean those of a folder. For the working thread alone: all else names whole paths."""
    if folder is None:
        yield
        return
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
