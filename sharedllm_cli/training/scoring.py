"""How well answers do: SQuAD's exact match and F1, containment, and how often the fixed refusal is said.

Answers are greedy, several prompts side by side. Knows no data file.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT

_ARTICLES = re.compile(r"\b(a|an|the)\b")


@dataclass(frozen=True)
class Scores:
    """Means over answerable questions, refusal rates over both kinds, and the single F1 values."""

    answerable: int
    unanswerable: int
    f1: float
    exact_match: float
    containment: float
    refused_answerable: float
    refused_unanswerable: float
    each_f1: tuple[float, ...] = ()


def normalised(text: str) -> str:
    """SQuAD's normal form: lower case, without punctuation, articles and extra white space."""
    plain = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def f1(answer: str, gold: Sequence[str]) -> float:
    """SQuAD's token F1, the best over the accepted answers."""
    return max(_f1(normalised(answer).split(), normalised(one).split()) for one in gold)


def _f1(answer: list[str], gold: list[str]) -> float:
    if not answer or not gold:
        return float(answer == gold)
    common = sum((Counter(answer) & Counter(gold)).values())
    return 2 * common / (len(answer) + len(gold))


def refused(answer: str) -> bool:
    """Whether the answer is the fixed sentence of a document that does not say."""
    return normalised(answer).startswith(normalised(NOT_IN_DOCUMENT))


def score(answers: Sequence[str], gold: Sequence[Sequence[str]], answerable: Sequence[bool]) -> Scores:
    """Score answers against their accepted ones."""
    asked = [(answer, accepted) for answer, accepted, can in zip(answers, gold, answerable, strict=True) if can]
    lost = [answer for answer, can in zip(answers, answerable, strict=True) if not can]
    each = tuple(f1(answer, accepted) for answer, accepted in asked)
    return Scores(
        len(asked),
        len(lost),
        _mean(each),
        _mean([normalised(answer) in map(normalised, accepted) for answer, accepted in asked]),
        _mean([any(normalised(one) in normalised(answer) for one in accepted) for answer, accepted in asked]),
        _mean([refused(answer) for answer, _ in asked]),
        _mean([refused(answer) for answer in lost]),
        each,
    )


def interval(values: Sequence[float], *, seed: int = 0, draws: int = 10_000) -> tuple[float, float]:
    """The 95 % bootstrap interval of a mean."""
    random = np.random.default_rng(seed)
    sample = np.asarray(values, dtype=np.float64)
    means = random.choice(sample, size=(draws, len(sample))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


@torch.inference_mode()
def greedy_answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch: int = 8,
    done: Callable[[int], None] = lambda count: None,
) -> list[str]:
    """The likeliest answers of a base model, its adapter in place or not, in the order of the prompts.

    Prompts of like length stand side by side, padded on the left; `done` is told of every finished batch.
    """
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    answers = [""] * len(prompts)
    device = next(model.parameters()).device
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        length = max(len(prompts[place]) for place in places)
        ids = torch.full((len(places), length), int(tokenizer.eos_token_id), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, place in enumerate(places):
            ids[row, length - len(prompts[place]) :] = torch.tensor(prompts[place])
            mask[row, length - len(prompts[place]) :] = 1
        written = model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )
        for row, place in enumerate(places):
            answers[place] = tokenizer.decode(written[row, length:], skip_special_tokens=True).strip()
        done(len(places))
    return answers
