"""The model's answer to one reading, and what the gold answer would have cost it. Greedy; knows no data file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from sharedllm_cli.generation.answering import answer_pieces, stop_ids
from sharedllm_cli.generation.sampling import Sampler
from sharedllm_cli.generation.stream import decode_stream
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.shared import SharedModel


@dataclass(frozen=True)
class Answered:
    """An answer and its measurements.

    `nll` is the sum over the gold answer's tokens of their negative log-likelihood in nats, each given the running
    text and the gold tokens before it. `first_token_s`: seconds from the running text to the first token.
    """

    answer: str
    nll: float
    first_token_s: float


class Answerer:
    """Answers as `ask` does at temperature 0."""

    def __init__(self, shared: SharedModel, max_new_tokens: int) -> None:
        self._shared = shared
        self._max_new_tokens = max_new_tokens
        self._stop_ids = stop_ids(shared.base.model.generation_config, shared.base.tokenizer)

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
        nll = 0.0
        if gold_ids:
            nll = self._nll(first, tree, cache, gold_ids)
            if any(layer.is_sliding for layer in cache.layers):  # such a cache has forgotten what it would go back to
                cache = upper.cache()
                upper.infer(self._tensor(prompt_ids), tree, cache)
            elif len(gold_ids) > 1:
                cache.crop(1 - len(gold_ids))  # a negative count is so many tokens less
        tokens = decode_stream(
            lambda token: upper.infer(token, tree, cache),
            first,
            sampler,
            self._stop_ids,
            self._max_new_tokens,
        )
        pieces = answer_pieces(tokens, self._shared.base.tokenizer, stop_texts)
        return Answered("".join(piece for piece, _ in pieces).strip(), nll, first_token_s)

    def _nll(self, first: Tensor, tree: TreeContext | None, cache: Any, gold_ids: Sequence[int]) -> float:
        """The gold answer's tokens after the running text that the cache holds; the cache grows by all but the last."""
        logits = first[None]
        if len(gold_ids) > 1:
            rest = self._shared.upper.forward(self._tensor(gold_ids[:-1])[None], tree, cache)[0]
            logits = torch.cat([logits, rest])
        return float(torch.nn.functional.cross_entropy(logits.float(), self._tensor(gold_ids), reduction="sum"))

    def _tensor(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor(list(ids), device=self._shared.base.device)
