"""The engine: documents and a question in, an answer with its sources out. The page to read first.

    open    read the documents, or find their text and leaves on disk      reading/library.py
    index   build and store their trees                                    reading/trees.py
    ask     retrieve, read, decode, check                                  answering/pipeline.py

Nothing is computed that is not used: with an adapter that reads no tree, `ask` builds none. Knows no terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from sharedllm_cli.answer import Answer, AnswerSentence, ModelUse, SearchResult, Timing
from sharedllm_cli.answering.pipeline import Pipeline
from sharedllm_cli.answering.question import Pages, Question
from sharedllm_cli.answering.routing import Route
from sharedllm_cli.config import Settings
from sharedllm_cli.documents.readers import Probe
from sharedllm_cli.errors import SharedLLMError
from sharedllm_cli.generation.prompt import Turn
from sharedllm_cli.home import indexes_folder
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.model.shared import SharedModel, load_shared, model_use
from sharedllm_cli.progress import RememberingReporter, Reporter
from sharedllm_cli.reading.library import Library, OpenDocument, Shelf
from sharedllm_cli.reading.scoring import LeafMeaning, leaf_states
from sharedllm_cli.reading.sources import allowed_tokens
from sharedllm_cli.reading.trees import Trees
from sharedllm_cli.weights.speeds import remember_speed

if TYPE_CHECKING:
    from sharedllm_cli.planning import PlanRow
    from sharedllm_cli.reading.searching import Search

__all__ = ["Engine", "IndexOutcome", "Library", "OpenDocument"]


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
    """One base model with its adapter, over documents and their indexes. Loads the model when it is first needed."""

    def __init__(self, settings: Settings, *, home: Path, reporter: Reporter) -> None:
        self.settings = settings
        self.home = home
        self.reporter = RememberingReporter(reporter)
        root = indexes_folder(home) if settings.index_dir is None else Path(settings.index_dir)
        self.store = IndexStore(root, self.reporter)
        self._load_seconds = 0.0

    @cached_property
    def shared(self) -> SharedModel:
        """The loaded model; raises ModelError, UsageError or ResourceError."""
        started = perf_counter()
        shared = load_shared(self.settings, self.home, self.reporter)
        self._load_seconds = perf_counter() - started
        return shared

    @cached_property
    def trees(self) -> Trees:
        """The trees of documents for the loaded model."""
        return Trees(self.store, self.shared, self.settings, self.reporter)

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
        self.settings = settings
        self.__dict__.pop("trees", None)  # they remember the settings that they were made with

    def facts(self) -> ModelUse:
        """The model as `ask --json` tells of it."""
        return model_use(self.shared)

    # -- documents --------------------------------------------------------------------------------------------------

    def open(self, arguments: Sequence[str], *, reindex: bool = False, probe: Probe | None = None) -> Library:
        """Open documents; those that can't be read are among the library's failures.

        `probe` is a first look at one of them, to go on from.
        Raises the first failure where none could be read, StoredIndexError where an index is damaged.
        """
        self.reporter.warnings.clear()
        base = self.shared.base
        started = perf_counter()
        shelf = Shelf(
            self.store,
            lambda: base.tokenizer,
            base.tokenizer_hash,
            self.shared.tree,
            self.reporter,
            password=self.settings.password,
            probe=probe,
        )
        library = shelf.open(arguments, reindex=reindex)
        library.read_seconds = perf_counter() - started
        library.warnings = list(self.reporter.warnings)
        return library

    def index(
        self,
        arguments: Sequence[str],
        *,
        reindex: bool = False,
        late_states: bool = False,
        probe: Probe | None = None,
    ) -> tuple[list[IndexOutcome], list[tuple[str, SharedLLMError]]]:
        """Build and store the trees of documents (and, asked for, the states of late interaction)."""
        library = self.open(arguments, reindex=reindex, probe=probe)
        outcomes = [self._index_one(opened, late_states) for opened in library.documents]
        return outcomes, library.failures

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
        self, arguments: Sequence[str], *, probe: Probe | None = None
    ) -> tuple[list[PlanRow], list[tuple[str, SharedLLMError]]]:
        """What indexing and asking these documents would take, without doing either or loading the model."""
        from sharedllm_cli.planning import plan_documents

        found = plan_documents(arguments, self.settings, self.home, self.store, self.reporter, probe)
        return found.rows, found.failures

    # -- a search ---------------------------------------------------------------------------------------------------

    def search(self, library: Library, asked: Search, *, pages: Pages = None) -> SearchResult:
        """The best passages for a query by the settings' policy, without an answer; UsageError for missing pages."""
        started = perf_counter()
        documents, policy = library.documents, self.settings.policy
        allowed, remarks = allowed_tokens(documents, pages)
        scored = self.trees.score(asked.query, documents, policy, self.meaning)
        return asked.result(
            library, scored.leaves, scored.lexical, policy=policy, allowed=allowed, remarks=remarks, started=started
        )

    # -- a question -------------------------------------------------------------------------------------------------

    def ask(
        self,
        library: Library,
        question: str,
        *,
        history: Sequence[Turn] = (),
        pages: Pages = None,
        section: str | None = None,
    ) -> Iterator[str | AnswerSentence | Answer]:
        """Answer a question: pieces of text as they come, then one `Answer`. Closing the iterator stops the answer.

        Of several sentences each comes behind its last word, too, with the numbers of the sources that it rests on.

        `pages` bounds what is read, as `--pages` takes it, or the first and the last page as counted; `section` does,
        as `--section` takes it.
        """
        asked = Question.of(
            question,
            library.documents,
            self.shared,
            self.settings,
            history=history,
            pages=pages,
            section=section,
        )
        pipeline = Pipeline(asked, library, self.shared, self.trees, self.store, self.reporter, meaning=self.meaning)
        for piece in pipeline.run(Timing(load_s=self._load_seconds, read_s=library.read_seconds)):
            if isinstance(piece, Answer) and piece.route and Route(piece.route).asks_model:
                timing = piece.timing
                remember_speed(
                    *(self.home, piece.model.base),
                    device=piece.model.device,
                    first_token_s=timing.first_token_s,
                    tokens_per_s=timing.tokens_per_s,
                    new_tokens=timing.new_tokens,
                )
            yield piece
