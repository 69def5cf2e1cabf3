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
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from sharedllm_cli.answer import Answer, Coverage, IndexUse, ModelUse, Source, Timing
from sharedllm_cli.config import MAX_SOURCES, Settings
from sharedllm_cli.context.front_matter import asks_for_front_matter
from sharedllm_cli.context.languages import names_the_whole
from sharedllm_cli.context.verdicts import asks_for_a_verdict
from sharedllm_cli.documents.page_ranges import PageRange
from sharedllm_cli.errors import UsageError
from sharedllm_cli.generation import prompt as prompts
from sharedllm_cli.generation.answering import answer_pieces, first_sentences, stop_ids, weighed_tokens
from sharedllm_cli.generation.grounding import Verdict, assess, unsupported_words
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT, PassageText, Prompt, Turn
from sharedllm_cli.generation.refusal import refusal_ids, refuses
from sharedllm_cli.generation.sampling import Sampler, Unsaid
from sharedllm_cli.generation.stream import Finish, GeneratedToken, decode_stream
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.memory import is_out_of_memory, memory_for, peak_bytes, release
from sharedllm_cli.model.adapter import Silence
from sharedllm_cli.model.branches import branching
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.recorded import LEAST_TOKENS, recorded_step
from sharedllm_cli.model.shared import SharedModel
from sharedllm_cli.progress import RememberingReporter
from sharedllm_cli.reading.checking import checked
from sharedllm_cli.reading.choosing import Choosing, Chosen, looked_for, tokens_read
from sharedllm_cli.reading.library import Library, OpenDocument
from sharedllm_cli.reading.quoting import LEAST_SHARE, Quoted, nearest_sentence
from sharedllm_cli.reading.scoring import Scored, score_documents
from sharedllm_cli.reading.sources import allowed_tokens, answering_first
from sharedllm_cli.reading.sources import sources as sources_of
from sharedllm_cli.reading.trees import TreeReading, Trees

OVERVIEW_SENTENCES = 2
"""So long is an answer about a document as a whole: what a small model goes on with are other things, or the same."""
UNJUDGED = "a question of yes or no: this is the sentence nearest to it, quoted; judge it yourself"


@dataclass(frozen=True)
class _Begun:
    """A running text that the model has read: logits [vocabulary] after it, and the cache that holds it.

    `unsaid` keeps the answer from being the sentence that the document does not say, which `refused` says instead.
    """

    prompt: Prompt
    first: Tensor
    cache: Any
    unsaid: Unsaid | None
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
        self._silence: Silence | None = None
        if not self._budget and not self._reads_tree:
            raise UsageError(
                "with --evidence-tokens 0 and no tree the model would read nothing of the document",
                hint="leave --evidence-tokens above 0, or use an adapter that reads the tree",
            )
        self._allowed, self._told_pages = allowed_tokens(self._documents, pages)

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
            sought = looked_for(self._question, self._history, documents)
            scored = self._score(sought)
        choosing = self._choosing(scored, with_tree=trees is not None)
        chosen = choosing.first()
        timing.search_s = perf_counter() - started - timing.index_s
        if self._budget and chosen.unfit:
            message = f"no passage fits --evidence-tokens {self._budget}"
            if trees is None:  # nothing of the document would be read: no answer from memory
                raise UsageError(message, hint="allow more")
            self._reporter.warn(f"{message}: none is read")
        if chosen.hopeless and not trees:
            yield NOT_IN_DOCUMENT
            timing.first_token_s = timing.total_s = perf_counter() - started
            yield self._no_answer(scored, timing)
            return
        if not trees and asks_for_a_verdict(self._question) and self._shared.keeps_to_places(settings):
            chosen = choosing.found()
            found = nearest_sentence(sought, documents, chosen.held, self._allowed)
            found = found if found is not None and found.share >= LEAST_SHARE else None
            yield found.text if found else NOT_IN_DOCUMENT
            timing.first_token_s = timing.total_s = perf_counter() - started
            yield self._unjudged(found, choosing, chosen, timing)
            return
        tree = self._trees.read(documents, trees, scored, self._allowed) if trees else TreeReading.none(settings.policy)
        text = ""
        finish: Finish = "stop"
        smaller = "use fewer --evidence-tokens or --max-new-tokens, --candidates 1 or --quantize 4bit"
        with memory_for("write the answer", smaller):
            begun, read = self._read(choosing, chosen, tree.context)
            begun_s = perf_counter() - started
            weighed = None if begun.refused else self._weighed(begun, tree.context)
            for piece, ended in self._decode(begun, tree.context, weighed):
                if not timing.new_tokens:
                    timing.first_token_s = perf_counter() - started - timing.index_s
                timing.new_tokens += 1
                piece = piece if text else piece.lstrip()
                text, finish = text + piece, ended or finish
                if piece:
                    yield piece
        timing.total_s = perf_counter() - started
        # The tokens of an answer that was weighed come at once: the search for it is what took time.
        spent = timing.total_s - (timing.index_s + timing.first_token_s if weighed is None else begun_s)
        timing.tokens_per_s = (timing.new_tokens - 1) / spent if timing.new_tokens > 1 else 0.0
        verdict = self._verdict(text, read[-1], begun.prompt, tree, finish)
        sources = choosing.sources(read) if begun.refused else choosing.sources(read[-1:], read[:-1])
        if verdict.answered:
            sources = answering_first(sources, self._question, text)
        yield self._answer(text, sources, read, tree, verdict, timing)

    def _unjudged(self, found: Quoted | None, choosing: Choosing, chosen: Chosen, timing: Timing) -> Answer:
        """The answer to a question of yes or no, which no model gave: what the passages say of the matter."""
        nothing = TreeReading.none(self._settings.policy)
        if found is None:
            why = "no sentence of the passages holds enough of the question's words"
            sources = choosing.sources([chosen])
            return self._answer(NOT_IN_DOCUMENT, sources, [chosen], nothing, Verdict(False, why, ()), timing)
        sources = answering_first(choosing.sources([chosen]), self._question, found.text)
        if not sources or found.text not in " ".join(sources[0].quote.split()):  # quotes are cut around the best leaves
            sources = [*sources_of(self._documents, [found.place]), *sources][:MAX_SOURCES]
        verdict = Verdict(True, None, (UNJUDGED,))
        return self._answer(found.text, sources, [chosen], nothing, verdict, timing)

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
            self._silence = self._silenced()
        if self._silence:
            self._threshold = None
        return Choosing(
            self._documents,
            scored,
            self._budget,
            allowed=self._allowed,
            by_words=self._settings.policy in ("hybrid", "bm25", "right"),
            question=self._question,
            beginnings=self._silence is not None,
        )

    def _is_about_the_whole(self, scored: Scored) -> bool:
        general = not scored.lexical.terms and names_the_whole(self._question)
        return general and not asks_for_front_matter(self._question) and self._shared.keeps_to_places(self._settings)

    def _silenced(self) -> Silence | None:
        """None, which is told, where there is no memory for a second copy of merged weights."""
        try:
            return self._shared.adapter.silenced()
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
        release()
        self._reporter.note("not enough memory to let the base model tell of the whole; asking the adapter")
        return None

    def _read(self, choosing: Choosing, chosen: Chosen, tree: TreeContext | None) -> tuple[_Begun, list[Chosen]]:
        """Read one reading after the other until one is not met with a refusal; the last one, and all of them."""
        # Whether the model refuses is known before anything is said only where its sentence is weighed as a whole.
        most = 1 if self._threshold is None else self._settings.readings
        read: list[Chosen] = []
        while True:
            begun = self._begin(chosen.passages, tree)
            read.append(chosen.kept(begun.prompt.passages, begun.prompt.evidence_tokens))
            following = choosing.following(read) if begun.refused and len(read) < most else None
            if following is None:
                return begun, read
            chosen = following
            del begun  # its keys and values make room for those of the next

    def _begin(self, passages: Sequence[PassageText], tree: TreeContext | None) -> _Begun:
        """Read a running text, and weigh the sentence that the document does not say where there is a threshold."""
        base, upper = self._shared.base, self._shared.upper
        prompt = self._prompt(passages)
        with self._silence or nullcontext():
            first, cache = upper.begin(torch.tensor(prompt.token_ids, device=base.device), tree, self._reporter)
        if self._threshold is None:
            return _Begun(prompt, first, cache, None, False)
        ids = refusal_ids(base.tokenizer)
        costs = upper.token_nlls(first, ids, tree, cache)
        return _Begun(prompt, first, cache, Unsaid(ids, costs), refuses(sum(costs), self._threshold))

    def _prompt(self, passages: Sequence[PassageText]) -> Prompt:
        base, settings = self._shared.base, self._settings
        prompt = prompts.build(
            base.tokenizer,
            window=base.window,
            max_new_tokens=settings.max_new_tokens,
            question=self._question,
            passages=passages,
            history=() if self._silence else self._history,
            system=settings.system,
            rule=prompts.RULE_OF_THE_WHOLE if self._silence else prompts.RULE,
        )
        self._reporter.detail("the running text", prompt.text)
        self._tell_of_dropped(prompt)
        if passages and not prompt.passages and not self._reads_tree:
            raise UsageError(
                f"the model's window of {base.window} tokens has no room for any passage beside the question and an"
                f" answer of {settings.max_new_tokens}",
                hint="lower --max-new-tokens, or shorten the question or the system prompt",
            )
        return prompt

    def _tell_of_dropped(self, prompt: Prompt) -> None:
        if prompt.dropped_turns:
            turns = "turn" if prompt.dropped_turns == 1 else f"{prompt.dropped_turns} turns"
            self._reporter.warn(f"the oldest {turns} of the conversation no longer fit the window and were left out")
        if prompt.dropped_passages:
            self._reporter.warn(f"{prompt.dropped_passages} passages did not fit the window and were left out")

    def _decode(
        self, begun: _Begun, tree: TreeContext | None, weighed: list[GeneratedToken] | None
    ) -> Iterator[tuple[str, Finish | None]]:
        """One pair a sampled token: the text that is final with it, and at the last one why it is the last."""
        if begun.refused:
            yield NOT_IN_DOCUMENT, "stop"
            return
        base, settings = self._shared.base, self._settings
        tokens: Iterable[GeneratedToken] | None = weighed
        if tokens is None:
            stops = stop_ids(base.model.generation_config, base.tokenizer)
            sampler = Sampler(settings.temperature, settings.top_p, settings.seed, begun.unsaid)
            with self._silence or nullcontext():
                step = self._step(begun, tree)
            tokens = decode_stream(self._quietly(step), begun.first, sampler, stops, settings.max_new_tokens)
        pieces = answer_pieces(tokens, base.tokenizer, begun.prompt.stop_texts)
        yield from self._overview(pieces, begun.prompt) if self._silence else pieces

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
        """A step within the adapter's silence, which ends with it: a caller may do other things between two pieces."""
        silence = self._silence
        if silence is None:
            return step

        def quiet(token: Tensor) -> Tensor:
            with silence:
                return step(token)

        return quiet

    def _weighed(self, begun: _Begun, tree: TreeContext | None) -> list[GeneratedToken] | None:
        """The answer where several short ones are weighed against each other, else None."""
        base = self._shared.base
        width = self._shared.candidates(self._settings)
        if width == 1:
            return None
        try:
            return weighed_tokens(
                branching(self._shared.upper, tree, begun.cache),
                begun.first,
                width,
                base.tokenizer,
                question=self._question,
                passages=begun.prompt.passage_texts,
                stop_ids=stop_ids(base.model.generation_config, base.tokenizer),
                stop_texts=begun.prompt.stop_texts,
                max_new_tokens=self._settings.max_new_tokens,
                unsaid=begun.unsaid,
            )
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
        # Outside of the handler, so that the branches are gone.
        release()
        self._reporter.note(f"not enough memory to weigh {width} answers; writing the likeliest")
        return None

    def _step(self, begun: _Begun, tree: TreeContext | None) -> Callable[[Tensor], Tensor]:
        """What gives the next logits after a token: recorded, where that was asked for and can be done."""
        upper, settings = self._shared.upper, self._settings
        if settings.cuda_graphs and settings.max_new_tokens >= LEAST_TOKENS:
            likeliest = begun.first.argmax()[None]
            recorded, why_not = recorded_step(upper, tree, begun.cache, likeliest, settings.max_new_tokens)
            if recorded is not None:
                return recorded
            self._reporter.note(f"{why_not}; going on without")
        return lambda token: upper.infer(token, tree, begun.cache)

    def _verdict(self, text: str, chosen: Chosen, prompt: Prompt, tree: TreeReading, finish: Finish) -> Verdict:
        """Whether the question counts as answered; words are held against the passages only where they are all read."""
        matches = chosen.scored.lexical
        return assess(
            matches.terms,
            chosen.matched,
            text,
            question=self._question,
            other_forms=matches.other_forms,
            evidence_text="" if tree.context is not None else "\n".join(prompt.passage_texts),
            finish=finish,
        )

    def _no_answer(self, scored: Scored, timing: Timing) -> Answer:
        """The answer to a question none of whose words occurs: nothing was put before the model."""
        words = ", ".join(scored.lexical.terms)
        why = f"the documents hold none of the question's words: {words} (ask in the documents' language and words)"
        nothing = TreeReading.none(self._settings.policy)
        return self._answer(NOT_IN_DOCUMENT, [], [], nothing, Verdict(False, why, ()), timing)

    def _answer(
        self,
        text: str,
        sources: list[Source],
        read: Sequence[Chosen],
        tree: TreeReading,
        verdict: Verdict,
        timing: Timing,
    ) -> Answer:
        library, documents = self._library, self._documents
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
            answered=verdict.answered,
            reason=verdict.reason,
            index=index,
            model=model_use(self._shared),
            timing=timing,
            peak_bytes=peak_bytes(),
            warnings=list(
                dict.fromkeys([*library.warnings, *self._told_pages, *self._reporter.warnings, *verdict.warnings])
            ),
            not_read=list(library.not_read),
        )


def model_use(shared: SharedModel) -> ModelUse:
    """The model as `ask --json` tells of it."""
    return ModelUse(
        base=shared.base.name,
        adapter=shared.adapter_name,
        trained=shared.adapter.trained,
        reads_tree=shared.upper.reads_tree,
        quantize=shared.base.quantize,
        device=str(shared.base.device),
    )
