"""The route of a question, by its wording, what the search found and what the adapter can do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from asking import question, selected
from open_documents import opened

from sharedllm_cli.answering.routing import Route, route, wants_overview
from sharedllm_cli.answering.wording import NO_WORDING

TEXT = "The keeper lights the lamp. Bats are not landed on the island. Smoking is allowed on the rocks. " * 40


def routed(text: str, **changes: Any) -> Route:
    book = opened([TEXT])
    asked = question(text, **changes)
    _, evidence = selected(asked, book)
    return route(asked, evidence, overview=wants_overview(asked, evidence.scored))


ROUTES = {
    "Who lights the lamp?": Route.PASSAGES,
    "Does it mention bats?": Route.MENTIONS,
    "Is smoking allowed on the rocks?": Route.YES_NO,
    "Which submarine exploded?": Route.NO_TERM_MATCHES,
    "What is this document about?": Route.OVERVIEW,
    "Who is the author?": Route.FRONT_MATTER,
    "How many lamps are there?": Route.SEVERAL,
}


@pytest.mark.parametrize("text", ROUTES)
def test_the_route_of_a_question(text: str) -> None:
    assert routed(text) is ROUTES[text]


@pytest.mark.parametrize("text", ["Does it mention bats?", "Is smoking allowed?"])
def test_an_adapter_that_answers_more_than_places_is_asked(text: str) -> None:
    assert routed(text, extractive_only=False) is Route.PASSAGES


def test_a_question_about_the_whole_reads_the_opening_pages_whatever_the_adapter() -> None:
    assert routed("What is this document about?", extractive_only=False) is Route.OVERVIEW


def test_an_adapter_that_learned_to_judge_answers_yes_or_no() -> None:
    assert routed("Is smoking allowed on the rocks?", judges=True) is Route.PASSAGES
    assert routed("Does it mention bats?", judges=True) is Route.MENTIONS


@pytest.mark.parametrize("text", ROUTES)
def test_with_a_tree_the_model_answers(text: str) -> None:
    assert routed(text, reads_tree=True).asks_model
    assert routed(text, reads_tree=True) not in (Route.OVERVIEW, Route.TREE)
    assert routed(text, reads_tree=True, budget=0) is Route.TREE


def test_without_memory_for_an_overview_the_adapter_answers() -> None:
    book = opened([TEXT])
    asked = question("What is this document about?")
    assert route(asked, selected(asked, book)[1], overview=False) is Route.PASSAGES


@pytest.mark.parametrize(
    "text", [text for text, way in ROUTES.items() if way not in (Route.NO_TERM_MATCHES, Route.FRONT_MATTER)]
)
def test_no_rule_about_wording_applies_to_plain_wording(text: str) -> None:
    asked = replace(question(text), wording=NO_WORDING)
    _, evidence = selected(asked, opened([TEXT]))
    assert route(asked, evidence, overview=wants_overview(asked, evidence.scored)) is Route.PASSAGES
