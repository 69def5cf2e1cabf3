"""Parts of a document are found by number and by name, in the outline and in numbered lines."""

from __future__ import annotations

import pytest

from sharedllm_cli.retrieval.numbered import address_in, find, near_names, parts, title_of
from sharedllm_cli.retrieval.sections import Titled

TEXT = """\
Contents

Chapter 1: The mill ... 1
Chapter 3: The weir ... 5

Chapter 1: The mill

Stones turn.

1.1 Frames

They hold it. The height is
4.2 metres or less.

Chapter 3: The weir

Eels pass.

Appendix B – Tables

Numbers.

Glossary

Words.
"""
PLAIN = Titled("mill.txt", TEXT)
OUTLINED = Titled(
    "mill.pdf",
    TEXT[TEXT.index("Chapter 1: The mill\n\n") :].replace("Chapter 1: The mill", "The mill"),
    [("I. The mill", 1, 0), ("II. The weir and its eels", 1, 40), ("Glossary", 1, 150)],
)


@pytest.mark.parametrize(
    ("wanted", "title"),
    [
        ("chapter 3", "Chapter 3: The weir"),
        ("Chapter Three", "Chapter 3: The weir"),
        ("chapter III", "Chapter 3: The weir"),
        ("3", "Chapter 3: The weir"),
        ("section 1.1", "1.1 Frames"),
        ("1.1", "1.1 Frames"),
        ("appendix b", "Appendix B – Tables"),
        ("the weir", "Chapter 3: The weir"),
        ("tables", "Appendix B – Tables"),
        ("glossary", "Glossary"),
    ],
)
def test_a_part_by_number_or_name(wanted: str, title: str) -> None:
    assert [part.title for part in find(wanted, PLAIN)] == [title]


def test_a_number_that_no_part_has_is_not_guessed() -> None:
    for wanted in ("chapter 9", "appendix a", "4.2", "chapter 2"):
        assert find(wanted, PLAIN) == []


def test_a_part_ends_where_the_next_of_its_level_begins() -> None:
    (mill,) = find("chapter 1", PLAIN)
    read = " ".join(TEXT[mill.start : mill.end].split())
    assert read == "Chapter 1: The mill Stones turn. 1.1 Frames They hold it. The height is 4.2 metres or less."
    assert mill.name == "The mill"


def test_the_outline_counts_in_roman_numerals_too() -> None:
    assert [part.title for part in find("chapter 2", OUTLINED)] == ["II. The weir and its eels"]
    assert find("chapter 2", OUTLINED)[0].name == "The weir and its eels"
    assert [part.title for part in find("eels", OUTLINED)] == ["II. The weir and its eels"]
    assert find("eels", OUTLINED, exact=True) == []


def test_near_names_are_offered() -> None:
    assert near_names("glosary", [PLAIN])[0] == "Glossary"
    assert near_names("zzz", [PLAIN])


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ("what does chapter 3 say", "chapter 3"),
        ("see Section 4.2.", "Section 4.2"),
        ("in appendix B of it", "appendix B"),
        ("in § 12, who", "§ 12"),
        ("parts of it", None),
        ("a section a day", None),
        ("he took part in it", None),
    ],
)
def test_an_address_in_a_question(question: str, named: str | None) -> None:
    found = address_in(question)
    assert (found and found[0]) == named


def test_a_long_text_of_numbers_ends() -> None:
    assert parts(Titled("x", "1.1 Aa\n" * 30_000))


def test_an_entry_of_the_contents_is_no_chapter() -> None:
    entries = [f"{n} Part of the {name}  {2 * n}" for n, name in enumerate(("mill", "weir", "barn", "yard", "well"), 1)]
    bodies = [
        f"{n} Part of the {name}\n\nWords about the {name}." for n, name in enumerate(("mill", "weir", "barn"), 1)
    ]
    book = Titled("mill.pdf", "\n".join(["Contents", "", *entries, "", "\n\n".join(bodies)]))
    (part,) = find("chapter 2", book)
    assert "Words about the weir." in book.text[part.start : part.end]


@pytest.mark.parametrize("opening", ["Chapter 4\n\n{}", "4 {}", "Chapter 4: {}"])
def test_a_running_head_is_no_heading(opening: str) -> None:
    title = opening.format("Glossary of the trade")
    pages = [f"{title}\n\nWeir: a low dam.\n", "4.1 Stones\n\nA stone turns.\n"]
    text = "\n\nGlossary\n\n".join(pages) + "\n\nGlossary of the trade\n\nThe last stone.\n\nChapter 5\n\nThanks.\n"
    document = Titled("mill.pdf", text)
    for wanted in ("Glossary of the trade", "Glossary"):
        (part,) = find(wanted, document, exact=True)
        assert "a low dam" in text[part.start : part.end], "the title, and not the head of a later page"
    (chapter,) = find("chapter 4", document)
    assert "The last stone." in text[chapter.start : chapter.end], "a head ends no chapter"
    assert "Thanks" not in text[chapter.start : chapter.end]


@pytest.mark.parametrize(
    ("text", "outline", "title"),
    [
        ("Chapter 3\n\nThe mill\n\nStones.\n\nChapter 4\n\nThe weir\n\nEels pass.\n", [], "The weir"),
        ("CHAPTER III\nTHE MILL\n\nStones.\n\nCHAPTER IV\nTHE WEIR\n\nEels pass.\n", [], "THE WEIR"),
        ("Chapter Four\nThe weir\nEels pass at night.\n", [], "The weir"),
        ("Chapter 4\nEels pass at night.\n", [], "Chapter 4"),
        ("17\n\nCHAPTER IV\n\nThe weir\n\nEels pass.\n", [("Chapter 4", 1, 0)], "The weir"),
        ("4\n\nThe weir and\nthe eels of Morne\n\nEels pass.\n", [("4", 1, 0)], "The weir and the eels of Morne"),
        ("Chapter 4: The weir\nEels pass\n", [], "The weir"),
    ],
)
def test_a_title_may_stand_below_its_number(text: str, outline: list[tuple[str, int, int]], title: str) -> None:
    document = Titled("mill.pdf", text, outline)
    part = find("chapter 4", document)[0]
    assert title_of(part, text) == title
