"""One token from the logits of the next position. Knows no model and no text."""

from __future__ import annotations

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


class Sampler:
    """Choose a token id from logits `[vocabulary]`.

    Temperature 0 takes the likeliest token and uses neither seed nor `top_p`. Above it, one is drawn from the smallest
    set of tokens whose probability (after temperature) reaches `top_p`. The random numbers are its own: torch's global
    state is neither read nor moved, and the same seed on the same device draws the same tokens.
    """

    def __init__(self, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0) -> None:
        self.temperature = temperature
        self.nucleus = TopPLogitsWarper(top_p) if top_p < 1 else None
        self.seed = seed
        self._generator: torch.Generator | None = None

    def __call__(self, logits: torch.Tensor) -> int:
        """The chosen token; SharedLLMError where the logits are no numbers (a fault of model, weights or dtype)."""
        return self.draw(logits).read()

    def draw(self, logits: torch.Tensor) -> Drawn:
        """Choose a token without waiting for the device."""
        scores = logits.detach().float()
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
