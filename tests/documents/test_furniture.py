"""Running heads and feet are kept once, in the first of their pages, and found again by their spans."""

from __future__ import annotations

import random

import pytest
from pdf_making import make_pdf

from sharedllm_cli.documents import furniture, quotes, readers
from sharedllm_cli.documents.normalise import NormalisedText, normalise
from sharedllm_cli.documents.sources import SourceFile

_WORDS = "heron water morning bank patience fisherman flood letter garden winter copper silver table window road"
WORDS = _WORDS.split()


def body(page: int) -> str:
    dice = random.Random(page)
    return "\n".join(" ".join(dice.choice(WORDS) for _ in range(9)) + "." for _ in range(8))


def kept(text: NormalisedText) -> list[str]:
    return [text.text[start:end] for start, end in text.furniture]


def numbered(form: str, count: int = 5, first: int = 1) -> list[str]:
    return [f"{form.format(n)}\n{body(n)}" for n in range(first, first + count)]


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("Procedure QM-114 Revision 7 of 3 May 2021", "Procedure QM-114 Revision 7 of 3 May 2021"),
        ("Revision 7 page {} of 5", "Revision 7"),
        ("{} | Parish of Harl", "Parish of Harl"),
        ("Parish of Harl, page {}/5, draft of 1 June", "Parish of Harl · draft of 1 June"),
        ("DRAFT – do not cite", "DRAFT – do not cite"),
        ("Seite {} von 5 Preisliste gültig bis 30. Juni", "Preisliste gültig bis 30. Juni"),
    ],
)
def test_a_head_is_kept_once_without_the_pages_own_numbers(head: str, words: str) -> None:
    text = normalise(numbered(head))
    assert kept(text) == [f"Head of pages 1 to 5: {words}"]
    assert text.text.count(words.split(" · ")[0]) == 1
    assert text.furniture[0][1] <= text.spans[0][1], "in the first page's text"


@pytest.mark.parametrize("number", ["3 ", "3.2 ", "3. "])
def test_a_head_that_repeats_a_numbered_heading_is_not_kept(number: str) -> None:
    pages = [f"The boathouse {n}\n{number + 'The boathouse' if n == 1 else ''}\n{body(n)}" for n in range(1, 6)]
    assert kept(normalise(pages)) == []


def test_lone_page_numbers_are_not_kept() -> None:
    for form in ("{}", "- {} -", "Page {} of 5", "[{}]"):
        assert normalise(numbered(form)).furniture == ()


def test_heads_of_odd_and_even_pages_and_of_chapters() -> None:
    pages = [f"{f'{n} Ida Crane' if n % 2 else f'The Book of Weirs {n}'}\n{body(n)}" for n in range(1, 13)]
    text = normalise(pages)
    assert kept(text) == [
        "Head of every other page, 1 to 11: Ida Crane",
        "Head of every other page, 2 to 12: The Book of Weirs",
    ]
    chapters = [f"{('The Sluice', 'The Race')[n > 4]} {n}\n{body(n)}" for n in range(1, 9)]
    assert kept(normalise(chapters)) == ["Head of pages 1 to 4: The Sluice", "Head of pages 5 to 8: The Race"]


def test_a_head_that_stands_as_a_heading_in_the_text_is_not_kept() -> None:
    pages = [f"Chapter 3. The Sluice {n}\n{body(n)}" for n in range(1, 6)]
    pages[0] = f"{body(0)}\n\n3 The\nSluice\n\n{body(1)}"
    assert normalise(pages).furniture == ()
    # A word of a sentence is no heading: what marks the whole as secret stays.
    pages = [f"Confidential\n{body(n)}\nThis is confidential to all members of the board." for n in range(1, 6)]
    assert kept(normalise(pages))[0] == "Head of pages 1 to 5: Confidential"


def test_a_broken_word_is_joined_past_the_head_and_foot_that_are_kept() -> None:
    pages = [
        f"The Book of Weirs\nated by {WORDS[n]}.\n{body(n)}\nThe {WORDS[n + 5]} is hyphen-\nDraft of June\n{n}"
        for n in range(1, 7)
    ]
    text = normalise(pages).text
    assert text.count(" is hyphenated by ") == 5
    assert text.count("Head of pages 1 to 6: The Book of Weirs") == text.count("Draft of June") == 1


def test_spans_tile_the_text_with_what_is_kept() -> None:
    text = normalise([*numbered("Revision 7 page {}"), ""])
    assert text.spans[0][0] == 0
    assert text.spans[-1][1] == len(text.text)
    assert all(end == start for (_, end), (start, _) in zip(text.spans, text.spans[1:], strict=False))


def test_what_is_kept_stands_on_its_page() -> None:
    pages = [[f"line {n} of page {page} on herons" for n in range(9)] for page in range(5)]
    heads = [f"Revision 7, page {n + 1} of 5, approved by Ilse Marlow" for n in range(5)]
    document = readers.read(SourceFile("made.pdf", None), data=make_pdf(pages, heads=heads))
    start, end = document.furniture[0]
    place, words = furniture.parsed(document.text[start:end]) or ("", "")
    assert (place, words) == ("head of pages 1 to 5", "Revision 7 · approved by Ilse Marlow")
    assert quotes.verify_apart(words, document.pages[0].raw, furniture.BETWEEN)
    assert not quotes.verify_apart(words.replace("7", "8"), document.pages[0].raw, furniture.BETWEEN)
    assert furniture.parsed("Head of the school: Ilse Marlow") is None


def test_heads_whose_numbers_differ_in_count_are_kept_too() -> None:
    """`1 2` on one page and `12` on another: two numbers, and one."""
    heads = ["Slide 1 of part 2", "Slide 2 of part 2", "Slide 3 of part 2", "Slide 12 of part 2", "Slide 1 3 of part 2"]
    pages = ["\n".join([head, *[f"line {n} of {head[:7]} on herons" for n in range(9)]]) for head in heads]
    assert "part 2" in normalise(pages).text
