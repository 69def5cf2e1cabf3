"""Which sources each sentence of an answer rests on, found while the answer is written. No model; knows words only.

A sentence rests on the source that has most of its words, rare words counting more. Sources are numbered in the order
in which the answer first rests on them, so that a mark printed behind a sentence stays right when the next one comes.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sharedllm_cli.answer import AnswerSentence, Source
from sharedllm_cli.generation.grounding import unsupported_words
from sharedllm_cli.retrieval.boundaries import split_sentences
from sharedllm_cli.retrieval.languages import detect_language
from sharedllm_cli.retrieval.terms import words

_YES_OR_NO = re.compile(r"(?:yes|no|ja|nein|oui|non|sí|sì|si|sim|não|nee)\W*", re.IGNORECASE)
"""A sentence that claims nothing that could stand in the passages."""
LEAST_SHARE = 0.5
"""A sentence rests on a source only if that has this share of its words, by weight."""
SECOND_SHARE = 0.25
"""A second source is named if it has this share of the words that the first one lacks, by weight."""


class Citations:
    """The sentences of one answer and their sources, as the answer grows.

    `found`: the sources that the model has read, best first. `evidence_text`: the words that it has read, against which
    names and numbers are checked; empty where they can't be (a tree was read).
    """

    def __init__(self, found: Sequence[Source], evidence_text: str, question: str) -> None:
        self._found = [source for source in found if source.read]
        self._evidence_text = evidence_text
        self._question = question
        self._language = detect_language(evidence_text or "\n".join(source.quote for source in self._found))
        self._terms = [self._terms_of(source.quote) for source in self._found]
        held = Counter(term for terms in self._terms for term in terms)
        self._weights = {term: math.log(1 + len(self._found) / count) for term, count in held.items()}
        self._rarest = math.log(1 + len(self._found))
        self._order: list[int] = []
        self.sentences: list[AnswerSentence] = []
        self._text = ""
        self._shown = self._begun = 0  # characters yielded, and before the sentence that is being written

    def push(self, piece: str) -> Iterator[str | AnswerSentence]:
        """The next piece of the answer: text to show, and each sentence behind its last word once another begins.

        White space is held back until a word follows, so that a mark stands right behind the sentence.
        """
        self._text += piece
        while len(sentences := split_sentences(self._text[self._begun :])) > 1:
            end = self._text.index(sentences[0], self._begun) + len(sentences[0])
            yield from self._show(end)
            yield self._ended(sentences[0])
            self._begun = end
        yield from self._show(len(self._text.rstrip()))

    def finish(self) -> Iterator[str | AnswerSentence]:
        """The last sentence, unless it is the only one; call it once, after the last piece."""
        last = self._text[self._begun :].strip()
        if last:
            ended = self._ended(last)
            if len(self.sentences) > 1:
                yield ended

    def _show(self, end: int) -> Iterator[str]:
        if end > self._shown:
            yield self._text[self._shown : end]
            self._shown = end

    def arranged(self, sources: Sequence[Source]) -> list[Source]:
        """The sources in the order of their numbers, as those that the answer rests on; the others behind them."""
        cited = [replace(self._found[place], supports=True) for place in self._order]
        others = [replace(source, supports=False) for source in sources]
        return [*cited, *(source for source in others if replace(source, supports=True) not in cited)]

    @property
    def cites(self) -> bool:
        """Whether several sentences were written of which some rest on a source."""
        return len(self.sentences) > 1 and bool(self._order)

    def _ended(self, text: str) -> AnswerSentence:
        numbers = []
        for place in self._places(text):
            if place not in self._order:
                self._order.append(place)
            numbers.append(self._order.index(place) + 1)
        strange = []
        if self._evidence_text.strip() and not _YES_OR_NO.fullmatch(text.strip()):
            strange = unsupported_words(text, self._evidence_text, question=self._question, language=self._language)
        self.sentences.append(AnswerSentence(text, sorted(numbers), strange))
        return self.sentences[-1]

    def _places(self, sentence: str) -> list[int]:
        """The one or two sources of a sentence, by their place in `found`; none where none has half of its words."""
        wanted = {term: self._weights.get(term, self._rarest) for term in self._terms_of(sentence)}
        whole = sum(wanted.values())
        if not whole:
            return []
        first = self._best(wanted)
        if first is None or self._share(wanted, first) < LEAST_SHARE * whole:
            return []
        lacking = {term: weight for term, weight in wanted.items() if term not in self._terms[first]}
        second = self._best(lacking) if lacking else None
        if second is None or self._share(lacking, second) < SECOND_SHARE * whole:
            return [first]
        return [first, second]

    def _best(self, wanted: dict[str, float]) -> int | None:
        places = range(len(self._found))
        return max(places, key=lambda place: (self._share(wanted, place), -place), default=None)

    def _share(self, wanted: dict[str, float], place: int) -> float:
        return sum(weight for term, weight in wanted.items() if term in self._terms[place])

    def _terms_of(self, text: str) -> set[str]:
        return {term for word in words(text, self._language) for term in word.terms}
