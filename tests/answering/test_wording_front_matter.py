"""A question about the document itself is known by its form, and is answered from the document's first page."""

from __future__ import annotations

import numpy as np
import pytest

from sharedllm_cli.answering.wording import asks_for_front_matter
from sharedllm_cli.retrieval.boundaries import TokenText
from sharedllm_cli.retrieval.passages import raise_front


@pytest.mark.parametrize(
    "question",
    [
        "Who wrote this?",
        "who wrote this book",
        "Who wrote it and when?",
        "Who is the author?",
        "Who are the authors of this paper?",
        "Who's the author of the document?",
        "What is the title?",
        "What’s the title of this report?",
        "Please tell me the title and the author of this book.",
        "Author?",
        "title",
        "What is this document called?",
        "What is the name of this book?",
        "When was this article published?",
        "In which year was the book first published?",
        "What is the date of this document?",
        "Who published this technical report?",
        "Who is the publisher?",
        "Which company published this manual?",
        "Who is this written by?",
        "Can you tell me who wrote this?",
        "What is the ISBN of this book?",
        "Wer hat dieses Buch geschrieben?",
        "Wer ist der Autor?",
        "Wie lautet der Titel dieses Dokuments?",
        "Qui est l'auteur de ce livre ?",
        "Quel est le titre ?",
        "¿Quién escribió este libro?",
        "¿Cuál es el título del documento?",
    ],
)
def test_questions_about_the_document_itself_are_known(question: str) -> None:
    assert asks_for_front_matter(question)


@pytest.mark.parametrize(
    "question",
    [
        "Who wrote the letter to Marten?",
        "Who is the author of the letter?",
        "What title did the king give to his brother?",
        "Which date did they choose for the wedding?",
        "When was the bridge built?",
        "What is this document about?",
        "Who published the first map of the harbour?",
        "What did the author like most as a child?",
        "Why was the princess so sad?",
        "What does the book on the table say?",
        "Wer hat den Brief geschrieben?",
        "Qui a écrit la lettre ?",
        "What is the version control system that is used?",
        "",
    ],
)
def test_other_questions_are_left_alone(question: str) -> None:
    assert not asks_for_front_matter(question)


def document(leaf_count: int, leaf_tokens: int = 10) -> TokenText:
    starts = np.arange(leaf_count * leaf_tokens, dtype=np.int32) * 2
    leaves = np.arange(leaf_count)[:, None] * leaf_tokens + np.array([0, leaf_tokens])
    return TokenText("a " * len(starts), starts, starts + 1, leaves)


def test_the_first_page_is_as_good_as_the_best_and_nothing_else_changes() -> None:
    scores = np.array([0.0, -1.0, 0.5, 3.0, 2.0])
    (raised,) = raise_front([scores], [document(5)], [20], 1000)
    assert raised.tolist() == pytest.approx([3.0, 3.0, 0.5, 3.0, 2.0])
    assert min(raised[:2]) > scores.max(), "before the best, not beside it"
    assert scores.tolist() == [0.0, -1.0, 0.5, 3.0, 2.0]


def test_a_long_first_page_leaves_half_of_the_budget_to_the_questions_words() -> None:
    scores = [np.array([0.0] * 19 + [5.0]), np.arange(20.0) / 10]
    raised = raise_front(scores, [document(20), document(20)], [200, 200], 120)
    assert [int((new > old).sum()) for new, old in zip(raised, scores, strict=True)] == [3, 3]
    assert all(new[:3].tolist() == pytest.approx([5.0] * 3) for new in raised)


@pytest.mark.parametrize(("page_end", "budget"), [(4, 1000), (100, 5)])
def test_of_every_document_at_least_the_first_leaf_is_raised(page_end: int, budget: int) -> None:
    (raised,) = raise_front([np.array([0.0, 2.0, 1.0])], [document(3)], [page_end], budget)
    assert raised.tolist() == pytest.approx([2.0, 2.0, 1.0])
    assert raised[0] > raised[1]
