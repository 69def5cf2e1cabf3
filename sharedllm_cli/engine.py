"""The engine: documents and a question in, an answer with its sources out. The page to read first.

    open    read the documents, or find their text and leaves on disk      reading/library.py
    score   every leaf of every document for the question                  reading/scoring.py
    choose  verbatim passages within a budget; nodes of the trees          context/evidence.py, context/search.py
    read    running text and tree with the upper model                     generation/, model/upper.py
    answer  with pages, exact words, and what was not found                reading/sources.py, generation/grounding.py

Nothing is computed that is not used: with an adapter that reads no tree, `ask` builds none. Knows no terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter

import torch

from sharedllm_cli.answer import Answer, Coverage, IndexUse, ModelUse, Source, Timing, TreeRead
from sharedllm_cli.config import LATE_LAYERS, Settings
from sharedllm_cli.context import evidence
from sharedllm_cli.context.search import search
from sharedllm_cli.errors import SharedLLMError, UsageError
from sharedllm_cli.generation import prompt as prompts
from sharedllm_cli.generation.grounding import assess
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT, PassageText, Prompt, Turn
from sharedllm_cli.generation.sampling import Sampler
from sharedllm_cli.generation.stream import Finish, TextStream, decode_stream
from sharedllm_cli.home import indexes_folder
from sharedllm_cli.index.manifest import StatesKey, TreesKey
from sharedllm_cli.index.nodes import CompressedSource, JoinedNodes, LiveNodes, StoredNodes
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.memory import peak_bytes
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.lower import CompressedNodes
from sharedllm_cli.model.shared import SharedModel, load_shared
from sharedllm_cli.planning import Plan, PlanRow, plan_documents
from sharedllm_cli.progress import Reporter
from sharedllm_cli.reading.library import Library, OpenDocument, Shelf
from sharedllm_cli.reading.scoring import QuestionLeaves, Scored, leaf_states, score
from sharedllm_cli.reading.sources import page_tokens, passage_text, sources, token_text

__all__ = ["Engine", "IndexOutcome", "Library", "OpenDocument", "Plan", "PlanRow"]


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


@dataclass(frozen=True)
class _Found:
    """What of the documents is put before the model for a question."""

    scored: Scored
    passages: list[PassageText]
    passage_tokens: int
    sources: list[Source]
    whole: bool
    """Whether all that may be read stands verbatim in the running text."""


@dataclass(frozen=True)
class _Read:
    """The tree of a question: what the upper model reads, and what is told of it."""

    context: TreeContext | None
    told: TreeRead
    tokens: int
    hit: bool
    seconds: float


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
        key = self._trees_key(opened)
        states_key = self._states_key(opened)
        reason = self.store.explain_new(opened.path, opened.content_hash, [key])
        skipped = self.store.open_trees(opened.content_hash, key, opened.leaves) is not None
        if not skipped:
            self.store.build_trees(opened.content_hash, key, opened.leaves, self.shared.lower, self.reporter)
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
        _ = self.shared
        self.reporter.warnings.clear()
        timing = Timing(load_s=self._load_seconds, read_s=library.read_seconds)
        started = perf_counter()
        with torch.inference_mode():
            found = self._find(library, question, history, pages)
            timing.search_s = perf_counter() - started
            if self._hopeless(found):
                yield NOT_IN_DOCUMENT
                timing.first_token_s = timing.total_s = perf_counter() - started
                empty = _Read(None, TreeRead(0, 0, None, self.settings.policy), 0, False, 0.0)
                yield self._answer(library, question, NOT_IN_DOCUMENT, found, None, empty, "stop", timing)
                return
            tree = self._read_tree(library, found.scored, pages)
            timing.index_s = tree.seconds
            prompt = self._prompt(question, found.passages, history)
            text = ""
            finish: Finish = "stop"
            for piece, ended in self._decode(prompt, tree.context):
                if not timing.new_tokens:
                    timing.first_token_s = perf_counter() - started - timing.index_s
                timing.new_tokens += 1
                text, finish = text + piece, ended or finish
                if piece:
                    yield piece
        timing.total_s = perf_counter() - started
        spent = timing.total_s - timing.index_s - timing.first_token_s
        timing.tokens_per_s = (timing.new_tokens - 1) / spent if timing.new_tokens > 1 else 0.0
        yield self._answer(library, question, text, found, prompt, tree, finish, timing)

    def _find(self, library: Library, question: str, history: Sequence[Turn], pages: tuple[int, int] | None) -> _Found:
        """Score all leaves and choose the passages that stand verbatim in the running text."""
        documents = library.documents
        allowed = [None if pages is None else page_tokens(opened, pages) for opened in documents]
        scored = self._score(documents, question)
        if history and len(scored.lexical.matched) < 2:
            # A question that leans on the one before it ("and when?") is looked for together with it.
            scored = self._score(documents, f"{history[-1].question} {question}")
        texts = [token_text(opened) for opened in documents]
        spread = not scored.lexical.matched and self.settings.policy in ("hybrid", "bm25", "right")
        budget = self.settings.evidence_tokens
        chosen = evidence.select(scored.leaves, texts, budget, allowed=allowed, spread=spread) if budget else []
        quotable = chosen or evidence.select(scored.leaves, texts, _QUOTE_TOKENS, allowed=allowed, spread=spread)
        ranked = evidence.rank(quotable, scored.leaves, texts)
        tokens = sum(passage.length for passage in chosen)
        readable = sum(
            opened.tokens if ranges is None else sum(end - first for first, end in ranges)
            for opened, ranges in zip(documents, allowed, strict=True)
        )
        pieces = [piece for passage in chosen for piece in passage_text(documents[passage.document], passage)]
        return _Found(scored, pieces, tokens, sources(documents, ranked), tokens >= readable)

    def _score(self, documents: Sequence[OpenDocument], question: str) -> Scored:
        tokenizer = self.shared.base.tokenizer
        ids = tokenizer(question, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        leaves = [opened.leaves for opened in documents]
        late = self.settings.policy == "late"
        stored = [
            self.store.read_states(opened.content_hash, self._states_key(opened)) if late else None
            for opened in documents
        ]
        source = QuestionLeaves(question, ids, leaves, self.shared.lower, lambda: self._vectors(documents), stored)
        return score(source, leaves, self.settings.policy)

    def _vectors(self, documents: Sequence[OpenDocument]) -> CompressedSource:
        """Where the paper's node vectors come from: stored trees, else the lower model's first layer."""
        found: list[CompressedSource] = []
        for opened in documents:
            trees = self._open_trees(opened)
            found.append(trees or LiveNodes(self.shared.lower, opened.leaves, reporter=self.reporter))
        return JoinedNodes(found, [opened.chunks for opened in documents])

    def _hopeless(self, found: _Found) -> bool:
        """Whether nothing of the question occurs in documents that the model could only see parts of."""
        matches = found.scored.lexical
        return bool(matches.terms) and not matches.matched and not found.whole and not self.settings_read_tree

    @property
    def settings_read_tree(self) -> bool:
        """Whether questions read the tree: the user has not switched it off and some gate is open."""
        return self.settings.tree and self.shared.upper.reads_tree

    def _read_tree(self, library: Library, scored: Scored, pages: tuple[int, int] | None) -> _Read:
        """Search the trees and make their preserved nodes ready to be read; builds them where they are missing."""
        policy = self.settings.policy
        if not self.settings_read_tree:
            return _Read(None, TreeRead(0, 0, None, policy), 0, False, 0.0)
        documents = library.documents
        started = perf_counter()
        opened_trees = [self._open_trees(opened) for opened in documents]
        hit = all(trees is not None for trees in opened_trees)
        stored = [trees or self._build_trees(opened) for opened, trees in zip(documents, opened_trees, strict=True)]
        seconds = 0.0 if hit else perf_counter() - started
        chunks = _readable_chunks(documents, pages)
        trees = [tree for opened in documents for tree in opened.leaves.trees]
        number = {chunk: place for place, chunk in enumerate(chunks)}
        nodes = [node for node in search(trees, scored.nodes) if node.chunk in number]
        kept = JoinedNodes(stored, [opened.chunks for opened in documents]).compressed(nodes)
        # Positions are those of the chunks that are read (METHOD section 4), not of those that were left out.
        renumbered = torch.tensor([number[int(chunk)] for chunk in kept.chunks], device=kept.chunks.device)
        context = self.shared.upper.context(CompressedNodes(kept.keys, kept.values, renumbered), len(chunks))
        tokens = sum(trees[chunk].length for chunk in chunks)
        keys = int(kept.chunks.numel())
        told = TreeRead(len(nodes), keys, round(tokens / keys, 2) if keys else None, policy)
        return _Read(context, told, tokens, hit, seconds)

    def _open_trees(self, opened: OpenDocument) -> StoredNodes | None:
        base = self.shared.base
        return self.store.open_trees(
            opened.content_hash, self._trees_key(opened), opened.leaves, device=base.device, dtype=base.dtype
        )

    def _build_trees(self, opened: OpenDocument) -> StoredNodes:
        base = self.shared.base
        key = self._trees_key(opened)
        if reason := self.store.explain_new(opened.path, opened.content_hash, [key]):
            self.reporter.note(f"{opened.name} is indexed anew: {reason}")
        return self.store.build_trees(
            opened.content_hash,
            key,
            opened.leaves,
            self.shared.lower,
            self.reporter,
            device=base.device,
            dtype=base.dtype,
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
        return prompt

    def _decode(self, prompt: Prompt, tree: TreeContext | None) -> Iterator[tuple[str, Finish | None]]:
        """One pair a sampled token: the text that is final with it, and at the last one why it is the last."""
        upper, device = self.shared.upper, self.shared.base.device
        settings = self.settings
        cache = upper.cache()
        first = upper.infer(torch.tensor(prompt.token_ids, device=device), tree, cache)
        stream = TextStream(self.shared.base.tokenizer)
        sampler = Sampler(settings.temperature, settings.top_p, settings.seed)
        tokens = decode_stream(
            lambda token: upper.infer(torch.tensor([token], device=device), tree, cache),
            first,
            sampler,
            self._stop_ids,
            settings.max_new_tokens,
        )
        for generated in tokens:
            piece = stream.push(generated.token) if generated.in_text else ""
            if generated.finish is not None:
                piece += stream.finish()
            yield piece, generated.finish

    @cached_property
    def _stop_ids(self) -> frozenset[int]:
        base = self.shared.base
        configured = getattr(base.model.generation_config, "eos_token_id", None)
        listed = configured if isinstance(configured, list) else [configured]
        return frozenset(int(token) for token in (*listed, base.tokenizer.eos_token_id) if token is not None)

    def _answer(
        self,
        library: Library,
        question: str,
        text: str,
        found: _Found,
        prompt: Prompt | None,
        tree: _Read,
        finish: Finish,
        timing: Timing,
    ) -> Answer:
        documents = library.documents
        kept = [found.passages[place] for place in prompt.passages] if prompt else []
        matches = found.scored.lexical
        matched = matches.terms if found.whole else matches.matched
        verdict = assess(
            matches.terms,
            matched,
            text,
            question=question,
            evidence_text="" if tree.context is not None else "\n".join(passage.text for passage in kept),
            finish=finish,
        )
        hopeless = prompt is None
        coverage = Coverage(
            tokens=library.tokens,
            tokens_read=tree.tokens or (found.passage_tokens if prompt else 0),
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
        reason = f"the documents hold none of the question's words: {', '.join(matches.terms)}" if hopeless else None
        return Answer(
            question=question,
            answer=text.strip(),
            sources=[] if hopeless else found.sources,
            coverage=coverage,
            tree=tree.told,
            answered=False if hopeless else verdict.answered,
            reason=reason or verdict.reason,
            index=index,
            model=self.facts(),
            timing=replace(timing),
            peak_bytes=peak_bytes(),
            warnings=[*self.reporter.warnings, *(() if hopeless else verdict.warnings)],
        )

    def _trees_key(self, opened: OpenDocument) -> TreesKey:
        shared = self.shared
        return TreesKey(
            opened.leaves_key,
            shared.base.name,
            shared.base.weights_hash,
            shared.lower.lower_layers,
            self.settings.stored_dtype,  # type: ignore[arg-type]
            shared.base.quantize,
        )

    def _states_key(self, opened: OpenDocument) -> StatesKey:
        base = self.shared.base
        layers = min(LATE_LAYERS, self.shared.lower.lower_layers)
        return StatesKey(opened.leaves_key, base.name, base.weights_hash, layers)


_QUOTE_TOKENS = 512
"""With no verbatim evidence the sources are quoted from this many tokens of the best leaves."""


def _readable_chunks(documents: Sequence[OpenDocument], pages: tuple[int, int] | None) -> list[int]:
    """The chunks that may be read, numbered through all documents: all, or those that touch the pages asked for."""
    chunks: list[int] = []
    first_chunk = 0
    for opened in documents:
        leaves = opened.leaves
        ranges = [(0, opened.tokens)] if pages is None else page_tokens(opened, pages)
        for place, (start, tree) in enumerate(zip(leaves.chunk_starts, leaves.trees, strict=True)):
            if any(start < end and first < start + tree.length for first, end in ranges):
                chunks.append(first_chunk + place)
        first_chunk += opened.chunks
    return chunks


class _Remembering:
    """The user's reporter, which also keeps the warnings of a question for its answer."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.task = reporter.task
        self.note = reporter.note
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self._reporter.warn(text)
