"""Answers that no model gives: a sentence quoted from the documents, or that there is none to quote.

A small model that learned to look things up neither judges (yes or no) nor tells what a text says of a topic; the
sentence that speaks of it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sharedllm_cli.answer import Source
from sharedllm_cli.config import MAX_SOURCES
from sharedllm_cli.generation.grounding import AnswerCheck
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT
from sharedllm_cli.reading.choosing import Choosing, Chosen
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.mentioning import mention_sources, mentions
from sharedllm_cli.reading.quoting import LEAST_SHARE, nearest_sentence
from sharedllm_cli.reading.sources import TokenRanges, sources, supporting_first

UNJUDGED = "a question of yes or no: this is the sentence nearest to it, quoted; judge it yourself"


@dataclass(frozen=True)
class Extract:
    """An answer quoted, or the statement that there is none: its text, its sources, what was looked at, and a check."""

    text: str
    sources: list[Source]
    read: list[Chosen]
    check: AnswerCheck


class Extracts:
    """What can be quoted from some documents; `unfound` is what is answered where passages hold nothing of use."""

    def __init__(
        self,
        documents: Sequence[OpenDocument],
        allowed: Sequence[TokenRanges | None],
        unfound: Callable[[Sequence[Chosen]], str],
    ) -> None:
        self._documents = documents
        self._allowed = allowed
        self._unfound = unfound

    def without_words(self, chosen: Chosen) -> Extract:
        """None of the question's words occurs anywhere: nothing is put before the model."""
        words = ", ".join(chosen.scored.lexical.terms)
        why = f"the documents hold none of the question's words: {words} (ask in the documents' language and words)"
        return Extract(NOT_IN_DOCUMENT, [], [], AnswerCheck(False, why, ()))

    def on_topic(self, topic: str, choosing: Choosing, chosen: Chosen) -> Extract:
        """What the documents say of a topic: the sentence with most of it, and the others as sources."""
        found = mentions(topic, self._documents, self._allowed)
        looked_at = choosing.found()
        if found:
            shown = mention_sources(self._documents, found, looked_at.held, supports=1, limit=MAX_SOURCES)
            return Extract(found[0].text, shown, [looked_at], AnswerCheck(True, None, ()))
        if chosen.scored.lexical.terms and not chosen.scored.lexical.matched:
            return self.without_words(chosen)
        return self._nothing(choosing, looked_at, f"no sentence speaks of {topic}")

    def on_yes_or_no(self, sought: str, question: str, choosing: Choosing) -> Extract:
        """The sentence of the passages that stands nearest to a question of yes or no, for the reader to judge."""
        looked_at = choosing.found()
        found = nearest_sentence(sought, self._documents, looked_at.held, self._allowed)
        if found is None or found.share < LEAST_SHARE:
            why = "no sentence of the passages holds enough of the question's words"
            return self._nothing(choosing, looked_at, why)
        shown = supporting_first(choosing.sources([looked_at]), question, found.text)
        if not shown or found.text not in " ".join(shown[0].quote.split()):  # quotes are cut around the best leaves
            beside = [replace(source, supports=False) for source in shown]
            shown = [*sources(self._documents, [found.place], supports=True), *beside][:MAX_SOURCES]
        return Extract(found.text, shown, [looked_at], AnswerCheck(True, None, (UNJUDGED,)))

    def _nothing(self, choosing: Choosing, looked_at: Chosen, why: str) -> Extract:
        return Extract(
            self._unfound([looked_at]), choosing.sources([looked_at]), [looked_at], AnswerCheck(False, why, ())
        )
