"""The hybrid with a trained head is the hybrid and the head, each by its z-scores; without one it is what it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sharedllm_cli.retrieval import policies

RANDOM = np.random.default_rng(5)
LEXICAL = RANDOM.random(40)
LATE, TRAINED = RANDOM.random(40), RANDOM.random(40) * 7


class Source:
    leaf_count = 40

    def __init__(self, trained: np.ndarray | None) -> None:
        self._trained = trained

    def lexical(self) -> np.ndarray:
        return LEXICAL

    def late(self, leaves: np.ndarray) -> np.ndarray:
        return LATE[leaves]

    def trained(self, lexical: np.ndarray, leaves: np.ndarray) -> np.ndarray | None:
        assert lexical is LEXICAL
        return self._trained


def scores(trained: np.ndarray | None) -> np.ndarray:
    source: Any = Source(trained)
    return policies.policy("hybrid").scores(source)


def test_both_count_alike_whatever_their_scale() -> None:
    plain = scores(None)
    np.testing.assert_allclose(plain, policies.combine(LEXICAL, LATE, np.arange(40)))
    expected = policies.z_scores(plain) + (TRAINED - TRAINED.mean()) / TRAINED.std()
    np.testing.assert_allclose(scores(TRAINED), expected)
    np.testing.assert_allclose(scores(TRAINED * 50 + 3), expected)


@pytest.mark.parametrize("alike", [0.0, 2.5])
def test_a_head_that_tells_nothing_changes_no_order(alike: float) -> None:
    assert scores(np.full(40, alike)).argsort().tolist() == scores(None).argsort().tolist()
