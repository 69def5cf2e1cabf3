"""What recording a step of decoding is worth on a device: tokens a second with and without, after one running text."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from sharedllm_cli.config import InjectionConfig, TreeConfig
from sharedllm_cli.lab.bench.subject import Subject
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.recorded import FixedStep, recorded_step
from sharedllm_cli.model.upper import UpperModel

Step = Callable[[Tensor], Tensor]


def decoding(subject: Subject, running_tokens: int, new_tokens: int) -> dict[str, Any]:
    """Tokens a second by the usual step and by one at fixed addresses, recorded where the device can do that.

    `why_not` tells why nothing was recorded, where nothing was; `agree`: both gave the same tokens.
    """
    device = subject.placement.device
    adapter = Adapter.untrained(subject.model, subject.name, InjectionConfig(), TreeConfig())
    upper = UpperModel(subject.model, adapter)
    try:
        ids = torch.randint(
            subject.facts.vocabulary_size, (running_tokens,), generator=torch.Generator().manual_seed(3)
        )
        first, cache = upper.prefill(ids.to(device), None)
        usual = _timed(lambda token: upper.decode_step(token, None, cache), first, new_tokens, subject)
        first, cache = upper.prefill(ids.to(device), None)
        started = perf_counter()
        recorded, why_not = recorded_step(upper, None, cache, first.argmax()[None], new_tokens)
        seconds = perf_counter() - started
        # Unrecorded it is for a processor alone: where a GPU refused, its attention may not take the mask either.
        steps: Step | None = recorded if device.type == "cuda" else FixedStep(upper, None, cache, new_tokens)
        fixed = None if steps is None else _timed(steps, first, new_tokens, subject)
    finally:
        upper.remove()
    return {
        "tokens_per_s": usual[0],
        "fixed_tokens_per_s": None if fixed is None else fixed[0],
        "recorded": recorded is not None,
        "recording_s": seconds,
        "why_not": why_not,
        "agree": None if fixed is None else usual[1] == fixed[1],
    }


@torch.inference_mode()
def _timed(step: Step, first: Tensor, new_tokens: int, subject: Subject) -> tuple[float, list[int]]:
    """Tokens a second, and the tokens; greedy, and none is looked at before the end."""
    tokens = [first.argmax()[None]]
    subject.synchronise()
    started = perf_counter()
    for _ in range(new_tokens):
        tokens.append(step(tokens[-1]).argmax()[None])
    subject.synchronise()
    return new_tokens / (perf_counter() - started), torch.cat(tokens).tolist()
