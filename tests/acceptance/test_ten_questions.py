"""On two real manuals the passage that answers is among the sources, for at least eight of ten questions each.

The questions (questions.json) were written from the manuals before the tool had read them. Only the sources count
here: which page they name and whether the words that answer stand in their quotes. The answer itself is the model's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

QUESTIONS: dict[str, list[dict[str, Any]]] = json.loads(
    Path(__file__).with_name("questions.json").read_text(encoding="utf-8")
)
ENOUGH = 8


@dataclass(frozen=True)
class Found:
    """One question's outcome: the rank (from 1) of the first source that answers, or None; and whether it was read."""

    question: str
    rank: int | None
    read: bool
    pages: list[int]


def _letters(text: str) -> str:
    """Text without any white space, so that line breaks do not matter."""
    return re.sub(r"\s", "", text)


def _rank(sources: list[Any], places: list[dict[str, Any]]) -> int | None:
    for rank, source in enumerate(sources, start=1):
        for place in places:
            if source.page == place["page"] and _letters(place["evidence"]) in _letters(source.quote):
                return rank
    return None


def test_every_question_has_a_place_and_an_answer() -> None:
    for document, questions in QUESTIONS.items():
        assert len(questions) == 10, document
        assert len({question["places"][0]["page"] for question in questions}) == 10, "spread over the document"
        for question in questions:
            assert question["question"]
            assert question["answer"]
            for place in question["places"]:
                assert set(place) == {"page", "page_label", "evidence"}


@pytest.mark.parametrize("document", sorted(QUESTIONS))
def test_evidence_stands_on_its_page(document: str, shared_pdfs: Path) -> None:
    """The questions' own pages, labels and phrases are right, by PDFium and pypdf directly."""
    import pypdfium2
    from pypdf import PdfReader

    labels = PdfReader(shared_pdfs / document).page_labels
    pdf = pypdfium2.PdfDocument(shared_pdfs / document)
    for question in QUESTIONS[document]:
        for place in question["places"]:
            page = pdf[place["page"] - 1].get_textpage().get_text_range()
            assert _letters(place["evidence"]) in _letters(page), place
            assert labels[place["page"] - 1] == place["page_label"], place


@pytest.fixture(scope="module")
def reader(default_model_home: Path) -> Iterator[Any]:
    """One engine for both manuals. It reads, and where it refuses it reads on, but it writes no answer."""
    from sharedllm_cli.asking import Asking
    from sharedllm_cli.config import Settings
    from sharedllm_cli.engine import Engine
    from sharedllm_cli.progress import Silent

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Asking, "_reranked", lambda self, prefilled, tree: None)
        patch.setattr(Asking, "_decode", lambda self, prefilled, tree, reranked: iter([("Yes.", "stop")]))
        yield Engine(Settings(), home=default_model_home, reporter=Silent())


@pytest.mark.model
@pytest.mark.parametrize("document", sorted(QUESTIONS))
def test_the_passage_that_answers_is_among_the_sources(document: str, shared_pdfs: Path, reader: Any) -> None:
    library = reader.open([str(shared_pdfs / document)])
    outcome = []
    for question in QUESTIONS[document]:
        *_, answer = reader.ask(library, question["question"])
        rank = _rank(answer.sources, question["places"])
        read = _rank([source for source in answer.sources if source.read], question["places"]) is not None
        outcome.append(Found(question["question"], rank, read, [source.page for source in answer.sources]))
    found = sum(one.rank is not None for one in outcome)
    report = "\n".join(f"{one.rank or '-':>2}{'' if one.read else '*'}  {one.question}  {one.pages}" for one in outcome)
    print(f"{document}: {found} of {len(outcome)}, {sum(one.read for one in outcome)} of them read (*: not)\n{report}")
    assert found >= ENOUGH, report
