"""Which questions say that they are about a document as a whole."""

from __future__ import annotations

import pytest

from sharedllm_cli.answering.wording import names_the_whole


@pytest.mark.parametrize(
    "question",
    [
        *("What is this document about?", "What's it about?", "Summarize it.", "Give me an overview.", "TLDR"),
        *("What are the main points?", "What is the topic of the paper?", "Tell me about this book."),
        *("Worum geht es in diesem Dokument?", "De quoi parle ce document ?", "¿De qué trata?", "Di che cosa parla?"),
        *("Waar gaat het over?", "이 문서는 무엇에 관한 것입니까?"),
    ],
)
def test_a_question_names_the_whole(question: str) -> None:
    assert names_the_whole(question)


@pytest.mark.parametrize(
    "question",
    [
        *("Why?", "???", "Where is the key?", "Who are you?", "How much is it?", "What should I do?", "What about it?"),
        *("Tell me about it.", "Is the document short?", "How long is the report?", "What is the title?"),
    ],
)
def test_a_question_of_words_that_say_nothing_does_not(question: str) -> None:
    assert not names_the_whole(question)
