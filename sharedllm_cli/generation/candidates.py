"""The likeliest short answers, by beam search. Knows no model: the next step is a function that it is given.

Word by word the likeliest token leads to one answer; a small model often has a better one in mind whose first word is
the second likeliest. Here several are followed at once, and all that come to an end are candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from sharedllm_cli.errors import SharedLLMError
from sharedllm_cli.generation.sampling import Unsaid

LONGEST = 32
"""Candidates have so many tokens at most: what is longer is no choice among few words, and is written as it comes."""
_FAR_BEHIND = 6.0
"""Nats by which a branch may lie behind the best candidate before nothing more is expected of it."""


@dataclass(frozen=True)
class Candidate:
    """An answer's tokens, the one that ends it last, and what all of them cost in nats."""

    token_ids: tuple[int, ...]
    cost: float


@dataclass(frozen=True)
class _Branch:
    token_ids: tuple[int, ...] = ()
    cost: float = 0.0


def candidates(
    step: Callable[[Tensor, Tensor], Tensor],
    first_logits: Tensor,
    width: int,
    stop_ids: Collection[int],
    longest: int = LONGEST,
    unsaid: Unsaid | None = None,
) -> list[Candidate]:
    """The likeliest answers that end within `longest` tokens, the likeliest first.

    None where what is said so far of a longer one is likelier than they are. An answer of no token is none.

    `first_logits` [vocabulary] follow the running text; `step(tokens [N], parents [N])` gives the logits [N,
    vocabulary] after tokens that go on from branches of the step before, of which there is one before the first.
    `width` branches are followed. The search ends when as many answers have ended and no branch is as likely as they
    are, or when the best branch is e^6 times less likely than the best of them; so fewer than `width` may be found, or
    more. `unsaid`: probabilities are those given that an answer is not this one (it is not moved). Raises
    SharedLLMError where the logits are no numbers.
    """
    ended: list[Candidate] = []
    branches, logits = [_Branch()], first_logits[None]
    for place in range(longest):
        going: list[tuple[int, _Branch]] = []
        over: set[int] = set()  # a branch may end in several ways: the likeliest stands for all
        for parent, branch in _following(branches, logits, width + len(stop_ids), unsaid):
            if branch.token_ids[-1] in stop_ids:
                if len(branch.token_ids) > 1 and parent not in over:  # nothing at all is no answer
                    ended.append(Candidate(branch.token_ids, branch.cost))
                over.add(parent)
            else:
                going.append((parent, branch))
            if len(going) == width:
                break
        ended.sort(key=lambda candidate: candidate.cost)
        branches = [branch for _, branch in going]
        if not branches or _is_over(ended, branches[0].cost, width):
            return ended
        if place + 1 == longest:
            break
        tokens = torch.tensor([branch.token_ids[-1] for branch in branches], device=logits.device)
        logits = step(tokens, torch.tensor([parent for parent, _ in going], device=logits.device))
    return ended if ended and ended[0].cost <= branches[0].cost else []


def _is_over(ended: list[Candidate], best_going: float, width: int) -> bool:
    if not ended:
        return False
    return (len(ended) >= width and ended[width - 1].cost < best_going) or ended[0].cost < best_going - _FAR_BEHIND


def _following(branches: list[_Branch], logits: Tensor, most: int, unsaid: Unsaid | None) -> list[tuple[int, _Branch]]:
    """Every branch with each of its `most` likeliest next tokens, the cheapest first, and the number of the branch.

    Of one branch all that go on may come, so `most` is their number and that of the tokens that end an answer.
    """
    scores = logits.float()
    for place, branch in enumerate(branches):
        if unsaid is not None and (change := unsaid.after(branch.token_ids)) is not None:
            token, factor = change
            scores = scores.index_put(
                (torch.tensor([place], device=scores.device), torch.tensor([token], device=scores.device)),
                torch.tensor([factor], device=scores.device),
                accumulate=True,
            )
    best = scores.log_softmax(-1).topk(min(most, scores.shape[-1]), dim=-1)
    found: list[tuple[int, _Branch]] = []
    for place, (branch, chances, tokens) in enumerate(
        zip(branches, best.values.tolist(), best.indices.tolist(), strict=True)
    ):
        if chances[0] != chances[0]:
            raise SharedLLMError(
                "the model's output is not a number", hint="try --dtype float32, or another --quantize or --device"
            )
        for chance, token in zip(chances, tokens, strict=True):
            if chance > -float("inf"):
                found.append((place, _Branch((*branch.token_ids, token), branch.cost - chance)))
    return sorted(found, key=lambda pair: pair[1].cost)
