"""Running heads, feet and page numbers go; body text never does."""

from __future__ import annotations

import random

from sharedllm_cli.documents.normalise import normalise
from sharedllm_cli.documents.running_heads import bodies

WORDS = [
    "heron",
    "water",
    "morning",
    "bank",
    "patience",
    "fisherman",
    "flood",
    "letter",
    "garden",
    "winter",
    "copper",
    "silver",
    "table",
    "window",
    "road",
]


def body(page: int, lines: int = 12) -> list[str]:
    dice = random.Random(page)
    return [" ".join(dice.choice(WORDS) for _ in range(9)) + "." for _ in range(lines)]


def kept(pages: list[list[str]]) -> list[list[str]]:
    return [lines[found.first : found.last] for lines, found in zip(pages, bodies(pages), strict=True)]


def test_heads_with_numbers_and_feet() -> None:
    pages = [[f"A Short History {n + 1}", *body(n), "Draft of 3 May"] for n in range(10)]
    assert kept(pages) == [body(n) for n in range(10)]


def test_odd_and_even_heads() -> None:
    pages = [[f"{n} The Author" if n % 2 == 0 else f"The Title of the Book {n}", *body(n)] for n in range(20, 40)]
    assert kept(pages) == [body(n) for n in range(20, 40)]


def test_heads_that_name_the_section_of_each_page() -> None:
    pages = [[*body(n), f"{n} Chapter {n // 3}. {WORDS[n // 3].title()}"] for n in range(1, 16)]
    assert kept(pages) == [body(n) for n in range(1, 16)]


def test_chapter_openings_without_a_head_lose_nothing() -> None:
    pages = [[*([] if n % 5 == 0 else ["My Title"]), *body(n), str(n + 1)] for n in range(15)]
    assert kept(pages) == [body(n) for n in range(15)]


def test_page_numbers_in_many_forms() -> None:
    for form in ("{}", "- {} -", "Page {}", "Page {} of 9", "{}/9", "[{}]", "Seite {}"):
        pages = [[*body(n), form.format(n + 1)] for n in range(9)]
        assert kept(pages) == [body(n) for n in range(9)], form
        assert [found.printed_number for found in bodies(pages)] == [str(n + 1) for n in range(9)]


def test_roman_front_matter_then_arabic() -> None:
    numbers = ["i", "ii", "iii", "iv", *map(str, range(1, 9))]
    pages = [[*body(n), number] for n, number in enumerate(numbers)]
    assert kept(pages) == [body(n) for n in range(12)]
    assert [found.printed_number for found in bodies(pages)] == numbers


def test_an_unnumbered_page_between_numbered_ones_has_its_number() -> None:
    pages = [[*body(n), *([str(n + 7)] if n != 4 else [])] for n in range(9)]
    assert bodies(pages)[4].printed_number == "11"


def test_two_pages_with_numbers() -> None:
    pages = [[*body(n), f"{n + 1}"] for n in range(2)]
    assert kept(pages) == [body(n) for n in range(2)]


def test_one_page_and_short_documents_lose_no_words() -> None:
    assert kept([["Title", "1"]]) == [["Title", "1"]]
    pages = [["My Title", *body(n)] for n in range(2)]
    assert kept(pages) == pages


def test_numbered_headings_are_no_heads() -> None:
    pages = [[f"Chapter {n + 1}", *body(n)] for n in range(8)]
    assert kept(pages) == pages


def test_sentences_that_count_with_the_pages_stay() -> None:
    pages = [[f"All of this stands on the page {n + 1}.", *body(n)] for n in range(8)]
    assert kept(pages) == pages


def test_tables_over_pages_keep_their_rows() -> None:
    pages = [[f"{n * 20 + row} {WORDS[row % 15]} 12.{row}" for row in range(20)] for n in range(6)]
    assert kept(pages) == pages
    lines = [[f"This is line {row} of page {n}." for row in range(30)] for n in range(6)]
    assert kept(lines) == lines


def test_the_same_text_on_every_page_stays() -> None:
    pages = [[*body(0), f"{n + 1}"] for n in range(6)]
    assert kept(pages) == [body(0)] * 6
    assert kept([["Ticket of admission", "Row 5", "Seat"]] * 5) == [["Ticket of admission", "Row 5", "Seat"]] * 5


def test_footnotes_that_count_with_the_pages_for_a_while_stay() -> None:
    pages = [[*body(n), *([f"{n - 3} See the note on {WORDS[n]}."] if 5 <= n < 8 else [])] for n in range(30)]
    assert kept(pages) == pages


def test_years_and_amounts_at_the_edges_stay() -> None:
    pages = [[*body(n), f"The total was {1900 + 7 * n}"] for n in range(8)]
    assert kept(pages) == pages


def test_the_heading_of_a_table_that_runs_on_stands_once() -> None:
    pages = [["Name Age Town", *body(n)] if 3 <= n < 7 else body(n) for n in range(40)]
    text = normalise(["\n".join(lines) for lines in pages]).text
    assert text.count("Name Age Town") == 1


def test_a_sentence_reads_on_past_head_and_foot() -> None:
    def page(n: int) -> str:
        first = f"and so the {WORDS[n]} began, which was long enough to need a line or more of print,"
        last = f"it was then that the long sentence of the {WORDS[n + 1]} went on to the next page"
        return "\n".join([f"The Book {n}", first, *body(n), last, str(n)])

    text = normalise([page(n) for n in range(1, 8)]).text
    assert f"the {WORDS[3]} went on to the next page and so the {WORDS[3]} began" in text
    assert text.count("The Book") == 1, "kept once, where it cuts no sentence"


def test_a_numbered_heading_that_counts_with_the_pages_stays_where_the_foot_has_their_number() -> None:
    pages = [
        "\n".join(
            ["Rules of the pool", "", f"{n} About {WORDS[n]}", *body(n)[:2], "", f"Approved by Ida  page {n} of 6"]
        )
        for n in range(1, 7)
    ]
    text = normalise(pages).text
    assert [text.count(f"{n} About {WORDS[n]}") for n in range(1, 7)] == [1] * 6
    assert text.count("Rules of the pool") == 1
    assert text.count("Approved by Ida") == 1


def test_blank_lines_between_paragraphs_change_nothing() -> None:
    """The same last paragraph on every page is text, however its lines are parted from what is above and below."""
    last = [
        "The card hangs in the lid, with",
        "the date and the weather, since",
        "memory deceives. Smoke is used",
        "sparingly.",
    ]
    close = [[f"Chapter {page}", f"A text of page {'abcdefgh'[page]}.", *last, str(page)] for page in range(8)]
    apart = [[*lines[:1], "", *lines[1:2], "", *lines[2:6], "", *lines[6:]] for lines in close]
    for page, (one, other) in enumerate(zip(bodies(close), bodies(apart), strict=True)):
        kept = [
            [line for line in lines[body.first : body.last] if line]
            for lines, body in ((close[page], one), (apart[page], other))
        ]
        assert kept[0] == kept[1]
        assert kept[1][-4:] == last


def test_a_title_page_is_no_running_head() -> None:
    pages = ["The Village Book", *["\n".join(["The Village Book", *body(n)]) for n in range(1, 10)]]
    found = normalise(pages)
    assert found.text[slice(*found.spans[0])].startswith("The Village Book")
    assert found.text.count("The Village Book") == 1, "on its page, which says it for the others, too"


def test_the_title_of_one_of_few_chapters_stays_where_its_heads_go() -> None:
    titles = ["Chapter 1: The mill", "Chapter 2: Weirs", "Chapter 3: Stones", "Chapter 4: Glossary"]
    pages = [[title, "", *body(10 * n + k)] for n, title in enumerate(titles) for k in range(3)]
    kept = ["\n".join(page[body.first : body.last]) for page, body in zip(pages, bodies(pages), strict=True)]
    for number, title in enumerate(titles):
        assert title in kept[3 * number]
        assert title not in kept[3 * number + 1] + kept[3 * number + 2]


def test_a_head_that_says_less_than_the_title_before_it_goes_from_all_its_pages() -> None:
    opening = [["Chapter 5. The mill by the river", *body(1)]]
    pages = [*([line] for line in body(99)), *opening, *(["The mill", *body(page)] for page in range(2, 7))]
    pages = [*([f"Foreword {page}.", *body(70 + page)] for page in range(6)), *pages]
    assert all("The mill" not in lines for lines in kept(pages))
    assert any("Chapter 5. The mill by the river" in lines for lines in kept(pages))


def test_a_document_of_page_numbers_alone_is_not_empty() -> None:
    pages = [["Page 1"], ["Page 2"]]
    assert [(body.first, body.last, body.printed_number) for body in bodies(pages)] == [(0, 1, "1"), (0, 1, "2")]
