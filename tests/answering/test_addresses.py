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
