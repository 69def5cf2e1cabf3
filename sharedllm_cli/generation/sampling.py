"""One token from the logits of the next position. Knows no model and no text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import TopPLogitsWarper

from sharedllm_cli.errors import SharedLLMError


class Drawn(NamedTuple):
    """A token that was chosen and still lies on the device: `token` [1], and the best score of its logits."""

    token: torch.Tensor
    best: torch.Tensor

    def read(self) -> int:
        """The token's id, which waits for the device; SharedLLMError where the logits were no numbers."""
        # One transfer from the device a token. Float32 holds every vocabulary's indices exactly.
        best, token = torch.stack([self.best, self.token[0].float()]).tolist()
        if not abs(best) < float("inf"):
            raise SharedLLMError(
                "the model's output is not a number", hint="try --dtype float32, or another --quantize or --device"
            )
        return int(token)


class SuppressedSequence:
    """Tokens that an answer must not be as a whole: turns logits into those given that it is something else.

    Where an answer has so far said the first i of n tokens t, the next has probability p(t_i)·(1 − p(t_{i+1}…t_n)) of
    going on with t_i and yet not ending up with all of them, and that of every other token stays as it is, up to a
    common factor. So an answer that merely begins alike loses only what the whole would have taken. Serves one answer.
    """

    def __init__(self, ids: Sequence[int], nlls: Sequence[float]) -> None:
        """The tokens [n] and what each costs after those before it, in nats (`UpperModel.token_nlls`)."""
        if len(ids) != len(nlls):
            raise ValueError(f"{len(ids)} tokens can't have {len(nlls)} costs")
        self._ids = list(ids)
        rests = [sum(nlls[place + 1 :]) for place in range(len(ids))]
        self._factors = [math.log(-math.expm1(-rest)) if rest > 0 else -math.inf for rest in rests]
        self._place = 0
        self._said: torch.Tensor | None = None
        self._there: tuple[torch.Tensor, torch.Tensor] | None = None

    def apply(self, scores: torch.Tensor) -> torch.Tensor:
        """The scores `[vocabulary]` of the next position, new where they change."""
        if self._place >= len(self._ids):
            return scores
        if self._there is None:
            # Once an answer: a transfer a token would wait for nothing but take its turn each time.
            self._there = scores.new_tensor(self._factors), torch.tensor(self._ids, device=scores.device)
        factors, ids = (tensor[self._place : self._place + 1] for tensor in self._there)
        if self._said is not None:  # whether the answer still goes along, known to the device alone
            factors = torch.where(self._said, factors, 0.0)
        return scores.index_add(0, ids, factors)

    def after(self, said: Sequence[int]) -> tuple[int, float] | None:
        """What changes after an answer that has said these tokens: a token and what is added to its score, if any."""
        place = len(said)
        if place >= len(self._ids) or list(said) != self._ids[:place]:
            return None
        return self._ids[place], self._factors[place]

    def push(self, token: torch.Tensor) -> None:
        """Tell of the token `[1]` that was drawn, without waiting for its device."""
        if self._place < len(self._ids):
            same = token[0] == self._ids[self._place]
            self._said = same if self._said is None else self._said & same
            self._place += 1


class Sampler:
    """Choose a token id from logits `[vocabulary]`.

    Temperature 0 takes the likeliest token and uses neither seed nor `top_p`. Above it, one is drawn from the smallest
    set of tokens whose probability (after temperature) reaches `top_p`. The random numbers are its own: torch's global
    state is neither read nor moved, and the same seed on the same device draws the same tokens. `suppressed` makes one
    that serves a single answer.
    """

    def __init__(
        self, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0, suppressed: SuppressedSequence | None = None
    ) -> None:
        self.temperature = temperature
        self.suppressed = suppressed
        self.nucleus = TopPLogitsWarper(top_p) if top_p < 1 else None
        self.seed = seed
        self._generator: torch.Generator | None = None

    def __call__(self, logits: torch.Tensor) -> int:
        """The chosen token; SharedLLMError where the logits are no numbers (a fault of model, weights or dtype)."""
        return self.draw(logits).read()

    def draw(self, logits: torch.Tensor) -> Drawn:
        """Choose a token without waiting for the device."""
        scores = logits.detach().float()
        if self.suppressed is None:
            return self._drawn(scores)
        drawn = self._drawn(self.suppressed.apply(scores))
        self.suppressed.push(drawn.token)
        return drawn

    def _drawn(self, scores: torch.Tensor) -> Drawn:
        best, likeliest = scores.max(dim=-1)
        if self.temperature == 0:
            return Drawn(likeliest[None], best)
        # Relative to the best score, so that a tiny temperature can't overflow.
        scores = ((scores - best) / self.temperature)[None]
        if self.nucleus is not None:
            scores = self.nucleus(None, scores)
        if self._generator is None:
            self._generator = torch.Generator(scores.device).manual_seed(self.seed)
        # Where there are no numbers any token will do, since reading it raises; a GPU would stumble over drawing it.
        shares = torch.where(best.isfinite(), scores.softmax(dim=-1)[0], 1.0)
        return Drawn(torch.multinomial(shares, 1, generator=self._generator), best)
