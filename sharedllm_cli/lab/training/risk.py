"""`risk`: of the answers that the model itself finds likely, the better ones are to be the likelier ones.

Next-token losses never show the model its own answers: which of several it says is decided by numbers that nobody
trained. Minimum risk training (Och, 2003; Shen et al., 2016) does: the answers that a search for the likeliest finds
get a probability each, as the choice among them would weigh them (`generation/rerank.py`), and their expected F1 is
raised. The gold answer's own loss stays beside it, so that what is learned is not forgotten, refusals among it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from sharedllm_cli.generation.answering import stop_ids
from sharedllm_cli.generation.beams import beam_search
from sharedllm_cli.generation.grounding import says_not_in_document
from sharedllm_cli.generation.overlap import f1
from sharedllm_cli.generation.rerank import NATS, Nearness
from sharedllm_cli.lab.training.batch import Batch
from sharedllm_cli.lab.training.forward import TrainedUpper
from sharedllm_cli.lab.training.objective import NextTokens
from sharedllm_cli.lab.training.sample import NO_TARGET, SHARED, Posed, Sample, branched
from sharedllm_cli.lab.training.trees import TreeReader
from sharedllm_cli.model.upper import UpperModel, beam_steps

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WIDTH = 4
"""Branches of the search, as many as answers are weighed in use."""
LONGEST = 24
"""Tokens of an answer that is weighed, at most."""
RISK = 10.0
"""What the expected F1 of a question counts beside its gold answer's loss in nats."""


@dataclass(frozen=True)
class Choice:
    """A question whose answers differ in worth: their tokens with their ends, F1, and worth beside their likelihood."""

    branch: int
    answers: tuple[tuple[int, ...], ...]
    worth: tuple[float, ...]
    beside: tuple[float, ...]


class ExpectedRisk:
    """The loss of `qa`, and for every question without a tree `RISK` times what its expected F1 lacks to the best."""

    name = "risk"

    def __init__(
        self,
        upper: UpperModel,
        tokenizer: PreTrainedTokenizerBase,
        trees: TreeReader | None = None,
        *,
        risk: float = RISK,
    ) -> None:
        self._upper = upper
        self._tokenizer = tokenizer
        self._stops = stop_ids(upper.model.generation_config, tokenizer)
        self._plain = NextTokens("qa", trees)
        self._risk = risk

    def loss(self, model: TrainedUpper, samples: Sequence[Sample], device: torch.device) -> Tensor:
        """See `objective.Objective`."""
        total = self._plain.loss(model, samples, device)
        for sample in samples:
            if sample.tree is None and sample.posed and (choices := self.choices(sample, device)):
                total = total + self._risk * self._risked(model, sample, choices, device)
        return total

    def choices(self, sample: Sample, device: torch.device) -> list[Choice]:
        """The likely answers of the sample's questions, where it makes a difference which of them is given."""
        shared, prompts = prompts_of(sample)
        prefilled = self._upper.cache()
        if shared:
            self._upper.decode_step(torch.tensor(shared, device=device), None, prefilled)
        found = [
            self._choice(branch, posed, own[len(shared) :], prefilled, device)
            for branch, (posed, own) in enumerate(zip(sample.posed, prompts, strict=True), 1)
            if posed.answers
        ]
        return [one for one in found if one is not None]

    def _choice(
        self, branch: int, posed: Posed, question: Sequence[int], prefilled: object, device: torch.device
    ) -> Choice | None:
        upper, cache = self._upper, copy.deepcopy(prefilled)
        first = upper.decode_step(torch.tensor(question, device=device), None, cache)  # type: ignore[arg-type]
        step = beam_steps(upper, None, cache)  # type: ignore[arg-type]
        answers = [one.token_ids for one in beam_search(step, first.float(), WIDTH, self._stops, LONGEST)]
        texts = [str(self._tokenizer.decode(list(ids), skip_special_tokens=True)).strip() for ids in answers]
        near = Nearness(posed.question, posed.passages)
        kept = [
            (ids, f1(text, posed.answers), NATS * near(text))
            for ids, text in zip(answers, texts, strict=True)
            if text and not says_not_in_document(text) and not near.repeats(text)
        ]
        if len({worth for _, worth, _ in kept}) < 2:
            return None
        ids, worth, beside = zip(*kept, strict=True)
        return Choice(branch, ids, worth, beside)

    def _risked(self, model: TrainedUpper, sample: Sample, choices: Sequence[Choice], device: torch.device) -> Tensor:
        """What the expected F1 of some questions lacks to their best answer's, summed."""
        _, prompts = prompts_of(sample)
        laid = branched(
            [prompts[one.branch - 1] for one in choices for _ in one.answers],
            [ids for one in choices for ids in one.answers],
        )
        batch = Batch.of([laid], device)
        costs = nn.functional.cross_entropy(model(batch).float(), batch.targets, reduction="none")
        parts = torch.split(costs, [len(ids) for one in choices for ids in one.answers])
        each = torch.split(torch.stack([part.sum() for part in parts]), [len(one.answers) for one in choices])
        total = costs.new_zeros(())
        for one, cost in zip(choices, each, strict=True):
            worth = torch.tensor(one.worth, device=device)
            chances = (torch.tensor(one.beside, device=device) - cost).softmax(0)
            total = total + worth.max() - (chances * worth).sum()
        return total


def prompts_of(sample: Sample) -> tuple[list[int], list[list[int]]]:
    """The tokens that all questions begin with, and each question's whole prompt."""
    shared: list[int] = sample.token_ids[sample.branches == SHARED].tolist()
    prompts = []
    for branch in range(1, int(sample.branches.max(initial=0)) + 1):
        own = sample.branches == branch
        first = int(np.argmax(sample.targets[own] != NO_TARGET))
        prompts.append([*shared, *sample.token_ids[own][: first + 1].tolist()])
    return shared, prompts
