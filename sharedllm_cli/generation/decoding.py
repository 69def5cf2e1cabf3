"""From logits to the answer's tokens: one drawn after the other, or several short answers followed and compared.

Word by word the likeliest token leads to one answer; a small model often has a better one in mind whose first word is
the second likeliest. Several are followed at once, and all that come to an end are compared (`beam_search`). A small
model also finds the kind of answer that is asked for, and then a number or a name of that kind from the wrong sentence:
the question's own words tell the sentences apart (`pick`). Knows no model: the next step is a function given to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from transformers import TopPLogitsWarper

from sharedllm_cli.errors import ModelError
from sharedllm_cli.generation.grounding import Nearness
from sharedllm_cli.generation.refusal import says_not_in_document
from sharedllm_cli.generation.stream import GeneratedToken, answer_pieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LONGEST = 32
"""Finished beams have so many tokens at most: a longer answer is no choice among few words, and is streamed."""
_FAR_BEHIND = 6.0
"""Nats by which a beam may lie behind the best finished one before nothing more is expected of it."""
NATS = 5.0
"""What it is worth to have all of the question's words for neighbours: an answer e^5 times less likely is given."""


class Drawn(NamedTuple):
    """A token that was chosen and still lies on the device: `token` [1], and the best score of its logits."""

    token: Tensor
    best: Tensor

    def read(self) -> int:
        """The token's id, which waits for the device; ModelError where the logits were no numbers."""
        # One transfer from the device a token. Float32 holds every vocabulary's indices exactly.
        best, token = torch.stack([self.best, self.token[0].float()]).tolist()
        if not abs(best) < float("inf"):
            raise _not_a_number()
        return int(token)


def _not_a_number() -> ModelError:
    hint = "try --dtype float32, or another --quantize or --device"
    return ModelError("the model's output is not a number", hint=hint)


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
        self._said: Tensor | None = None
        self._there: tuple[Tensor, Tensor] | None = None

    def apply(self, scores: Tensor) -> Tensor:
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

    def push(self, token: Tensor) -> None:
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

    def __call__(self, logits: Tensor) -> int:
        """The chosen token; ModelError where the logits are no numbers (a fault of model, weights or dtype)."""
        return self.draw(logits).read()

    def draw(self, logits: Tensor) -> Drawn:
        """Choose a token without waiting for the device."""
        scores = logits.detach().float()
        if self.suppressed is None:
            return self._drawn(scores)
        drawn = self._drawn(self.suppressed.apply(scores))
        self.suppressed.push(drawn.token)
        return drawn

    def _drawn(self, scores: Tensor) -> Drawn:
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

    `first_logits` [vocabulary] follow the prompt; `step(tokens [N], parents [N])` gives the logits [N,
    vocabulary] after tokens that go on from beams of the step before, of which there is one before the first.
    `width` beams are followed. The search ends when as many answers have ended and no beam is as likely as they
    are, or when the best beam is e^6 times less likely than the best of them; so fewer than `width` may be found, or
    more. `suppressed`: probabilities are those given that an answer is not this one (it is not moved). Raises
    ModelError where the logits are no numbers.
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
            raise _not_a_number()
        for chance, token in zip(chances, tokens, strict=True):
            if chance > -float("inf"):
                found.append((place, _Beam((*beam.token_ids, token), beam.cost - chance)))
    return sorted(found, key=lambda pair: pair[1].cost)


def reranked_tokens(
    step: Callable[[Tensor, Tensor], Tensor],
    first_logits: Tensor,
    width: int,
    tokenizer: PreTrainedTokenizerBase,
    *,
    question: str,
    passages: Sequence[str],
    stop_ids: Collection[int],
    stop_texts: Collection[str],
    max_new_tokens: int,
    suppressed: SuppressedSequence | None = None,
) -> list[GeneratedToken] | None:
    """The tokens of the likely short answer that stands nearest to the question's words in the passages.

    `step`, `first_logits`, `width` and `suppressed` are those of `beam_search`. None where there is nothing to
    weigh answers by (`Nearness.tells`), where the likeliest is a long one, and where stop texts instead of
    tokens end an answer: it is then written as it comes. A refusal that is the likeliest of all is given; where one was
    weighed as a whole and is not to be given (`suppressed`), neither is one in other words, if there is an answer.
    """
    near = Nearness(question, passages)
    if width < 2 or stop_texts or not near.tells:
        return None
    found = beam_search(step, first_logits, width, stop_ids, min(LONGEST, max_new_tokens), suppressed)
    if not found:
        return None
    spelled = [[*map(GeneratedToken, one.token_ids[:-1]), GeneratedToken(one.token_ids[-1], "stop")] for one in found]
    texts = ["".join(piece for piece, _ in answer_pieces(tokens, tokenizer, stop_texts)) for tokens in spelled]
    told = [place for place, text in enumerate(texts) if text.strip()]
    if not told:
        return None
    answers = [place for place in told if not says_not_in_document(texts[place])]
    if not answers or (suppressed is None and told[0] not in answers):
        return spelled[told[0]]
    chosen = told if suppressed is None else answers
    return spelled[chosen[pick([texts[at] for at in chosen], [found[at].cost for at in chosen], near)]]


def pick(texts: Sequence[str], costs: Sequence[float], near: Nearness) -> int:
    """The number of the answer that is given, of some answers and what they cost the model, in nats.

    It is the one with the largest −cost + 5 · (share of the question's words near it); one that only repeats words of
    the question, or is empty, where there is no other. Raises ValueError without any.
    """
    if not texts or len(texts) != len(costs):
        raise ValueError(f"{len(texts)} answers and {len(costs)} costs give no choice")
    worth = [
        (bool(text.strip()), not near.repeats(text), NATS * near(text) - cost)
        for text, cost in zip(texts, costs, strict=True)
    ]
    return max(range(len(worth)), key=worth.__getitem__)
