"""Rerank: of several candidate answers, the one that stands among the question's words in the passages.

A small model finds the kind of answer that is asked for, and then a number or a name of that kind from the wrong
sentence. The question's own words tell the sentences apart. Knows no model: the next step is a function given to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from sharedllm_cli.generation.beams import LONGEST, beam_search
from sharedllm_cli.generation.decoding import answer_pieces
from sharedllm_cli.generation.nearness import Nearness
from sharedllm_cli.generation.refusal import says_not_in_document
from sharedllm_cli.generation.stream import GeneratedToken

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from sharedllm_cli.generation.sampling import SuppressedSequence

NATS = 5.0
"""What it is worth to have all of the question's words for neighbours: an answer e^5 times less likely is given."""


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
