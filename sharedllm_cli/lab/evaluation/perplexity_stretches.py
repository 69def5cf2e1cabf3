"""Texts as tokens, and which of their tokens are scored: stretches of every length that end in the same places.

Integers and text; knows of the tokenizer only that it counts, and no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharedllm_cli.documents import readers
from sharedllm_cli.documents.chunking import Tokens, tokenize
from sharedllm_cli.documents.sources import expand
from sharedllm_cli.durable import sha256_of_text
from sharedllm_cli.errors import UsageError
from sharedllm_cli.lab.training.records import DataFile, read_records
from sharedllm_cli.progress import Reporter

_RECORDS = (".jsonl", ".jsonl.gz", ".jsonl.xz")


@dataclass(frozen=True)
class Book:
    """One text and its tokens, none of them a control token. `place` is its number among the texts of the run."""

    place: int
    name: str
    text: str
    text_hash: str
    tokens: Tokens


@dataclass(frozen=True)
class Sizes:
    """Tokens of a stretch that are read as plain text: `recent` ones, and after them the `scored` ones."""

    recent: int = 2048
    scored: int = 512

    @property
    def plain(self) -> int:
        """Tokens at a stretch's end that no tree holds."""
        return self.recent + self.scored


@dataclass(frozen=True)
class Stretch:
    """`length` tokens of a book that end before token `end`."""

    book: int
    length: int
    end: int

    @property
    def start(self) -> int:
        """The first token."""
        return self.end - self.length


@dataclass(frozen=True)
class Skipped:
    """A length that a text is too short for."""

    text: str
    tokens: int
    length: int


@dataclass(frozen=True)
class Plan:
    """What is scored: stretches by book, end and length; what is not; and how many ends each book has."""

    stretches: tuple[Stretch, ...]
    skipped: tuple[Skipped, ...]
    ends: tuple[int, ...]

    def by_book(self) -> Iterator[tuple[int, list[Stretch]]]:
        """Each book that has stretches, with them."""
        for book in sorted({stretch.book for stretch in self.stretches}):
            yield book, [stretch for stretch in self.stretches if stretch.book == book]


def read_texts(
    files: Sequence[DataFile], *, last: int | None, skip_bad_lines: bool, reporter: Reporter
) -> list[tuple[str, str]]:
    """Name and text of every document: those of JSON Lines one by one (of each file the last N), else what `ask` reads.

    Raises DocumentError for a file that can't be read.
    """
    found: list[tuple[str, str]] = []
    for file in files:
        if file.path.name.endswith(_RECORDS):
            records = read_records(file.path, skip_bad_lines=skip_bad_lines, reporter=reporter)
            first = 0 if last is None else max(0, len(records) - last)
            found += [(f"{file.path.name}:{number}", record.document) for number, record in enumerate(records, 1)][
                first:
            ]
        else:
            found += [
                (source.name, readers.read(source, reporter=reporter).text) for source in expand([str(file.path)])
            ]
    return found


def tokenized(texts: Sequence[tuple[str, str]], tokenizer: Any, reporter: Reporter) -> list[Book]:
    """The texts as books, numbered in their order."""
    books = []
    with reporter.task("Counting tokens", len(texts), "texts") as task:
        for place, (name, text) in enumerate(texts):
            books.append(Book(place, name, text, sha256_of_text(text), tokenize(text, tokenizer)))
            task.advance(1)
    return books


def plan(
    books: Sequence[Book], lengths: Sequence[int], *, ends: int, sizes: Sizes, chunk_tokens: int, seed: int
) -> Plan:
    """Spread `ends` places over each book, each drawn in a part of its own; a stretch of every length ends there.

    So all lengths score the same tokens of a book, unless it is too short for some, which is told. Ends are whole
    chunks apart, so that stretches share their chunks, and far enough that no token is scored twice; a short book has
    fewer.
    Raises UsageError where no book is long enough for any length.
    """
    step = -(-sizes.scored // chunk_tokens) * chunk_tokens
    stretches: list[Stretch] = []
    skipped: list[Skipped] = []
    counts: list[int] = []
    for book in books:
        tokens = len(book.tokens)
        fitting = [length for length in lengths if length <= tokens]
        skipped += [Skipped(book.name, tokens, length) for length in lengths if length > tokens]
        drawn = _spread((tokens - max(fitting)) // step + 1, ends, [seed, book.place]) if fitting else []
        counts.append(len(drawn))
        stretches += [Stretch(book.place, length, max(fitting) + step * one) for one in drawn for length in fitting]
    if not stretches:
        longest = max((len(book.tokens) for book in books), default=0)
        raise UsageError(
            f"the longest text has {longest:,} tokens, fewer than any of --lengths",
            hint="give longer texts, or shorter lengths",
        )
    return Plan(tuple(stretches), tuple(skipped), tuple(counts))


def _spread(places: int, wanted: int, seed: Sequence[int]) -> list[int]:
    """At most `wanted` of 0..places−1, ascending: one drawn from each of as many equal parts."""
    random = np.random.default_rng(list(seed))
    parts = min(wanted, places)
    edges = [part * places // parts for part in range(parts + 1)]
    return [int(random.integers(edges[part], edges[part + 1])) for part in range(parts)]


def has_other(books: Sequence[Book], place: int, tokens: int) -> bool:
    """Whether all other books together have so many tokens."""
    return sum(len(book.tokens) for book in books if book.place != place) >= tokens


def other_book(books: Sequence[Book], place: int, tokens: int) -> Book | None:
    """Whose tree is the wrong one of book `place`: the next book, in a circle, with so many tokens.

    Where none has as many, all others as one text, in that order, with a place after all books; None where these, too,
    are too short.
    """
    following = [books[(place + step) % len(books)] for step in range(1, len(books))]
    for book in following:
        if len(book.tokens) >= tokens:
            return book
    if not has_other(books, place, tokens):
        return None
    return _joined(following, len(books) + place)


def _joined(books: Sequence[Book], place: int) -> Book:
    """Texts one after another as a book; its tokens are theirs."""
    offsets = np.cumsum([0, *(len(book.text) for book in books)], dtype=np.int32)[:-1]
    tokens = Tokens(
        np.concatenate([book.tokens.ids for book in books]),
        np.concatenate([book.tokens.starts + offset for book, offset in zip(books, offsets, strict=True)]),
        np.concatenate([book.tokens.ends + offset for book, offset in zip(books, offsets, strict=True)]),
    )
    text = "".join(book.text for book in books)
    return Book(place, " + ".join(book.name for book in books), text, sha256_of_text(text), tokens)
