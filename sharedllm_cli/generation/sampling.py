"""One token from the logits of the next position. Knows no model and no text."""

from __future__ import annotations

import torch
from transformers import TopPLogitsWarper

from sharedllm_cli.errors import SharedLLMError


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
        scores = logits.detach().float()
        # One transfer from the device a token. Float32 holds every vocabulary's indices exactly.
        best, likeliest = torch.stack([number.float() for number in scores.max(dim=-1)]).tolist()
        if not abs(best) < float("inf"):
            raise SharedLLMError(
                "the model's output is not a number", hint="try --dtype float32, or another --quantize or --device"
            )
        if self.temperature == 0:
            return int(likeliest)
        # Relative to the best score, so that a tiny temperature can't overflow.
        scores = ((scores - best) / self.temperature)[None]
        if self.nucleus is not None:
            scores = self.nucleus(None, scores)
        if self._generator is None:
            self._generator = torch.Generator(scores.device).manual_seed(self.seed)
        return int(torch.multinomial(scores.softmax(dim=-1)[0], 1, generator=self._generator))
