"""The sentence that is quoted to a question of yes or no."""

from __future__ import annotations

import pytest
from open_documents import opened

from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.sentences import LEAST_OF_QUESTION, Quoted, nearest_sentence
from sharedllm_cli.retrieval.passages import Passage
from sharedllm_cli.retrieval.terms import ASKING_WORDS, GENERAL_WORDS, KIND_WORDS

FILLER = "The wind blows over the island on most days. " * 4
RULES = (
    f"{FILLER}Dogs are not landed at all. Wages are paid on the island, and allowances too. "
    f"{FILLER}Smoking is allowed on the rocks, and nowhere else. {FILLER}"
)


def everything(document: OpenDocument) -> list[Passage]:
    return [Passage(0, 0, document.tokens, 1.0, 0)]


def quoted(text: str, question: str, *, reported: bool = False) -> Quoted | None:
    document = opened([text])
    unweighed = GENERAL_WORDS | ASKING_WORDS | KIND_WORDS if reported else GENERAL_WORDS
    return nearest_sentence(question, [document], everything(document), [None], unweighed)


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("Is smoking allowed in the tower?", "Smoking is allowed on the rocks, and nowhere else."),
        ("Are dogs allowed on the island?", "Dogs are not landed at all."),
        ("Are wages paid on the island?", "Wages are paid on the island, and allowances too."),
    ],
)
def test_the_sentence_with_the_rarest_of_the_words(question: str, sentence: str) -> None:
    found = quoted(RULES, question)
    assert found is not None
    assert found.text == sentence
    assert found.share >= LEAST_OF_QUESTION


@pytest.mark.parametrize("question", ["Is parking permitted?", "Does the document describe Python?", "Is it so?"])
def test_nothing_is_near_where_the_words_are_not_there(question: str) -> None:
    found = quoted(RULES, question)
    assert found is None or found.share < LEAST_OF_QUESTION


def test_a_word_for_documents_counts_where_it_is_the_matter() -> None:
    text = f"{FILLER}Goggles are required at all times. {FILLER}The supplier sends a written report to the customer."
    found = quoted(text, "Is a report required?")
    assert found is not None
    assert found.text == "The supplier sends a written report to the customer."


def test_the_kind_of_document_counts_where_it_is_the_matter_and_not_where_it_is_asked() -> None:
    text = f"{FILLER}Fishing is a pastime here. {FILLER}A fishing licence is kept aboard. {FILLER}The lease is signed."
    licence = quoted(text, "Is a licence kept for fishing?")
    assert licence is not None
    assert licence.text == "A fishing licence is kept aboard."
    asked = quoted(text, "Does the lease say whether fishing is a pastime?", reported=True)
    assert asked is not None
    assert asked.text == "Fishing is a pastime here."


def test_a_word_that_the_document_lacks_takes_from_the_share() -> None:
    near, far = quoted(RULES, "Is smoking allowed?"), quoted(RULES, "Is smoking allowed in the submarine?")
    assert near is not None
    assert far is not None
    assert far.text == near.text
    assert far.share < near.share


def test_a_heading_a_question_and_a_table_of_contents_stand_back() -> None:
    text = (
        f"4.1 Case sensitivity ....... 12\n\n{FILLER}\n\n4.1 Case sensitivity\n\n"
        "Is the language case sensitive at all? "
        f"The language is case sensitive, as most are that come from there. {FILLER}"
    )
    found = quoted(text, "Is the language case sensitive?")
    assert found is not None
    assert found.text == "The language is case sensitive, as most are that come from there."


def test_words_in_the_sentence_before_count_half() -> None:
    text = f"{FILLER}The ferry sails on Sundays. It takes no lorries. {FILLER}The crane takes no lorries. {FILLER}"
    found = quoted(text, "Are lorries taken by the ferry?")
    assert found is not None
    assert found.text == "It takes no lorries."


def test_a_sentence_is_quoted_whole_where_the_passage_cuts_it() -> None:
    document = opened([f"{FILLER}Nobody may smoke in the tower unless the keeper is there and agrees to it. {FILLER}"])
    text, tokens = document.document.text, document.leaves.tokens
    first = next(place for place in range(document.tokens) if text[: tokens.starts[place]].endswith("may "))
    end = next(place for place in range(document.tokens) if text[: tokens.starts[place]].endswith("unless "))
    passage = [Passage(0, first, end, 1.0, 0)]
    whole = nearest_sentence("May one smoke in the tower?", [document], passage, [None])
    assert whole is not None
    assert whole.text == "Nobody may smoke in the tower unless the keeper is there and agrees to it."
    bounded = nearest_sentence("May one smoke in the tower?", [document], passage, [[(first, end)]])
    assert bounded is not None
    assert bounded.text == "smoke in the tower unless", "what may not be read is not quoted"


def test_a_list_without_full_stops_is_cut_at_its_lines() -> None:
    lines = "\n".join(f"item {number} of the inventory is kept in store {number}" for number in range(60))
    found = quoted(lines.replace("item 37 ", "the lantern "), "Is the lantern kept in a store?")
    assert found is not None
    assert found.text == "the lantern of the inventory is kept in store 37"


def test_the_best_passage_wins_among_equals() -> None:
    texts = (f"{FILLER}The gate is shut at night. {FILLER}", f"The gate is shut by noon. {FILLER}")
    documents = [opened([text]) for text in texts]
    first = Passage(0, 0, documents[0].tokens, 1.0, 0)
    second = Passage(1, 0, documents[1].tokens, 2.0, 0)
    for order, end in (([first, second], "noon."), ([second, first], "night.")):
        found = nearest_sentence("Is the gate shut?", documents, order, [None, None])
        assert found is not None
        assert found.text.endswith(end)
