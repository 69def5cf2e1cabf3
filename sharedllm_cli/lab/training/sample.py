"""One training sample, and samples side by side as tensors.

A sample is a prompt in which several questions may share their passages. The prompt of every question is exactly
that of `ask` (generation/prompt.py), with the rule of its kind for an adapter that learns them (answering/kinds.py).
Prompts that begin alike are laid over each other: the shared beginning stands once, each question with its answer is a
branch that sees the beginning and itself, at the positions it would have alone. So each branch computes what it would
compute alone, and passages are read once for several questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sharedllm_cli.answering.kinds import rule_for
from sharedllm_cli.documents.chunking import plain_ids
from sharedllm_cli.errors import ModelError
from sharedllm_cli.generation import prompt
from sharedllm_cli.generation.prompt import PassageText

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from sharedllm_cli.lab.training.sampled_trees import TreePlan


SHARED = 0
"""The branch number of the shared beginning; question i is branch i + 1."""
NO_TARGET = -1


@dataclass(frozen=True)
class Sample:
    """A prompt to learn from; all arrays are int64 [n].

    `targets[i]` is the token to be predicted after token i, NO_TARGET where nothing is learned; `positions` count
    within each branch; `branches` say which question a token belongs to. `tree` is what injected layers read, if
    anything. `weight` is what each of its targets counts in the loss: a text has many, an answer few.
    """

    token_ids: np.ndarray
    positions: np.ndarray
    branches: np.ndarray
    targets: np.ndarray
    tree: TreePlan | None = None
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def target_count(self) -> int:
        return int((self.targets != NO_TARGET).sum())

    @property
    def weighed(self) -> float:
        """What all of its targets count together."""
        return self.weight * self.target_count


def answer_ids(tokenizer: PreTrainedTokenizerBase, answer: str) -> list[int]:
    """The tokens of an answer and the one that ends it."""
    if tokenizer.eos_token_id is None:
        raise ModelError("the model's tokenizer has no token that ends an answer")
    return [*plain_ids(tokenizer, answer), int(tokenizer.eos_token_id)]


def question_answers(
    tokenizer: PreTrainedTokenizerBase,
    passages: Sequence[PassageText],
    asked: Sequence[tuple[str, str]],
    window: int,
    *,
    kinds: bool = False,
) -> Sample | None:
    """A sample of questions with their answers over the same passages; None where one does not fit the window.

    Learned are the answers' tokens and their ends, nothing else. `kinds`: the rule of its kind stands after a question,
    as `ask` puts it for an adapter that learned the kinds.
    """
    prompts: list[list[int]] = []
    answers: list[list[int]] = []
    for question, answer in asked:
        ids = answer_ids(tokenizer, answer)
        built = prompt.build(
            tokenizer,
            window=window,
            max_new_tokens=len(ids),
            question=question,
            passages=passages,
            rule=rule_for(question) if kinds else prompt.RULE,
        )
        if len(built.passages) < len(passages):
            return None
        prompts.append(built.token_ids)
        answers.append(ids)
    return branched(prompts, answers)


def branched(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> Sample:
    """Lay prompts that begin alike over each other; each answer's tokens are the targets after its prompt."""
    shared = _shared_beginning(prompts) if len(prompts) > 1 else 0
    token_ids = list(prompts[0][:shared])
    positions = list(range(shared))
    branches = [SHARED] * shared
    targets = [NO_TARGET] * shared
    for number, (asked, answer) in enumerate(zip(prompts, answers, strict=True), start=1):
        own = [*asked[shared:], *answer[:-1]]
        token_ids += own
        positions += range(shared, shared + len(own))
        branches += [number] * len(own)
        targets += [*[NO_TARGET] * (len(asked) - shared - 1), *answer]
    arrays = [np.array(values, dtype=np.int64) for values in (token_ids, positions, branches, targets)]
    return Sample(arrays[0], arrays[1], arrays[2], arrays[3])


def _shared_beginning(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with alike, at least one token of each left to itself."""
    most = min(len(ids) for ids in prompts) - 1
    return next((place for place in range(most) if len({ids[place] for ids in prompts}) > 1), most)


PADDING = -1
"""The branch number of padding."""


@dataclass(frozen=True)
class Batch:
    """B samples of up to L tokens.

    `token_ids`, `positions`, `branches`: [B, L]. What is learned: `rows`, `columns` and `targets`, and what
    each target counts, `weights`, [T] each. `branched`: some sample has several branches.
    """

    token_ids: Tensor
    positions: Tensor
    branches: Tensor
    rows: Tensor
    columns: Tensor
    targets: Tensor
    weights: Tensor
    branched: bool

    @staticmethod
    def of(samples: Sequence[Sample], device: torch.device) -> Batch:
        """Lay samples side by side; padding gets token 0, and is seen by nobody."""
        length = max(len(sample) for sample in samples)

        def padded(arrays: Sequence[np.ndarray], filler: int) -> np.ndarray:
            whole = np.full((len(samples), length), filler, dtype=np.int64)
            for row, array in zip(whole, arrays, strict=True):
                row[: len(array)] = array
            return whole

        def there(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(device)

        # All of it is settled on the processor: a GPU that is asked where the targets stand has to be waited for.
        targets = padded([sample.targets for sample in samples], NO_TARGET)
        branches = padded([sample.branches for sample in samples], PADDING)
        rows, columns = (targets != NO_TARGET).nonzero()
        weights = np.array([sample.weight for sample in samples], dtype=np.float32)
        return Batch(
            there(padded([sample.token_ids for sample in samples], 0)),
            there(padded([sample.positions for sample in samples], 0)),
            there(branches),
            there(rows),
            there(columns),
            there(targets[rows, columns]),
            there(weights[rows]),
            branched=not bool(((branches == branches[:, :1]) | (branches == PADDING)).all()),
        )

    def mask(self, window: int | None = None) -> Tensor | None:
        """Boolean [B, 1, L, L]: True where a token (row) sees another (column); None where plain causal masks do.

        A token sees itself, the shared beginning and the earlier tokens of its own branch, `window` positions back at
        most. Padding stands behind everything and is a branch of its own: nothing sees it.
        """
        length = self.token_ids.shape[1]
        if not self.branched and (window is None or length <= window):
            return None
        place = torch.arange(length, device=self.branches.device)
        earlier = place[:, None] >= place[None, :]
        seer, seen = self.branches[:, :, None], self.branches[:, None, :]
        mask = earlier & ((seen == seer) | (seen == SHARED))
        if window is not None:
            mask &= self.positions[:, :, None] - self.positions[:, None, :] < window
        return mask.unsqueeze(1)


def by_length(samples: Sequence[Sample], tokens: int) -> list[list[Sample]]:
    """Samples of like length together, at most `tokens` a group with its padding (a longer sample stands alone).

    Those that read a tree stand apart from those that read none.
    """
    groups: list[list[Sample]] = []
    for sample in sorted(samples, key=lambda one: (one.tree is not None, len(one)), reverse=True):
        alike = bool(groups) and (groups[-1][0].tree is None) == (sample.tree is None)
        if alike and len(groups[-1][0]) * (len(groups[-1]) + 1) <= tokens:
            groups[-1].append(sample)
        else:
            groups.append([sample])
    return groups
