"""Beam search against every answer that a small chain can give."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from sharedllm_cli.errors import ModelError
from sharedllm_cli.generation.decoding import FinishedBeam, SuppressedSequence, beam_search

STOP = 0
VOCABULARY = 5


class Chain:
    """A model whose next token hangs on the last two: it would notice beams that are mixed up."""

    def __init__(self, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.table = 2 * torch.randn(VOCABULARY, VOCABULARY, VOCABULARY, generator=draw)
        self.table[:, :, STOP] += 2.0
        self.first = self.table[1, 1]
        self.beams = [[1, 1]]
        self.steps = 0

    def step(self, tokens: Tensor, parents: Tensor) -> Tensor:
        self.steps += 1
        self.beams = [[*self.beams[p], t] for p, t in zip(parents.tolist(), tokens.tolist(), strict=True)]
        return torch.stack([self.table[beam[-2], beam[-1]] for beam in self.beams])

    def cost(self, ids: tuple[int, ...]) -> float:
        told, total = [1, 1], 0.0
        for token in ids:
            total -= float(self.table[told[-2], told[-1]].log_softmax(-1)[token])
            told.append(token)
        return total

    def answers(self, longest: int) -> list[FinishedBeam]:
        """Every answer of so many tokens at most, the one that ends it counted in, the likeliest first; none empty."""
        found = [
            FinishedBeam((*words, STOP), self.cost((*words, STOP)))
            for length in range(1, longest)
            for words in itertools.product(range(1, VOCABULARY), repeat=length)
        ]
        return sorted(found, key=lambda one: one.cost)


def found(chain: Chain, width: int, longest: int, suppressed: SuppressedSequence | None = None) -> list[FinishedBeam]:
    return beam_search(chain.step, chain.first, width, {STOP}, longest, suppressed)


def close(one: FinishedBeam, other: FinishedBeam) -> bool:
    return one.token_ids == other.token_ids and math.isclose(one.cost, other.cost, abs_tol=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_a_wide_search_finds_the_likeliest_answers_of_all(seed: int) -> None:
    answers = Chain(seed).answers(6)
    expected = [one for one in answers if one.cost < answers[0].cost + 4][:4]  # those far behind are not waited for
    got = found(Chain(seed), 256, 6)
    assert expected
    assert all(close(one, other) for one, other in zip(got[: len(expected)], expected, strict=True))


@pytest.mark.parametrize("seed", range(8))
def test_a_narrow_search_tells_what_its_answers_cost_the_likeliest_first(seed: int) -> None:
    got = found(Chain(seed), 3, 12)
    assert [one.cost for one in got] == sorted(one.cost for one in got)
    for one in got:
        assert one.token_ids[-1] == STOP
        assert STOP not in one.token_ids[:-1]
        assert one.cost == pytest.approx(Chain(seed).cost(one.token_ids), abs=1e-4)


def test_it_finds_what_the_likeliest_first_word_hides() -> None:
    chain = Chain(0)
    chain.table.fill_(0.0)
    chain.table[1, 1] = torch.tensor([-9.0, -9, 1.0, 0.9, -9.0])  # 2 is the likeliest word,
    chain.table[1, 3, STOP] = 9.0  # but after 3 all is said
    chain.first = chain.table[1, 1]
    assert found(chain, 2, 8)[0].token_ids == (3, STOP)
    assert chain.first.argmax() == 2


@pytest.mark.parametrize("seed", range(8))
def test_what_must_not_be_said_is_left_out_and_the_rest_weighs_more(seed: int) -> None:
    chain = Chain(seed)
    suppressed_ids = chain.answers(4)[0].token_ids
    steps = [
        chain.cost(suppressed_ids[: place + 1]) - chain.cost(suppressed_ids[:place])
        for place in range(len(suppressed_ids))
    ]
    got = found(Chain(seed), 64, 6, SuppressedSequence(suppressed_ids, steps))
    assert got
    assert suppressed_ids not in [one.token_ids for one in got]
    gone = math.log(-math.expm1(-chain.cost(suppressed_ids)))
    for one in got:
        assert one.cost == pytest.approx(chain.cost(one.token_ids) + gone, abs=1e-3)


def test_a_long_answer_is_no_candidate() -> None:
    chain = Chain(0)
    chain.table[:, :, STOP] = -20.0
    assert found(chain, 3, 10) == []
    assert chain.steps == 9, "nobody asks what would follow the last"


def test_where_a_long_answer_is_likelier_no_short_one_is_told() -> None:
    chain = Chain(0)
    chain.table.fill_(-20.0)
    chain.table[:, :, 2] = 0.0  # it goes on and on,
    chain.table[1, 2, STOP] = -2.0  # and might have ended at once
    assert found(chain, 3, 10) == []
    chain = Chain(0)
    chain.table.fill_(-20.0)
    chain.table[:, :, 2] = 0.0
    chain.table[1, 2, STOP] = 2.0
    assert found(chain, 3, 10)[0].token_ids == (2, STOP)


def test_it_ends_when_nothing_better_is_to_come() -> None:
    chain = Chain(0)
    chain.table[:, :, STOP] = 20.0
    assert len(found(chain, 3, 30)[0].token_ids) == 2
    assert chain.steps == 1


def test_nothing_at_all_is_no_answer_and_crowds_none_out() -> None:
    chain = Chain(0)
    chain.table.fill_(-20.0)
    chain.table[:, :, 2] = 0.0
    chain.first[STOP] = -4.6  # the likeliest to end soon
    assert found(chain, 3, 10) == []


def test_an_answer_that_could_end_in_several_ways_is_one() -> None:
    chain = Chain(3)
    chain.table[:, :, [0, 3, 4]] += 4.0
    got = beam_search(chain.step, chain.first, 3, {0, 3, 4}, 8)
    said = [one.token_ids[:-1] for one in got]
    assert len(set(said)) == len(said) > 1
    for one in got:
        ends = [chain.cost((*one.token_ids[:-1], stop)) for stop in (0, 3, 4)]
        assert one.cost == pytest.approx(min(ends), abs=1e-4)


def test_logits_that_are_no_numbers_are_an_error() -> None:
    chain = Chain(0)
    with pytest.raises(ModelError, match="not a number"):
        beam_search(chain.step, chain.first * float("nan"), 3, {STOP})
