"""The scoring head computes what it says, checked with loops."""

from __future__ import annotations

import numpy as np
import pytest

from sharedllm_cli.retrieval.late_head import SHARE_STEPS, WEIGHT_GAIN, LateHead


def random_head(seed: int = 0, size: int = 6, projected: int = 4) -> LateHead:
    draw = np.random.default_rng(seed).normal
    return LateHead(
        projection=draw(size=(size, projected)),
        centre=draw(size=size),
        question_bias=draw(size=projected),
        leaf_bias=draw(size=projected),
        direction=0.1 * draw(size=size),
        shares=(0.25, 0.7, 0.5, 0.15),
        idf_gain=0.9,
        weight_bias=-0.1,
        scale=0.8,
        lexical_weight=0.4,
    )


def unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / np.linalg.norm(vector))


def test_cosines_and_weights_are_those_of_the_equations() -> None:
    head, random = random_head(), np.random.default_rng(1)
    question, leaves = random.normal(size=(3, 6)), [random.normal(size=(n, 6)) for n in (1, 4, 2)]
    found = head.best_cosines(question, leaves)
    for token, state in enumerate(question):
        asked = unit((state - head.centre) @ head.projection + head.question_bias)
        for leaf, states in enumerate(leaves):
            there = [unit((one - head.centre) @ head.projection + head.leaf_bias) for one in states]
            assert found[token, leaf] == pytest.approx(max(0.0, *(asked @ one for one in there)), abs=1e-5)
    idf = np.array([0.5, 2.0, 4.0])
    along = np.array([unit(state - head.centre) @ head.direction for state in question])
    expected = np.log1p(np.exp(0.9 * idf + WEIGHT_GAIN * along - 0.1))
    np.testing.assert_allclose(head.token_weights(question, idf), expected)


def test_neighbours_share_what_they_have_if_they_were_looked_at() -> None:
    head, random = random_head(), np.random.default_rng(2)
    leaves, weights = np.array([7, 2, 3, 0]), np.array([1.0, 3.0])
    cosines = random.random((2, 4))
    found = head.late(cosines, weights, leaves, 9)
    for place, leaf in enumerate(leaves):
        total = 0.0
        for token, weight in enumerate(weights):
            near = [cosines[token, place]]
            for step, share in zip(SHARE_STEPS, head.shares, strict=True):
                near += [share * cosines[token, other] for other in np.flatnonzero(leaves == leaf - step)]
            total += weight * max(near)
        assert found[place] == pytest.approx(0.8 * total)


def test_the_others_get_the_smallest() -> None:
    lexical = np.array([3.0, 2.0, 1.0])
    found = random_head().combine(lexical, np.array([0.5, 2.0]), np.array([1, 0]))
    np.testing.assert_allclose(found, 0.4 * lexical + [2.0, 0.5, 0.5])
