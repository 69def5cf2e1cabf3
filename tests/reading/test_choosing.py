"""What is put before the model: within the budget, from where it may be read; the first page where that is asked."""

from __future__ import annotations

from open_documents import opened, scored

from sharedllm_cli.generation.prompt import Turn
from sharedllm_cli.reading.choosing import choose, looked_for

TITLE = "The Ledger of Kessel. By Jane Roe. Harbour Press, 1907.\n\n"
HARBOUR = (
    "The harbour master keeps a ledger bound in green leather. The author is grateful to the harbour master. " * 20
)
BEES = "The bees fly from clover to clover. In winter they sleep. " * 30


def words(chosen: object) -> str:
    return " ".join(passage.text for passage in chosen.passages)  # type: ignore[attr-defined]


def test_the_first_page_answers_who_wrote_a_document_though_other_pages_speak_of_authors() -> None:
    book = opened([TITLE, HARBOUR, BEES])
    question = "Who is the author?"
    found = scored(question, book)
    assert "Jane Roe" not in words(choose([book], found, 300)), "or the page would have been found by its words"
    chosen = choose([book], found, 300, question=question)
    assert "By Jane Roe" in words(chosen)
    assert "grateful" in words(chosen), "half of the budget is left to the question's words"
    assert chosen.tokens <= 300
    assert any("Jane Roe" in source.quote and source.page == 1 for source in chosen.sources)


def test_every_document_of_the_question_shows_its_first_page() -> None:
    books = [opened([TITLE, HARBOUR]), opened(["On Bees. By Tom Poe.\n\n", BEES], "bees.pdf")]
    question = "Who are the authors?"
    chosen = choose(books, scored(question, *books), 400, question=question)
    assert "The Ledger of Kessel" in words(chosen)
    assert "On Bees" in words(chosen)


def test_a_question_about_a_document_itself_is_never_hopeless() -> None:
    book = opened([TITLE, BEES])
    for question, hopeless in (("Who wrote this book?", False), ("Who wrote the letter to Marten?", True)):
        assert choose([book], scored(question, book), 300, question=question).hopeless is hopeless


def test_a_first_page_that_may_not_be_read_is_not_read() -> None:
    book = opened([TITLE, HARBOUR, BEES])
    end = len(TITLE)
    question = "Who is the author?"
    chosen = choose([book], scored(question, book), 300, allowed=[[(end, end + 2000)]], question=question)
    assert "Jane Roe" not in words(chosen)
    assert not chosen.front
    assert all(source.page == 2 for source in chosen.sources)


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
    chosen = choose([book], scored("Where do the bees fly?", book), 0)
    assert (chosen.passages, chosen.tokens) == ([], 0)
    assert "bees fly" in chosen.sources[0].quote


def test_a_question_that_leans_on_the_one_before_is_looked_for_with_it() -> None:
    book = opened([HARBOUR, BEES])
    history = [Turn("Where does the harbour master keep the ledger?", "In green leather.")]
    assert looked_for("And in winter?", history, [book]) == f"{history[0].question} And in winter?"
    whole = "Where do the bees sleep in winter?"
    assert looked_for(whole, history, [book]) == whole
    assert looked_for("And in winter?", [], [book]) == "And in winter?"
