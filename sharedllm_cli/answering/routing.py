"""Which route answers a question: by the model from its best passages, or another way where that is known to fail.

The rules about wording are those of `wording.py`; here they meet what the search found and what the adapter can do.
"""

from __future__ import annotations

import re
from enum import StrEnum

from sharedllm_cli.answering.addresses import Asked
from sharedllm_cli.answering.question import Question
from sharedllm_cli.reading.evidence import Evidence
from sharedllm_cli.reading.scoring import Scored


class Route(StrEnum):
    """The ways to an answer, as `ask --json` names them.

    Those in `QUOTED` put nothing before the model (`asks_model`), and `OVERVIEW` may disable the adapter. The others
    are names for what the selection of passages (`reading/evidence.py`: the first page) and the sources
    (`extracts.py: Extracts.several`) do for the question's wording.
    """

    TALLY = "tally"
    """Documents, mentions, headings, pages or dates are counted or listed by code (`tallies.py`)."""
    COMPARED = "compared"
    """The nearest sentence of each document that is compared is quoted, for an adapter that answers from single places
    alone."""
    ADDRESS = "address"
    """The page or the title of a place is given, or the place's beginning quoted."""
    MENTIONS = "mentions"
    """The sentences that speak of the topic asked about are quoted, from the whole of the documents."""
    NO_TERM_MATCHES = "no_term_matches"
    """None of the question's words occurs in the documents, which is said."""
    YES_NO = "yes_no"
    """The sentence nearest to a question of yes or no is quoted, for an adapter that did not learn to judge."""
    OVERVIEW = "overview"
    """The model writes about the opening pages, without its adapter where that answers from single places alone."""
    FRONT_MATTER = "front_matter"
    """The model answers from passages, the first page among them."""
    SEVERAL = "several"
    """The model answers from passages. All sentences about the thing asked for are its sources, unless a passage states
    their number."""
    PASSAGES = "passages"
    """The model answers from the best passages, and the tree beside them where it is read."""
    TREE = "tree"
    """The model answers from the tree alone."""

    @property
    def asks_model(self) -> bool:
        """Whether the model answers."""
        return self not in QUOTED


QUOTED = frozenset({Route.TALLY, Route.COMPARED, Route.ADDRESS, Route.MENTIONS, Route.NO_TERM_MATCHES, Route.YES_NO})
"""The routes that put nothing before the model."""


_MAY_TALLY = re.compile(
    r"\b(?:how (?:many|often|frequently|do|does)|which|what|list|enumerate|name|show|count|number of|"
    r"give me|find|tell me|"
    r"(?:do|does) any|compare|earliest|first|oldest|latest|last|newest|most recent|longest|shortest|largest|smallest|"
    r"wie (?:vielen?|oft)|welche[nrsm]?|liste|nenne|zähle|zeige|quels?|combien|listez|énumère[rz]?|montrez?|welke?|"
    r"hoe(?:veel| vaak)|noem|toon|geef|qué|cuál(?:es)?|cuánt[oa]s|lista|enumera|muestra|muéstrame|nombra)\b",
    re.IGNORECASE,
)


def may_ask_for_a_tally(question: str) -> bool:
    """Whether a question could be one of `tally_wording.py`, whose many rules are looked at only then."""
    return _MAY_TALLY.search(question) is not None


def wants_overview(question: Question, scored: Scored) -> bool:
    """Whether a question is about the document as a whole, so that its opening pages are read instead of passages."""
    wording = question.wording
    return wording.whole and not scored.lexical.terms and not wording.front_matter and not question.reads_tree


def route(question: Question, evidence: Evidence, *, overview: bool) -> Route:
    """The route of a question, by its wording, by what the search found, and by what the adapter can do.

    `overview`: `wants_overview`, and there is memory to disable an adapter that answers from single places alone. A
    topic, words that occur nowhere, and yes or no go before it.
    """
    wording, place = question.wording, question.place
    if place is not None and place.asked is not Asked.WITHIN:
        quoted = place.asked is Asked.CONTENT
        if not quoted or (question.extractive_only and not question.reads_tree):
            return Route.ADDRESS
    if not question.reads_tree:
        if question.extractive_only and wording.topic is not None:
            return Route.MENTIONS
        if question.extractive_only and question.compared is not None and evidence.held:
            return Route.COMPARED
        if evidence.no_term_matches:
            return Route.NO_TERM_MATCHES
        if question.extractive_only and wording.yes_no and not question.judges:
            return Route.YES_NO
    if overview:
        return Route.OVERVIEW
    if question.reads_tree and not evidence.held:
        return Route.TREE
    if evidence.front:
        return Route.FRONT_MATTER
    return Route.SEVERAL if wording.several else Route.PASSAGES
