"""Late interaction through a small trained head: which words of a question ask for which words of a leaf.

Numbers alone: the states come from whoever has a model, the head from whoever has its file. What the head computes is
trained by `lab/training/late_head.py`, which holds the same equations in torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHARE_STEPS = (2, 1, -1, -2)
"""A question's token has in leaf i at least a share of what it has in leaves i − 2, i − 1, i + 1, i + 2."""
WEIGHT_GAIN = 10.0
"""What the token's direction is multiplied by, so that one learning rate fits both terms of a token's weight."""


@dataclass(frozen=True)
class LateHead:
    """A head for the states of one base model after one layer; d is its states' size, p that of its projection.

    A state h is compared as unit((h − `centre`) · `projection` + bias), the bias being `question_bias` or `leaf_bias`.
    A token of the question weighs softplus(`idf_gain` · idf + 10 · `direction` · unit(h − `centre`) + `weight_bias`).
    `shares` belong to `SHARE_STEPS`. A leaf's score is `scale` times the sum over the question's tokens of weight times
    best cosine (not below 0), and `lexical_weight` times its BM25.
    """

    projection: np.ndarray
    centre: np.ndarray
    question_bias: np.ndarray
    leaf_bias: np.ndarray
    direction: np.ndarray
    shares: tuple[float, float, float, float]
    idf_gain: float
    weight_bias: float
    scale: float
    lexical_weight: float

    def token_weights(self, states: np.ndarray, idf: np.ndarray) -> np.ndarray:
        """How much each token of a question counts, [q]. `states` [q, d], `idf` [q] (`policies.token_weights`)."""
        along = _unit(states - self.centre) @ self.direction
        weights: np.ndarray = np.logaddexp(0.0, self.idf_gain * idf + WEIGHT_GAIN * along + self.weight_bias)
        return weights

    def best_cosines(self, question_states: np.ndarray, leaf_states: Sequence[np.ndarray]) -> np.ndarray:
        """For each token of the question its best cosine with any token of a leaf, not below 0: [q, leaves].

        `question_states` [q, d], `leaf_states` one [l, d] (l >= 1) a leaf.
        """
        found = np.zeros((len(question_states), len(leaf_states)), dtype=np.float32)
        question = self._compared(question_states, self.question_bias)
        for place, states in enumerate(leaf_states):
            cosines = question @ self._compared(states, self.leaf_bias).T
            found[:, place] = cosines.max(axis=1, initial=0.0)
        return found

    def _compared(self, states: np.ndarray, bias: np.ndarray) -> np.ndarray:
        return _unit((np.asarray(states, dtype=np.float32) - self.centre) @ self.projection + bias)

    def late(self, cosines: np.ndarray, weights: np.ndarray, leaves: np.ndarray, leaf_count: int) -> np.ndarray:
        """Late interaction of the leaves that were looked at, each with its neighbours' shares: [len(leaves)].

        `cosines` [q, len(leaves)], `weights` [q]; `leaves` are the leaves' numbers among `leaf_count`. A neighbour
        that was not looked at has nothing to share.
        """
        place = np.full(leaf_count, -1)
        place[leaves] = np.arange(len(leaves))
        shared = cosines.copy()
        for step, share in zip(SHARE_STEPS, self.shares, strict=True):
            neighbours = leaves - step
            there = (neighbours >= 0) & (neighbours < leaf_count)
            there[there] = place[neighbours[there]] >= 0
            near = share * cosines[:, place[neighbours[there]]]
            shared[:, there] = np.maximum(shared[:, there], near)
        scores: np.ndarray = self.scale * (weights @ shared)
        return scores

    def combine(self, lexical: np.ndarray, late: np.ndarray, leaves: np.ndarray) -> np.ndarray:
        """BM25 [leaves] and late interaction [len(leaves)] of those looked at; the others get the smallest of it."""
        all_late = np.full(len(lexical), late.min() if len(late) else 0.0)
        all_late[leaves] = late
        scores: np.ndarray = self.lexical_weight * lexical + all_late
        return scores


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths == 0, 1, lengths))
