"""What a question is searched for."""

from __future__ import annotations

from asking import question
from open_documents import opened

from sharedllm_cli.generation.prompt import Turn

HARBOUR = (
    "The harbour master keeps a ledger bound in green leather. The author is grateful to the harbour master. " * 20
)
BEES = "The bees fly from clover to clover. In winter they sleep. " * 30


def test_a_question_that_leans_on_the_one_before_is_searched_for_with_it() -> None:
    book = opened([HARBOUR, BEES])
    history = (Turn("Where does the harbour master keep the ledger?", "In green leather."),)

    def query(text: str) -> str:
        return question(text, history=history).query([book])

    assert query("And in winter?") == f"{history[0].question} And in winter?"
    whole = "Where do the bees sleep in winter?"
    assert query(whole) == whole
    assert question("And in winter?").query([book]) == "And in winter?"
    for about in ("What is this document about?", "Summarize it.", "이 문서는 무엇에 관한 것입니까?"):
        assert query(about) == about
    for leaning in ("What about bees?", "And why?"):
        assert query(leaning) == f"{history[0].question} {leaning}"


def test_a_question_for_a_topic_is_searched_for_by_the_topic_alone() -> None:
    book = opened([HARBOUR, BEES])
    assert question("Does the book mention bees?").query([book]) == "bees"
