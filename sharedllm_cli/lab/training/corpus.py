"""The documents of several data files: which are learned from, which are kept out, and how they are drawn.

Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sharedllm_cli.config import TreeConfig
from sharedllm_cli.errors import DocumentError
from sharedllm_cli.lab.training.located import LocatedDocument, locate
from sharedllm_cli.lab.training.records import DataFile, Record, is_plain_text, read_records
from sharedllm_cli.progress import Reporter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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
