"""Of likely answers the one among the question's words is given, unless it is far less likely."""

from __future__ import annotations

import pytest

from sharedllm_cli.generation.decoding import NATS, pick
from sharedllm_cli.generation.grounding import WINDOW, Nearness

FEES = "In Ireland a private school typically costs 5,000 euros a year. In Spain the state pays all fees."
PUPILS = "Of Filipino primary schools 7.5% are private; of the secondary schools in Malta 11.1% are."


def test_nearness_is_the_share_of_the_questions_words_around_an_answer() -> None:
    near = Nearness("What share of Filipino primary schools is private?", [FEES, PUPILS])
    assert near("7.5%") == pytest.approx(4 / 5), "all but `share`; other forms of a word count"
    assert near("11.1%") == pytest.approx(4 / 5), "fifteen terms reach across a short passage"
    assert near("5,000 euros") == pytest.approx(2 / 5)
    assert near("5000 EUROS.") == pytest.approx(2 / 5), "however it is written"
    assert near("9%") == 0
    assert near("") == 0
    assert near("schools 7.5% of Filipino") == 0, "word for word or not at all"


def test_the_window_ends() -> None:
    before, after = " x" * (WINDOW - 1), " x" * WINDOW
    near = Nearness("Where is the lamp?", [f"lamp{before} tower{after} lamp{after} island"])
    assert near("tower") == 1
    assert near("island") == 0
    after_alone = Nearness("Where is the lamp?", [f"tower{after} lamp", f"island{before} lamp"])
    assert (after_alone("tower"), after_alone("island")) == (0, 1)
    assert Nearness("Where is the lamp?", ["a lamp"])("lamp") == 0, "the answer is no neighbour of itself"


def test_the_best_of_several_places_counts() -> None:
    near = Nearness("Who lit the lamp?", ["Anna." + " x" * 20 + " the lamp was lit by Anna", "Bert lit a fire"])
    assert near("Anna") == 1
    assert near("Bert") == 0.5


@pytest.mark.parametrize("question", ["What is this document about?", "What is it?", ""])
def test_a_question_of_no_place_tells_nothing(question: str) -> None:
    near = Nearness(question, [FEES])
    assert not near.tells
    assert near("5,000") == 0


def test_without_passages_nothing_is_told() -> None:
    assert not Nearness("Who lit the lamp?", []).tells
    assert not Nearness("Who lit the lamp?", [" "]).tells
    assert Nearness("Who lit the lamp?", ["a lamp"]).tells


def test_words_of_scripts_without_spaces_are_found_inside_a_run() -> None:
    near = Nearness("灯台の高さは?", ["灯台の高さは三十メートルである。"])
    assert near("三十メートル") > 0


def test_the_nearer_of_two_likely_answers_is_given() -> None:
    near = Nearness("What does a private school in Ireland cost?", [FEES])
    texts = ["6,000 euros", "5,000 euros"]
    assert pick(texts, [0.5, 1.5], near) == 1
    share = near(texts[1])
    assert pick(texts, [0.5, 0.5 + NATS * share - 0.01], near) == 1
    assert pick(texts, [0.5, 0.5 + NATS * share + 0.01], near) == 0, "too unlikely a one"
    assert pick(["6,000", "7,000"], [2.0, 1.0], near) == 1, "where none is near, the likeliest"


def test_an_empty_answer_is_the_last_to_be_given() -> None:
    near = Nearness("What does it cost?", [FEES])
    assert pick(["", "6,000"], [0.1, 30.0], near) == 1
    assert pick([" "], [0.1], near) == 0
    for wrong in ([], [1.0, 2.0]):
        with pytest.raises(ValueError, match="no choice"):
            pick(["a"] if wrong else [], wrong, near)


def test_yes_and_no_are_told_apart_by_what_they_cost_alone() -> None:
    near = Nearness("May dogs travel on the ferry?", ["Dogs travel on the ferry, and no charge is made. It is so."])
    assert near("no") == near("the") == near("Yes") == 0
    assert pick(["Yes", "no"], [1.24, 1.47], near) == 0


def test_a_question_in_words_that_the_passages_lack_tells_nothing() -> None:
    assert not Nearness("Wovon handelt dieses Dokument?", [FEES]).tells
    assert not Nearness("这篇文章的内容是什么?", ["灯台の高さは三十メートルである。"]).tells


def test_passages_that_do_not_hold_an_answer_are_told_from_those_that_hold_it_far_from_the_question() -> None:
    near = Nearness("Who lit the lamp?", ["Anna lit the lamp.", "Bert slept.", "Anna slept."])
    assert near.shares("Anna") == [1.0, None, 0.0]
    assert near.shares("no") == near.shares("") == [None] * 3
    assert Nearness("What is it?", ["Anna lit the lamp."]).shares("Anna") == [0.0]


def test_an_answer_of_the_questions_own_words_is_given_only_where_there_is_no_other() -> None:
    near = Nearness("What is the password of the guild at Giretil?", ["The password of the guild at Giretil is bolen."])
    assert near.repeats("The password of the guild at Giretil")
    assert near.repeats("guilds")
    assert not near.repeats("password bolen")
    assert not near.repeats("")
    assert not near.repeats("of the"), "stop words repeat nothing"
    assert pick(["the guild", "bolen", "the keeper"], [0.1, 9.0, 20.0], near) == 1
    assert pick(["the guild", "password"], [0.1, 9.0], near) == 0
    assert pick(["the guild", " "], [0.1, 0.0], near) == 0


@pytest.mark.parametrize(
    "question",
    ["Which is older, the mill or the tower?", "Ist die Mühle oder the tower älter?", 'In "The Tower": what fell?'],
)
def test_of_the_choices_that_a_question_offers_one_is_an_answer(question: str) -> None:
    assert not Nearness(question, ["The mill is older than the tower, which fell."]).repeats("the tower")


ROWS = """Sample | Depth cm | pH | Clay %
K-216 | 30 | 5.4 | 19
Sample: K-217 | Depth cm: 20 | pH: 6.4 | Clay %: 33
K-218 | 45 | 6.9 | 11"""


def test_a_row_s_name_binds_the_values_of_that_row_alone() -> None:
    near = Nearness("What is the clay of sample K-217?", [ROWS])
    assert near("6.9") < near("6.4"), "the row below stands near, too, and is another sample's"
    assert near("6.4") < near("33"), "its column is another one"


def test_a_long_row_is_near_as_a_whole() -> None:
    cells = " | ".join(f"Gauge {number}: {number}7" for number in range(30))
    row = Nearness("What does the Tarn say?", [f"Lake | Gauge\nLake: Tarn | {cells}"])
    assert row("297") == row("57") > 0
