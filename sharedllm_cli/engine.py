"""The engine: documents and a question in, an answer with its sources out. The page to read first.

    open    read the documents, or find their text and leaves on disk      reading/library.py
    index   build and store their trees                                    reading/trees.py
    ask     retrieve, read, decode, check                                  answering/pipeline.py

Nothing is computed that is not used: with an adapter that reads no tree, `ask` builds none. Knows no terminal.
docs/python.md has examples. Threads may share an engine: it works for one at a time (`Exclusive`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar, cast

from sharedllm_cli.answer import Answer, AnswerSentence, ModelUse, SearchResult, Timing
from sharedllm_cli.answering.pipeline import Pipeline
from sharedllm_cli.answering.question import Pages, Question
from sharedllm_cli.answering.routing import Route
from sharedllm_cli.config import MAX_SOURCES, Settings
from sharedllm_cli.documents.readers import Limits, Probe
from sharedllm_cli.errors import SharedLLMError, UsageError, failure_text
from sharedllm_cli.generation.prompt import Turn
from sharedllm_cli.home import home_folder, indexes_folder
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.model.shared import SharedModel, load_shared, model_use
from sharedllm_cli.progress import RememberingReporter, Reporter, Silent
from sharedllm_cli.reading.library import Library, OpenDocument, Shelf
from sharedllm_cli.reading.scoring import LeafMeaning, leaf_states
from sharedllm_cli.reading.sources import allowed_tokens
from sharedllm_cli.reading.trees import Trees
from sharedllm_cli.weights.speeds import remember_speed

if TYPE_CHECKING:
    from sharedllm_cli.planning import PlanRow
    from sharedllm_cli.reading.fine import FineGrain
    from sharedllm_cli.reading.searching import Search

__all__ = ["Documents", "Engine", "IndexOutcome", "Library", "OpenDocument"]

Documents = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""Files, folders and patterns: one, or several."""
_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class IndexOutcome:
    """What `index` did with one document. `reason` says why an existing index could not serve."""

    name: str
    path: str | None
    index_path: str
    pages: int
    tokens: int
    chunks: int
    bytes: int
    seconds: float
    tokens_per_s: float
    skipped: bool
    reason: str | None


class Engine:
    """One base model with its adapter, over documents and their indexes. Loads the model when it is first needed.

    Without `settings` they are those that the command would have, from environment and configuration file
    (`user_settings`); without `home` models and indexes are those of the command, too. `reporter` gets progress and
    warnings; by default nobody does. Every method raises `SharedLLMError` or one of its kinds.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        home: str | os.PathLike[str] | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        if settings is None:
            from sharedllm_cli.configuration import user_settings

            settings = user_settings()
        self.settings = settings
        self.home = home_folder(os.environ) if home is None else Path(home)
        self.reporter = RememberingReporter(Silent() if reporter is None else reporter)
        chosen = self.settings.index_dir
        root = indexes_folder(self.home) if chosen is None else Path(chosen).expanduser()
        self.store = IndexStore(root, self.reporter)
        self._load_seconds = 0.0
        self._exclusive = Exclusive()

    @cached_property
    def shared(self) -> SharedModel:
        """The loaded model; raises ModelError, UsageError or ResourceError."""
        with self._exclusive.work():
            if "shared" in self.__dict__:  # another thread loaded it meanwhile
                return cast(SharedModel, self.__dict__["shared"])
            started = perf_counter()
            shared = load_shared(self.settings, self.home, self.reporter)
            self._load_seconds = perf_counter() - started
            self.__dict__["shared"] = shared
            return shared

    def load(self) -> None:
        """Load the model now, for a process that stays: the seconds count to no question. Raises as `shared` does."""
        _ = self.shared
        self._load_seconds = 0.0

    @cached_property
    def trees(self) -> Trees:
        """The trees of documents for the loaded model."""
        return Trees(self.store, self.shared, self.settings, self.reporter)

    @cached_property
    def fine(self) -> FineGrain:
        """The stored keys and values of documents' texts for the loaded model."""
        from sharedllm_cli.reading.fine import FineGrain

        return FineGrain(self.store, self.shared, self.settings, self.reporter)

    @cached_property
    def meaning(self) -> LeafMeaning | None:
        """The leaves' meaning; None where no sentence encoder was pulled."""
        encoder = self.shared.encoder
        return None if encoder is None else LeafMeaning(encoder, self.store, self.reporter)

    @property
    def reads_tree(self) -> bool:
        """Whether questions read the tree."""
        return self.shared.reads_tree(self.settings)

    def use(self, settings: Settings) -> None:
        """Let the next questions have these settings; those that the model was loaded with must be the same."""
        with self._exclusive.work():
            self.settings = settings
            for made in ("trees", "fine"):  # they remember the settings that they were made with
                self.__dict__.pop(made, None)

    def facts(self) -> ModelUse:
        """The model as `ask --json` tells of it."""
        return model_use(self.shared)

    # -- documents --------------------------------------------------------------------------------------------------

    def open(self, arguments: Documents, *, reindex: bool = False, probe: Probe | None = None) -> Library:
        """Open documents for any number of questions; those that can't be read are among the library's failures.

        `probe` is a first look at one of them, to go on from.
        Raises the first failure where none could be read, StoredIndexError where an index is damaged.
        """
        with self._exclusive.work():
            return self._open(_listed(arguments), reindex=reindex, probe=probe)

    def _open(self, arguments: Sequence[str], *, reindex: bool, probe: Probe | None) -> Library:
        self.reporter.warnings.clear()
        _ = self.shared
        started = perf_counter()
        shelf = self.shelf(probe)
        if any(argument.startswith("@") for argument in arguments):
            from sharedllm_cli.collections.opening import open_library, setup_for

            setup = setup_for(self.settings, self.home, self.reporter)
            library = open_library(arguments, shelf, setup, self.home, self.reporter, reindex=reindex)
        else:
            library = shelf.open(arguments, reindex=reindex)
        library.read_seconds = perf_counter() - started
        library.warnings = list(self.reporter.warnings)
        return library

    def shelf(self, probe: Probe | None = None) -> Shelf:
        """What opens documents for the loaded model. `probe` is a first look at one of them, to go on from."""
        base = self.shared.base
        return Shelf(
            self.store,
            lambda: base.tokenizer,
            base.tokenizer_hash,
            self.shared.tree,
            self.reporter,
            password=self.settings.password,
            limits=Limits.of(self.settings),
            probe=probe,
        )

    def index(
        self,
        arguments: Documents | Library,
        *,
        reindex: bool = False,
        late_states: bool = False,
        probe: Probe | None = None,
    ) -> tuple[list[IndexOutcome], list[tuple[str, SharedLLMError]]]:
        """Build and store the trees of documents (and, asked for, the states of late interaction).

        `reindex` reads their files anew: UsageError for a library, whose files are read.
        """
        with self._exclusive.work():
            if isinstance(arguments, Library) and not reindex:
                library = arguments
            else:
                library = self.open(cast(Documents, arguments), reindex=reindex, probe=probe)
            outcomes = [self._index_one(opened, late_states) for opened in library.documents]
            if library.collection is not None:
                outcomes += [self._index_one(opened, late_states) for opened in library.collection.every()]
                return outcomes, [*library.failures, *library.collection.failures]
            return outcomes, library.failures

    def build_trees(self, opened: OpenDocument) -> bool:
        """Build the trees of a document; whether anything was missing. ResourceError where disk or memory is short."""
        return self.trees.build_missing(opened)

    def _index_one(self, opened: OpenDocument, late_states: bool) -> IndexOutcome:
        started = perf_counter()
        reason = self.trees.why_new(opened)
        skipped = self.trees.find(opened) is not None or not self.trees.build_missing(opened)
        states_key = self.trees.states_key(opened)
        if late_states and self.store.read_states(opened.content_hash, states_key) is None:
            skipped = False
            with self.reporter.task(f"states of {opened.name}", opened.tokens, "tokens") as task:
                states = leaf_states(opened.leaves, self.shared.lower, task.advance)
            self.store.write_states(opened.content_hash, states_key, states)
        if self.meaning is not None and not self.meaning.is_stored(opened):
            skipped = False
            self.meaning.build(opened)
        if self.settings.grains == "fine":
            if (why_not := self.fine.why_not) is not None:
                self.reporter.note(why_not)
            elif self.fine.build_missing(opened):
                skipped = False
        seconds = perf_counter() - started
        return IndexOutcome(
            name=opened.name,
            path=opened.path,
            index_path=str(opened.index_path),
            pages=opened.pages,
            tokens=opened.tokens,
            chunks=opened.chunks,
            bytes=self.store.bytes(opened.content_hash),
            seconds=seconds,
            tokens_per_s=0.0 if skipped else opened.tokens / seconds,
            skipped=skipped,
            reason=None if skipped else reason,
        )

    def plan(
        self, arguments: Documents, *, probe: Probe | None = None
    ) -> tuple[list[PlanRow], list[tuple[str, SharedLLMError]]]:
        """What indexing and asking these documents would take, without doing either or loading the model.

        UsageError for an open library: a plan is for what is not read yet.
        """
        from sharedllm_cli.planning import plan_documents

        with self._exclusive.work():
            listed = _listed(arguments)
            if any(argument.startswith("@") for argument in listed):
                from sharedllm_cli.collections.opening import paths_of

                listed = paths_of(listed, self.home)
            found = plan_documents(listed, self.settings, self.home, self.store, self.reporter, probe)
        return found.rows, found.failures

    # -- a search ---------------------------------------------------------------------------------------------------

    def search(
        self, documents: Documents | Library, asked: str | Search, *, limit: int = MAX_SOURCES, pages: Pages = None
    ) -> SearchResult:
        """The best passages for a query by the settings' policy, without an answer; UsageError for missing pages.

        `limit` is the most passages; a `Search` has its own.
        """
        with self._exclusive.work():
            library = documents if isinstance(documents, Library) else self.open(documents)
            if isinstance(asked, str):
                from sharedllm_cli.reading.searching import Search

                asked = Search(asked, limit)
            library = library.narrowed(asked.query)
            started = perf_counter()
            opened, policy = library.documents, self.settings.policy
            allowed, remarks = allowed_tokens(opened, pages)
            scored = self.trees.score(asked.query, opened, policy, self.meaning)
            return asked.result(
                library, scored.leaves, scored.lexical, policy=policy, allowed=allowed, remarks=remarks, started=started
            )

    # -- a question -------------------------------------------------------------------------------------------------

    def answer(
        self,
        documents: Documents | Library,
        question: str,
        *,
        history: Sequence[Turn] = (),
        pages: Pages = None,
        section: str | None = None,
    ) -> Answer:
        """Answer a question, whole: the last piece of `ask`. Raises the first failure where no document can be read."""
        *_, found = self.ask(documents, question, history=history, pages=pages, section=section)
        assert isinstance(found, Answer)
        return found

    def ask(
        self,
        documents: Documents | Library,
        question: str,
        *,
        history: Sequence[Turn] = (),
        pages: Pages = None,
        section: str | None = None,
    ) -> Generator[str | AnswerSentence | Answer, None, None]:
        """Answer a question: pieces of text as they come, then one `Answer`. Closing the iterator stops the answer.

        Of several sentences each comes behind its last word, too, with the numbers of the sources that it rests on.
        `history` are the questions and answers before. `pages` bounds what is read, as `--pages` takes it, or the first
        and the last page as counted; `section` does, as `--section` takes it.

        Documents that can't be read are named in the answer's warnings if they are opened here, else in the library.
        Until the answer other threads wait.
        """
        given = isinstance(documents, Library)
        library = documents if isinstance(documents, Library) else self.open(documents)
        pieces = self._ask(library, question, history=history, pages=pages, section=section)
        found = yield from self._exclusive.stream(pieces)
        unread = [] if given else [failure_text(name, error) for name, error in library.failures]
        yield replace(found, warnings=[*found.warnings, *unread]) if unread else found

    def _ask(
        self,
        library: Library,
        question: str,
        *,
        history: Sequence[Turn],
        pages: Pages,
        section: str | None,
    ) -> Generator[str | AnswerSentence, None, Answer]:
        """The pieces of an answer before it is whole, which is the generator's result."""
        before = [turn.question for turn in history[-1:]]
        library = library.narrowed(question, *before, trees=self.reads_tree)
        asked = Question.of(
            question,
            library.documents,
            self.shared,
            self.settings,
            history=history,
            pages=pages,
            section=section,
        )
        fine = self.fine if self.settings.grains == "fine" else None
        pipeline = Pipeline(
            *(asked, library, self.shared, self.trees, self.store, self.reporter), meaning=self.meaning, fine=fine
        )
        answer = None
        for piece in pipeline.run(Timing(load_s=self._load_seconds, read_s=library.read_seconds)):
            if isinstance(piece, Answer):
                answer = piece
            else:
                yield piece
        assert answer is not None
        if library.collection is not None:
            library.collection.answered({source.document for source in answer.sources if source.supports})
        if answer.route and Route(answer.route).asks_model:
            timing = answer.timing
            remember_speed(
                *(self.home, answer.model.base),
                device=answer.model.device,
                first_token_s=timing.first_token_s,
                tokens_per_s=timing.tokens_per_s,
                new_tokens=timing.new_tokens,
            )
        return answer


def _listed(documents: Documents) -> list[str]:
    """The arguments as the command gets them; a single name is one document, not a sequence of letters.

    Raises UsageError for what names no files.
    """
    if isinstance(documents, Library):
        raise UsageError("a library is open already: files are needed here", hint="give the paths it was opened with")
    try:
        return [os.fspath(one) for one in ([documents] if isinstance(documents, str | os.PathLike) else documents)]
    except TypeError:
        kind = type(documents).__name__
        raise UsageError(
            f"documents are a path or a list of paths, not {kind}", hint='for example: ["book.pdf", "notes"]'
        ) from None


class Exclusive:
    """A lock that a thread may take again while it works, and that a stream keeps from its first piece to its end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._depth = 0

    @contextmanager
    def work(self) -> Iterator[None]:
        """Work that no other thread interrupts; waits for them."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def stream(self, pieces: Generator[_Piece, None, _Result]) -> Generator[_Piece, None, _Result]:
        """The pieces and the result of a generator, which runs as one turn; any thread may take the next piece.

        The turn is over with the result; closing this closes the generator. Between two pieces the thread that took the
        last one may do other work, another stream too: each keeps its own state.
        """
        self._enter()
        try:
            while True:
                try:
                    piece = next(pieces)
                except StopIteration as ended:
                    return cast(_Result, ended.value)
                try:
                    yield piece
                finally:
                    self._owner = threading.get_ident()
        finally:
            pieces.close()
            self._leave()

    def _enter(self) -> None:
        if self._owner == threading.get_ident():
            self._depth += 1
            return
        self._lock.acquire()
        self._owner, self._depth = threading.get_ident(), 1

    def _leave(self) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = None
            self._lock.release()
