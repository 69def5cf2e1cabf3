"""Documents with invented facts planted in them, to learn copying from: `python -m sharedllm_cli.lab.training.planted`.

What a small model finds hardest to repeat is what it has never seen: names, words and numbers that someone made up.
Here stretches of real books get sentences that state such things (`inventions.py`), among the book's own, and a
question each. Knows no model.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sharedllm_cli.errors import DocumentError, SharedLLMError
from sharedllm_cli.lab.training.inventions import DRAWN, FORMS
from sharedllm_cli.lab.training.records import Record, read_records
from sharedllm_cli.progress import Silent

CHARACTERS = (8_000, 24_000)
"""Length of a stretch: two to six thousand tokens."""
FACTS = (8, 14)
_ATTEMPTS = 1000
_SENTENCE_END = re.compile(r"(?<=[a-z]{3}[.!?])(?<!Capt\.)(?<!Prof\.)(?<!Messrs\.)[\"”’']?\s+(?=[A-Z\"“])")
"""Between two sentences; "Mr.", "St." and initials, which end none, have fewer than three small letters."""


@dataclass(frozen=True)
class _Fact:
    sentence: str
    question: str
    value: str


def planted_records(books: Sequence[Record], count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Lines of a data file: `count` stretches of the books, each with its facts and questions, every book in turn.

    Raises DocumentError where no book is twice as long as the shortest stretch.
    """
    random = np.random.default_rng(seed)
    books = [book for book in books if len(book.document) >= 2 * CHARACTERS[0]]
    if not books:
        raise DocumentError(f"no text of at least {2 * CHARACTERS[0]} characters to plant facts in")
    for number in range(count):
        book = books[number % len(books)]
        text = _stretch(book.document, random)
        facts = _facts(text, random)
        document, spans = _planted(text, facts, random)
        questions = [
            {
                "id": f"planted-{seed}-{number}-{place}",
                "question": fact.question,
                "answers": [fact.value],
                "evidence": [span],
            }
            for place, (fact, span) in enumerate(zip(facts, spans, strict=True))
        ]
        title = f"{book.title}, a stretch with inventions, {number + 1}"
        yield {"doc_id": f"planted-{seed}-{number}", "title": title, "document": document, "qas": questions}


def _stretch(text: str, random: np.random.Generator) -> str:
    length = int(random.integers(*CHARACTERS))
    start = int(random.integers(max(1, len(text) - length)))
    begins = _SENTENCE_END.search(text, start)
    start = begins.end() if begins and begins.end() < start + length // 2 else start
    return text[start : start + length]


def _facts(text: str, random: np.random.Generator) -> list[_Fact]:
    """Facts of different forms, whose places and values stand nowhere in the text or in each other."""
    forms = random.permutation(len(FORMS))[: int(random.integers(*FACTS))]
    known = text.lower()
    drawn: list[str] = []
    facts = []
    for form in forms.tolist():
        kind, sentence, question = FORMS[form]
        for wanted in ("name", kind):
            drawn.append(_unheard(random, wanted, known, drawn))
        place, value = drawn[-2:]
        facts.append(_Fact(sentence.format(place=place, value=value), question.format(place=place, value=value), value))
    return facts


def _unheard(random: np.random.Generator, kind: str, known: str, others: Sequence[str]) -> str:
    for _ in range(_ATTEMPTS):
        drawn = DRAWN[kind](random)
        word = drawn.lower()
        if word not in known and not any(word in other.lower() or other.lower() in word for other in others):
            return drawn
    raise DocumentError("the text holds every name and number that could be planted")


def _planted(text: str, facts: Sequence[_Fact], random: np.random.Generator) -> tuple[str, list[tuple[int, int]]]:
    """The text with each fact between two of its sentences, and where each stands."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)] or [0]
    places = sorted(int(place) for place in random.choice(len(ends), len(facts), replace=len(ends) < len(facts)))
    pieces: list[str] = []
    spans: list[tuple[int, int]] = []
    taken = length = 0
    for place, fact in zip(places, facts, strict=True):
        before = text[taken : ends[place]]
        start = length + len(before)
        spans.append((start, start + len(fact.sentence)))
        pieces += [before, fact.sentence, " "]
        length = start + len(fact.sentence) + 1
        taken = ends[place]
    return "".join([*pieces, text[taken:]]), spans


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a data file."""
    parser = argparse.ArgumentParser(prog="python -m sharedllm_cli.lab.training.planted", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="JSON Lines with books, as for `sharedllm train`")
    parser.add_argument("--leave-out", type=int, default=10, help="documents at the file's end that are not used")
    parser.add_argument("--documents", type=int, default=150, help="stretches to make")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        books = read_records(options.data, skip_bad_lines=False, reporter=Silent())
        books = books[: max(0, len(books) - options.leave_out)]
        lines = list(planted_records(books, options.documents, options.seed))
    except SharedLLMError as problem:
        parser.error(problem.message)
    written = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    options.out.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
