"""A question that names a place is answered from it: from outline and pages, or from that place alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sharedllm_cli.answering.addresses import Asked, place_of, section_remarks, section_tokens
from sharedllm_cli.documents.pages import Document, OutlineEntry, Page
from sharedllm_cli.errors import UsageError
from sharedllm_cli.retrieval.sections import Titled

PAGES = (
    ("ii", "Contents\nChapter 1: The mill ... 1\n"),
    ("1", "Chapter 1: The mill\nStones turn. Guests may ring the bell.\n"),
    ("2", "Chapter 2: The weir\nEels pass at night. Guests stay away.\n"),
    ("3", "Glossary\nWeir: a low dam.\n"),
)


def opened(*, paged: bool = True) -> Any:
    text, pages = "", []
    for number, (label, body) in enumerate(PAGES, 1):
        pages.append(Page(number, label, len(text), len(text) + len(body), body))
        text += body
    outline = [("Chapter 1: The mill", 1, 2), ("Chapter 2: The weir", 1, 3), ("Glossary", 1, 4)]
    entries = tuple(OutlineEntry(*entry) for entry in outline)
    document = Document("mill.pdf", None, "pdf", "hash", text, tuple(pages), paged, entries)
    starts = np.arange(len(text))
    leaves = SimpleNamespace(tokens=SimpleNamespace(starts=starts, ends=starts + 1))
    titled = Titled("mill.pdf", text, [(title, level, pages[page - 1].start) for title, level, page in outline])
    return SimpleNamespace(document=document, name="mill.pdf", titled=titled, paged=paged, leaves=leaves)


BOOK = opened()


def read(ranges: list[tuple[int, int]] | None) -> str:
    return " ".join("".join(BOOK.document.text[first:end] for first, end in ranges or []).split())


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("On which page is the glossary?", "page 3 (4 of 4)"),
        ("What page does chapter 2 start on?", "page 2 (3 of 4)"),
        ("Where is the weir chapter?", "page 2 (3 of 4)"),
        ("Auf welcher Seite beginnt Kapitel 2?", "page 2 (3 of 4)"),
    ],
)
def test_the_page_of_a_part(question: str, answer: str) -> None:
    place = place_of(question, [BOOK])
    assert place is not None
    assert (place.asked, place.text) == (Asked.PAGE, answer)


@pytest.mark.parametrize("question", ["What is the title of chapter 2?", "What is the second chapter called?"])
def test_the_title_of_a_part(question: str) -> None:
    place = place_of(question, [BOOK])
    assert place is not None
    assert (place.asked, place.text) == (Asked.TITLE, "The weir")


def counting(*titles: str) -> Any:
    book = opened()
    page = book.document.pages[0].start
    book.titled = Titled("mill.pdf", book.document.text, [(title, 1, page) for title in titles])
    return book


@pytest.mark.parametrize(
    ("titles", "answer"),
    [
        (("Chapter 1: Mill", "Chapter 2: Weir"), "2 chapters"),
        (
            ("Contents", "Introduction", "Chapter I", "Chapter II", "Epilogue", "Index"),
            "2 chapters (and without a number: Introduction, Epilogue)",
        ),
        (("Preface", "1 Mill", "2 Weir", "3 Eels", "Bibliography"), "3 chapters (and without a number: Preface)"),
    ],
)
def test_how_many_chapters_there_are(titles: tuple[str, ...], answer: str) -> None:
    for question in ("How many chapters are there?", "How many chapters does the book have?"):
        place = place_of(question, [counting(*titles)])
        assert place is not None
        assert (place.asked, place.text) == (Asked.NUMBER, answer)


def test_chapters_that_do_not_count_on_are_not_counted() -> None:
    assert place_of("How many chapters are there?", [counting("Chapter 3: Mill", "Chapter 7: Weir")]) is None
    assert place_of("How many chapters are there?", [counting("Mill", "Weir")]) is None
    assert place_of("How many chapters did he write?", [counting("Chapter 1", "Chapter 2")]) is None


def test_what_stands_on_a_page_or_in_a_part() -> None:
    page = place_of("What is on page 2?", [BOOK])
    part = place_of("What is chapter 2 about?", [BOOK])
    assert page is not None
    assert part is not None
    assert page.text == part.text == "Chapter 2: The weir Eels pass at night. Guests stay away."
    assert "counted:2" in (page.remark or ""), "the page printed so, and how to ask for the counted one"


def test_a_place_beside_a_question_is_read_alone() -> None:
    place = place_of("What does chapter 1 say about guests?", [BOOK])
    assert place is not None
    assert place.asked is Asked.WITHIN
    assert read(place.ranges[0]) == "Chapter 1: The mill Stones turn. Guests may ring the bell."
    assert place.remark == "only “Chapter 1: The mill”, page 1 (2 of 4) is read for this question"
    assert place_of("When do eels pass on page 2?", [BOOK]).question == "When do eels pass"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "question",
    [
        *(
            "Where is Paris?",
            "What is the weir?",
            "What does chapter 9 say?",
            "Who turned the page?",
            "Which part turns?",
        ),
        *("What did he do in part?", "Who are the guests?"),
    ],
)
def test_other_questions_name_no_place(question: str) -> None:
    assert place_of(question, [BOOK]) is None


def test_a_word_that_ends_like_an_opening_one_stays_whole() -> None:
    place = place_of("In chapter 1 of the book who rings?", [BOOK])
    assert place is not None
    assert place.question == "of the book who rings"


def test_sections_by_name() -> None:
    (ranges,) = section_tokens("weir", [BOOK])
    assert read(ranges) == "Chapter 2: The weir Eels pass at night. Guests stay away."
    assert section_remarks("weir", [BOOK]) == ["--section weir: “Chapter 2: The weir” is read"]
    assert section_remarks("glossary", [BOOK]) == []
    with pytest.raises(UsageError, match="no heading is like 'glosary'") as problem:
        section_tokens("glosary", [BOOK])
    assert "Glossary" in (problem.value.hint or "")
    with pytest.raises(UsageError, match="--section needs"):
        section_tokens(" ", [BOOK])


def test_a_document_without_pages_gives_none() -> None:
    assert place_of("On which page is the glossary?", [opened(paged=False)]) is None
