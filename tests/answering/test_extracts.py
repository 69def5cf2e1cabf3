"""Sentences shown to a question for several things, and whether a passage states their number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from asking import question, selected
from open_documents import opened

from sharedllm_cli.answering.extracts import Extracts, SeveralFound
from sharedllm_cli.reading.sentences import mentions

FILLER = "The wind blows over the island on most days. " * 30
NAMES = ["Ann", "Bo", "Cy", "Dee", "Eve", "Fay", "Gus", "Hal", "Ina", "Jo", "Kit"]


def several(text: str, book: Any, answer: str = "", *, answered: bool = True) -> SeveralFound | None:
    asked = question(text)
    selector, _ = selected(asked, book)
    read = mentions("keepers", [book], [None])[0].place
    extracts = Extracts(asked, [book], selector, lambda evidence: "")
    return extracts.several(answer, [read] if answer else [], answered=answered)


def test_every_match_is_shown_to_a_question_for_several_and_counted() -> None:
    book = opened(["".join(f"{name} was chosen as keeper. {FILLER}" for name in NAMES)])
    found = several("List all keepers", book)
    assert found is not None
    assert found.count == len(NAMES)
    assert [source.quote.split()[0] for source in found.sources] == NAMES
    assert all(source.supports and not source.read for source in found.sources)
    assert found.remark == "there may be more: 11 sentences speak of keepers, shown below"
    counted = several("How many keepers were there?", book, answered=False)
    assert counted is not None
    assert counted.remark.startswith("nothing was counted: 11 sentences")
    assert not any(source.supports for source in counted.sources), "there is no answer that could rest on them"
    first = found.sources[0]
    assert found.shows(replace(first, quote=f"So: {first.quote}"))
    assert not found.shows(replace(first, quote=f"{first.quote} Elsewhere the wind blows, and says more."))


def test_nothing_is_counted_where_a_passage_states_the_number() -> None:
    book = opened([f"There were 11 keepers in all. {FILLER}"])
    assert several("How many keepers were there?", book, "11 keepers") is None
    assert several("How many keepers were there?", book, "12 keepers") is not None
    assert several("Who was the keeper?", book, "Ann") is None
