"""Planted facts: each stands once where it is said to stand, is no needle's, and the same seed plants the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharedllm_cli.errors import DocumentError
from sharedllm_cli.lab.evaluation import needle_facts
from sharedllm_cli.lab.training import planted
from sharedllm_cli.lab.training.inventions import DRAWN, FORMS
from sharedllm_cli.lab.training.records import Record, read_records
from sharedllm_cli.progress import Silent

SENTENCES = [f"The {number}th traveller went on by the road along the shore. " for number in range(1000)]
BOOK = Record("book", "A long walk", "".join(SENTENCES), ())


def made(count: int = 6, seed: int = 1, *books: Record) -> list[dict[str, Any]]:
    return list(planted.planted_records(books or (BOOK,), count, seed))


def test_every_answer_stands_once_in_its_sentence_among_the_book_s_own() -> None:
    lines = made()
    assert len({line["doc_id"] for line in lines}) == len({line["title"] for line in lines}) == 6
    for line in lines:
        text = line["document"]
        assert planted.FACTS[0] <= len(line["qas"]) < planted.FACTS[1]
        rest = text
        for asked in line["qas"]:
            (value,), ((start, end),) = asked["answers"], asked["evidence"]
            assert text.count(value) == 1
            assert start <= text.index(value) < end
            assert text[start:end][0].isupper()
            assert text[start:end][-1] == "."
            assert text[end] == " "
            assert value not in asked["question"]
            rest = rest.replace(text[start : end + 1], "", 1)
        assert rest in BOOK.document, "nothing of the book is lost"
        assert len(rest) >= planted.CHARACTERS[0] // 2


def test_the_same_seed_plants_the_same_and_another_does_not() -> None:
    assert made(3, 7) == made(3, 7)
    assert made(3, 7) != made(3, 8)


def test_facts_stand_between_sentences_and_not_behind_an_abbreviation() -> None:
    text = "Then Mr. Finch and Dr. Holt met Capt. Moore near St. Anne with J. Reed and Prof. Lane, who waited. " * 300
    for line in made(4, 3, Record("names", "Names", text, ())):
        for asked in line["qas"]:
            ((start, _),) = asked["evidence"]
            before = line["document"][:start].rstrip()
            assert not before.endswith(("Mr.", "Dr.", "Capt.", "St.", "J.", "Prof.")), before[-20:]


def test_the_books_take_turns_and_a_short_one_is_passed_over() -> None:
    short = Record("note", "A note", "It rained. " * 20, ())
    other = Record("other", "Another walk", BOOK.document.replace("shore", "river"), ())
    titles = [line["title"].split(",")[0] for line in made(4, 1, BOOK, short, other)]
    assert titles == ["A long walk", "Another walk"] * 2
    with pytest.raises(DocumentError, match="no text of at least"):
        made(1, 1, short)


def things(text: str) -> set[str]:
    """What a form speaks of: its longer words."""
    return {word for word in re.findall(r"[a-z]{4,}", text.lower()) if word not in {"what", "which", "called", "place"}}


def test_no_form_asks_for_what_a_needle_asks_for() -> None:
    for needle in needle_facts._FORMS:
        for _, sentence, question in FORMS:
            shared = things(needle.sentence) & things(sentence) | things(needle.question) & things(question)
            assert len(shared - {"value", "many", "does"}) < 2, (needle.question, question)


def test_forms_name_place_and_value_and_every_kind_is_drawn() -> None:
    random = np.random.default_rng(0)
    assert {kind for kind, _, _ in FORMS} == set(DRAWN)
    for kind, sentence, question in FORMS:
        assert sentence.count("{place}") == question.count("{place}") == sentence.count("{value}") == 1
        assert "{value}" not in question
        assert len({DRAWN[kind](random) for _ in range(50)}) > 40


def test_the_command_writes_a_file_that_training_reads(tmp_path: Path) -> None:
    books = tmp_path / "books.jsonl"
    lines = [{"doc_id": str(number), "title": f"Book {number}", "document": BOOK.document} for number in range(4)]
    books.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "planted.jsonl"
    planted.main(["--data", str(books), "--leave-out", "2", "--documents", "5", "--out", str(out)])
    records = read_records(out, skip_bad_lines=False, reporter=Silent())
    assert [record.title.split(",")[0] for record in records] == ["Book 0", "Book 1", "Book 0", "Book 1", "Book 0"]
    for record in records:
        for question in record.questions:
            ((start, end),) = question.evidence
            assert question.answers[0] in record.document[start:end]
