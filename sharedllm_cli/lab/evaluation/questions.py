"""What is asked: documents of data files, joined into longer ones, and a drawn selection of their questions.

Joined documents stand one after the other, each below its title; a question then names the title of its own, as a
user with one long document would. Knows no model; of the tokenizer only that documents are cut with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from sharedllm_cli.config import TreeConfig
from sharedllm_cli.documents.pages import Document, Page
from sharedllm_cli.durable import sha256_of_text
from sharedllm_cli.errors import DocumentError, UsageError
from sharedllm_cli.generation.refusal import says_not_in_document
from sharedllm_cli.index.leaves import build_leaves
from sharedllm_cli.index.manifest import LeavesKey, text_hash
from sharedllm_cli.lab.evaluation.runner import MISPLACED
from sharedllm_cli.lab.training.records import DataFile, Question, Record, read_records
from sharedllm_cli.progress import Reporter
from sharedllm_cli.reading.library import OpenDocument

_GAP = "\n\n"


@dataclass(frozen=True)
class Asked:
    """A question of a joined document.

    `key` is the same in every run over the same data: data file, document and question. `text` is the question as it is
    asked; `evidence` are spans of characters of the joined document; `within` is its own document there (None: all).
    """

    key: str
    text: str
    answers: tuple[str, ...]
    evidence: tuple[tuple[int, int], ...] = ()
    within: tuple[int, int] | None = None

    @property
    def answerable(self) -> bool:
        """False where the data give no answer, or give as the answer that the document does not say."""
        return bool(self.answers) and not says_not_in_document(self.answers[0])


@dataclass(frozen=True)
class JoinedDocument:
    """One long document, and all that is asked of it."""

    name: str
    text: str
    asked: tuple[Asked, ...]
    file: str = ""
    """The data file that it is from."""


@dataclass(frozen=True)
class Selection:
    """The questions that a run asks, document by document; `candidates` were those that it could draw from."""

    documents: tuple[JoinedDocument, ...]
    chosen: tuple[tuple[int, Asked], ...]
    candidates: int

    def by_document(self) -> Iterator[tuple[int, list[Asked]]]:
        """The number of each document that is asked anything, and what it is asked."""
        for place, pairs in groupby(self.chosen, key=lambda pair: pair[0]):
            yield place, [asked for _, asked in pairs]

    def of_file(self, file: str) -> Selection:
        """The part that is asked of the documents of one data file."""
        chosen = tuple(pair for pair in self.chosen if self.documents[pair[0]].file == file)
        candidates = sum(len(document.asked) for document in self.documents if document.file == file)
        return Selection(self.documents, chosen, candidates)


@dataclass(frozen=True)
class Joining:
    """How the documents of a file become those that are asked: each `join` that follow each other as one.

    With `last` only so many at the file's end are taken: those that `train --hold-back` never looks at. Without
    `titles` a question does not name the title of its own document.
    """

    join: int = 1
    last: int | None = None
    titles: bool = True

    def __post_init__(self) -> None:
        if self.join < 1 or (self.last is not None and self.last < 1):
            raise UsageError(f"--join and --last must be at least 1, got {self.join} and {self.last}")

    @staticmethod
    def of(
        files: int, joins: Sequence[int], lasts: Sequence[int | None], *, titles: bool = True
    ) -> tuple[Joining, ...]:
        """One for each of so many files, from one number for all of them or one for each; UsageError otherwise."""
        for flag, numbers in (("--join", joins), ("--last", lasts)):
            if len(numbers) not in (1, files):
                raise UsageError(
                    f"{flag} has {len(numbers)} numbers for {files} data files", hint="give one, or one each"
                )
        return tuple(Joining(joins[file % len(joins)], lasts[file % len(lasts)], titles) for file in range(files))

    def facts(self) -> dict[str, int | bool | None]:
        """As a run's configuration records it; `titles` only where a question names none, as in the first runs."""
        return {"join": self.join, "last": self.last} | ({} if self.titles else {"titles": False})


@dataclass(frozen=True)
class Questions:
    """Whose questions are asked: `limit` of them, drawn from data files whose documents are joined as `Joining` says.

    `joins` and `lasts`: one for all files, or one for each.
    """

    data: tuple[DataFile, ...]
    _: KW_ONLY
    limit: int = 200
    seed: int = 0
    joins: tuple[int, ...] = (1,)
    lasts: tuple[int | None, ...] = (None,)
    titles: bool = True
    skip_bad_lines: bool = False

    def __post_init__(self) -> None:
        if not self.data:
            raise UsageError("there is nothing to ask", hint="give one or more files with --data")

    @property
    def joining(self) -> tuple[Joining, ...]:
        """How each file's documents are joined; UsageError for other than one number a file."""
        return Joining.of(len(self.data), self.joins, self.lasts, titles=self.titles)

    def documents(self, reporter: Reporter) -> tuple[JoinedDocument, ...]:
        """The documents as they are asked; see `read_joined`."""
        return read_joined(self.data, self.joining, skip_bad_lines=self.skip_bad_lines, reporter=reporter)


def read_joined(
    files: Sequence[DataFile], joining: Sequence[Joining], *, skip_bad_lines: bool, reporter: Reporter
) -> tuple[JoinedDocument, ...]:
    """The documents of all files, joined as it is said for each (the last one of a file may have fewer).

    Raises DocumentError where a file can't be read, UsageError where two have one name: questions are known by it.
    """
    names = [file.path.name for file in files]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(
            f"two data files are called {twice}", hint="rename one: questions are known by their file's name"
        )
    joined: list[JoinedDocument] = []
    for file, how in zip(files, joining, strict=True):
        records = read_records(file.path, skip_bad_lines=skip_bad_lines, reporter=reporter, unanswerable=True)
        start = 0 if how.last is None else max(0, len(records) - how.last)
        for first in range(start, len(records), how.join):
            name = f"{file.path.name}:{first + 1}"
            joined.append(_joined(name, file.path.name, records[first : first + how.join], how))
    return tuple(joined)


def _joined(name: str, file: str, records: Sequence[Record], how: Joining) -> JoinedDocument:
    several = how.join > 1
    pieces: list[str] = []
    asked: list[Asked] = []
    length = 0
    for place, record in enumerate(records):
        heading = record.title + _GAP if several and record.title else ""
        start = length + len(heading)
        pieces.append(heading + record.document)
        length += len(pieces[-1]) + len(_GAP)
        title = record.title if several and how.titles else ""
        own = (start, start + len(record.document))
        asked += [_asked(f"{name}+{place}", number, one, title, own) for number, one in enumerate(record.questions)]
    return JoinedDocument(name, _GAP.join(pieces), tuple(asked), file)


def _asked(owner: str, number: int, question: Question, title: str, own: tuple[int, int]) -> Asked:
    text = f'In "{title}": {question.question}' if title else question.question
    evidence = tuple((own[0] + first, own[0] + end) for first, end in question.evidence)
    return Asked(f"{owner}/{number}:{question.question_id}", text, question.answers, evidence, own)


def select(
    documents: Sequence[JoinedDocument], *, limit: int, seed: int, wanted: Callable[[int, Asked], bool] | None = None
) -> Selection:
    """Draw `limit` questions (all, where there are no more) from those that are wanted, in the documents' order.

    `wanted` is given the document's number and the question. Raises DocumentError where there is none.
    """
    candidates = [
        (place, one)
        for place, document in enumerate(documents)
        for one in document.asked
        if wanted is None or wanted(place, one)
    ]
    if not candidates:
        raise DocumentError("the data hold no question that can be asked")
    drawn = np.random.default_rng(seed).permutation(len(candidates))[:limit]
    chosen = tuple(candidates[place] for place in sorted(drawn.tolist()))
    return Selection(tuple(documents), chosen, len(candidates))


def with_misplaced(selection: Selection, count: int, *, seed: int) -> Selection:
    """The selection with so many more questions that their document does not answer: each is the next document's.

    The next of the same data file, that is, so that the question is of a like subject; after the last, the first.
    Drawn from the answerable questions none of whose accepted answers stands in the document that is asked. Raises
    DocumentError where there are too few.
    """
    documents = selection.documents
    found: list[tuple[int, Asked]] = []
    answerable = [(place, one) for place, document in enumerate(documents) for one in document.asked if one.answerable]
    for drawn in np.random.default_rng([seed, 1]).permutation(len(answerable)).tolist() if count else ():
        owner, one = answerable[drawn]
        own_file = [place for place, document in enumerate(documents) if document.file == documents[owner].file]
        place = own_file[own_file.index(owner) - 1]
        text = " ".join(documents[place].text.lower().split())
        if place != owner and not any(answer.lower().rstrip(".") in text for answer in one.answers):
            found.append((place, Asked(f"{MISPLACED}{one.key}", one.text, ())))
        if len(found) == count:
            break
    if len(found) < count:
        raise DocumentError(f"the data have only {len(found)} questions that another document does not answer")
    chosen = sorted([*selection.chosen, *found], key=lambda pair: pair[0])
    return Selection(documents, tuple(chosen), selection.candidates)


def opened(document: JoinedDocument, tokenizer: Any, tokenizer_hash: str, tree: TreeConfig) -> OpenDocument:
    """A joined document as `ask` opens a file of plain text, in memory: its leaves are cut here, nothing is stored."""
    content_hash = sha256_of_text(document.text)
    page = Page(1, None, 0, len(document.text), document.text)
    read = Document(document.name, None, "text", content_hash, document.text, (page,), paged=False)
    leaves = build_leaves(read, tokenizer, tree)
    return OpenDocument(read, leaves, LeavesKey(text_hash(read), tokenizer_hash, tree), False, Path())
