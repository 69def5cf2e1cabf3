"""One question to opened documents: what is read for it, reading after reading, and the answer with its sources.

    score   every leaf of every document for the question                  reading/scoring.py
    choose  verbatim passages within a budget, and the sources             reading/choosing.py
    search  the trees; their preserved nodes made ready to be read         reading/trees.py
    decode  running text and tree with the upper model                     generation/, model/upper.py

Where the model refuses to answer from the passages, it reads the next best ones (`Settings.readings`). Knows no
terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from sharedllm_cli.answer import Answer, Coverage, IndexUse, Source, Timing
from sharedllm_cli.config import Settings
from sharedllm_cli.documents.page_ranges import PageRange
from sharedllm_cli.errors import UsageError
from sharedllm_cli.generation import prompt as prompts
from sharedllm_cli.generation.answering import (
    answer_pieces,
    first_sentences,
    reranked_tokens,
    stop_ids,
    with_sentence_replaced,
)
from sharedllm_cli.generation.grounding import AnswerCheck, as_model_says, assess, not_found, unsupported_words
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT, PassageText, Prompt, Turn
from sharedllm_cli.generation.refusal import refusal_ids, refuses
from sharedllm_cli.generation.sampling import Sampler, SuppressedSequence
from sharedllm_cli.generation.stream import Finish, GeneratedToken, decode_stream
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.memory import is_out_of_memory, memory_for, peak_bytes, release
from sharedllm_cli.model.adapter import AdapterDisabled
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.shared import SharedModel, model_use
from sharedllm_cli.model.upper import beam_steps
from sharedllm_cli.progress import RememberingReporter
from sharedllm_cli.reading.checking import checked
from sharedllm_cli.reading.choosing import Choosing, Chosen, looked_for, tokens_read
from sharedllm_cli.reading.extracts import Extract, Extracts
from sharedllm_cli.reading.library import Library, OpenDocument
from sharedllm_cli.reading.mentioning import SeveralFound, several_of
from sharedllm_cli.reading.scoring import Scored, score_documents
from sharedllm_cli.reading.sources import allowed_tokens, answering_first, supporting_first
from sharedllm_cli.reading.trees import TreeReading, Trees
from sharedllm_cli.retrieval.front_matter import asks_for_front_matter
from sharedllm_cli.retrieval.languages import names_the_whole
from sharedllm_cli.retrieval.mentions import topic_asked_about
from sharedllm_cli.retrieval.verdicts import asks_for_a_verdict

OVERVIEW_SENTENCES = 2
"""So long is an answer about a document as a whole: what a small model goes on with are other things, or the same."""


@dataclass(frozen=True)
class _Prefilled:
    """A running text that the model has read: logits [vocabulary] after it, and the cache that holds it.

    `suppressed` keeps the answer from being the sentence that the document does not say, which `refused` says instead.
    """

    prompt: Prompt
    first: Tensor
    cache: Any
    suppressed: SuppressedSequence | None
    refused: bool


class Asking:
    """A question to some documents: `pieces` answers it."""

    def __init__(
        self,
        shared: SharedModel,
        settings: Settings,
        store: IndexStore,
        trees: Trees,
        reporter: RememberingReporter,
        library: Library,
        question: str,
        *,
        history: Sequence[Turn] = (),
        pages: PageRange | str | tuple[int, int] | None = None,
    ) -> None:
        """UsageError for an empty question, one that nothing would be read for, and pages that aren't there."""
        if not question.strip():
            raise UsageError("the question is empty")
        self._shared = shared
        self._settings = settings
        self._store = store
        self._trees = trees
        self._reporter = reporter
        self._library = library
        self._question = question
        self._history = history
        self._budget = shared.passage_budget(settings)
        self._reads_tree = shared.reads_tree(settings)
        self._threshold = shared.refuse_from(settings)
        self._disabled: AdapterDisabled | None = None
        if not self._budget and not self._reads_tree:
            raise UsageError(
                "with --evidence-tokens 0 and no tree the model would read nothing of the document",
                hint="leave --evidence-tokens above 0, or use an adapter that reads the tree",
            )
        self._allowed, self._pages_report = allowed_tokens(self._documents, pages)

    @property
    def _documents(self) -> list[OpenDocument]:
        return self._library.documents

    def pieces(self, timing: Timing) -> Iterator[str | Answer]:
        """Pieces of the answer's text as they come, then the `Answer`; `timing` is filled in."""
        self._reporter.warnings.clear()
        documents, settings = self._documents, self._settings
        started = perf_counter()
        # Before the search: the paper's policy scores nodes by what the trees hold.
        trees = self._trees.open(documents) if self._reads_tree else None
        timing.index_s = trees.seconds if trees else 0.0
        with memory_for("score the leaves", "use --policy bm25, which needs no model, or --quantize 4bit"):
            sought = self._topic or looked_for(self._question, self._history, documents)
            scored = self._score(sought)
        choosing = self._choosing(scored, with_tree=trees is not None)
        chosen = choosing.first()
        timing.search_s = perf_counter() - started - timing.index_s
        if self._budget and chosen.unfit:
            message = f"no passage fits --evidence-tokens {self._budget}"
            if trees is None:  # nothing of the document would be read: no answer from memory
                raise UsageError(message, hint="allow more")
            self._reporter.warn(f"{message}: none is read")
        if not trees and (extract := self._extract(sought, choosing, chosen)) is not None:
            yield extract.text
            timing.first_token_s = timing.total_s = perf_counter() - started
            nothing = TreeReading.none(settings.policy)
            yield self._answer(extract.text, extract.sources, extract.read, nothing, extract.check, timing)
            return
        tree = self._trees.read(documents, trees, scored, self._allowed) if trees else TreeReading.none(settings.policy)
        text = ""
        finish: Finish = "stop"
        smaller = "use fewer --evidence-tokens or --max-new-tokens, --candidates 1 or --quantize 4bit"
        with memory_for("write the answer", smaller):
            prefilled, read = self._read(choosing, chosen, tree.context)
            prefilled_s = perf_counter() - started
            reranked = None if prefilled.refused else self._reranked(prefilled, tree.context)
            decoded = self._decode(prefilled, tree.context, reranked)
            instead = NOT_IN_DOCUMENT if trees else self._unfound(read)
            for piece, ended in with_sentence_replaced(decoded, NOT_IN_DOCUMENT, instead):
                if not timing.new_tokens:
                    timing.first_token_s = perf_counter() - started - timing.index_s
                timing.new_tokens += 1
                piece = piece if text else piece.lstrip()
                text, finish = text + piece, ended or finish
                if piece:
                    yield piece
        timing.total_s = perf_counter() - started
        # The tokens of an answer that was weighed come at once: the search for it is what took time.
        spent = timing.total_s - (timing.index_s + timing.first_token_s if reranked is None else prefilled_s)
        timing.tokens_per_s = (timing.new_tokens - 1) / spent if timing.new_tokens > 1 else 0.0
        check = self._check(text, read[-1], prefilled.prompt, tree, finish)
        sources = choosing.sources(read) if prefilled.refused else choosing.sources(read[-1:], read[:-1])
        if check.answered:
            sources = supporting_first(sources, self._question, text)
        several = self._several(text, check, read)
        if several is not None and several.sources:
            beside = [replace(source, supports=False) for source in sources]
            sources = [*answering_first(several.sources, text), *beside]
        yield self._answer(text, sources, read, tree, check, timing, several)

    @cached_property
    def _topic(self) -> str | None:
        """What a document is asked to speak of, without the words that ask."""
        return topic_asked_about(self._question, leaning=bool(self._history))

    def _unfound(self, read: Sequence[Chosen]) -> str:
        """What is answered where nothing was found: that the document does not say only where that is known."""
        matches = read[0].scored.lexical
        nothing = bool(matches.terms) and not matches.matched
        if nothing or self._is_whole(read[-1]):
            return NOT_IN_DOCUMENT
        return not_found(tokens_read(read), self._library.tokens)

    def _is_whole(self, chosen: Chosen) -> bool:
        """Whether a reading is all of the documents: with --pages it may be all that was allowed and no more."""
        return chosen.whole and all(ranges is None for ranges in self._allowed)

    def _extract(self, sought: str, choosing: Choosing, chosen: Chosen) -> Extract | None:
        """The answer to a question that is put before no model; None for any other."""
        extracts = Extracts(self._documents, self._allowed, self._unfound)
        extractive = self._shared.extractive_only(self._settings)
        if extractive and self._topic is not None:
            return extracts.on_topic(self._topic, choosing, chosen)
        if chosen.no_term_matches:
            return extracts.without_words(chosen)
        if extractive and asks_for_a_verdict(self._question):
            return extracts.on_yes_or_no(sought, self._question, choosing)
        return None

    def _several(self, text: str, check: AnswerCheck, read: Sequence[Chosen]) -> SeveralFound | None:
        """All that speaks of what is asked for several of; None for a question for one thing, or one that says it."""
        held = [passage for chosen in read for passage in chosen.held]
        return several_of(self._question, text, self._documents, self._allowed, held, answered=check.answered)

    def _score(self, looked_for: str) -> Scored:
        documents, policy = self._documents, self._settings.policy
        return score_documents(
            looked_for,
            documents,
            self._shared.base,
            self._shared.lower,
            policy,
            nodes=lambda: self._trees.vectors(documents),
            stored_states=self._trees.states(documents) if policy == "late" else [None] * len(documents),
        )

    def _choosing(self, scored: Scored, *, with_tree: bool) -> Choosing:
        """What there is to read; a question about the whole may be the base model's."""
        if not with_tree and self._is_about_the_whole(scored):
            self._disabled = self._disabled_adapter()
        if self._disabled:
            self._threshold = None
        return Choosing(
            self._documents,
            scored,
            self._budget,
            allowed=self._allowed,
            by_words=self._settings.policy in ("hybrid", "bm25", "right"),
            question=self._question,
            beginnings=self._disabled is not None,
        )

    def _is_about_the_whole(self, scored: Scored) -> bool:
        general = not scored.lexical.terms and names_the_whole(self._question)
        return general and not asks_for_front_matter(self._question) and self._shared.extractive_only(self._settings)

    def _disabled_adapter(self) -> AdapterDisabled | None:
        """None, which is told, where there is no memory for a second copy of merged weights."""
        try:
            return self._shared.adapter.disabled()
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
        release()
        self._reporter.note("not enough memory to let the base model tell of the whole; asking the adapter")
        return None

    def _read(self, choosing: Choosing, chosen: Chosen, tree: TreeContext | None) -> tuple[_Prefilled, list[Chosen]]:
        """Read one reading after the other until one is not met with a refusal; the last one, and all of them."""
        # Whether the model refuses is known before anything is said only where its sentence is weighed as a whole.
        most = 1 if self._threshold is None else self._settings.readings
        read: list[Chosen] = []
        while True:
            prefilled = self._prefill(chosen.passages, tree)
            read.append(chosen.kept(prefilled.prompt.passages, prefilled.prompt.evidence_tokens))
            following = choosing.following(read) if prefilled.refused and len(read) < most else None
            if following is None:
                return prefilled, read
            chosen = following
            del prefilled  # its keys and values make room for those of the next

    def _prefill(self, passages: Sequence[PassageText], tree: TreeContext | None) -> _Prefilled:
        """Read a running text, and weigh the sentence that the document does not say where there is a threshold."""
        base, upper = self._shared.base, self._shared.upper
        prompt = self._prompt(passages)
        with self._disabled or nullcontext():
            first, cache = upper.prefill(torch.tensor(prompt.token_ids, device=base.device), tree, self._reporter)
        if self._threshold is None:
            return _Prefilled(prompt, first, cache, None, False)
        ids = refusal_ids(base.tokenizer)
        costs = upper.token_nlls(first, ids, tree, cache)
        return _Prefilled(prompt, first, cache, SuppressedSequence(ids, costs), refuses(sum(costs), self._threshold))

    def _prompt(self, passages: Sequence[PassageText]) -> Prompt:
        base, settings = self._shared.base, self._settings
        prompt = prompts.build(
            base.tokenizer,
            window=base.window,
            max_new_tokens=settings.max_new_tokens,
            question=self._question,
            passages=passages,
            history=() if self._disabled else as_model_says(self._history),
            system=settings.system,
            rule=prompts.RULE_OF_THE_WHOLE if self._disabled else prompts.RULE,
        )
        self._reporter.detail("the running text", prompt.text)
        for told in prompt.left_out():
            self._reporter.warn(told)
        if passages and not prompt.passages and not self._reads_tree:
            raise UsageError(
                f"the model's window of {base.window} tokens has no room for any passage beside the question and an"
                f" answer of {settings.max_new_tokens}",
                hint="lower --max-new-tokens, or shorten the question or the system prompt",
            )
        return prompt

    def _decode(
        self, prefilled: _Prefilled, tree: TreeContext | None, reranked: list[GeneratedToken] | None
    ) -> Iterator[tuple[str, Finish | None]]:
        """One pair a sampled token: the text that is final with it, and at the last one why it is the last."""
        if prefilled.refused:
            yield NOT_IN_DOCUMENT, "stop"
            return
        base, settings = self._shared.base, self._settings
        tokens: Iterable[GeneratedToken] | None = reranked
        if tokens is None:
            stops = stop_ids(base.model.generation_config, base.tokenizer)
            sampler = Sampler(settings.temperature, settings.top_p, settings.seed, prefilled.suppressed)
            with self._disabled or nullcontext():
                step = self._step(prefilled, tree)
            tokens = decode_stream(self._quietly(step), prefilled.first, sampler, stops, settings.max_new_tokens)
        pieces = answer_pieces(tokens, base.tokenizer, prefilled.prompt.stop_texts)
        yield from self._overview(pieces, prefilled.prompt) if self._disabled else pieces

    def _overview(
        self, pieces: Iterable[tuple[str, Finish | None]], prompt: Prompt
    ) -> Iterator[tuple[str, Finish | None]]:
        """What the base model tells of the whole, all at once: nothing where it names what the passages do not hold."""
        told = list(first_sentences(pieces, OVERVIEW_SENTENCES))
        text = "".join(piece for piece, _ in told)
        if unsupported_words(text, "\n".join(prompt.passage_texts), question=self._question):
            self._reporter.warn(
                "about the whole: what the base model told does not stand in the beginning and is left out"
            )
            yield NOT_IN_DOCUMENT, "stop"
            return
        self._reporter.warn("about the whole: told by the base model, of the beginning, and may be far off")
        yield from told

    def _quietly(self, step: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """A step with the adapter disabled, each alone: a caller may do other things between two pieces."""
        disabled = self._disabled
        if disabled is None:
            return step

        def quiet(token: Tensor) -> Tensor:
            with disabled:
                return step(token)

        return quiet

    def _reranked(self, prefilled: _Prefilled, tree: TreeContext | None) -> list[GeneratedToken] | None:
        """The answer where several short ones are weighed against each other, else None."""
        base = self._shared.base
        width = self._shared.candidates(self._settings)
        if width == 1:
            return None
        try:
            return reranked_tokens(
                beam_steps(self._shared.upper, tree, prefilled.cache),
                prefilled.first,
                width,
                base.tokenizer,
                question=self._question,
                passages=prefilled.prompt.passage_texts,
                stop_ids=stop_ids(base.model.generation_config, base.tokenizer),
                stop_texts=prefilled.prompt.stop_texts,
                max_new_tokens=self._settings.max_new_tokens,
                suppressed=prefilled.suppressed,
            )
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
        # Outside of the handler, so that the beams are gone.
        release()
        self._reporter.note(f"not enough memory to weigh {width} answers; writing the likeliest")
        return None

    def _step(self, prefilled: _Prefilled, tree: TreeContext | None) -> Callable[[Tensor], Tensor]:
        """What gives the next logits after a token: recorded, where that was asked for and can be done."""
        upper, settings = self._shared.upper, self._settings
        if settings.cuda_graphs:
            from sharedllm_cli.model.recorded import LEAST_TOKENS, recorded_step

            if settings.max_new_tokens >= LEAST_TOKENS:
                likeliest = prefilled.first.argmax()[None]
                recorded, why_not = recorded_step(upper, tree, prefilled.cache, likeliest, settings.max_new_tokens)
                if recorded is not None:
                    return recorded
                self._reporter.note(f"{why_not}; going on without")
        return lambda token: upper.decode_step(token, tree, prefilled.cache)

    def _check(self, text: str, chosen: Chosen, prompt: Prompt, tree: TreeReading, finish: Finish) -> AnswerCheck:
        """Whether the question counts as answered; words are held against the passages only where they are all read."""
        matches = chosen.scored.lexical
        # What was searched for may lean on the question before, whose words are not this one's.
        asked = [word for word in matches.terms if word in self._question]
        return assess(
            asked,
            chosen.matched,
            text,
            question=self._question,
            other_forms=matches.other_forms,
            evidence_text="" if tree.context is not None else "\n".join(prompt.passage_texts),
            finish=finish,
            read="the document, which it has read whole" if self._is_whole(chosen) else "the passages",
        )

    def _answer(
        self,
        text: str,
        sources: list[Source],
        read: Sequence[Chosen],
        tree: TreeReading,
        check: AnswerCheck,
        timing: Timing,
        several: SeveralFound | None = None,
    ) -> Answer:
        library, documents = self._library, self._documents
        told = [*self._reporter.warnings, *check.warnings, *([several.remark] if several else [])]
        started = perf_counter()
        sources = checked(sources, documents, self._store, self._settings.password)
        timing.total_s += perf_counter() - started
        coverage = Coverage(
            tokens=library.tokens,
            tokens_read=tree.tokens or tokens_read(read),
            chunks=library.chunks,
            pages=sum(opened.pages for opened in documents),
            pages_without_text=[page for opened in documents for page in opened.pages_without_text],
            readings=len(read),
        )
        index = IndexUse(
            text_hit=all(opened.text_hit for opened in documents),
            trees_hit=tree.hit,
            path=str(documents[0].index_path),
            bytes=sum(self._store.bytes(opened.content_hash) for opened in documents),
        )
        return Answer(
            question=self._question,
            answer=text.strip(),
            sources=sources,
            coverage=coverage,
            tree=tree.told,
            answered=check.answered,
            reason=check.reason,
            index=index,
            model=model_use(self._shared),
            timing=timing,
            peak_bytes=peak_bytes(),
            matches=several.count if several else None,
            warnings=list(dict.fromkeys([*library.warnings, *self._pages_report, *told])),
            not_read=list(library.not_read),
        )
