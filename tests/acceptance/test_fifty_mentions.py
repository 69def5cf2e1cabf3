"""Fifty questions whether documents speak of something: none is denied that stands there, none affirmed that does not.

The questions (mentions.json) were written from word counts of PDFium's text, all but one before the tool was asked.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sharedllm_cli.answer import Answer
from sharedllm_cli.config import Settings
from sharedllm_cli.engine import Engine
from sharedllm_cli.progress import Silent

ASKED = json.loads(Path(__file__).with_name("mentions.json").read_text(encoding="utf-8"))
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def test_there_are_fifty_questions_half_of_words_that_stand_there() -> None:
    there = sum(len(questions["there"]) for questions in ASKED.values())
    absent = sum(len(questions["absent"]) for questions in ASKED.values())
    assert (there, absent) == (25, 25)


@pytest.mark.model
@pytest.mark.parametrize("name", sorted(ASKED))
def test_what_stands_there_is_quoted_and_what_does_not_is_denied(
    name: str, default_model_home: Path, request: pytest.FixtureRequest
) -> None:
    example = EXAMPLES / name
    path = example if example.exists() else request.getfixturevalue("shared_pdfs") / name
    engine = Engine(Settings(device="cpu"), home=default_model_home, reporter=Silent())
    library = engine.open([str(path)])

    def asked(question: str) -> Answer:
        *_, answer = engine.ask(library, question)
        assert isinstance(answer, Answer)
        return answer

    wrong = []
    for question, word in ASKED[name]["there"]:
        answer = asked(question)
        if not answer.answered or word.lower() not in answer.answer.lower():
            wrong.append((question, answer.answer, answer.reason))
        elif not any(answer.answer in " ".join(source.quote.split()) for source in answer.sources if source.supports):
            wrong.append((question, "no source holds the answer", answer.answer))
    for question in ASKED[name]["absent"]:
        answer = asked(question)
        if answer.answered:
            wrong.append((question, answer.answer, "affirmed"))
    assert wrong == []
