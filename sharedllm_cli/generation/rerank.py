"""Rerank: of several candidate answers, the one that stands among the question's words in the passages.

A small model finds the kind of answer that is asked for, and then a number or a name of that kind from the wrong
sentence. The question's own words tell the sentences apart. Knows no model: the next step is a function given to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from sharedllm_cli.generation.beams import LONGEST, beam_search
from sharedllm_cli.generation.decoding import answer_pieces
from sharedllm_cli.generation.refusal import says_not_in_document
from sharedllm_cli.generation.stream import GeneratedToken
from sharedllm_cli.retrieval.languages import ALTERNATIVES, asks_about_the_whole, detect_language
from sharedllm_cli.retrieval.terms import words

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from sharedllm_cli.generation.sampling import SuppressedSequence

WINDOW = 15
"""Terms before an answer's place and after it that count as its neighbours (chosen with NATS: docs/log/)."""
NATS = 5.0
"""What it is worth to have all of the question's words for neighbours: an answer e^5 times less likely is given."""

_QUOTED = re.compile(r"[\"“„«][^\"“”„«»]*[\"”“»]")


def reranked_tokens(
    step: Callable[[Tensor, Tensor], Tensor],
    first_logits: Tensor,
    width: int,
    tokenizer: PreTrainedTokenizerBase,
    *,
    question: str,
    passages: Sequence[str],
    stop_ids: Collection[int],
    stop_texts: Collection[str],
    max_new_tokens: int,
    suppressed: SuppressedSequence | None = None,
) -> list[GeneratedToken] | None:
    """The tokens of the likely short answer that stands nearest to the question's words in the passages.

    `step`, `first_logits`, `width` and `suppressed` are those of `beams.beam_search`. None where there is nothing to
    weigh answers by (`Nearness.tells`), where the likeliest is a long one, and where stop texts instead of
    tokens end an answer: it is then written as it comes. A refusal that is the likeliest of all is given; where one was
    weighed as a whole and is not to be given (`suppressed`), neither is one in other words, if there is an answer.
    """
    near = Nearness(question, passages)
    if width < 2 or stop_texts or not near.tells:
        return None
    found = beam_search(step, first_logits, width, stop_ids, min(LONGEST, max_new_tokens), suppressed)
    if not found:
        return None
    spelled = [[*map(GeneratedToken, one.token_ids[:-1]), GeneratedToken(one.token_ids[-1], "stop")] for one in found]
    texts = ["".join(piece for piece, _ in answer_pieces(tokens, tokenizer, stop_texts)) for tokens in spelled]
    told = [place for place, text in enumerate(texts) if text.strip()]
    if not told:
        return None
    answers = [place for place in told if not says_not_in_document(texts[place])]
    if not answers or (suppressed is None and told[0] not in answers):
        return spelled[told[0]]
    chosen = told if suppressed is None else answers
    return spelled[chosen[pick([texts[at] for at in chosen], [found[at].cost for at in chosen], near)]]


def pick(texts: Sequence[str], costs: Sequence[float], near: Nearness) -> int:
    """The number of the answer that is given, of some answers and what they cost the model, in nats.

    It is the one with the largest −cost + 5 · (share of the question's words near it); one that only repeats words of
    the question, or is empty, where there is no other. Raises ValueError without any.
    """
    if not texts or len(texts) != len(costs):
        raise ValueError(f"{len(texts)} answers and {len(costs)} costs give no choice")
    worth = [
        (bool(text.strip()), not near.repeats(text), NATS * near(text) - cost)
        for text, cost in zip(texts, costs, strict=True)
    ]
    return max(range(len(worth)), key=worth.__getitem__)


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
