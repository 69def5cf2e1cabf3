"""Which questions ask for several things, and when an answer states their number."""

from __future__ import annotations

import pytest

from sharedllm_cli.answering.wording import asks_for_several
from sharedllm_cli.generation.grounding import states_number


@pytest.mark.parametrize(
    ("question", "thing", "count"),
    [
        ("List all coxswains of the station.", "coxswains", False),
        ("How many coxswains has the station had?", "coxswains", True),
        ("Which of the keepers married?", "keepers", False),
        ("Name the keepers", "keepers", False),
        ("Who were the keepers of the light?", "keepers", False),
        ("What are all the fees?", "fees", False),
        ("Which boats were lost?", "boats", False),
        ("How many people live there?", "people", True),
        ("How many different kinds of index vector can be used?", "index vector", True),
        ("Wie viele Boote gibt es?", "Boote", True),
        ("Combien de bateaux y a-t-il ?", "bateaux", True),
    ],
)
def test_several_are_asked_for(question: str, thing: str, count: bool) -> None:
    several = asks_for_several(question)
    assert several is not None
    assert (several.thing, several.count) == (thing, count)


@pytest.mark.parametrize(
    "question",
    [
        "Name the keeper.",
        "Who was the keeper?",
        "How much is the fee?",
        "Give me the rent",
        "How many?",
        "What happens?",
    ],
)
def test_one_is_asked_for(question: str) -> None:
    assert asks_for_several(question) is None


def test_a_number_is_stated_where_it_stands_before_the_thing() -> None:
    text = "A full winding takes 210 full turns. In 1871 Elias was chosen as coxswain."
    assert states_number("210 turns", "turns", text, "english")
    assert not states_number("1871", "coxswains", text, "english")
    assert not states_number("many", "turns", text, "english")
