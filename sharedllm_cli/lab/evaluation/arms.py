"""The arms: ways to read a document for a question. They differ in what they read and in nothing else.

Base model, prompt, decoding and adapter weights are the same in all of them, and all go through `answering/`, as `ask`
does; an arm says which passages are in the prompt and which tree is read beside it. Knows no data file and no metric.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter
from types import MappingProxyType
from typing import Any

from sharedllm_cli.answering.pipeline import Pipeline, Reading, Retrieved
from sharedllm_cli.answering.question import Question
from sharedllm_cli.answering.reader import SharedPrefix
from sharedllm_cli.answering.routing import Route
from sharedllm_cli.answering.wording import NO_WORDING
from sharedllm_cli.config import Settings
from sharedllm_cli.errors import UsageError
from sharedllm_cli.generation.decoding import SuppressedSequence
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT, PassageText, Prompt
from sharedllm_cli.generation.refusal import says_not_found
from sharedllm_cli.index.nodes import StoredNodes
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.evaluation.scoring import DocumentScorer
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.known_text import KnownTextReader
from sharedllm_cli.model.shared import SharedModel
from sharedllm_cli.progress import RememberingReporter, Reporter
from sharedllm_cli.reading.fine import FineGrain
from sharedllm_cli.reading.library import Library, OpenDocument
from sharedllm_cli.reading.scoring import Scored
from sharedllm_cli.reading.sources import characters
from sharedllm_cli.reading.trees import OpenTrees, Trees

_STEP = 32
"""Tokens fewer at each attempt where beginning and end don't fit: cut words may take more tokens than they did."""
_GRAINS = 32
"""Beginning and end of a document take a multiple of this fraction of the window: for nearly all questions the same
tokens, which are then read once for all of them (`answering/reader.py: SharedPrefix`)."""


@dataclass(frozen=True)
class Read:
    """What an arm gives the model: the prompt and the tree beside it, on one question's `pipeline`.

    `retrieved`: what the search found, None for an arm that does not search. `plain`: the model answers whatever the
    route. `shared`: other questions' prompts begin like this one. `stored`: passages are read from the fine grain.
    """

    pipeline: Pipeline
    prompt: Prompt
    tree: TreeContext | None = None
    tree_keys: int = 0
    retrieved: Retrieved | None = None
    plain: bool = False
    shared: bool = False
    stored: bool = False


@dataclass(frozen=True)
class Answered:
    """An answer and its measurements.

    `nll` is the sum over the gold answer's tokens of their negative log-likelihood in nats, each given the prompt and
    the gold tokens before it. `refusal_nll` is that of the refusal with its end. `otherwise` is the model's answer
    given that it is not the refusal (which `--refuse-from` would give, whatever the route), and `otherwise_nll` the
    cost of its tokens. `first_token_s`: seconds from the prompt to the first token, or to the quoted answer. `route`:
    how it was answered, None for an arm that does not search.
    """

    answer: str
    nll: float
    refusal_nll: float
    otherwise: str
    otherwise_nll: float
    first_token_s: float
    prompt_tokens: int
    evidence_tokens: int
    tree_keys: int
    route: str | None

    def facts(self) -> dict[str, Any]:
        """What a line of predictions holds of it."""
        facts: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return facts if self.route else {name: value for name, value in facts.items() if name != "route"}


class DocumentReader:
    """One document and all that the arms take from it. Trees are built into the store when they are first needed."""

    def __init__(
        self, opened: OpenDocument, shared: SharedModel, settings: Settings, store: IndexStore, reporter: Reporter
    ) -> None:
        self.opened = opened
        self.settings = replace(settings, temperature=0.0, cuda_graphs=False)  # greedy, whatever the user's own are
        self._shared = shared
        self._store = store
        self._reporter = RememberingReporter(reporter)
        self._trees = Trees(store, shared, self.settings, reporter)
        self._prefix = SharedPrefix()
        self.scored = DocumentScorer(opened, shared)

    def pipeline(
        self,
        text: str,
        answer_tokens: int,
        *,
        policy: str | None = None,
        tree: bool | None = None,
        plain: bool = False,
        fine: FineGrain | None = None,
    ) -> Pipeline:
        """The pipeline of a question, with room in the window for an answer of some tokens.

        `policy` and `tree` stand for those of the settings; `plain`: no rule about wording applies; `fine`: where
        passages are read from.
        """
        asked = Question.of(text, [self.opened], self._shared, self.settings)
        asked = replace(asked, answer_tokens=answer_tokens, policy=policy or asked.policy)
        if tree is not None:
            asked = replace(asked, reads_tree=tree)
        if plain:
            asked = replace(asked, wording=NO_WORDING)
        if asked.reads_tree:
            _ = self.nodes  # found on disk, or built
        library = Library([self.opened])
        scores = self.scored

        def score(query: str) -> Scored:
            return scores(query, asked.policy)

        made = Pipeline(asked, library, self._shared, self._trees, self._store, self._reporter, score=score, fine=fine)
        made.reader.timed = True
        return made

    @property
    def reads_tree(self) -> bool:
        """Whether `ask` would read a tree."""
        return self._shared.reads_tree(self.settings)

    @cached_property
    def nodes(self) -> StoredNodes:
        """The document's trees, found on disk or built."""
        self._store.write_text(self.opened.document)
        return self._trees.find(self.opened) or self._trees.build(self.opened)

    @cached_property
    def fine(self) -> FineGrain:
        """The document's fine grain, found on disk or built."""
        self._store.write_text(self.opened.document)
        grain = FineGrain(self._store, self._shared, self.settings, self._reporter)
        grain.build_missing(self.opened)
        return grain

    def tree(self, scored: Scored) -> tuple[TreeContext | None, int]:
        """The tree as it is read for a question with these scores, and the number of its keys."""
        reading = self._trees.read([self.opened], OpenTrees([self.nodes], True, 0.0), scored, [None])
        return reading.context, reading.told.kept_keys

    @property
    def window(self) -> int:
        """Tokens that the model reads at most."""
        return self._shared.base.window

    def room(self, pipeline: Pipeline) -> int:
        """Tokens of the window that question and answer leave."""
        return self.window - pipeline.question.answer_tokens - len(pipeline.reader.prompt().token_ids)

    def passage(self, first_token: int, end_token: int) -> PassageText:
        """A stretch of the document as it stands in the prompt."""
        start, end = characters(self.opened, first_token, end_token)
        return PassageText(self.opened.name, None, None, self.opened.document.text[start:end])

    def answer(self, read: Read, gold_ids: Sequence[int]) -> Answered:
        """The answer as `ask` gives it, greedily; the gold answer (which may be empty) is scored beside it."""
        pipeline = read.pipeline
        if read.stored and read.retrieved is not None:
            reading = pipeline.read_passages(read.prompt, read.retrieved)
        else:
            reading = pipeline.read_prompt(read.prompt, read.tree, self._prefix if read.shared else None)
        reader, prefilled = pipeline.reader, reading.prefilled
        nll = sum(reader.score(prefilled, gold_ids))
        refusal = reading.refusal or reader.refusal(prefilled)
        otherwise, ids = self._decoded(read, reading, refusal.suppressed)
        if reading.refused:
            answer = NOT_IN_DOCUMENT
        elif reading.refusal is None and (reader.begins_refusal(prefilled) or pipeline.question.beams > 1):
            answer, _ = self._decoded(read, reading, None)
        else:
            answer = otherwise  # token by token both ways agree where the first one is not the refusal's
        route, first_token_s = None, prefilled.seconds
        if read.retrieved is not None and not read.plain:
            route, started = read.retrieved.route, perf_counter()
            if route is Route.OVERVIEW:
                own = Reading(prefilled.copy(), None)
                answer = "".join(piece for piece, _ in pipeline.decode(own)).strip()
            elif not route.asks_model:
                answer = _plain_refusal(pipeline.extract(read.retrieved).text)
                otherwise = answer if route is Route.NO_TERM_MATCHES else otherwise
                first_token_s = perf_counter() - started
        return Answered(
            answer=answer,
            nll=nll,
            refusal_nll=refusal.nll,
            otherwise=otherwise,
            otherwise_nll=sum(reader.score(prefilled, ids)),
            first_token_s=first_token_s,
            prompt_tokens=len(read.prompt.token_ids),
            evidence_tokens=read.prompt.evidence_tokens,
            tree_keys=read.tree_keys,
            route=route.value if route else None,
        )

    def _decoded(self, read: Read, reading: Reading, suppressed: SuppressedSequence | None) -> tuple[str, list[int]]:
        """The text and the tokens of the likeliest answer; the reading's cache stays as it is."""
        reader, prefilled = read.pipeline.reader, reading.prefilled
        verdict = read.pipeline.weighs_verdict(reading)
        if verdict:
            prefilled = reader.without_prior(prefilled)
        tokens = reader.beams(prefilled, suppressed)
        if tokens is None:
            tokens = list(reader.stream(prefilled.copy(), suppressed))
        pieces = reader.text(prefilled, tokens)
        if verdict:
            pieces = reader.with_verdict_by_reason(pieces)
        return "".join(piece for piece, _ in pieces).strip(), [one.token for one in tokens]


def _plain_refusal(answer: str) -> str:
    """A refusal in the words of the data, whose sentence does not count the passages."""
    return NOT_IN_DOCUMENT if says_not_found(answer) else answer


def _closed(reader: DocumentReader, text: str, answer_tokens: int) -> Read:
    pipeline = reader.pipeline(text, answer_tokens, tree=False)
    return Read(pipeline, pipeline.reader.prompt())


def _full(reader: DocumentReader, text: str, answer_tokens: int) -> Read | None:
    pipeline = reader.pipeline(text, answer_tokens, tree=False)
    if reader.opened.tokens > reader.room(pipeline):
        return None
    prompt = pipeline.reader.prompt([reader.passage(0, reader.opened.tokens)])
    return None if prompt.dropped_passages else Read(pipeline, prompt, shared=True)


def _truncate(reader: DocumentReader, text: str, answer_tokens: int) -> Read:
    if whole := _full(reader, text, answer_tokens):
        return whole
    pipeline = reader.pipeline(text, answer_tokens, tree=False)
    tokens, room = reader.opened.tokens, reader.room(pipeline)
    room -= room % (reader.window // _GRAINS)
    for budget in range(min(tokens - 2, room), 1, -_STEP):
        half = budget // 2
        prompt = pipeline.reader.prompt([reader.passage(0, budget - half), reader.passage(tokens - half, tokens)])
        if not prompt.dropped_passages:
            return Read(pipeline, prompt, shared=True)
    return _closed(reader, text, answer_tokens)


def _searched(pipeline: Pipeline, *, plain: bool = False) -> Read:
    found = pipeline.retrieve()
    prompt = pipeline.prompt(found)
    return Read(pipeline, prompt, found.tree.context, found.tree.told.kept_keys, found, plain=plain)


def _bm25(reader: DocumentReader, text: str, answer_tokens: int) -> Read:
    return _searched(reader.pipeline(text, answer_tokens, policy="bm25", tree=False))


def _tree(reader: DocumentReader, text: str, answer_tokens: int) -> Read:
    pipeline = reader.pipeline(text, answer_tokens)
    return Read(pipeline, pipeline.reader.prompt(), *reader.tree(reader.scored(text, reader.settings.policy)))


def _sharedllm(reader: DocumentReader, text: str, answer_tokens: int) -> Read:
    return _searched(reader.pipeline(text, answer_tokens))


def _plain(reader: DocumentReader, text: str, answer_tokens: int) -> Read:
    return _searched(reader.pipeline(text, answer_tokens, plain=True), plain=True)


def _fine(reader: DocumentReader, text: str, answer_tokens: int) -> Read:
    pipeline = reader.pipeline(text, answer_tokens, tree=False, plain=True, fine=reader.fine)
    return replace(_searched(pipeline, plain=True), stored=True)


@dataclass(frozen=True)
class Arm:
    """A way to read: `read(reader, question, answer_tokens)` is what the model is given, None where the document does
    not fit the window.

    `needs_tree`: without an open gate it would be `closed` again. `wrong` reads the next document's tree, or its
    passages. `stored`: it reads the fine grain.
    """

    name: str
    read: Callable[[DocumentReader, str, int], Read | None]
    needs_tree: bool = False
    wrong: bool = False
    stored: bool = False


ARMS: Mapping[str, Arm] = MappingProxyType(
    {
        arm.name: arm
        for arm in (
            Arm("closed", _closed),
            Arm("truncate", _truncate),
            Arm("bm25", _bm25),
            Arm("tree", _tree, needs_tree=True),
            Arm("tree-wrong", _tree, needs_tree=True, wrong=True),
            Arm("plain", _plain),
            Arm("fine", _fine, stored=True),
            Arm("fine-wrong", _fine, wrong=True, stored=True),
            Arm("sharedllm", _sharedllm),
            Arm("full", _full),
        )
    }
)
"""Every arm by its name on the command line."""


def measurable(
    names: Sequence[str], shared: SharedModel, settings: Settings, *, documents: int, reporter: Reporter
) -> tuple[list[Arm], dict[str, str]]:
    """The arms that can be measured, and the others with the reason, which is told as a warning.

    `documents` is the number of those that a wrong tree can be taken from, the right one included. Raises UsageError
    where no arm is left.
    """
    left_out = _left_out([ARMS[name] for name in names], shared, settings, documents)
    for name, reason in left_out.items():
        reporter.warn(f"the arm {name} is left out: {reason}")
    arms = [ARMS[name] for name in names if name not in left_out]
    if not arms:
        raise UsageError("no arm is left to be measured", hint=f"choose others of {', '.join(ARMS)}")
    return arms, left_out


def _left_out(arms: Sequence[Arm], shared: SharedModel, settings: Settings, documents: int) -> dict[str, str]:
    reasons = {}
    reads_tree = shared.reads_tree(settings)
    for arm in arms:
        passages_alone = arm.stored or arm.name == "bm25"
        blind = passages_alone or (arm.name in ("sharedllm", "plain") and not reads_tree)
        if arm.stored and not KnownTextReader.fits(shared.upper):
            reasons[arm.name] = "the model has a sliding window and reads every passage as text"
        elif arm.needs_tree and not shared.upper.reads_tree:
            reasons[arm.name] = "the adapter reads no tree, so it would be closed again"
        elif arm.wrong and documents < 2:
            reasons[arm.name] = "there is no other document whose tree could be read"
        elif blind and not shared.passage_budget(settings):
            reasons[arm.name] = "with --evidence-tokens 0 it would be closed again"
    return reasons
