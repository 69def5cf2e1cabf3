"""The model's answer to one reading, and what the gold answer would have cost it. Greedy; knows no data file."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from sharedllm_cli.documents.chunking import plain_ids
from sharedllm_cli.generation.answering import answer_pieces, stop_ids
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT
from sharedllm_cli.generation.sampling import Sampler
from sharedllm_cli.generation.stream import decode_stream
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.shared import SharedModel


@dataclass(frozen=True)
class Answered:
    """An answer and its measurements.

    `nll` is the sum over the gold answer's tokens of their negative log-likelihood in nats, each given the running
    text and the gold tokens before it. `refusal_nll` is that of the sentence that the document does not say, with its
    end. `first_token_s`: seconds from the running text to the first token.
    """

    answer: str
    nll: float
    refusal_nll: float
    first_token_s: float


class Answerer:
    """Answers as `ask` does at temperature 0."""

    def __init__(self, shared: SharedModel, max_new_tokens: int) -> None:
        self._shared = shared
        self._max_new_tokens = max_new_tokens
        tokenizer = shared.base.tokenizer
        self._stop_ids = stop_ids(shared.base.model.generation_config, tokenizer)
        end = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
        self._refusal_ids = [*plain_ids(tokenizer, NOT_IN_DOCUMENT), *end]

    @torch.inference_mode()
    def answer(
        self, prompt_ids: Sequence[int], tree: TreeContext | None, gold_ids: Sequence[int], stop_texts: Sequence[str]
    ) -> Answered:
        """Answer a running text; the gold answer (which may be empty) is scored from the same keys and values."""
        started = perf_counter()
        upper = self._shared.upper
        cache: Any = upper.cache()
        sampler = Sampler()
        first = upper.infer(self._tensor(prompt_ids), tree, cache)
        sampler(first)  # waits for the device
        first_token_s = perf_counter() - started
        scored = [self._nll(first, tree, cache, ids) for ids in (gold_ids, self._refusal_ids)]
        tokens = decode_stream(
            lambda token: upper.infer(token, tree, cache),
            first,
            sampler,
            self._stop_ids,
            self._max_new_tokens,
        )
        pieces = answer_pieces(tokens, self._shared.base.tokenizer, stop_texts)
        return Answered("".join(piece for piece, _ in pieces).strip(), scored[0], scored[1], first_token_s)

    def _nll(self, first: Tensor, tree: TreeContext | None, cache: Any, ids: Sequence[int]) -> float:
        """What some tokens cost after the running text that the cache holds, and holds again afterwards."""
        if not ids:
            return 0.0
        logits = first[None]
        if len(ids) > 1:
            # A sliding window's cache has forgotten what it would go back to.
            sliding = any(layer.is_sliding for layer in cache.layers)
            own = copy.deepcopy(cache) if sliding else cache
            rest = self._shared.upper.forward(self._tensor(ids[:-1])[None], tree, own)[0]
            logits = torch.cat([logits, rest])
            if not sliding:
                cache.crop(1 - len(ids))  # a negative count is so many tokens less
        return float(torch.nn.functional.cross_entropy(logits.float(), self._tensor(ids), reduction="sum"))

    def _tensor(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor(list(ids), device=self._shared.base.device)
