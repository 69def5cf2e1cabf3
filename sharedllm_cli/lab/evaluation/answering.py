"""The model's answer to one reading, and what the gold answer would have cost it. Greedy; knows no data file."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from sharedllm_cli.generation.answering import answer_pieces, reranked_tokens, stop_ids
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT
from sharedllm_cli.generation.refusal import refusal_ids, refuses
from sharedllm_cli.generation.sampling import Sampler, SuppressedSequence
from sharedllm_cli.generation.stream import GeneratedToken, decode_stream
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.shared import SharedModel
from sharedllm_cli.model.upper import beam_steps


@dataclass(frozen=True)
class Answered:
    """An answer and its measurements.

    `nll` is the sum over the gold answer's tokens of their negative log-likelihood in nats, each given the running
    text and the gold tokens before it. `refusal_nll` is that of the sentence that the document does not say, with its
    end; `otherwise` is what is answered given that this is not said, and `otherwise_nll` what its tokens cost, all in
    nats. `first_token_s`: seconds from the running text to the first token.
    """

    answer: str
    nll: float
    refusal_nll: float
    otherwise: str
    otherwise_nll: float
    first_token_s: float


SHARED_TOKENS = 1024
"""Running texts that begin with so many equal tokens share what was read of them."""


@dataclass(frozen=True)
class _Prefilled:
    """A long running text that was read without a tree: its tokens, their keys and values, and the seconds it took."""

    ids: list[int]
    cache: Any
    seconds: float


class Answerer:
    """Answers as `ask` does at temperature 0.

    Questions of one document that is read whole, or as much of it as fits, have all but their last words in common:
    that beginning is read once. Its time counts for every one of them all the same.
    """

    def __init__(
        self, shared: SharedModel, max_new_tokens: int, refuse_from: float | None = None, candidates: int = 1
    ) -> None:
        """`refuse_from` is the probability from which on it is said that the document does not say.

        `candidates`: so many likely short answers are weighed against each other.
        """
        self._shared = shared
        self._max_new_tokens = max_new_tokens
        self._refuse_from = refuse_from
        self._candidates = candidates
        self._stop_ids = stop_ids(shared.base.model.generation_config, shared.base.tokenizer)
        self._refusal_ids = refusal_ids(shared.base.tokenizer)
        self._prefilled: _Prefilled | None = None

    def refuses(self, found: Answered) -> bool:
        """Whether an answer is the sentence that the document does not say, as weighed by the threshold."""
        return refuses(found.refusal_nll, self._refuse_from)

    @torch.inference_mode()
    def answer(
        self,
        prompt_ids: Sequence[int],
        tree: TreeContext | None,
        gold_ids: Sequence[int],
        stop_texts: Sequence[str],
        *,
        question: str = "",
        passages: Sequence[str] = (),
        shared: bool = False,
    ) -> Answered:
        """Answer a running text; the gold answer (which may be empty) is scored from the same keys and values.

        `question` and `passages` are what it holds, by which answers are weighed. `shared`: others begin like it, so
        that what was read of it is kept for them. It must have no tree.
        """
        upper = self._shared.upper
        first, likeliest, cache, first_token_s = self._begin(list(prompt_ids), tree, shared)
        nll = sum(upper.token_nlls(first, gold_ids, tree, cache))
        costs = upper.token_nlls(first, self._refusal_ids, tree, cache)

        def decoded(suppressed: SuppressedSequence | None = None) -> tuple[str, list[int]]:
            tokens = reranked(suppressed) if self._candidates > 1 else None
            if tokens is None:
                own = copy.deepcopy(cache)  # a sliding window's can't go back to where it was
                step = partial(upper.decode_step, tree=tree, cache=own)
                sampler = Sampler(suppressed=suppressed)
                tokens = list(decode_stream(step, first, sampler, self._stop_ids, self._max_new_tokens))
            pieces = answer_pieces(tokens, self._shared.base.tokenizer, stop_texts)
            return "".join(piece for piece, _ in pieces).strip(), [one.token for one in tokens]

        def reranked(suppressed: SuppressedSequence | None) -> list[GeneratedToken] | None:
            return reranked_tokens(
                beam_steps(upper, tree, cache),
                first,
                self._candidates,
                self._shared.base.tokenizer,
                question=question,
                passages=passages,
                stop_ids=self._stop_ids,
                stop_texts=stop_texts,
                max_new_tokens=self._max_new_tokens,
                suppressed=suppressed,
            )

        otherwise, ids = decoded(SuppressedSequence(self._refusal_ids, costs))
        if self._refuse_from is not None:
            answer = NOT_IN_DOCUMENT if refuses(sum(costs), self._refuse_from) else otherwise
        elif likeliest == self._refusal_ids[0] or self._candidates > 1:
            answer, _ = decoded()
        else:
            answer = otherwise  # word by word both ways agree where the first word is not the sentence's
        otherwise_nll = sum(upper.token_nlls(first, ids, tree, cache))
        return Answered(answer, nll, sum(costs), otherwise, otherwise_nll, first_token_s)

    def _begin(self, ids: list[int], tree: TreeContext | None, shared: bool) -> tuple[Tensor, int, Any, float]:
        """Logits [vocabulary] after a running text, the likeliest token, the cache that holds it, and its seconds."""
        upper, prefilled = self._shared.upper, self._prefilled
        known = _common(prefilled.ids, ids) if shared and prefilled is not None else 0
        if known < SHARED_TOKENS or prefilled is None:
            known, spent, cache = 0, 0.0, upper.cache()
            if shared:
                self._prefilled = None  # its keys and values make room for these
        else:
            spent = prefilled.seconds * known / len(prefilled.ids)
            cache = copy.deepcopy(prefilled.cache)
            cache.crop(known - len(prefilled.ids))
        started = perf_counter()
        first = upper.decode_step(self._tensor(ids[known:]), tree, cache)
        likeliest = Sampler()(first)  # waits for the device
        seconds = spent + perf_counter() - started
        if shared and not known and len(ids) > SHARED_TOKENS and not _slides(cache):
            self._prefilled = _Prefilled(ids, copy.deepcopy(cache), seconds)
        return first, likeliest, cache, seconds

    def _tensor(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor(list(ids), device=self._shared.base.device)


def _slides(cache: Any) -> bool:
    """Whether a sliding window has forgotten what a cache would go back to."""
    return any(layer.is_sliding for layer in cache.layers)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with; the last one of `other` is never among them, since its logits are wanted."""
    most = min(len(one), len(other) - 1)
    return next((place for place in range(most) if one[place] != other[place]), most)
