"""The arms: ways to read a document for a question. They differ in what they read and in nothing else.

Base model, prompt, decoding and adapter weights are the same in all of them; an arm says which passages stand in the
running text and which tree is read beside it. Knows no data file and no metric.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from sharedllm_cli.config import Settings
from sharedllm_cli.errors import UsageError
from sharedllm_cli.generation import prompt as prompts
from sharedllm_cli.generation.prompt import PassageText, Prompt
from sharedllm_cli.index.nodes import StoredNodes
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.evaluation.scoring import DocumentScorer
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.shared import SharedModel
from sharedllm_cli.progress import Reporter
from sharedllm_cli.reading.choosing import Choosing, Chosen
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.scoring import Scored
from sharedllm_cli.reading.sources import characters
from sharedllm_cli.reading.trees import OpenTrees, Trees

_STEP = 32
"""So many tokens less are tried where beginning and end don't fit: cut words may take more tokens than they did."""
_GRAINS = 32
"""Beginning and end of a document take a whole number of so many parts of the window: for nearly all questions, longer
and shorter ones, the same words, which are then read once for all of them (`answering.Answerer`)."""


@dataclass(frozen=True)
class Question:
    """A question, and the tokens kept for its answer: --max-new-tokens, or the gold answer's where it is longer."""

    text: str
    answer_tokens: int


@dataclass(frozen=True)
class Read:
    """What the model is given: the running text and the tree beside it.

    `no_term_matches`: none of the question's words occurs in the document, so that `ask` answers without the
    model. `shared`: other questions' running texts begin like this one.
    """

    prompt: Prompt
    tree: TreeContext | None = None
    tree_keys: int = 0
    no_term_matches: bool = False
    shared: bool = False


class DocumentReader:
    """One document and all that the arms take from it. Trees are built into the store when they are first needed."""

    def __init__(
        self, opened: OpenDocument, shared: SharedModel, settings: Settings, store: IndexStore, reporter: Reporter
    ) -> None:
        self.opened = opened
        self.settings = settings
        self._shared = shared
        self._store = store
        self._trees = Trees(store, shared, settings, reporter)
        self.scored = DocumentScorer(opened, shared)

    @property
    def reads_tree(self) -> bool:
        """Whether `ask` would read a tree."""
        return self._shared.reads_tree(self.settings)

    @property
    def passage_budget(self) -> int:
        """Tokens of verbatim passages."""
        return self._shared.passage_budget(self.settings)

    @property
    def readings(self) -> int:
        """So many times passages are read at most, where the ones before are met with a refusal."""
        return 1 if self._shared.refuse_from(self.settings) is None else self.settings.readings

    @cached_property
    def nodes(self) -> StoredNodes:
        """The document's trees, found on disk or built."""
        self._store.write_text(self.opened.document)
        return self._trees.find(self.opened) or self._trees.build(self.opened)

    def tree(self, scored: Scored) -> tuple[TreeContext | None, int]:
        """The tree as it is read for a question with these scores, and the number of its keys."""
        reading = self._trees.read([self.opened], OpenTrees([self.nodes], True, 0.0), scored, [None])
        return reading.context, reading.told.kept_keys

    def prompt(self, question: Question, passages: Sequence[PassageText] = ()) -> Prompt:
        """The running text, as `ask` builds it."""
        base = self._shared.base
        return prompts.build(
            base.tokenizer,
            window=self.window,
            max_new_tokens=question.answer_tokens,
            question=question.text,
            passages=passages,
            system=self.settings.system,
        )

    @property
    def window(self) -> int:
        """Tokens that the model reads at most."""
        return self._shared.base.window

    def room(self, question: Question) -> int:
        """Tokens of the window that question and answer leave."""
        return self.window - question.answer_tokens - len(self.prompt(question).token_ids)

    def passage(self, first_token: int, end_token: int) -> PassageText:
        """A stretch of the document as it stands in the running text."""
        start, end = characters(self.opened, first_token, end_token)
        return PassageText(self.opened.name, None, None, self.opened.document.text[start:end])


def _closed(reader: DocumentReader, question: Question) -> Iterator[Read]:
    yield Read(reader.prompt(question))


def _full(reader: DocumentReader, question: Question) -> Iterator[Read]:
    if reader.opened.tokens > reader.room(question):
        return
    prompt = reader.prompt(question, [reader.passage(0, reader.opened.tokens)])
    if not prompt.dropped_passages:
        yield Read(prompt, shared=True)


def _truncate(reader: DocumentReader, question: Question) -> Iterator[Read]:
    if whole := next(_full(reader, question), None):
        yield whole
        return
    tokens, room = reader.opened.tokens, reader.room(question)
    room -= room % (reader.window // _GRAINS)
    for budget in range(min(tokens - 2, room), 1, -_STEP):
        half = budget // 2
        prompt = reader.prompt(question, [reader.passage(0, budget - half), reader.passage(tokens - half, tokens)])
        if not prompt.dropped_passages:
            yield Read(prompt, shared=True)
            return
    yield from _closed(reader, question)


def _passages(reader: DocumentReader, question: Question, scored: Scored, policy: str) -> Iterator[Read]:
    by_words = policy in ("hybrid", "bm25", "right")
    choosing = Choosing([reader.opened], scored, reader.passage_budget, by_words=by_words, question=question.text)
    read: list[Chosen] = []
    chosen: Chosen | None = choosing.first()
    while chosen is not None:
        prompt = reader.prompt(question, chosen.passages)
        yield Read(prompt, no_term_matches=chosen.no_term_matches)
        read.append(chosen.kept(prompt.passages, prompt.evidence_tokens))
        chosen = choosing.following(read) if len(read) < reader.readings else None


def _bm25(reader: DocumentReader, question: Question) -> Iterator[Read]:
    return _passages(reader, question, reader.scored(question.text, "bm25"), "bm25")


def _tree(reader: DocumentReader, question: Question) -> Iterator[Read]:
    scored = reader.scored(question.text, reader.settings.policy)
    yield Read(reader.prompt(question), *reader.tree(scored))


def _sharedllm(reader: DocumentReader, question: Question) -> Iterator[Read]:
    policy = reader.settings.policy
    scored = reader.scored(question.text, policy)
    tree = reader.tree(scored) if reader.reads_tree else None
    for read in _passages(reader, question, scored, policy):
        yield read if tree is None else Read(read.prompt, *tree)


@dataclass(frozen=True)
class Arm:
    """A way to read: `read` gives what the model is given, one reading after the other until one is not met with a
    refusal, and nothing where the document does not fit.

    `needs_tree`: without an open gate it would be `closed` again. `wrong` reads the next document's tree. `reads_on`:
    passages that are met with a refusal are followed by others.
    """

    name: str
    read: Callable[[DocumentReader, Question], Iterator[Read]]
    needs_tree: bool = False
    wrong: bool = False
    reads_on: bool = False


ARMS: Mapping[str, Arm] = MappingProxyType(
    {
        arm.name: arm
        for arm in (
            Arm("closed", _closed),
            Arm("truncate", _truncate),
            Arm("bm25", _bm25, reads_on=True),
            Arm("tree", _tree, needs_tree=True),
            Arm("tree-wrong", _tree, needs_tree=True, wrong=True),
            Arm("sharedllm", _sharedllm, reads_on=True),
            Arm("full", _full),
        )
    }
)
"""Every arm by its name on the command line."""


def check_names(names: Sequence[str]) -> None:
    """Raises UsageError where no arm is named, one twice, or one that there isn't."""
    if not names or len(set(names)) < len(names):
        raise UsageError("--arms names no arm, or one twice")
    for name in names:
        if name not in ARMS:
            raise UsageError(f"unknown arm {name!r}", hint=f"choose among {', '.join(ARMS)}")


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
        blind = arm.name == "bm25" or (arm.name == "sharedllm" and not reads_tree)
        if arm.needs_tree and not shared.upper.reads_tree:
            reasons[arm.name] = "the adapter reads no tree, so it would be closed again"
        elif arm.wrong and documents < 2:
            reasons[arm.name] = "there is no other document whose tree could be read"
        elif blind and not shared.passage_budget(settings):
            reasons[arm.name] = "with --evidence-tokens 0 it would be closed again"
    return reasons
