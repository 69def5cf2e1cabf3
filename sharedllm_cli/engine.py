"""The engine: documents and a question in, an answer with its sources out. The page to read first.

    open    read the documents, or find their text and leaves on disk      reading/library.py
    score   every leaf of every document for the question                  reading/scoring.py
    choose  verbatim passages within a budget, and the sources             reading/choosing.py
    search  the trees; their preserved nodes made ready to be read         reading/trees.py
    decode  running text and tree with the upper model                     generation/, model/upper.py

Nothing is computed that is not used: with an adapter that reads no tree, `ask` builds none. Knows no terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter

import torch

from sharedllm_cli.answer import Answer, Coverage, IndexUse, ModelUse, Timing
from sharedllm_cli.config import Settings
from sharedllm_cli.errors import SharedLLMError, UsageError
from sharedllm_cli.generation import prompt as prompts
from sharedllm_cli.generation.answering import answer_pieces, stop_ids
from sharedllm_cli.generation.grounding import Verdict, assess
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT, PassageText, Prompt, Turn
from sharedllm_cli.generation.refusal import refusal_ids, refuses
from sharedllm_cli.generation.sampling import Sampler, Unsaid
from sharedllm_cli.generation.stream import Finish, decode_stream
from sharedllm_cli.home import indexes_folder
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.memory import memory_for, peak_bytes
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.shared import SharedModel, load_shared
from sharedllm_cli.planning import PlanRow, plan_documents
from sharedllm_cli.progress import Reporter
from sharedllm_cli.reading.choosing import Chosen, choose, looked_for
from sharedllm_cli.reading.library import Library, OpenDocument, Shelf
from sharedllm_cli.reading.scoring import Scored, leaf_states, score_documents
from sharedllm_cli.reading.sources import page_tokens
from sharedllm_cli.reading.trees import TreeReading, Trees

__all__ = ["Engine", "IndexOutcome", "Library", "OpenDocument", "PlanRow"]


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
        self.reporter = _Remembering(reporter)
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

    @property
    def reads_tree(self) -> bool:
        """Whether questions read the tree."""
        return self.shared.reads_tree(self.settings)

    def facts(self) -> ModelUse:
        """The model as `ask --json` tells of it."""
        shared = self.shared
        return ModelUse(
            base=shared.base.name,
            adapter=shared.adapter_name,
            trained=shared.adapter.trained,
            reads_tree=shared.upper.reads_tree,
            quantize=shared.base.quantize,
            device=str(shared.base.device),
        )

    # -- documents --------------------------------------------------------------------------------------------------

    def open(self, arguments: Sequence[str], *, reindex: bool = False) -> Library:
        """Open documents; those that can't be read are among the library's failures.

        Raises the first failure where none could be read, StoredIndexError where an index is damaged.
        """
        self.reporter.warnings.clear()
        base = self.shared.base
        started = perf_counter()
        shelf = Shelf(
            self.store,
            base.tokenizer,
            base.tokenizer_hash,
            self.shared.tree,
            self.reporter,
            password=self.settings.password,
        )
        library = shelf.open(arguments, reindex=reindex)
        library.read_seconds = perf_counter() - started
        library.warnings = list(self.reporter.warnings)
        return library

    def index(
        self, arguments: Sequence[str], *, reindex: bool = False, late_states: bool = False
    ) -> tuple[list[IndexOutcome], list[tuple[str, SharedLLMError]]]:
        """Build and store the trees of documents (and, asked for, the states of late interaction)."""
        library = self.open(arguments, reindex=reindex)
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

    def plan(self, arguments: Sequence[str]) -> tuple[list[PlanRow], list[tuple[str, SharedLLMError]]]:
        """What indexing and asking these documents would take, without doing either or loading the model."""
        found = plan_documents(arguments, self.settings, self.home, self.store, self.reporter)
        return found.rows, found.failures

    # -- a question -------------------------------------------------------------------------------------------------

    def ask(
        self,
        library: Library,
        question: str,
        *,
        history: Sequence[Turn] = (),
        pages: tuple[int, int] | None = None,
    ) -> Iterator[str | Answer]:
        """Answer a question: pieces of text as they come, then one `Answer`. Closing the iterator stops the answer."""
        if not question.strip():
            raise UsageError("the question is empty")
        budget = self.shared.passage_budget(self.settings)
        if not budget and not self.reads_tree:
            raise UsageError(
                "with --evidence-tokens 0 and no tree the model would read nothing of the document",
                hint="leave --evidence-tokens above 0, or use an adapter that reads the tree",
            )
        timing = Timing(load_s=self._load_seconds, read_s=library.read_seconds)
        self.reporter.warnings.clear()
        documents = library.documents
        allowed = [page_tokens(opened, pages) for opened in documents]
        started = perf_counter()
        # Before the search: the paper's policy scores nodes by what the trees hold.
        trees = self.trees.open(documents) if self.reads_tree else None
        timing.index_s = trees.seconds if trees else 0.0
        with memory_for("score the leaves", "use --policy bm25, which needs no model, or --quantize 4bit"):
            scored = self._score(documents, looked_for(question, history, documents))
        by_words = self.settings.policy in ("hybrid", "bm25", "right")
        chosen = choose(documents, scored, budget, allowed=allowed, by_words=by_words, question=question)
        timing.search_s = perf_counter() - started - timing.index_s
        if budget and chosen.unfit:
            self.reporter.warn(f"no passage fits --evidence-tokens {budget}: none is read")
        if chosen.hopeless and not trees:
            yield NOT_IN_DOCUMENT
            timing.first_token_s = timing.total_s = perf_counter() - started
            yield self._no_answer(library, question, chosen, timing)
            return
        tree = TreeReading.none(self.settings.policy)
        if trees:
            tree = self.trees.read(documents, trees, scored, allowed)
        prompt = self._prompt(question, chosen.passages, history)
        if prompt.dropped_passages:
            chosen = replace(chosen, tokens=prompt.evidence_tokens, whole=False)
        text = ""
        finish: Finish = "stop"
        for piece, ended in self._decode(prompt, tree.context):
            if not timing.new_tokens:
                timing.first_token_s = perf_counter() - started - timing.index_s
            timing.new_tokens += 1
            piece = piece if text else piece.lstrip()
            text, finish = text + piece, ended or finish
            if piece:
                yield piece
        timing.total_s = perf_counter() - started
        spent = timing.total_s - timing.index_s - timing.first_token_s
        timing.tokens_per_s = (timing.new_tokens - 1) / spent if timing.new_tokens > 1 else 0.0
        verdict = self._verdict(question, text, chosen, prompt, tree, finish)
        yield self._answer(library, question, text, chosen, tree, verdict, timing)

    def _score(self, documents: Sequence[OpenDocument], question: str) -> Scored:
        stored = self.trees.states(documents) if self.settings.policy == "late" else [None] * len(documents)
        return score_documents(
            question,
            documents,
            self.shared,
            self.settings.policy,
            nodes=lambda: self.trees.vectors(documents),
            stored_states=stored,
        )

    def _prompt(self, question: str, passages: Sequence[PassageText], history: Sequence[Turn]) -> Prompt:
        base = self.shared.base
        prompt = prompts.build(
            base.tokenizer,
            window=base.window,
            max_new_tokens=self.settings.max_new_tokens,
            question=question,
            passages=passages,
            history=history,
            system=self.settings.system,
        )
        if prompt.dropped_turns:
            turns = "turn" if prompt.dropped_turns == 1 else f"{prompt.dropped_turns} turns"
            self.reporter.warn(f"the oldest {turns} of the conversation no longer fit the window and were left out")
        if prompt.dropped_passages:
            self.reporter.warn(f"{prompt.dropped_passages} passages did not fit the window and were left out")
        self.reporter.detail("the running text", prompt.text)
        return prompt

    def _decode(self, prompt: Prompt, tree: TreeContext | None) -> Iterator[tuple[str, Finish | None]]:
        """One pair a sampled token: the text that is final with it, and at the last one why it is the last."""
        upper, device = self.shared.upper, self.shared.base.device
        settings = self.settings
        with memory_for("write the answer", "use fewer --evidence-tokens or --max-new-tokens, or --quantize 4bit"):
            first, cache = upper.begin(torch.tensor(prompt.token_ids, device=device), tree, self.reporter)
            threshold = self.shared.refuse_from(settings)
            unsaid: Unsaid | None = None
            if threshold is not None:
                ids = refusal_ids(self.shared.base.tokenizer)
                costs = upper.token_nlls(first, ids, tree, cache)
                if refuses(sum(costs), threshold):
                    yield NOT_IN_DOCUMENT, "stop"
                    return
                unsaid = Unsaid(ids, costs)
            sampler = Sampler(settings.temperature, settings.top_p, settings.seed, unsaid)
            tokens = decode_stream(
                lambda token: upper.infer(token, tree, cache), first, sampler, self._stop_ids, settings.max_new_tokens
            )
            yield from answer_pieces(tokens, self.shared.base.tokenizer, prompt.stop_texts)

    @cached_property
    def _stop_ids(self) -> frozenset[int]:
        base = self.shared.base
        return stop_ids(base.model.generation_config, base.tokenizer)

    def _verdict(
        self, question: str, text: str, chosen: Chosen, prompt: Prompt, tree: TreeReading, finish: Finish
    ) -> Verdict:
        """Whether the question counts as answered; words are held against the passages only where they are all read."""
        matches = chosen.scored.lexical
        kept = [chosen.passages[place].text for place in prompt.passages]
        return assess(
            matches.terms,
            chosen.matched,
            text,
            question=question,
            evidence_text="" if tree.context is not None else "\n".join(kept),
            finish=finish,
        )

    def _no_answer(self, library: Library, question: str, chosen: Chosen, timing: Timing) -> Answer:
        """The answer to a question none of whose words occurs: nothing was put before the model."""
        words = ", ".join(chosen.scored.lexical.terms)
        why = f"the documents hold none of the question's words: {words} (ask in the documents' language and words)"
        verdict = Verdict(False, why, ())
        nothing = Chosen(chosen.scored, [], 0, [], whole=False)
        none_read = TreeReading.none(self.settings.policy)
        return self._answer(library, question, NOT_IN_DOCUMENT, nothing, none_read, verdict, timing)

    def _answer(
        self,
        library: Library,
        question: str,
        text: str,
        chosen: Chosen,
        tree: TreeReading,
        verdict: Verdict,
        timing: Timing,
    ) -> Answer:
        documents = library.documents
        coverage = Coverage(
            tokens=library.tokens,
            tokens_read=tree.tokens or chosen.tokens,
            chunks=library.chunks,
            pages=sum(opened.pages for opened in documents),
            pages_without_text=[page for opened in documents for page in opened.pages_without_text],
        )
        index = IndexUse(
            text_hit=all(opened.text_hit for opened in documents),
            trees_hit=tree.hit,
            path=str(documents[0].index_path),
            bytes=sum(self.store.bytes(opened.content_hash) for opened in documents),
        )
        return Answer(
            question=question,
            answer=text.strip(),
            sources=chosen.sources,
            coverage=coverage,
            tree=tree.told,
            answered=verdict.answered,
            reason=verdict.reason,
            index=index,
            model=self.facts(),
            timing=timing,
            peak_bytes=peak_bytes(),
            warnings=list(dict.fromkeys([*library.warnings, *self.reporter.warnings, *verdict.warnings])),
        )


class _Remembering:
    """The user's reporter, which also keeps the warnings of opening and of a question for the answer."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.task = reporter.task
        self.note = reporter.note
        self.detail = reporter.detail
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self._reporter.warn(text)
