"""The one path of a question: retrieve, read, decode, check. The engine and the evaluation take it alike.

    retrieve   score the leaves, select passages, choose the route, search the tree     reading/, routing.py
    read       prefill prompt and tree with the upper model, weigh the refusal          reader.py
    decode     the answer's text, piece by piece                                        reader.py, generation/
    check      hold the answer against what was read; its sources                       generation/grounding.py

A route that asks no model quotes its answer instead (`extracts.py`). Knows no terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

from sharedllm_cli.answer import Answer, AnswerSentence, Coverage, IndexUse, Source, Stretch, Timing
from sharedllm_cli.answering.extracts import Extract, Extracts
from sharedllm_cli.answering.question import Question
from sharedllm_cli.answering.reader import Clock, Pieces, Prefilled, Reader, Refusal, SharedPrefix
from sharedllm_cli.answering.routing import Route, may_ask_for_a_tally, route, wants_overview
from sharedllm_cli.errors import UsageError
from sharedllm_cli.generation.grounding import AnswerCheck, Citations, assess, unsupported_words
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT, Prompt
from sharedllm_cli.generation.refusal import not_found
from sharedllm_cli.generation.stream import Finish, first_sentences, with_sentence_replaced
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.memory import memory_for, peak_bytes
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.shared import SharedModel, model_use
from sharedllm_cli.progress import RememberingReporter
from sharedllm_cli.reading.evidence import Evidence, EvidenceSelector, tokens_read
from sharedllm_cli.reading.library import Library, OpenDocument
from sharedllm_cli.reading.scoring import LeafMeaning, Scored, in_turn
from sharedllm_cli.reading.sources import answering_first, checked, supporting_first
from sharedllm_cli.reading.trees import TreeReading, Trees
from sharedllm_cli.retrieval.listings import asks_for_a_list_of_contents
from sharedllm_cli.retrieval.policies import BY_WORDS
from sharedllm_cli.weights.encoders import ENCODER

if TYPE_CHECKING:
    from sharedllm_cli.answering.tallies import Tally
    from sharedllm_cli.reading.fine import FineGrain

OVERVIEW_SENTENCES = 2
"""The length of an answer about a document as a whole: what a small model goes on with is off the subject."""


@dataclass(frozen=True)
class Retrieved:
    """What is read for a question, and by which route it is answered.

    `query`: what was searched for; `search_s`: seconds to score the leaves and select the passages.
    """

    query: str
    route: Route
    selector: EvidenceSelector
    evidence: Evidence
    tree: TreeReading
    search_s: float


@dataclass(frozen=True)
class Reading:
    """A prompt that was read for a question. `refusal`: weighed as a whole, None where decoding decides."""

    prefilled: Prefilled
    refusal: Refusal | None

    @property
    def prompt(self) -> Prompt:
        return self.prefilled.prompt

    @property
    def refused(self) -> bool:
        """Whether the refusal is the answer."""
        return self.refusal is not None and self.refusal.given


class Pipeline:
    """One question to opened documents.

    `score` scores the leaves for a query in place of the documents' indexes (the evaluation remembers more). `fine`:
    where passages are read from stored keys and values; None reads all of them as text.
    """

    def __init__(
        self,
        question: Question,
        library: Library,
        shared: SharedModel,
        trees: Trees,
        store: IndexStore,
        reporter: RememberingReporter,
        *,
        score: Callable[[str], Scored] | None = None,
        meaning: LeafMeaning | None = None,
        fine: FineGrain | None = None,
    ) -> None:
        self.question = question
        self.reader = Reader(shared, question, reporter)
        self._library = library
        self._documents = library.documents
        self._shared = shared
        self._trees = trees
        self._store = store
        self._reporter = reporter
        self._score = score or self._score_documents
        self._meaning = meaning
        self._compared = False
        self._prompt_tokens = 0
        self._known_tokens = 0
        self._fine = fine

    def run(self, timing: Timing) -> Iterator[str | AnswerSentence | Answer]:
        """Pieces of the answer's text as they come, then the `Answer`; `timing` is filled in here.

        Behind the last word of each sentence of a text that the model writes comes that sentence with its sources.
        """
        self._reporter.warnings.clear()
        clock = Clock(timing)
        tally = self._tally()
        if tally is not None:
            yield tally.text
            clock.written()
            yield self._tally_answer(tally, timing)
            return
        self._shared.upper.prepare()
        retrieved = self.retrieve()
        clock.searched(retrieved.tree.seconds, retrieved.search_s)
        self._refuse_unfit(retrieved.evidence)
        if not retrieved.route.asks_model:
            extract = self.extract(retrieved)
            yield extract.text
            clock.written()
            read, route = retrieved.tree, retrieved.route
            yield self._answer(route, read, extract.evidence, extract.text, extract.sources, extract.check, timing)
            return
        text, finish = "", None
        with memory_for(
            "write the answer",
            "use fewer --evidence-tokens or --max-new-tokens, --candidates 1 or --quantize 4bit",
        ):
            prompt = self.prompt(retrieved)
            self._refuse_empty(prompt, retrieved.evidence)
            reading = self.read_passages(prompt, retrieved)
            self._prompt_tokens = len(reading.prompt.token_ids)
            evidence = retrieved.evidence.kept(reading.prompt.passages, reading.prompt.evidence_tokens)
            instead = NOT_IN_DOCUMENT if self.question.reads_tree else self._not_found(evidence)
            sources = retrieved.selector.sources(evidence)
            # Of many things asked for, the sources are all sentences about them, whatever the model writes.
            cited = [] if reading.refused or retrieved.route is Route.SEVERAL else sources
            citations = Citations(cited, self._read_text(reading) if cited else "", self.question.text)
            for piece, ended in with_sentence_replaced(clock.decoding(self.decode(reading)), NOT_IN_DOCUMENT, instead):
                piece = piece if text else piece.lstrip()
                text, finish = text + piece, ended or finish
                yield from citations.push(piece)
            yield from citations.finish()
        clock.written(at_once=self._compared)
        check = self._check(text, evidence, reading, finish or "stop")
        if check.answered:
            sources = supporting_first(sources, self.question.text, text)
            sources = citations.arranged(sources) if citations.cites else sources
        several = self._extracts(retrieved).several(text, evidence.held, answered=check.answered)
        if several is not None and several.sources:
            beside = [replace(source, supports=False) for source in sources if not several.shows(source)]
            sources = answering_first([*several.sources, *beside], text)
        sentences = citations.sentences if check.answered and several is None else []
        route, matches = retrieved.route, several.count if several else None
        check = replace(check, warnings=(*check.warnings, *([several.remark] if several else [])))
        yield self._answer(
            route, retrieved.tree, evidence, text, sources, check, timing, matches=matches, sentences=sentences
        )

    # -- retrieve ---------------------------------------------------------------------------------------------------

    def retrieve(self) -> Retrieved:
        """Score, select, route, and search the tree; UsageError where nothing would be read."""
        question, documents = self.question, self._documents
        if not question.budget and not question.reads_tree:
            raise UsageError(
                "with --evidence-tokens 0 and no tree the model would read nothing of the document",
                hint="leave --evidence-tokens above 0, or use an adapter that reads the tree",
            )
        # Before the search: the paper's policy scores nodes by what the trees hold.
        trees = self._trees.open(documents) if question.reads_tree else None
        started = perf_counter()
        with memory_for("score the leaves", "use --policy bm25, which needs no model, or --quantize 4bit"):
            query = question.query(documents)
            scored = self._score(query)
        if question.compared is not None:
            scored = replace(scored, leaves=in_turn(scored.leaves))
        overview = wants_overview(question, scored) and (not question.extractive_only or self._disable_adapter())
        selector = EvidenceSelector(
            documents,
            scored,
            question.budget,
            allowed=question.allowed,
            by_words=question.policy in BY_WORDS,
            front=question.wording.front_matter,
            beginnings=overview,
            lists=asks_for_a_list_of_contents(question.text) or question.wording.whole,
        )
        evidence = selector.best()
        search_s = perf_counter() - started
        tree = TreeReading.none(question.policy)
        if trees is not None:
            tree = self._trees.read(documents, trees, scored, question.allowed)
        return Retrieved(query, route(question, evidence, overview=overview), selector, evidence, tree, search_s)

    def _score_documents(self, query: str) -> Scored:
        policy = self.question.policy
        scored = self._trees.score(query, self._documents, policy, self._meaning)
        missing = f"{policy}, without meaning (sharedllm models pull {ENCODER.name})"
        plain = missing if policy == "hybrid" and self._meaning is None else policy
        self._reporter.detail("the search", f"{policy}, with meaning" if scored.by_meaning else plain)
        return scored

    def _refuse_unfit(self, evidence: Evidence) -> None:
        """UsageError where the budget is too small for any passage and no tree is read: no answer from memory."""
        if self.question.budget and evidence.unfit:
            message = f"no passage fits --evidence-tokens {self.question.budget}"
            if not self.question.reads_tree:
                raise UsageError(message, hint="allow more")
            self._reporter.warn(f"{message}: none is read")

    def _refuse_empty(self, prompt: Prompt, evidence: Evidence) -> None:
        """UsageError where the window has no room for any passage and no tree is read: no answer from memory."""
        if evidence.passages and not prompt.passages and not self.question.reads_tree:
            window, answer = self._shared.base.window, self.question.answer_tokens
            raise UsageError(
                f"the model's window of {window} tokens has no room for any passage beside the question and an"
                f" answer of {answer}",
                hint="lower --max-new-tokens, or shorten the question or the system prompt",
            )

    def _disable_adapter(self) -> bool:
        disabled = self.reader.disable_adapter()
        if not disabled:
            self._reporter.note("not enough memory to disable the adapter for an overview; asking with it")
        return disabled

    # -- read and decode --------------------------------------------------------------------------------------------

    def prompt(self, retrieved: Retrieved) -> Prompt:
        """The prompt with the evidence."""
        prompt = self.reader.prompt(retrieved.evidence.passages)
        self._reporter.detail("the prompt", prompt.text)
        for remark in prompt.left_out():
            self._reporter.warn(remark)
        return prompt

    def read_prompt(
        self, prompt: Prompt, tree: TreeContext | None = None, prefix: SharedPrefix | None = None
    ) -> Reading:
        """Read a prompt, and weigh the refusal where there is a threshold for it."""
        return self._weighed(self.reader.prefill(prompt, tree, prefix))

    def read_passages(self, prompt: Prompt, retrieved: Retrieved) -> Reading:
        """Read a prompt with what was retrieved: its passages from stored keys and values, where there are any."""
        fine, tree = self._fine, retrieved.tree.context
        if fine is None or tree is not None or fine.why_not is not None:
            return self.read_prompt(prompt, tree)
        prefilled = self.reader.prefill_known(
            prompt, fine.reader, lambda: fine.known(prompt, retrieved.evidence, self._documents)
        )
        self._known_tokens = prefilled.known_tokens
        read = f"{prefilled.known_tokens:,} of {len(prompt.token_ids):,} tokens of the prompt from the index"
        self._reporter.detail("the fine grain", read)
        if not prefilled.known_tokens and not self.reader.adapter_disabled:
            self._reporter.note("no passage is stored to be read from: run `sharedllm index --grains fine` first")
        return self._weighed(prefilled)

    def _weighed(self, prefilled: Prefilled) -> Reading:
        weighed = self.question.refuse_from is not None and not self.reader.adapter_disabled
        return Reading(prefilled, self.reader.refusal(prefilled) if weighed else None)

    def decode(self, reading: Reading) -> Pieces:
        """One pair a token: the text that is final with it, and at the last one why it is the last."""
        if reading.refused:
            yield NOT_IN_DOCUMENT, "stop"
            return
        suppressed = reading.refusal.suppressed if reading.refusal else None
        prefilled = reading.prefilled
        verdict = self.weighs_verdict(reading)
        if verdict:
            prefilled = self.reader.without_prior(prefilled)
        compared = self.reader.beams(prefilled, suppressed)
        self._compared = compared is not None
        tokens = self.reader.stream(prefilled, suppressed) if compared is None else compared
        pieces = self.reader.text(prefilled, tokens)
        if verdict:
            pieces = self.reader.with_verdict_by_reason(pieces)
        yield from self._checked_overview(pieces, reading.prompt) if self.reader.adapter_disabled else pieces

    def weighs_verdict(self, reading: Reading) -> bool:
        """Whether yes and no are weighed by what was read: by all of it before the answer, by the reason after it."""
        return self.question.asks_for_verdict and bool(reading.prompt.passages)

    def _checked_overview(self, pieces: Iterable[tuple[str, Finish | None]], prompt: Prompt) -> Pieces:
        """The first sentences of an overview, all at once: a refusal where it names what the passages do not hold."""
        written = list(first_sentences(pieces, OVERVIEW_SENTENCES))
        text = "".join(piece for piece, _ in written)
        if unsupported_words(text, "\n".join(prompt.passage_texts), question=self.question.text):
            self._reporter.warn("the overview names what the opening pages do not hold, and is left out")
            yield NOT_IN_DOCUMENT, "stop"
            return
        self._reporter.warn("overview written from the opening pages; it may be wrong")
        yield from written

    # -- check ------------------------------------------------------------------------------------------------------

    def extract(self, retrieved: Retrieved) -> Extract:
        """The quoted answer of a route that asks no model."""
        return self._extracts(retrieved).answer(retrieved.route, retrieved.query, retrieved.evidence)

    def _extracts(self, retrieved: Retrieved) -> Extracts:
        collection = self._library.collection
        limited = any(ranges is not None for ranges in self.question.allowed)
        everywhere = None if collection is None or limited else collection.holding
        return Extracts(self.question, self._documents, retrieved.selector, self._not_found, everywhere)

    def _not_found(self, evidence: Evidence) -> str:
        """The answer where nothing was found: that the document does not say only where that is known."""
        matches = evidence.scored.lexical
        if (matches.terms and not matches.matched) or self._is_whole(evidence):
            return NOT_IN_DOCUMENT
        return not_found(tokens_read(evidence), self._library.tokens)

    def _is_whole(self, evidence: Evidence) -> bool:
        """Whether the evidence is all of the documents: with --pages it may be all that was allowed and no more."""
        whole = evidence.whole and not self._library.beyond.documents
        return whole and all(ranges is None for ranges in self.question.allowed)

    def _check(self, text: str, evidence: Evidence, reading: Reading, finish: Finish) -> AnswerCheck:
        """Whether the question counts as answered; words are held against the passages where no tree was read."""
        matches = evidence.scored.lexical
        # The query may lean on the question before, whose words are not this one's.
        asked = [word for word in matches.terms if word in self.question.text]
        return assess(
            asked,
            evidence.matched,
            text,
            question=self.question.text,
            other_forms=matches.other_forms,
            evidence_text=self._read_text(reading),
            finish=finish,
            read="the document, which it has read whole" if self._is_whole(evidence) else "the passages",
        )

    def _read_text(self, reading: Reading) -> str:
        """The words that the model has read: none are known where it read a tree, too."""
        return "" if reading.prefilled.tree is not None else "\n".join(reading.prompt.passage_texts)

    def _tally(self) -> Tally | None:
        """The count or list that the question asks for; None for any other, and where only a part may be read."""
        question = self.question
        if question.reads_tree or any(ranges is not None for ranges in question.allowed):
            return None
        if not may_ask_for_a_tally(question.text):
            return None
        from sharedllm_cli.answering.tally_wording import list_asked, tally_asked

        several = self._library.several
        asked = tally_asked(question.text) or (list_asked(question.wording, question.text) if several else None)
        if asked is None or (not several and question.place is not None):
            return None
        from sharedllm_cli.answering.tallies import Tallies

        return Tallies(self._library).answer(asked)

    def _tally_answer(self, tally: Tally, timing: Timing) -> Answer:
        reason = None if tally.found else "nothing was found in all of the documents"
        check = AnswerCheck(tally.found, reason, tuple(tally.remarks))
        tree, documents = TreeReading.none(self.question.policy), tally.documents
        return self._answer(
            *(Route.TALLY, tree, None, tally.text, tally.sources, check, timing),
            matches=tally.count,
            documents=documents,
        )

    def _answer(
        self,
        route: Route,
        tree: TreeReading,
        evidence: Evidence | None,
        text: str,
        sources: list[Source],
        check: AnswerCheck,
        timing: Timing,
        *,
        matches: int | None = None,
        sentences: list[AnswerSentence] | None = None,
        documents: Sequence[OpenDocument] | None = None,
    ) -> Answer:
        """The finished answer. `documents`: those that the sources are from, where not the question's."""
        library = self._library
        remarks = [*self._reporter.warnings, *check.warnings]
        started = perf_counter()
        sources = checked(sources, documents or self._documents, self._store, self.question.settings.password)
        documents = self._documents
        timing.total_s += perf_counter() - started
        coverage = Coverage(
            tokens=library.tokens,
            tokens_read=tree.tokens or (tokens_read(evidence) if evidence else 0),
            chunks=library.chunks,
            pages=library.pages,
            pages_without_text=[page for opened in documents for page in opened.pages_without_text],
        )
        index = IndexUse(
            text_hit=all(opened.text_hit for opened in documents),
            trees_hit=tree.hit,
            path=str(documents[0].index_path),
            bytes=sum(self._store.bytes(opened.content_hash) for opened in documents),
            tokens_known=self._known_tokens,
        )
        return Answer(
            question=self.question.text,
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
            route=route.value,
            matches=matches,
            sentences=sentences or [],
            warnings=list(dict.fromkeys([*library.warnings, *self.question.page_remarks, *remarks])),
            not_read=list(library.not_read),
            prompt_tokens=self._prompt_tokens,
            stretches=[*tree.stretches, *self._stretches(evidence)],
        )

    def _stretches(self, evidence: Evidence | None) -> Iterator[Stretch]:
        """The passages that were read word for word."""
        for passage in evidence.held if evidence else ():
            name = self._documents[passage.document].name
            yield Stretch(name, int(passage.first_token), int(passage.end_token))
