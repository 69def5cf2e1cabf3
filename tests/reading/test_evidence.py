"""What is put before the model: within the budget, from where it may be read; the first page where that is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from open_documents import opened, scored

from sharedllm_cli.answer import FILE_METADATA
from sharedllm_cli.reading.evidence import Evidence, EvidenceSelector, tokens_read

TITLE = "The Ledger of Kessel. By Jane Roe. Harbour Press, 1907.\n\n"
HARBOUR = (
    "The harbour master keeps a ledger bound in green leather. The author is grateful to the harbour master. " * 20
)
BEES = "The bees fly from clover to clover. In winter they sleep. " * 30


def words(chosen: Evidence) -> str:
    return " ".join(passage.text for passage in chosen.passages)


def choose(*given: Any, **named: Any) -> Evidence:
    return EvidenceSelector(*given, **named).best()


def test_the_first_page_answers_who_wrote_a_document_though_other_pages_speak_of_authors() -> None:
    book = opened([TITLE, HARBOUR, BEES])
    question = "Who is the author?"
    found = scored(question, book)
    assert "Jane Roe" not in words(choose([book], found, 300)), "or the page would have been found by its words"
    chosen = choose([book], found, 300, front=True)
    assert "By Jane Roe" in words(chosen)
    assert "grateful" in words(chosen), "half of the budget is left to the question's words"
    assert chosen.tokens <= 300
    selector = EvidenceSelector([book], found, 300, front=True)
    shown = selector.sources(selector.best())
    assert any("Jane Roe" in source.quote and source.page == 1 for source in shown)


def test_every_document_of_the_question_shows_its_first_page() -> None:
    books = [opened([TITLE, HARBOUR]), opened(["On Bees. By Tom Poe.\n\n", BEES], "bees.pdf")]
    question = "Who are the authors?"
    chosen = choose(books, scored(question, *books), 400, front=True)
    assert "The Ledger of Kessel" in words(chosen)
    assert "On Bees" in words(chosen)


def test_a_question_about_a_document_itself_always_has_its_first_page() -> None:
    book = opened([TITLE, BEES])
    found = scored("Who wrote the letter to Marten?", book)
    for front in (True, False):
        assert choose([book], found, 300, front=front).no_term_matches is not front


def test_a_first_page_that_may_not_be_read_is_not_read() -> None:
    book = opened([TITLE, HARBOUR, BEES])
    end = len(TITLE)
    question = "Who is the author?"
    selector = EvidenceSelector([book], scored(question, book), 300, allowed=[[(end, end + 2000)]], front=True)
    chosen = selector.best()
    assert "Jane Roe" not in words(chosen)
    assert not chosen.front
    assert {source.page for source in selector.sources(chosen)} == {2}


def test_what_a_file_says_of_itself_answers_questions_about_the_document_alone() -> None:
    book = opened([HARBOUR, BEES])
    facts = (("author", "Ida Crane"), ("published", "2016"))
    described = replace(book, document=replace(book.document, kind="epub", metadata=facts))
    question = "Who is the author?"
    selector = EvidenceSelector([described], scored(question, described), 300, front=True)
    chosen = selector.best()
    assert "The author is Ida Crane" in chosen.passages[-1].text, "right before the question"
    source = next(source for source in selector.sources(chosen) if source.place == FILE_METADATA)
    assert (source.quote, source.page) == ("author Ida Crane; published 2016", 0)
    kept = chosen.kept(range(1, len(chosen.passages)), 200)
    assert kept.metadata == chosen.metadata
    other = EvidenceSelector([described], scored("Where do the bees fly?", described), 300)
    assert "Ida Crane" not in words(other.best())
    made = replace(described, document=replace(described.document, kind="pdf"))
    first = EvidenceSelector([made], scored(question, made), 300, front=True).best()
    assert "Ida Crane" in first.passages[0].text, "a PDF's page stands nearer to the question"
    assert first.kept(range(1, len(first.passages)), 200).held == first.held


def test_evidence_stays_within_its_budget_and_says_when_it_is_everything() -> None:
    book = opened([TITLE, HARBOUR, BEES])
    found = scored("Where do the bees fly?", book)
    for budget in (40, 200, 1000):
        chosen = choose([book], found, budget)
        assert 0 < chosen.tokens <= budget
        assert not chosen.whole
    everything = choose([book], found, book.tokens)
    assert (everything.tokens, everything.whole) == (book.tokens, True)


def test_a_tiny_budget_shows_the_words_that_are_asked_for() -> None:
    book = opened(["In winter the keeper of the light burns whale oil and nothing besides that. " + HARBOUR])
    chosen = choose([book], scored("What is it about whales?", book), 16)
    assert "whale" in words(chosen)
    assert not chosen.unfit


def test_a_budget_that_no_word_fits_is_told_from_one_that_is_met() -> None:
    book = opened([BEES.replace(" ", "-")])
    found = scored("Where do the bees fly?", book)
    assert choose([book], found, 5).unfit
    assert not choose([book], found, 5, allowed=[[]]).unfit, "nothing may be read, so that nothing is missing"


def test_without_evidence_there_are_still_sources_to_show() -> None:
    book = opened([TITLE, HARBOUR, BEES])
    selector = EvidenceSelector([book], scored("Where do the bees fly?", book), 0)
    chosen = selector.best()
    assert (chosen.passages, chosen.tokens) == ([], 0)
    shown = selector.sources(chosen)
    assert "bees fly" in shown[0].quote
    assert all(source.read for source in shown)


FIELDS = [
    f"In field {number} the bees find clover and thyme and nothing else all summer long. " for number in range(40)
]
SEAS = ["The sea is grey in the north, and the ships that sail there carry tar and timber home. "] * 40


def test_the_passage_that_fits_best_is_read_last_right_before_the_question() -> None:
    seas = "".join(SEAS[:20])
    book = opened([f"The bees find thyme. {seas}", f"The bees find clover and thyme. {seas}", f"In clover. {seas}"])
    found = scored("Where do the bees find clover and thyme?", book)
    chosen = choose([book], found, 200)
    assert len(chosen.passages) > 1
    assert "The bees find clover and thyme." in chosen.passages[-1].text
    assert [one.score for one in chosen.held] == sorted(one.score for one in chosen.held)
    assert [chosen.held[owner].score for owner in chosen.owners] == [one.score for one in chosen.passages]


def test_what_is_read_for_no_place_in_particular_and_whole_documents_stand_in_their_order() -> None:
    book = opened(["".join(SEAS[:20]), FIELDS[0], "".join(SEAS[:20])])
    spread = choose([book], scored("What is this about?", book), 200)
    places = [one.first_token for one in spread.held]
    assert len(places) > 1
    assert places == sorted(places)
    # The first one fits the question best, and yet stays the first: nothing was left out.
    books = [opened([FIELDS[0]], "fields.txt"), opened([SEAS[0]], "seas.txt")]
    whole = choose(books, scored("Where do the bees find clover?", *books), 2000)
    assert whole.whole
    assert [one.document for one in whole.passages] == ["fields.txt", "seas.txt"]


def test_what_had_no_room_before_the_model_was_not_read() -> None:
    book = opened(["".join(FIELDS[:20]), "".join(FIELDS[20:])])
    selector = EvidenceSelector([book], scored("Where do the bees find clover?", book), 600)
    first = selector.best()
    assert len(first.passages) == len(first.owners) > 1
    kept = first.kept({0}, 90)
    assert kept.tokens == tokens_read(kept) == 90
    assert {first.owners[0]} >= {first.held.index(passage) for passage in kept.held}
    assert len(kept.held) < len(first.held)
    assert first.kept(range(len(first.passages)), 7) is first


def test_what_was_found_and_not_read_comes_after_what_the_answer_rests_on() -> None:
    book = opened(["".join(FIELDS)])
    selector = EvidenceSelector([book], scored("Where do the bees find clover in field 7?", book), 200)
    first = selector.best()
    shown = selector.sources(first)
    flags = [source.read for source in shown]
    assert 1 <= len(shown) <= 8
    assert flags == sorted(flags, reverse=True), "what was read comes first"
    assert not flags[-1]
    assert all((source.quote in words(first)) is source.read for source in shown)


def test_nothing_is_shown_as_found_that_has_none_of_the_words() -> None:
    book = opened(["".join(SEAS), FIELDS[0], "".join(SEAS)])
    asked = scored("Where do the bees find clover?", book)
    random = np.random.default_rng(0)
    for found in (asked, replace(asked, leaves=[values + random.random(len(values)) for values in asked.leaves])):
        selector = EvidenceSelector([book], found, 500)
        shown = selector.sources(selector.best())
        assert any("clover" in source.quote for source in shown)
        assert all(source.read for source in shown), "though there is room for more, and more sea"


def test_for_a_question_about_the_whole_the_beginnings_may_be_asked_for() -> None:
    books = [opened([HARBOUR * 3, BEES * 3]), opened([BEES * 3, HARBOUR * 3])]
    found = scored("What is this about?", *books)
    chosen = EvidenceSelector(books, found, 400, beginnings=True).best()
    assert [(one.document, one.first_token) for one in chosen.held] == [(0, 0), (1, 0)]
    assert chosen.held[0].length == pytest.approx(chosen.held[1].length, abs=100)
    first = books[0].document.pages[1].start
    bounded = EvidenceSelector(books, found, 400, beginnings=True, allowed=[[(first, books[0].tokens)], []]).best()
    assert [(one.document, one.first_token) for one in bounded.held] == [(0, first)]
    second = [books[0].document.pages[1].start, books[1].document.pages[1].start]
    assert second[0] > second[1]
    ranges = [[(start, book.tokens)] for start, book in zip(second, books, strict=True)]
    late = EvidenceSelector(books, found, 400, beginnings=True, allowed=ranges)
    assert [(one.document, one.first_token) for one in late.best().held] == [(0, second[0]), (1, second[1])]
    assert all(source.score >= 0 for source in late.sources(late.best())), "scores, not places"


def test_what_was_found_by_meaning_is_read_though_no_word_of_the_question_occurs() -> None:
    book = opened([TITLE, HARBOUR, BEES])
    found = scored("Qwerty zxcvb?", book)
    assert not found.lexical.matched
    assert choose([book], found, 300).no_term_matches
    best = np.zeros(book.leaves.leaf_count)
    best[-1] = 1.0
    meant = replace(found, leaves=[best], by_meaning=True)
    chosen = choose([book], meant, 64)
    assert not chosen.no_term_matches
    assert words(chosen).strip()
    assert words(chosen).strip() in BEES
    selector = EvidenceSelector([book], meant, 64)
    assert selector.sources(selector.best())[0].page == 3


def test_what_a_file_says_of_itself_is_a_source_beside_any_number_of_pages() -> None:
    book = opened([f"{HARBOUR} Number {number}." for number in range(9)])
    described = replace(book, document=replace(book.document, kind="epub", metadata=(("author", "Ida Crane"),)))
    question = "Who is the author?"
    selector = EvidenceSelector([described], scored(question, described), book.tokens, front=True)
    shown = selector.sources(selector.best())
    assert len(shown) <= 8
    assert any(source.place == FILE_METADATA for source in shown)


def test_the_page_that_fits_best_is_read_last_within_its_passage_too() -> None:
    pages = [f"Page {number} tells of boats and of the sea. " for number in range(8)]
    pages[3] = "The panel is reset by the green key. "
    book = opened(pages)
    found = scored("How is the panel reset?", book)
    chosen = choose([book], found, book.tokens - 60)
    assert len(chosen.passages) > 4
    assert "green key" in chosen.passages[-1].text
    assert not choose([book], found, book.tokens).passages[-1].text.startswith("The panel"), (
        "a whole document is in order"
    )


def test_a_page_that_goes_on_in_the_next_one_stays_before_it() -> None:
    pages = [f"Page {number} tells of boats and of the sea. " for number in range(8)]
    pages[3] = "The panel is reset by a key that is "
    pages[4] = "green and hangs in the hall. "
    chosen = choose([book := opened(pages)], scored("How is the panel reset?", book), book.tokens - 60)
    assert len(chosen.passages) > 4
    numbers = [piece.page for piece in chosen.passages]
    assert numbers.index(5) == numbers.index(4) + 1


def test_the_row_that_is_named_is_written_out_and_no_other() -> None:
    rows = [f"K-{number} | {number % 7}.{number % 10} | {number}" for number in range(100, 400)]
    book = opened(["\n".join(["Sample | pH | Clay %", *rows])])
    chosen = choose([book], scored("What is the pH of sample K-217?", book), 300)
    written = [line for piece in chosen.passages for line in piece.text.split("\n") if "pH: " in line]
    assert written == ["Sample: K-217 | pH: 0.7 | Clay %: 217"]
