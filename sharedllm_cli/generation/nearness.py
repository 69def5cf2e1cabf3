"""How near an answer stands to the question's words in some passages. Knows words; no model and no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sharedllm_cli.retrieval.languages import ALTERNATIVES, asks_about_the_whole, detect_language
from sharedllm_cli.retrieval.terms import words

WINDOW = 15
"""Terms before an answer's place and after it that count as its neighbours (chosen with NATS: docs/log/)."""
_QUOTED = re.compile(r"[\"“„«][^\"“”„«»]*[\"”“»]")


class Nearness:
    """How many of a question's words stand near an answer in some passages."""

    def __init__(self, question: str, passages: Sequence[str]) -> None:
        language = detect_language("\n".join(passages))
        self._language = language
        self._passages = [self._terms(passage) for passage in passages]
        held = {term for terms in self._passages for term in terms}
        asked = [word for word in words(question, language) if word.terms]
        matched = [word.surface for word in asked if held.intersection(word.terms)]
        whole = not matched or asks_about_the_whole(question, [word.surface for word in asked], matched)
        self._asked = set() if whole else {term for word in asked for term in word.terms}
        # What stands in quotation marks may name a part of the document, and be the answer all the same.
        said = list(words(_QUOTED.sub(" ", question), language))
        between = ALTERNATIVES[language] | ALTERNATIVES[detect_language(question)]
        offers = any(word.surface.lower() in between for word in said)
        self._said = set() if offers else {term for word in said for term in word.terms}

    @property
    def tells(self) -> bool:
        """Whether it could tell answers apart: the passages hold a word of the question, which asks for a place."""
        return bool(self._asked)

    def __call__(self, answer: str) -> float:
        """The share of the question's terms, from 0 to 1, within 15 terms of the answer, where that is largest.

        0 where the answer stands in no passage word for word (case, accents, endings and punctuation aside), or the
        question has no words but stop words, or asks about the whole. An answer of stop words (`no`) stands everywhere,
        which tells nothing: 0, too.
        """
        return max((share or 0.0 for share in self.shares(answer)), default=0.0)

    def repeats(self, answer: str) -> bool:
        """Whether an answer says nothing but words of the question, which offers no choice between them (`or`)."""
        terms = {term for word in words(answer, self._language) for term in word.terms}
        return bool(terms) and terms <= self._said

    def shares(self, answer: str) -> list[float | None]:
        """The same for each of the passages; None for those that do not hold the answer."""
        sought = self._terms(answer)
        if not any(word.terms for word in words(answer, self._language)):
            return [None] * len(self._passages)
        found = [self._near(sought, terms) for terms in self._passages]
        return [None if near is None else near / max(1, len(self._asked)) for near in found]

    def _near(self, sought: Sequence[str], terms: Sequence[str]) -> int | None:
        best, length = None, len(sought)
        for start in range(len(terms) - length + 1):
            if terms[start] == sought[0] and terms[start : start + length] == sought:
                end = start + length
                around = {*terms[max(0, start - WINDOW) : start], *terms[end : end + WINDOW]}
                best = max(best or 0, len(self._asked & around))
        return best

    def _terms(self, text: str) -> list[str]:
        """The text's terms in order; stop words, which have none, as they are."""
        return [term for word in words(text, self._language) for term in word.terms or (word.surface.lower(),)]
