"""The likeliest short answers, by beam search. Knows no model: the next step is a function that it is given.

Word by word the likeliest token leads to one answer; a small model often has a better one in mind whose first word is
the second likeliest. Here several are followed at once, and all that come to an end are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from sharedllm_cli.errors import SharedLLMError
from sharedllm_cli.generation.sampling import SuppressedSequence

LONGEST = 32
"""Finished beams have so many tokens at most: a longer answer is no choice among few words, and is streamed."""
_FAR_BEHIND = 6.0
"""Nats by which a beam may lie behind the best finished one before nothing more is expected of it."""


@dataclass(frozen=True)
class FinishedBeam:
    """An answer's tokens, the one that ends it last, and what all of them cost in nats."""

    token_ids: tuple[int, ...]
    cost: float


@dataclass(frozen=True)
class _Beam:
    token_ids: tuple[int, ...] = ()
    cost: float = 0.0


def beam_search(
    step: Callable[[Tensor, Tensor], Tensor],
    first_logits: Tensor,
    width: int,
    stop_ids: Collection[int],
    longest: int = LONGEST,
    suppressed: SuppressedSequence | None = None,
) -> list[FinishedBeam]:
    """The likeliest answers that end within `longest` tokens, the likeliest first.

    None where what is said so far of a longer one is likelier than they are. An answer of no token is none.

    `first_logits` [vocabulary] follow the running text; `step(tokens [N], parents [N])` gives the logits [N,
    vocabulary] after tokens that go on from beams of the step before, of which there is one before the first.
    `width` beams are followed. The search ends when as many answers have ended and no beam is as likely as they
    are, or when the best beam is e^6 times less likely than the best of them; so fewer than `width` may be found, or
    more. `suppressed`: probabilities are those given that an answer is not this one (it is not moved). Raises
    SharedLLMError where the logits are no numbers.
    """
    ended: list[FinishedBeam] = []
    beams, logits = [_Beam()], first_logits[None]
    for place in range(longest):
        going: list[tuple[int, _Beam]] = []
        over: set[int] = set()  # a beam may end in several ways: the likeliest stands for all
        for parent, beam in _following(beams, logits, width + len(stop_ids), suppressed):
            if beam.token_ids[-1] in stop_ids:
                if len(beam.token_ids) > 1 and parent not in over:  # nothing at all is no answer
                    ended.append(FinishedBeam(beam.token_ids, beam.cost))
                over.add(parent)
            else:
                going.append((parent, beam))
            if len(going) == width:
                break
        ended.sort(key=lambda beam: beam.cost)
        beams = [beam for _, beam in going]
        if not beams or _is_over(ended, beams[0].cost, width):
            return ended
        if place + 1 == longest:
            break
        tokens = torch.tensor([beam.token_ids[-1] for beam in beams], device=logits.device)
        logits = step(tokens, torch.tensor([parent for parent, _ in going], device=logits.device))
    return ended if ended and ended[0].cost <= beams[0].cost else []


def _is_over(ended: list[FinishedBeam], best_going: float, width: int) -> bool:
    if not ended:
        return False
    return (len(ended) >= width and ended[width - 1].cost < best_going) or ended[0].cost < best_going - _FAR_BEHIND


def _following(
    beams: list[_Beam], logits: Tensor, most: int, suppressed: SuppressedSequence | None
) -> list[tuple[int, _Beam]]:
    """Every beam with each of its `most` likeliest next tokens, the cheapest first, and the number of the beam.

    Of one beam all that go on may come, so `most` is their number and that of the tokens that end an answer.
    """
    scores = logits.float()
    for place, beam in enumerate(beams):
        if suppressed is not None and (change := suppressed.after(beam.token_ids)) is not None:
            token, factor = change
            scores = scores.index_put(
                (torch.tensor([place], device=scores.device), torch.tensor([token], device=scores.device)),
                torch.tensor([factor], device=scores.device),
                accumulate=True,
            )
    best = scores.log_softmax(-1).topk(min(most, scores.shape[-1]), dim=-1)
    found: list[tuple[int, _Beam]] = []
    for place, (beam, chances, tokens) in enumerate(
        zip(beams, best.values.tolist(), best.indices.tolist(), strict=True)
    ):
        if chances[0] != chances[0]:
            raise SharedLLMError(
                "the model's output is not a number", hint="try --dtype float32, or another --quantize or --device"
            )
        for chance, token in zip(chances, tokens, strict=True):
            if chance > -float("inf"):
                found.append((place, _Beam((*beam.token_ids, token), beam.cost - chance)))
    return sorted(found, key=lambda pair: pair[1].cost)
