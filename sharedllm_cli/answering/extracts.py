"""Answers and sources that are quoted from the documents: for the routes that ask no model, and for questions of many.

A small model that learned to look things up neither judges (yes or no) nor says what a text says of a topic; the
sentence that speaks of it does. To a question for several things the model answers, and every sentence is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sharedllm_cli.answer import Source
from sharedllm_cli.answering.addresses import Asked
from sharedllm_cli.answering.question import Question
from sharedllm_cli.answering.routing import Route
from sharedllm_cli.answering.wording import Several, asks_what_is_reported
from sharedllm_cli.config import MAX_SOURCES
from sharedllm_cli.generation.grounding import AnswerCheck, states_number
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT
from sharedllm_cli.reading.evidence import Evidence, EvidenceSelector
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.sources import characters, passage_at, sources, supporting_first
from sharedllm_cli.retrieval.passages import Passage
from sharedllm_cli.retrieval.terms import ASKING_WORDS, GENERAL_WORDS, KIND_WORDS

if TYPE_CHECKING:
    from sharedllm_cli.reading.sentences import Quoted

UNJUDGED = "a question of yes or no: this is the sentence nearest to it, quoted; judge it yourself"
UNCOMPARED = "this is the sentence nearest to the question in each document, quoted; compare them yourself"
BEGINNING = "this is the beginning of the place, quoted"
NEXT_TO_ALL = 0.8
MOST_MATCHES = 40
"""The most sentences shown to a question for several things."""


@dataclass(frozen=True)
class Extract:
    """A quoted answer, or the statement that there is none: its text, its sources, and a check.

    `evidence`: the passages that the sources are shown from, None where nothing was looked at.
    """

    text: str
    sources: list[Source]
    evidence: Evidence | None
    check: AnswerCheck


@dataclass(frozen=True)
class SeveralFound:
    """The sentences about a thing that is asked for several of: their number, the first of them, and a remark."""

    count: int
    sources: list[Source]
    remark: str

    def shows(self, passage: Source) -> bool:
        """Whether a passage says nothing, or next to nothing, that is not among the sentences."""
        alike = [one for one in self.sources if (one.document, one.page) == (passage.document, passage.page)]
        held = sum(len(one.quote) for one in alike if one.quote in passage.quote)
        return held >= NEXT_TO_ALL * len(passage.quote)


class Extracts:
    """What can be quoted from some documents to a question.

    `selector` selects its evidence; `not_found` gives the answer where passages hold nothing of use. `everywhere` opens
    all documents of a collection that hold some words, where more than `documents` were asked.
    """

    def __init__(
        self,
        question: Question,
        documents: Sequence[OpenDocument],
        selector: EvidenceSelector,
        not_found: Callable[[Evidence], str],
        everywhere: Callable[[str], Iterable[OpenDocument]] | None = None,
    ) -> None:
        self._question = question
        self._documents = documents
        self._selector = selector
        self._not_found = not_found
        self._everywhere = everywhere

    def answer(self, route: Route, query: str, evidence: Evidence) -> Extract:
        """The answer of a route that asks no model; `query` is what was searched for: the topic, for `MENTIONS`."""
        match route:
            case Route.ADDRESS:
                return self._on_place()
            case Route.MENTIONS:
                return self._on_topic(query, evidence)
            case Route.YES_NO:
                return self._on_yes_no(query)
            case Route.COMPARED:
                return self._on_compared(query)
            case _:
                return self._no_term_matches(evidence)

    def _on_place(self) -> Extract:
        """The page or the title of the place that the question names, or its beginning; the source is that place."""
        place = self._question.place
        assert place is not None
        at = passage_at(self._documents[place.document], place.document, place.start, place.end)
        quoted = sources(self._documents, [at], supports=True)
        warnings = (BEGINNING,) if place.asked is Asked.CONTENT else ()
        return Extract(place.text, quoted, None, AnswerCheck(True, None, warnings))

    def _no_term_matches(self, evidence: Evidence) -> Extract:
        """None of the question's words occurs anywhere: nothing is put before the model."""
        words = ", ".join(evidence.scored.lexical.terms)
        why = f"the documents hold none of the question's words: {words} (ask in the documents' language and words)"
        return Extract(NOT_IN_DOCUMENT, [], None, AnswerCheck(False, why, ()))

    def _on_topic(self, topic: str, evidence: Evidence) -> Extract:
        """What the documents say of a topic: the sentence with most of it, and the others as sources."""
        found = self._mentions(topic)
        shown = self._selector.shown()
        if found:
            quoted = self._quoted(found, shown.held, supports=1, limit=MAX_SOURCES)
            return Extract(found[0].text, quoted, shown, AnswerCheck(True, None, ()))
        if evidence.scored.lexical.terms and not evidence.scored.lexical.matched:
            return self._no_term_matches(evidence)
        return self._nothing(shown, f"no sentence speaks of {topic}")

    def _on_yes_no(self, query: str) -> Extract:
        """The sentence of the passages that stands nearest to a question of yes or no, for the reader to judge."""
        from sharedllm_cli.reading.sentences import LEAST_OF_QUESTION, nearest_sentence

        shown = self._selector.shown()
        # `does the contract say whether …`: the words that ask the document do not count either.
        reported = asks_what_is_reported(query)
        unweighed = GENERAL_WORDS | ASKING_WORDS | KIND_WORDS if reported else GENERAL_WORDS
        found = nearest_sentence(query, self._documents, shown.held, self._question.allowed, unweighed)
        if found is None or found.share < LEAST_OF_QUESTION:
            return self._nothing(shown, "no sentence of the passages holds enough of the question's words")
        quoted = supporting_first(self._selector.sources(shown), self._question.text, found.text)
        if not quoted or found.text not in " ".join(quoted[0].quote.split()):  # quotes are cut around the best leaves
            beside = [replace(source, supports=False) for source in quoted]
            quoted = [*sources(self._documents, [found.place], supports=True), *beside][:MAX_SOURCES]
        return Extract(found.text, quoted, shown, AnswerCheck(True, None, (UNJUDGED,)))

    def _on_compared(self, query: str) -> Extract:
        """The sentence nearest to what is compared, of each document, for the reader to compare."""
        from sharedllm_cli.reading.sentences import nearest_sentence

        shown = self._selector.shown()
        lines: list[str] = []
        quoted: list[Source] = []
        for place in dict.fromkeys(sorted(passage.document for passage in shown.held)):
            held = [passage for passage in shown.held if passage.document == place]
            found = nearest_sentence(query, self._documents, held, self._question.allowed)
            if found is not None:
                lines.append(f"{self._documents[place].name}: {found.text}")
                quoted += sources(self._documents, [found.place], supports=True)
        if not lines:
            return self._nothing(shown, "no sentence of the passages holds the question's words")
        beside = [replace(source, supports=False) for source in self._selector.sources(shown)]
        every = [*quoted, *beside][: max(MAX_SOURCES, len(quoted))]
        return Extract("\n".join(lines), every, shown, AnswerCheck(True, None, (UNCOMPARED,)))

    def _nothing(self, shown: Evidence, why: str) -> Extract:
        return Extract(self._not_found(shown), self._selector.sources(shown), shown, AnswerCheck(False, why, ()))

    def several(self, answer: str, read: Sequence[Passage], *, answered: bool) -> SeveralFound | None:
        """Every sentence about the thing that the question asks for several of, in reading order.

        None for any other question, and where a passage states the number that was asked for. `read`: the passages
        that the model has read. Where it has `answered`, the answer rests on them.
        """
        asked = self._question.wording.several
        if asked is None or (asked.count and answered and self._states(answer, asked.thing, read)):
            return None
        if self._everywhere is not None:
            return self._several_everywhere(asked, answered=answered)
        found = self._mentions(asked.thing)
        if asked.count:  # more of them than are shown: first those that may state the number
            found.sort(key=lambda one: (-one.share, not any(map(str.isdigit, one.text))))
        shown = sorted(found[:MOST_MATCHES], key=lambda one: (one.place.document, one.place.first_token))
        quoted = self._quoted(shown, read, supports=MOST_MATCHES if answered else 0, limit=MOST_MATCHES)
        return SeveralFound(len(found), quoted, _remark(asked, len(found), answered=answered))

    def _several_everywhere(self, asked: Several, *, answered: bool) -> SeveralFound:
        """The same of all documents of a collection, opened one by one."""
        from sharedllm_cli.reading.sentences import mentions

        count, quoted = 0, list[Source]()
        for opened in self._everywhere(asked.thing) if self._everywhere else ():
            found = sorted(mentions(asked.thing, [opened], [None]), key=lambda one: one.place.first_token)
            count += len(found)
            for one in found[: max(0, MOST_MATCHES - len(quoted))]:
                quoted += sources([opened], [one.place], supports=answered, limit=1)
        return SeveralFound(count, quoted, _remark(asked, count, answered=answered))

    def _mentions(self, topic: str) -> list[Quoted]:
        """All sentences of the documents that speak of a topic, best first."""
        from sharedllm_cli.reading.sentences import mentions

        return mentions(topic, self._documents, self._question.allowed)

    def _states(self, answer: str, thing: str, read: Sequence[Passage]) -> bool:
        """Whether a passage that was read states the answer's number of a thing."""
        for passage in read:
            opened = self._documents[passage.document]
            start, end = characters(opened, passage.first_token, passage.end_token)
            if states_number(answer, thing, opened.document.text[start:end], opened.leaves.lexical.language):
                return True
        return False

    def _quoted(self, found: Sequence[Quoted], read: Sequence[Passage], *, supports: int, limit: int) -> list[Source]:
        """Sentences as sources, in the order given: the answer rests on the first `supports`."""
        quoted: list[Source] = []
        for number, sentence in enumerate(found[:limit]):
            at = sentence.place
            seen = any(
                one.document == at.document and one.first_token <= at.first_token and at.end_token <= one.end_token
                for one in read
            )
            quoted += sources(self._documents, [at], read=seen, supports=number < supports, limit=limit)
        return quoted


def _remark(asked: Several, count: int, *, answered: bool) -> str:
    """What is said of the sentences about a thing that several were asked for of."""
    why = "nothing was counted" if asked.count else "there may be more" if answered else "no list was made"
    sentences = "1 sentence speaks" if count == 1 else f"{count} sentences speak"
    shown = "shown below" if count <= MOST_MATCHES else f"the first {MOST_MATCHES} shown below"
    where = f"{sentences} of {asked.thing}, {shown}" if count else f"no sentence speaks of {asked.thing}"
    return f"{why}: {where}"
