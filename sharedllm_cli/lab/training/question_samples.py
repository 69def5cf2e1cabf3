"""Question-answering samples, made from documents as `ask` would read them: each number and seed gives one sample.

Sample i depends on the seed and i alone, so that a resumed run and several processes draw exactly the same ones. Mostly
the evidence is what the search finds (`corpus.py`); where it misses the answer, the answer's leaves are put in.
About a sixth of the questions can't be answered from their passages and are to be met with NOT_IN_DOCUMENT.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from sharedllm_cli.errors import DocumentError
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT, PassageText
from sharedllm_cli.lab.training.corpus import Documents, LeafScores, LocatedDocument, LocatedQuestion, by_words
from sharedllm_cli.lab.training.sample import Sample, question_answers
from sharedllm_cli.lab.training.sampled_trees import TreePlan, chunks_of, plan
from sharedllm_cli.reading.sources import passage_text
from sharedllm_cli.retrieval.passages import Passage, best_last, select
from sharedllm_cli.retrieval.terms import STOP_WORDS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ATTEMPTS = 50
_TRIED = 12
"""So many questions that the same passages answer are searched for, to find some that share their order."""
FEW_QUESTIONS = 20
"""Documents with fewer are asked one question at a time: unanswerable ones are rarer there, so that a kind of question
that only such documents have is not refused more often than others."""
_NAME = re.compile(r"(?<=[a-z,'’”\"] )[A-Z][\w'’-]+(?: [A-Z][\w'’-]+)*")
"""A name inside a sentence: words with capitals that don't begin it."""
_NUMBER = re.compile(r"(?<![\w.,])(?:\d{1,3}(?:,\d{3})+|\d+)(?!\w)")


@dataclass(frozen=True)
class Mixture:
    """How samples are made. Shares are of samples, unless said otherwise."""

    least_evidence: int = 256
    most_evidence: int = 1024
    most_questions: int = 6
    """Questions that share their passages, at most."""
    hard_unanswerable: float = 0.3
    """The first question's answer is taken out of its own best passages."""
    foreign_question: float = 0.3
    """A question of another document of the same file stands among them."""
    near_miss: float = 0.15
    """A question of the document stands among them with a name or a number that the passages don't hold."""
    left_missed: float = 0.3
    """Where the search misses the answer it is not put in: the question is unanswerable as it would be in use."""
    second_document: float = 0.2
    """The passages come from two documents, which their marks name."""
    named_title: float = 0.7
    """Of these, how often the question names its document's title."""
    paged: float = 0.5
    """Of the documents, how many have pages, which stand in their passages' marks."""
    tree_only: float = 0.0
    """Samples that read a tree and no passage: one question, as with `--evidence-tokens 0`."""
    least_tree: int = 1024
    most_tree: int = 8192
    """Documents of the same file join until a tree holds so many tokens (drawn evenly by magnitude)."""
    missing: float = 0.1
    """Of the samples with a tree alone, how many ask what it does not hold: half of them of a document that is not
    there, half of one whose chunks with the answer are taken out."""
    policy_noise: float = 0.25
    """Noise on the scores that search a tree, in their standard deviations: searches in use miss, too."""
    text: float = 0.0
    """Samples without a question, of the objective `lm`, among those of `qa`."""
    text_tokens: int = 512
    """Plain tokens after the tree in a sample of `lm`."""

    @property
    def reads_trees(self) -> bool:
        """Whether any sample reads a tree."""
        return self.tree_only + self.text > 0


@dataclass(frozen=True)
class Asked:
    """A question as it is asked over some passages, its accepted answers, and whether the passages answer it."""

    question: str
    answer: str
    answers: tuple[str, ...]
    answerable: bool


@dataclass(frozen=True)
class Case:
    """Passages as they stand in the prompt, and what is asked of them."""

    passages: list[PassageText]
    asked: list[Asked]
    tree: TreePlan | None = None


class QuestionSamples:
    """Samples of the objective `qa`: `samples[i]`, for any i, is made from the seed and i."""

    def __init__(
        self,
        documents: Documents,
        tokenizer: PreTrainedTokenizerBase,
        *,
        seed: int,
        window: int,
        mixture: Mixture | None = None,
        scores: LeafScores = by_words,
        kinds: bool = False,
    ) -> None:
        """`scores` choose passages and nodes, as they would for `ask`; `kinds` is that of the adapter that learns."""
        self._scores = scores
        self._kinds = kinds
        self._documents = documents
        self._tokenizer = tokenizer
        self._seed = seed
        self._window = window
        self._mixture = mixture or Mixture()

    def __getitem__(self, number: int) -> Sample:
        for case in self._cases(number):
            asked = [(one.question, one.answer) for one in case.asked]
            sample = question_answers(self._tokenizer, case.passages, asked, self._window, kinds=self._kinds)
            if sample is not None:
                return replace(sample, tree=case.tree)
        raise DocumentError("no sample fits the model's window")

    def case(self, number: int) -> Case:
        """What sample `number` asks, before it is put into tokens."""
        return next(self._cases(number))

    def _cases(self, number: int) -> Iterator[Case]:
        """One case after another for a sample, in case one can't be used; DocumentError where there is none."""
        found = False
        for attempt in range(_ATTEMPTS):
            case = self._case(np.random.default_rng([self._seed, number, attempt]))
            if case is not None:
                found = True
                yield case
        if not found:
            raise DocumentError("no sample can be made of the data: too few answers are in their documents")

    def _case(self, random: np.random.Generator) -> Case | None:
        mixture = self._mixture
        file, document = self._documents.draw(random)
        if not document.questions:
            return None
        first = document.questions[int(random.integers(len(document.questions)))]
        if mixture.tree_only and random.random() < mixture.tree_only:
            return self._tree_case(file, document, first, random)
        return self._passages_case(file, document, first, random)

    def _tree_case(
        self, file: int, document: LocatedDocument, first: LocatedQuestion, random: np.random.Generator
    ) -> Case | None:
        """A question of a tree alone: of one of its documents, or of one that is not among them."""
        if first.needs_all and document.leaves.leaf_count > 16:
            return None
        own = [document]
        kind = random.random() / max(self._mixture.missing, 1e-9)
        missing, taken_out = kind < 1.0, kind < 0.5
        if taken_out and first.needs_all:
            return None
        if missing and not taken_out:
            _, stranger = self._documents.draw(random, file)
            if stranger is document or not stranger.title:
                return None
            own = [stranger]
        question = first.question
        if document.title and random.random() < self._mixture.named_title:
            question = _naming(question, document.title, random)
        gone = first.holding if taken_out else frozenset[int]()
        tree = self._tree(file, own, question, random, without=gone)
        if tree is None or (missing and not taken_out and document in tree.documents):
            return None
        asked = Asked(question, NOT_IN_DOCUMENT if missing else first.answer, first.answers, not missing)
        return Case([], [asked], tree)

    def _tree(
        self,
        file: int,
        documents: list[LocatedDocument],
        question: str,
        random: np.random.Generator,
        *,
        without: frozenset[int] = frozenset(),
    ) -> TreePlan | None:
        """The tree of some documents and of others of their file, searched for a question.

        The chunks of the first document that hold any of the leaves `without` are not there; None where that leaves
        less than half of its tree.
        """
        mixture = self._mixture
        wanted = np.exp(random.uniform(np.log(mixture.least_tree), np.log(mixture.most_tree)))
        chosen = list(documents)
        for _ in range(_ATTEMPTS):
            if sum(one.leaves.token_count for one in chosen) >= wanted:
                break
            _, other = self._documents.draw(random, file)
            if other not in chosen:
                chosen.append(other)
        chosen = [chosen[int(place)] for place in random.permutation(len(chosen))]
        values = self._scores(question, chosen)
        spread = float(np.concatenate(values).std()) * mixture.policy_noise
        noisy = [one + random.normal(0.0, spread + 1e-6, size=one.shape) for one in values]
        gone = chunks_of(chosen, documents[0], without)
        if 2 * len(gone) > len(documents[0].leaves.trees):
            return None
        return plan(chosen, noisy, without=gone)

    def _passages_case(
        self, file: int, document: LocatedDocument, first: LocatedQuestion, random: np.random.Generator
    ) -> Case | None:
        """Passages and what is asked of them."""
        mixture = self._mixture
        other = None
        if document.title and random.random() < mixture.second_document:
            _, other = self._documents.draw(random, file)
            other = None if other is document or not other.title else other
        budget = int(random.integers(mixture.least_evidence, mixture.most_evidence + 1))
        rarely = 1.5 if len(document.questions) < FEW_QUESTIONS else 1.0
        hide = not first.needs_all and random.random() < mixture.hard_unanswerable**rarely
        documents = [document] if other is None or first.needs_all else [document, other]
        drawing = _Drawing(documents, first, budget, random, mixture, self._scores)
        if not drawing.choose(hide):
            return None
        asked = drawing.asked()
        rarely = 2.0 if len(asked) == 1 else 1.0
        if random.random() < mixture.foreign_question**rarely:
            _, stranger = self._documents.draw(random, file)
            asked += drawing.foreign(stranger)
        if random.random() < mixture.near_miss**rarely:
            asked += drawing.near_miss()
        return Case(drawing.texts(), asked)


class _Drawing:
    """The making of one case: which passages stand, and who of the document's questions is answered by them."""

    def __init__(
        self,
        documents: list[LocatedDocument],
        first: LocatedQuestion,
        budget: int,
        random: np.random.Generator,
        mixture: Mixture,
        scores: LeafScores,
    ) -> None:
        self.document = documents[0]
        self.first = first
        self._documents = documents
        self._budget = budget
        self._random = random
        self._mixture = mixture
        self._score = scores
        self._scores = self._search(first.question)
        self._passages: list[Passage] = []
        self._everything = False
        self._whole: frozenset[int] = frozenset()
        self._touched: frozenset[int] = frozenset()

    def choose(self, hide: bool) -> bool:
        """Choose the passages; False where nothing sensible can be made of this question."""
        first = self.first
        if hide:
            near = frozenset(leaf + step for leaf in first.holding for step in (-1, 0, 1))
            self._select(self._scores[0], without=near)
            return bool(self._touched) and first.hidden_from(self._touched)
        self._select(self._scores[0])
        if self._answers(first):
            return True
        if first.hidden_from(self._touched) and self._random.random() < self._mixture.left_missed:
            return bool(self._touched)
        if not first.needs_all:
            raised = self._scores[0].copy()
            raised[list(first.gold)] += 1.0 + max(float(values.max(initial=0.0)) for values in self._scores)
            self._select(raised)
        return self._answers(first)

    def _select(self, scores: np.ndarray, without: frozenset[int] = frozenset()) -> None:
        allowed = [self.document.ranges_without(without) if without else None, *[None] * (len(self._documents) - 1)]
        texts = [one.tokens for one in self._documents]
        found = select([scores, *self._scores[1:]], texts, self._budget, allowed=allowed)
        ranges = [given or [(0, len(text))] for given, text in zip(allowed, texts, strict=True)]
        readable = sum(end - first for own in ranges for first, end in own)
        self._everything = sum(one.length for one in found) >= readable
        if not self._everything:
            # By the search's own scores: an answer that was put in has not been found.
            found = best_last(found, self._scores, texts)
        self._passages = found
        spans = [(one.first_token, one.end_token) for one in found if one.document == 0]
        self._whole, self._touched = self.document.held(spans)

    def _answers(self, one: LocatedQuestion) -> bool:
        return one.answered_by(self._whole, self.document.leaves.leaf_count)

    def asked(self) -> list[Asked]:
        """The first question, then others that the same passages answer."""
        there = [one for one in self.document.questions if one is not self.first and self._answers(one)]
        order = self._random.permutation(len(there))[:_TRIED]
        alike = (one for one in (there[int(place)] for place in order) if self._finds_alike(one))
        chosen = [self.first, *islice(alike, self._mixture.most_questions - 1)]
        return [self._as_asked(one, self._answers(one)) for one in chosen]

    def _finds_alike(self, one: LocatedQuestion) -> bool:
        """Whether another question would be read over these passages with the same one last, as its best."""
        if self._everything or len(self._passages) == 1:
            return True
        texts = [document.tokens for document in self._documents]
        return best_last(self._passages, self._search(one.question), texts)[-1] == self._passages[-1]

    def _search(self, question: str) -> list[np.ndarray]:
        return self._score(question, self._documents)

    def foreign(self, stranger: LocatedDocument) -> list[Asked]:
        """A question of another document whose answer's words stand in none of the passages."""
        if stranger in self._documents or not stranger.questions:
            return []
        one = stranger.questions[int(self._random.integers(len(stranger.questions)))]
        shown = " ".join(" ".join(passage.text for passage in self.texts()).lower().split())
        if one.needs_all or one.answer.lower().rstrip(".") in shown:
            return []
        return [Asked(one.question, NOT_IN_DOCUMENT, one.answers, False)]

    def near_miss(self) -> list[Asked]:
        """A question of the document, asked about a name or a number that stands in none of the passages."""
        questions = self.document.questions
        one = questions[int(self._random.integers(len(questions)))]
        others = [text for other in questions if other is not one for text in (other.question, f"a {other.answer}")]
        shown = " ".join(passage.text for passage in self.texts())
        found = near_miss(one.question, others, shown, self._random)
        return [] if found is None else [Asked(found.question, NOT_IN_DOCUMENT, one.answers, False)]

    def texts(self) -> list[PassageText]:
        """The passages as the prompt takes them: named, with their pages and scores."""
        return [
            piece
            for passage in self._passages
            for piece in passage_text(self._documents[passage.document].opened, passage)
        ]

    def _as_asked(self, one: LocatedQuestion, answerable: bool) -> Asked:
        question = one.question
        if len(self._documents) > 1 and self._random.random() < self._mixture.named_title:
            question = _naming(question, self.document.title, self._random)
        return Asked(question, one.answer if answerable else NOT_IN_DOCUMENT, one.answers, answerable)


def _naming(question: str, title: str, random: np.random.Generator) -> str:
    """The question with its document's title in it, as a user with several documents would ask."""
    forms = (f'In "{title}": {question}', f"{title}: {question}", f"{question.rstrip('? ')} (in {title})?")
    return forms[int(random.integers(len(forms)))]


@dataclass(frozen=True)
class NearMiss:
    """A question with a name or a number in place of its own, and the words put in."""

    question: str
    put_in: str


def near_miss(question: str, others: Sequence[str], shown: str, random: np.random.Generator) -> NearMiss | None:
    """The question about something that `shown` does not hold: a name from `others`, or another number.

    `others` are questions and answers about other things. None where the question has neither name nor number, or none
    of the names fits.
    """
    places = [*_NAME.finditer(question), *_NUMBER.finditer(question)]
    if not places:
        return None
    place = places[int(random.integers(len(places)))]
    own, there = place.group(), _plain(shown)
    if own[0].isdigit():
        found = _other_number(own, random)
        fitting = [found] if found is not None else []
    else:
        known = sorted({name for text in others for name in _NAME.findall(text)})
        words = len(own.split())
        fitting = [name for name in known if len(name.split()) == words and name not in question and _is_name(name)]
    fitting = [name for name in fitting if not _holds(there, name)]
    if not fitting:
        return None
    chosen = fitting[int(random.integers(len(fitting)))]
    return NearMiss(question[: place.start()] + chosen + question[place.end() :], chosen)


def _other_number(own: str, random: np.random.Generator) -> str | None:
    """A number of the same size and form; None of one that can't be changed so that it is still sensible."""
    value = int(own.replace(",", ""))
    spread = max(3, value // 50)
    changed = value + int(random.integers(1, spread + 1)) * int(random.choice((-1, 1)))
    if changed <= 0 or changed == value:
        return None
    return f"{changed:,}" if "," in own else str(changed)


def _is_name(words: str) -> bool:
    return not STOP_WORDS["english"] & {word.lower() for word in words.split()[:1]}


def _holds(text: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(_plain(name))}(?!\w)", text) is not None


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
