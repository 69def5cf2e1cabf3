"""What kind a question is, and so what form its answer has."""

from __future__ import annotations

import pytest

from sharedllm_cli.answering.kinds import RULES, Kind, kind_of, rule_for
from sharedllm_cli.generation.prompt import RULE


@pytest.mark.parametrize(
    ("kind", "questions"),
    [
        (Kind.SHORT, ["When was it lit?", "Who lit it?", "How many lamps are there?", "What did she do that day?"]),
        (Kind.SHORT, ["How tall is it?", "How did the king feel?", "Which option sets it?"]),
        (Kind.YES_NO, ["Is it lit?", "Can I descale it with vinegar?", 'In "Skerry": Does it burn oil?']),
        (Kind.EXPLANATION, ["What is a data frame?", "What is meant by leeway?"]),
        (Kind.EXPLANATION, ["Why was it lit?", "What does tapply() do?", "How is the filter cleaned?"]),
        (Kind.EXPLANATION, ["Skerry: Why was it lit?", "Why was it lit (in Skerry)?", "What is the lens used for?"]),
        (Kind.STEPS, ["How do I clean it?", "how to trim the wick", "What should I do if it smokes?"]),
        (Kind.SUMMARY, ["What is this manual about?", "Summarise the chapter on fog.", "What is the plot?"]),
    ],
)
def test_the_words_of_a_question_say_its_kind(kind: Kind, questions: list[str]) -> None:
    assert [kind_of(question) for question in questions] == [kind] * len(questions)


def test_every_kind_has_a_rule_and_a_short_one_the_rule_of_before() -> None:
    assert set(RULES) == set(Kind)
    assert rule_for("Who lit it?") == RULE
