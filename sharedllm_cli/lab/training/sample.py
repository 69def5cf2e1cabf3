"""One training sample: a running text in which several questions may share their passages, and what is to be learned.

The prompt of every question is that of `ask` (generation/prompt.py) with the rule of its kind (generation/kinds.py).
Prompts that begin alike are laid over each other: the shared beginning stands once, each question with its answer is a
branch that sees the beginning and itself, at the positions it would have alone. So each branch computes what it would
compute alone, and passages are read once for several questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sharedllm_cli.documents.chunking import plain_ids
from sharedllm_cli.errors import ModelError
from sharedllm_cli.generation import prompt
from sharedllm_cli.generation.kinds import rule_for
from sharedllm_cli.generation.prompt import PassageText

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from sharedllm_cli.lab.training.trees import TreePlan

SHARED = 0
"""The branch number of the shared beginning; question i is branch i + 1."""
NO_TARGET = -1


@dataclass(frozen=True)
class Posed:
    """What a sample's question asks, of which passages, and the accepted answers: none where they don't answer it."""

    question: str
    answers: tuple[str, ...]
    passages: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """A running text to learn from; all arrays are int64 [n].

    `targets[i]` is the token to be predicted after token i, NO_TARGET where nothing is learned; `positions` count
    within each branch; `branches` say which question a token belongs to. `tree` is what injected layers read, if
    anything. `teacher` has the same targets after a running text that holds the documents word for word. `weight` is
    what each of its targets counts in the loss: a text has many, an answer few. `posed[i]` is what branch i + 1 asks.
    """

    token_ids: np.ndarray
    positions: np.ndarray
    branches: np.ndarray
    targets: np.ndarray
    tree: TreePlan | None = None
    teacher: Sample | None = None
    weight: float = 1.0
    posed: tuple[Posed, ...] = ()

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
    tokenizer: PreTrainedTokenizerBase, passages: Sequence[PassageText], asked: Sequence[tuple[str, str]], window: int
) -> Sample | None:
    """A sample of questions with their answers over the same passages; None where one does not fit the window.

    Learned are the answers' tokens and their ends, nothing else.
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
            rule=rule_for(question),
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
