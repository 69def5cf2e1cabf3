"""A part named in quotation marks is found by its heading, and nothing else is taken for one."""

from __future__ import annotations

import time

import pytest

from sharedllm_cli.retrieval.sections import Heading, Titled, headings, named_part

STORIES = "Snow man\n\nIt was cold.\n\nHe said no word\n\nThe red swan\n\nIt flew to the sea."


def part_of(question: str, *documents: Titled) -> tuple[str, list[list[str]]] | None:
    found = named_part(question, documents)
    if found is None:
        return None
    texts = [document.text for document in documents]
    return found.question, [[text[a:b] for a, b in spans] for text, spans in zip(texts, found.spans, strict=True)]


@pytest.mark.parametrize(
    ("question", "rest"),
    [
        ('In "The red swan": where did it fly?', "where did it fly?"),
        ('in the "the  red SWAN", where did it fly?', "where did it fly?"),
        ("Where did it fly in “The red swan”?", "Where did it fly ?"),
        ("Where did it fly in „The red swan“ then?", "Where did it fly then?"),
    ],
)
def test_a_heading_in_quotation_marks_names_the_part_below_it(question: str, rest: str) -> None:
    assert part_of(question, Titled("a.txt", STORIES)) == (rest, [["The red swan\n\nIt flew to the sea."]])


@pytest.mark.parametrize(
    "question",
    [
        "In The red swan: where did it fly?",
        'In "The red": where did it fly?',
        'Who said "It was cold."?',
        'What does "the sea" mean?',
        'In "": what?',
        'Where is "a.txt"?',
    ],
)
def test_nothing_else_names_a_part(question: str) -> None:
    assert part_of(question, Titled("a.txt", STORIES)) is None


def test_the_first_name_that_is_a_heading_counts() -> None:
    found = part_of('Who says "cold" in "Snow man" or "The red swan"?', Titled("a.txt", STORIES))
    assert found is not None
    assert found[0] == 'Who says "cold" or "The red swan"?'
    assert found[1][0][0].startswith("Snow man")


def test_a_line_right_below_a_heading_ends_no_part() -> None:
    text = "Privacy\n\nLast updated 2014\n\nWe keep nothing.\n\nTerms\n\nYou pay."
    assert [(title, level) for title, level, _ in headings(Titled("a", text))] == [
        ("Privacy", 1),
        ("Last updated 2014", 2),
        ("Terms", 1),
    ]
    assert part_of('In "privacy": what is kept?', Titled("a", text)) == (
        "what is kept?",
        [["Privacy\n\nLast updated 2014\n\nWe keep nothing.\n\n"]],
    )


def test_an_outline_says_where_a_part_ends() -> None:
    text = "Contents\nOne 2\nOne\nfirst\nOne A\nInner\nTwo\nlast"
    outline = [("One", 1, 15), ("One A", 2, 15), ("Two", 1, 15)]
    document = Titled("a.pdf", text, outline)
    assert next(iter(headings(document))) == Heading("One", 1, text.index("One\nfirst"))
    assert part_of('What is in "One"?', document) == ("What is ?", [["One\nfirst\nOne A\nInner\n"]])
    assert part_of('What is in "One A"?', document) == ("What is ?", [["One A\nInner\n"]])


def test_a_title_that_stands_nowhere_begins_with_its_page() -> None:
    document = Titled("a.pdf", "page one. page two.", [("Start", 1, 0), ("Go on", 1, 10)])
    assert part_of('In "Go on": what?', document) == ("what?", [["page two."]])


def test_among_several_documents_a_name_is_a_part() -> None:
    two = (Titled("swans.txt", "white"), Titled("crows.txt", "black"))
    assert part_of('What colour in "crows"?', *two) == ("What colour ?", [[], ["black"]])
    assert part_of('What colour in "crows.txt"?', *two) == ("What colour ?", [[], ["black"]])


def test_every_heading_of_that_title_counts() -> None:
    text = "Notes\n\nOne thing.\n\nMore\n\nElse.\n\nNotes\n\nAnother."
    found = part_of('In "Notes": what?', Titled("a", text))
    assert found == ("what?", [["Notes\n\nOne thing.\n\n", "Notes\n\nAnother."]])


def test_the_same_title_twice_in_an_outline_is_two_parts() -> None:
    document = Titled("a.pdf", "Notes\none\nNotes\ntwo", [("Notes", 1, 0), ("Notes", 1, 0)])
    assert part_of('In "Notes": what?', document) == ("what?", [["Notes\none\n", "Notes\ntwo"]])


def test_a_title_is_sought_no_further_than_where_the_next_part_may_begin() -> None:
    """`Results` is broken on its page and stands alone in the appendix: neither it nor what follows begins there."""
    pages = ["Contents\n", "1 Re-\nsults\nWe won.\n", "2 Thanks\nThank you.\n", "Appendix\nResults\nmore numbers\n"]
    starts = [sum(map(len, pages[:place])) for place in range(len(pages))]
    outline = [("Results", 1, starts[1]), ("2 Thanks", 1, starts[2]), ("Appendix", 1, starts[3])]
    document = Titled("a.pdf", "".join(pages), outline)
    assert [heading.start for heading in headings(document)] == starts[1:]
    assert part_of('In "Results": who won?', document) == ("who won?", [[pages[1]]])


def test_a_title_is_found_whatever_its_case_its_spaces_and_its_lines() -> None:
    text = "One  Long\n\n  Title\t\nwords\n  ONE long title here\nshort\none long TITLE\nwords again"
    outline = [("One Long  Title", 1, 0), ("Short", 2, 0), ("One Long Title", 1, 0)]
    assert [text[heading.start :][:5] for heading in headings(Titled("a.pdf", text, outline))] == [
        "One  ",
        "short",
        "one l",
    ]


def test_a_title_that_begins_in_the_middle_of_a_line_is_not_found_there() -> None:
    document = Titled("a.pdf", "the end of it. Notes\nNotes\nhere", [("Notes", 1, 15)])
    assert [heading.start for heading in headings(document)] == [21]


def test_titles_that_stand_nowhere_cost_no_search_each() -> None:
    text = "many words of a long page\n" * 40_000
    outline = [(f"Many words {number}", 1, 0) for number in range(4000)]
    repeated = [("many words of a long page " * 200, 1, 0)] * 2000
    started = time.process_time()
    assert len(list(headings(Titled("a.md", text, [*outline, *repeated])))) == 6000
    assert time.process_time() - started < 10
