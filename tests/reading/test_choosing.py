"""What is put before the model: within the budget, from where it may be read; the first page where that is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from open_documents import opened, scored

from sharedllm_cli.generation.prompt import Turn
from sharedllm_cli.reading.choosing import Choosing, Chosen, looked_for, tokens_read

TITLE = "The Ledger of Kessel. By Jane Roe. Harbour Press, 1907.\n\n"
HARBOUR = (
    "The harbour master keeps a ledger bound in green leather. The author is grateful to the harbour master. " * 20
)
BEES = "The bees fly from clover to clover. In winter they sleep. " * 30


def words(chosen: Chosen) -> str:
    return " ".join(passage.text for passage in chosen.passages)


def choose(*given: Any, **named: Any) -> Chosen:
    return Choosing(*given, **named).first()


def readings(choosing: Choosing, most: int) -> list[Chosen]:
    """All readings, as if each were met with a refusal."""
    read = [choosing.first()]
    while len(read) < most and (chosen := choosing.following(read)):
        read.append(chosen)
    return read


def test_the_first_page_answers_who_wrote_a_document_though_other_pages_speak_of_authors() -> None:
    book = opened([TITLE, HARBOUR, BEES])
    question = "Who is the author?"
    found = scored(question, book)
    assert "Jane Roe" not in words(choose([book], found, 300)), "or the page would have been found by its words"
    chosen = choose([book], found, 300, question=question)
    assert "By Jane Roe" in words(chosen)
    assert "grateful" in words(chosen), "half of the budget is left to the question's words"
    assert chosen.tokens <= 300
    choosing = Choosing([book], found, 300, question=question)
    shown = choosing.sources([choosing.first()])
    assert any("Jane Roe" in source.quote and source.page == 1 for source in shown)


def test_every_document_of_the_question_shows_its_first_page() -> None:
    books = [opened([TITLE, HARBOUR]), opened(["On Bees. By Tom Poe.\n\n", BEES], "bees.pdf")]
    question = "Who are the authors?"
    chosen = choose(books, scored(question, *books), 400, question=question)
    assert "The Ledger of Kessel" in words(chosen)
    assert "On Bees" in words(chosen)


def test_a_question_about_a_document_itself_is_never_hopeless() -> None:
    book = opened([TITLE, BEES])
    for question, no_term_matches in (("Who wrote this book?", False), ("Who wrote the letter to Marten?", True)):
        assert choose([book], scored(question, book), 300, question=question).no_term_matches is no_term_matches


def test_a_first_page_that_may_not_be_read_is_not_read() -> None:
    book = opened([TITLE, HARBOUR, BEES])
    end = len(TITLE)
    question = "Who is the author?"
    choosing = Choosing([book], scored(question, book), 300, allowed=[[(end, end + 2000)]], question=question)
    chosen = choosing.first()
    assert "Jane Roe" not in words(chosen)
    assert not chosen.front
    assert {source.page for source in choosing.sources([chosen])} == {2}


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
    choosing = Choosing([book], scored("Where do the bees fly?", book), 0)
    (chosen,) = readings(choosing, 3)
    assert (chosen.passages, chosen.tokens) == ([], 0)
    shown = choosing.sources([chosen])
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


def test_another_reading_holds_the_next_best_words_and_none_of_those_before() -> None:
    book = opened(["".join(FIELDS)])
    choosing = Choosing([book], scored("Where do the bees find clover?", book), 300)
    first, second, third = readings(choosing, 3)
    assert words(first) == words(choose([book], scored("Where do the bees find clover?", book), 300))
    taken: set[int] = set()
    for reading in (first, second, third):
        own = {token for one in reading.held for token in range(one.first_token, one.end_token)}
        assert 0 < len(own) == reading.tokens <= 300
        assert len(taken & own) < 40, "a sentence is read whole though its beginning was read before"
        taken |= own
    assert len(taken) > 750
    assert max(one.score for one in first.held) >= max(one.score for one in second.held)


def test_reading_ends_where_nothing_is_left_that_the_question_asks_for() -> None:
    book = opened([*SEAS, FIELDS[0], *SEAS])
    asked = scored("Where do the bees find clover?", book)
    # As a policy that re-ranks does it, leaves without any of the words score a little, too.
    random = np.random.default_rng(0)
    anything = replace(asked, leaves=[values + random.random(len(values)) for values in asked.leaves])
    for found in (asked, anything):
        read = readings(Choosing([book], found, 60), 9)
        assert "bees find clover" in words(read[0])
        assert len(read) < 4, "the sea is not read for it"


def test_a_short_document_is_read_to_its_end() -> None:
    book = opened(FIELDS[:3])
    asked = scored("Where do the bees find clover?", book)
    assert [one.whole for one in readings(Choosing([book], asked, book.tokens), 9)] == [True]
    for budget in (book.tokens * 2 // 3, book.tokens - 10, book.tokens // 2):
        read = readings(Choosing([book], asked, budget), 9)
        assert len(read) > 1
        assert not any(one.whole for one in read), "no reading alone holds everything"
        assert book.tokens - 32 <= tokens_read(read) <= book.tokens


def test_a_rest_that_fits_is_read_though_it_has_none_of_the_words() -> None:
    book = opened(["".join(FIELDS[:4]), SEAS[0] * 4])
    asked = scored("Where do the bees find clover?", book)
    read = readings(Choosing([book], asked, 420), 9)
    assert "ships that sail" in words(read[-1])
    assert "bees" not in words(read[-1])
    assert tokens_read(read) > book.tokens - 32


def test_what_had_no_room_before_the_model_was_not_read() -> None:
    book = opened(["".join(FIELDS[:20]), "".join(FIELDS[20:])])
    choosing = Choosing([book], scored("Where do the bees find clover?", book), 600)
    first = choosing.first()
    assert len(first.passages) == len(first.owners) > 1
    kept = first.kept({0}, 90)
    assert kept.tokens == tokens_read([kept]) == 90
    assert {first.owners[0]} >= {first.held.index(passage) for passage in kept.held}
    assert len(kept.held) < len(first.held)
    lost = [passage for passage in first.held if passage not in kept.held]
    second = choosing.following([kept])
    assert second is not None
    taken = {token for one in second.held for token in range(one.first_token, one.end_token)}
    assert taken & set(range(lost[0].first_token, lost[0].end_token)), "it comes first in the next reading"
    assert first.kept(range(len(first.passages)), 7) is first


def test_a_later_reading_stays_within_the_pages_asked_for() -> None:
    book = opened(["".join(FIELDS)])
    asked = scored("Where do the bees find clover?", book)
    for reading in readings(Choosing([book], asked, 200, allowed=[[(400, 900)]]), 4):
        assert all(400 <= one.first_token < one.end_token <= 900 for one in reading.held)


def test_what_was_found_and_not_read_comes_after_what_the_answer_rests_on() -> None:
    book = opened(["".join(FIELDS)])
    choosing = Choosing([book], scored("Where do the bees find clover in field 7?", book), 200)
    first, second = readings(choosing, 2)
    for answering, others in (([first], []), ([second], [first]), ([first, second], [])):
        shown = choosing.sources(answering, others)
        flags = [source.read for source in shown]
        assert 1 <= len(shown) <= 8
        assert flags == sorted(flags, reverse=True), "what was read comes first"
        assert not flags[-1]
        read = " ".join(words(one) for one in answering)
        assert all((source.quote in read) is source.read for source in shown)
    in_vain = choosing.sources([second], [first])
    best = next(source for source in in_vain if not source.read)
    assert best.quote in words(first), "the passages that were read in vain are the best of the rest"


def test_nothing_is_shown_as_found_that_has_none_of_the_words() -> None:
    book = opened(["".join(SEAS), FIELDS[0], "".join(SEAS)])
    asked = scored("Where do the bees find clover?", book)
    random = np.random.default_rng(0)
    for found in (asked, replace(asked, leaves=[values + random.random(len(values)) for values in asked.leaves])):
        choosing = Choosing([book], found, 500)
        shown = choosing.sources([choosing.first()])
        assert any("clover" in source.quote for source in shown)
        assert all(source.read for source in shown), "though there is room for more, and more sea"


def test_a_question_that_leans_on_the_one_before_is_looked_for_with_it() -> None:
    book = opened([HARBOUR, BEES])
    history = [Turn("Where does the harbour master keep the ledger?", "In green leather.")]
    assert looked_for("And in winter?", history, [book]) == f"{history[0].question} And in winter?"
    whole = "Where do the bees sleep in winter?"
    assert looked_for(whole, history, [book]) == whole
    assert looked_for("And in winter?", [], [book]) == "And in winter?"
    for about in ("What is this document about?", "Summarize it.", "이 문서는 무엇에 관한 것입니까?"):
        assert looked_for(about, history, [book]) == about
    for leaning in ("Tell me about it.", "And why?"):
        assert looked_for(leaning, history, [book]) == f"{history[0].question} {leaning}"


def test_for_a_question_about_the_whole_the_beginnings_may_be_asked_for() -> None:
    books = [opened([HARBOUR * 3, BEES * 3]), opened([BEES * 3, HARBOUR * 3])]
    found = scored("What is this about?", *books)
    chosen = Choosing(books, found, 400, beginnings=True).first()
    assert [(one.document, one.first_token) for one in chosen.held] == [(0, 0), (1, 0)]
    assert chosen.held[0].length == pytest.approx(chosen.held[1].length, abs=100)
    first = books[0].document.pages[1].start
    bounded = Choosing(books, found, 400, beginnings=True, allowed=[[(first, books[0].tokens)], []]).first()
    assert [(one.document, one.first_token) for one in bounded.held] == [(0, first)]
    second = [books[0].document.pages[1].start, books[1].document.pages[1].start]
    assert second[0] > second[1]
    ranges = [[(start, book.tokens)] for start, book in zip(second, books, strict=True)]
    late = Choosing(books, found, 400, beginnings=True, allowed=ranges)
    assert [(one.document, one.first_token) for one in late.first().held] == [(0, second[0]), (1, second[1])]
    assert all(source.score >= 0 for source in late.sources([late.first()])), "scores, not places"
