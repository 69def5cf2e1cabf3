"""Which questions ask a document to speak of something, and of what."""

from __future__ import annotations

import pytest

from sharedllm_cli.answering.wording import topic_asked_about


@pytest.mark.parametrize(
    ("question", "topic"),
    [
        ("Does the handbook mention ammonia?", "ammonia"),
        ("Does the introduction mention Sweave?", "Sweave"),
        ("What does it say about ammonia?", "ammonia"),
        ("Is there anything about the old pump?", "old pump"),
        ("What about ammonia?", "ammonia"),
        ("And does this contract say anything about a deposit?", "deposit"),
        ("Are dogs mentioned anywhere in the lease?", "dogs"),
        ("What does chapter 3 say about visitors?", "visitors"),
        ("What does section 4 of the lease say about pets?", "pets"),
        ("Is there a section on parking in it?", "parking"),
        ('Does it mention "read.table" anywhere?', "read.table"),
        ("Tell me about bats.", "bats"),
        ("Does it say anything about a will?", "will"),
        ("Does the policy refer to the landlord?", "landlord"),
        ("Was steht im Handbuch über Ammoniak?", "Ammoniak"),
        ("Wird Ammoniak erwähnt?", "Ammoniak"),
        ("Que dit le contrat sur la caution ?", "caution"),
        ("¿Qué dice el contrato sobre la fianza?", "fianza"),
    ],
)
def test_the_topic_is_asked_about_without_the_words_that_ask(question: str, topic: str) -> None:
    assert topic_asked_about(question) == topic


@pytest.mark.parametrize(
    "question",
    [
        "What is this document about?",
        "Tell me about this document",
        "Does the king mention the war?",
        "What did the wolf say about the pigs?",
        "Who is mentioned in the letter?",
        "Does the contract say how notice is given?",
        "What are the rules about pets?",
        "What does it say on page 9?",
        "Is there anything to eat?",
        "",
    ],
)
def test_other_questions_ask_about_no_topic(question: str) -> None:
    assert topic_asked_about(question) is None


def test_after_another_question_what_about_asks_that_one() -> None:
    assert topic_asked_about("What about the cat?", leaning=True) is None
    assert topic_asked_about("Does it mention the cat?", leaning=True) == "cat"


@pytest.mark.parametrize("manner", ["in detail", "in more detail please", "briefly", "in a few words"])
def test_the_manner_of_an_answer_is_no_part_of_the_topic(manner: str) -> None:
    assert topic_asked_about(f"Tell me about the keeper {manner}") == "keeper"
