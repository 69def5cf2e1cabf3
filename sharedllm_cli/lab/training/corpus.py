"""The documents of a training run: which are learned from, where their answers stand, and how well their leaves fit.

Documents are drawn from several data files, cut into leaves as `ask` cuts them, and searched by the policy that `ask`
would search them with: given other passages in use than it learned from, a model does worse.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from sharedllm_cli.answering.kinds import Kind, kind_of
from sharedllm_cli.config import TreeConfig
from sharedllm_cli.documents.pages import Document, Page
from sharedllm_cli.errors import DocumentError
from sharedllm_cli.index.leaves import LeafStates, Leaves, build_leaves
from sharedllm_cli.index.manifest import LeavesKey
from sharedllm_cli.lab.training.records import DataFile, Question, Record, is_plain_text, read_records
from sharedllm_cli.progress import Reporter
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.scoring import leaf_states, score_documents
from sharedllm_cli.reading.sources import token_text
from sharedllm_cli.retrieval import bm25, policies
from sharedllm_cli.retrieval.boundaries import TokenText
from sharedllm_cli.retrieval.terms import words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from sharedllm_cli.model.loading import BaseModel
    from sharedllm_cli.model.lower import LowerModel


PIECE_CHARACTERS = 48_000
"""Longer documents are cut into pieces of about so many characters (some 11,000 tokens): each has trees of its own."""
_KEPT_DOCUMENTS = 2000
"""So many documents are kept cut and searched; others are cut again when they are drawn again."""


@dataclass(frozen=True)
class Split:
    """The documents of one file as they are used: the last ones are held back, those before them validate."""

    training: list[Record]
    validation: list[Record]

    @staticmethod
    def of(records: Sequence[Record], *, hold_back: int, validation: int, path: str, most: int | None = None) -> Split:
        """Split a file's documents; of those to learn from, `most` at most, spread over the file."""
        end = len(records) - hold_back
        middle = end - validation
        if middle < 1:
            raise DocumentError(
                f"{path} has {len(records)} documents, too few to keep {hold_back + validation} of them out"
            )
        return Split(spread(records[:middle], most), list(records[middle:end]))


class Documents:
    """Documents of several files with weights; a document is cut and searched when it is first drawn."""

    def __init__(
        self,
        files: Sequence[tuple[float, Sequence[Record]]],
        tokenizer: PreTrainedTokenizerBase,
        tree: TreeConfig,
        *,
        paged: float = 0.5,
        by_length: bool = False,
    ) -> None:
        """`paged` is the share of documents that have pages; `by_length` draws documents by their characters."""
        self._paged = paged
        self._tokenizer = tokenizer
        self._tree = tree
        self._records = [list(records) for _, records in files]
        weights = np.array([weight for weight, _ in files], dtype=np.float64)
        self._files = np.cumsum(weights / weights.sum())

        # A document is drawn as often as it has questions, up to a limit: one long article must not fill the run.
        def weight(record: Record) -> float:
            return len(record.document) if by_length else min(len(record.questions), 40)

        counts = [np.array([weight(record) for record in own], dtype=np.float64) for own in self._records]
        if not all(count.sum() for count in counts):
            raise DocumentError("a data file holds no question with an answer")
        self._within = [np.cumsum(count / count.sum()) for count in counts]
        self._located: dict[tuple[int, int], LocatedDocument] = {}

    def draw(self, random: np.random.Generator, file: int | None = None) -> tuple[int, LocatedDocument]:
        """A document, and the number of its file."""
        if file is None:
            file = int(np.searchsorted(self._files, random.random(), side="right"))
            file = min(file, len(self._records) - 1)
        place = int(np.searchsorted(self._within[file], random.random(), side="right"))
        place = min(place, len(self._records[file]) - 1)
        if (file, place) not in self._located:
            paged = np.random.default_rng([file, place]).random() < self._paged
            record = self._records[file][place]
            if len(self._located) >= _KEPT_DOCUMENTS:
                del self._located[next(iter(self._located))]
            self._located[file, place] = locate(record, self._tokenizer, self._tree, paged=bool(paged))
        return file, self._located[file, place]


def spread(records: Sequence[Record], most: int | None) -> list[Record]:
    """`most` of the records at equal distances from each other, all of them where they are no more."""
    if most is None or most >= len(records):
        return list(records)
    return [records[place * len(records) // most] for place in range(most)]


def pieces(records: Sequence[Record], characters: int = PIECE_CHARACTERS) -> list[Record]:
    """Long documents cut into pieces, at the end of a line where there is one near; nothing is lost."""
    found = []
    for record in records:
        starts = [0]
        while len(record.document) - starts[-1] > 1.5 * characters:
            near = record.document.find("\n", starts[-1] + characters, starts[-1] + characters + 2000)
            starts.append(near + 1 if near >= 0 else starts[-1] + characters)
        if len(starts) == 1:
            found.append(record)
            continue
        ends = [*starts[1:], len(record.document)]
        for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=1):
            piece = record.document[start:end]
            found.append(Record(f"{record.doc_id}#{number}", record.title, piece, ()))
    return found


def load_splits(
    files: Sequence[DataFile],
    *,
    hold_back: int,
    validation: int,
    skip_bad_lines: bool,
    reporter: Reporter,
    most: int | None = None,
) -> list[tuple[float, Split]]:
    """Read all data files and split each by document; see `Split` and `read_records` for what is raised."""
    made = []
    for file in files:
        records = read_records(file.path, skip_bad_lines=skip_bad_lines, reporter=reporter)
        if is_plain_text(file.path):  # one document: its parts are kept out as documents of other files are
            records = pieces(records)
        split = Split.of(records, hold_back=hold_back, validation=validation, path=str(file.path), most=most)
        made.append((file.weight, split))
    return made


LONGEST_ANSWER_WORDS: Mapping[Kind, int] = MappingProxyType(
    {Kind.SHORT: 40, Kind.YES_NO: 80, Kind.EXPLANATION: 80, Kind.STEPS: 130, Kind.SUMMARY: 130}
)
"""Longer answers are left out; a word has about 1.5 tokens."""
LEAST_SHARE = 0.6
"""An answer in other words counts as held by a leaf that, with its neighbours, has this share of its terms."""
WORDS_A_LEAF = 40
"""For every N words of an answer in other words one more leaf on either side is searched."""
PAGE_CHARACTERS = 2500
VERDICTS = frozenset({"yes", "no"})
"""Answers that stand nowhere in the text: the whole document has to be read for them."""
_DECIDES = re.compile(r"(?:yes|no)\b", re.IGNORECASE)


@dataclass(frozen=True)
class LocatedQuestion:
    """A question and where its answer stands.

    `gold` are the leaves of the likeliest place, `holding` all leaves with the answer's words. A verdict (yes or no)
    has neither, and `needs_all` is True.
    """

    question: str
    answer: str
    answers: tuple[str, ...]
    gold: frozenset[int]
    holding: frozenset[int]

    @property
    def needs_all(self) -> bool:
        return not self.gold

    def answered_by(self, whole: frozenset[int], leaf_count: int) -> bool:
        """Whether the answer can be read off these leaves, of which all words are there."""
        return len(whole) == leaf_count if self.needs_all else self.gold <= whole

    def hidden_from(self, touched: frozenset[int]) -> bool:
        """Whether the answer's words stand in none of these leaves, of which some words are there."""
        return not self.needs_all and self.holding.isdisjoint(touched)


@dataclass(frozen=True)
class LocatedDocument:
    """A document opened as `ask` opens it, and those of its questions whose answers were found."""

    title: str
    opened: OpenDocument
    questions: tuple[LocatedQuestion, ...]

    @property
    def leaves(self) -> Leaves:
        return self.opened.leaves

    @cached_property
    def tokens(self) -> TokenText:
        """Characters, tokens and leaves, as the selection of evidence sees them."""
        return token_text(self.opened)

    def ranges_without(self, leaves: frozenset[int]) -> list[tuple[int, int]]:
        """The token ranges of the document that these leaves leave over."""
        return [self.leaves.leaf_span(leaf) for leaf in range(self.leaves.leaf_count) if leaf not in leaves]

    def held(self, spans: Sequence[tuple[int, int]]) -> tuple[frozenset[int], frozenset[int]]:
        """The leaves that lie wholly in one of the token spans, and those that any of them touches."""
        places = self.tokens.leaves
        whole, touched = np.zeros(len(places), dtype=bool), np.zeros(len(places), dtype=bool)
        for first, end in spans:
            whole |= (places[:, 0] >= first) & (places[:, 1] <= end)
            touched |= (places[:, 0] < end) & (places[:, 1] > first)
        return frozenset(np.flatnonzero(whole).tolist()), frozenset(np.flatnonzero(touched).tolist())


def locate(record: Record, tokenizer: Any, tree: TreeConfig, *, paged: bool) -> LocatedDocument:
    """Cut a record's document into leaves and find its answers in them.

    A `paged` one is given pages, which stand in the marks of its passages as those of a PDF do.
    """
    document = _document(record, paged)
    leaves = build_leaves(document, tokenizer, tree)
    spans = [leaves.leaf_characters(leaf, document) for leaf in range(leaves.leaf_count)]
    finder = _Finder(record.document, leaves, spans)
    found = tuple(located for question in record.questions if (located := finder.locate(question)))
    opened = OpenDocument(document, leaves, LeavesKey(document.content_hash, "", tree), False, Path())
    return LocatedDocument(record.title, opened, found)


def _document(record: Record, paged: bool) -> Document:
    text = record.document
    starts = [0, *(_page_starts(text) if paged else ())]
    ends = [*starts[1:], len(text)]
    pages = tuple(
        Page(number, str(number) if paged else None, start, end, text[start:end])
        for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=1)
    )
    content_hash = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return Document(record.title or record.doc_id, None, "text", content_hash, text, pages, paged=paged)


def _page_starts(text: str) -> Iterator[int]:
    """Where pages begin: at the first line or word after every so many characters."""
    start = PAGE_CHARACTERS
    while start < len(text):
        gap = text.find("\n", start, start + 200)
        start = (gap if gap >= 0 else text.find(" ", start)) + 1
        if not start:
            return
        yield start
        start += PAGE_CHARACTERS


class _Finder:
    def __init__(self, text: str, leaves: Leaves, spans: Sequence[tuple[int, int]]) -> None:
        self._text = text
        self._leaves = leaves
        self._spans = spans
        self._starts = [start for start, _ in spans]
        self._ends = [end for _, end in spans]

    def locate(self, question: Question) -> LocatedQuestion | None:
        """Where the question's answer stands; None where it is too long, of another form or not found."""
        kind = kind_of(question.question)
        short = [answer for answer in question.answers if len(answer.split()) <= LONGEST_ANSWER_WORDS[kind]]
        if kind is Kind.YES_NO:
            short = [answer for answer in short if _DECIDES.match(answer)]
        if not short:
            return None
        if question.evidence:
            return self._at_its_evidence(question, short[0])
        if short[0].lower().strip(".") in VERDICTS:
            return LocatedQuestion(question.question, short[0], question.answers, frozenset(), frozenset())
        for answer in short:
            places = list(self._occurrences(answer))
            if places:
                gold = self._likeliest(question.question, places)
                holding = frozenset().union(*places)
                return LocatedQuestion(question.question, answer, question.answers, gold, holding)
        near = self._in_other_words(question.question, short[0])
        if near is None:
            return None
        return LocatedQuestion(question.question, short[0], question.answers, near, near)

    def _at_its_evidence(self, question: Question, answer: str) -> LocatedQuestion:
        """Where the data place the answer; other leaves with the same words hold it, too."""
        gold = frozenset().union(*(self._leaves_of(start, end) for start, end in question.evidence))
        holding = gold.union(*self._occurrences(answer))
        return LocatedQuestion(question.question, answer, question.answers, gold, holding)

    def _leaves_of(self, start: int, end: int) -> frozenset[int]:
        """The leaves that any of these characters belongs to."""
        first = bisect_right(self._ends, start)
        last = bisect_left(self._starts, end)
        return frozenset(range(first, max(last, first + 1)))

    def _occurrences(self, answer: str) -> Iterator[frozenset[int]]:
        """The leaves of every place where the answer stands word for word, whatever the white space and case."""
        pattern = r"\s+".join(re.escape(word) for word in answer.rstrip(".").split())
        for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", self._text, re.IGNORECASE):
            yield self._leaves_of(match.start(), match.end())

    def _likeliest(self, question: str, places: Iterable[frozenset[int]]) -> frozenset[int]:
        known = list(places)
        if len(known) == 1:
            return known[0]
        fit = self._scores(question)
        return max(known, key=lambda leaves: max((fit[leaf] for leaf in leaves if leaf < len(fit)), default=0.0))

    def _in_other_words(self, question: str, answer: str) -> frozenset[int] | None:
        fit = self._scores(answer) + 0.5 * self._scores(question)
        best = int(np.argmax(fit)) if len(fit) else 0
        reach = 1 + len(answer.split()) // WORDS_A_LEAF
        near = range(max(0, best - reach), min(len(fit), best + reach + 1))
        wanted = set(self._terms(answer))
        if not wanted or not len(near):
            return None
        there = set(self._terms(self._text[self._spans[near[0]][0] : self._spans[near[-1]][1]]))
        return frozenset(near) if len(wanted & there) >= LEAST_SHARE * len(wanted) else None

    def _scores(self, text: str) -> np.ndarray:
        return bm25.scores(text, [self._leaves.lexical]).values[0]

    def _terms(self, text: str) -> Iterator[str]:
        for word in words(text, self._leaves.lexical.language):
            yield from word.terms


LeafScores = Callable[[str, Sequence[LocatedDocument]], list[np.ndarray]]
"""Scores of all leaves of some documents for a question, larger is better: one array [leaves] a document."""

KEPT_BYTES = 1 << 30
"""States of late interaction are kept for the documents of so many bytes of them, those drawn longest ago dropped."""


def by_words(question: str, documents: Sequence[LocatedDocument]) -> list[np.ndarray]:
    """BM25 of all leaves."""
    return bm25.scores(question, [document.leaves.lexical for document in documents]).values


class ScoresByPolicy:
    """Scores of leaves by a policy, with the states of a document computed once: in half precision, as
    `index --late-states` would store them.

    Not for a policy that scores nodes by vectors of their own, which are not computed here.
    """

    def __init__(self, policy_name: str, base: BaseModel, lower: LowerModel) -> None:
        self._policy = policies.policy(policy_name)
        self._base = base
        self._lower = lower
        self._states: dict[int, tuple[Leaves, LeafStates]] = {}

    def __call__(self, question: str, documents: Sequence[LocatedDocument]) -> list[np.ndarray]:
        """One array [leaves] a document."""
        needed = self._policy.states != "none"
        return score_documents(
            question,
            [document.opened for document in documents],
            self._base,
            self._lower,
            self._policy.name,
            nodes=_no_vectors,
            stored_states=[self._known(document.leaves) if needed else None for document in documents],
        ).leaves

    def _known(self, leaves: Leaves) -> LeafStates:
        key = id(leaves)  # kept with its states, so that no other object can get its number
        found = self._states.pop(key, None) or (leaves, leaf_states(leaves, self._lower, lambda tokens: None))
        self._states[key] = found
        while sum(states.states.nbytes for _, states in self._states.values()) > KEPT_BYTES and len(self._states) > 1:
            del self._states[next(iter(self._states))]
        return found[1]


def _no_vectors() -> NoReturn:
    raise ValueError("a policy that scores nodes by vectors of their own can't be trained with")
