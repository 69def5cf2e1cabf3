"""How well the leaves of training documents fit a question: by the policy that `ask` would search them with.

A model learns to answer from the passages that it is given. Given others in use than it learned from, it does worse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from sharedllm_cli.index.leaves import LeafStates, Leaves
from sharedllm_cli.lab.training.located import LocatedDocument
from sharedllm_cli.reading.scoring import leaf_states, score_documents
from sharedllm_cli.retrieval import bm25, policies

if TYPE_CHECKING:
    from sharedllm_cli.model.loading import BaseModel
    from sharedllm_cli.model.lower import LowerModel

LeafScores = Callable[[str, Sequence[LocatedDocument]], list[np.ndarray]]
"""Scores of all leaves of some documents for a question, larger is better: one array [leaves] a document."""

KEPT_BYTES = 1 << 30
"""States of late interaction are kept for the documents of so many bytes of them, those drawn longest ago dropped."""


def by_words(question: str, documents: Sequence[LocatedDocument]) -> list[np.ndarray]:
    """BM25 of all leaves."""
    return bm25.scores(question, [document.leaves.lexical for document in documents]).values


class ScoresByPolicy:
    """Scores of leaves by a policy, with the states of a document computed once: in half precision, as
    `index --late-states` would store them.

    Not for a policy that scores nodes by vectors of their own, which are not computed here.
    """

    def __init__(self, policy_name: str, base: BaseModel, lower: LowerModel) -> None:
        self._policy = policies.policy(policy_name)
        self._base = base
        self._lower = lower
        self._states: dict[int, tuple[Leaves, LeafStates]] = {}

    def __call__(self, question: str, documents: Sequence[LocatedDocument]) -> list[np.ndarray]:
        """One array [leaves] a document."""
        needed = self._policy.states != "none"
        return score_documents(
            question,
            [document.opened for document in documents],
            self._base,
            self._lower,
            self._policy.name,
            nodes=_no_vectors,
            stored_states=[self._known(document.leaves) if needed else None for document in documents],
        ).leaves

    def _known(self, leaves: Leaves) -> LeafStates:
        key = id(leaves)  # kept with its states, so that no other object can get its number
        found = self._states.pop(key, None) or (leaves, leaf_states(leaves, self._lower, lambda tokens: None))
        self._states[key] = found
        while sum(states.states.nbytes for _, states in self._states.values()) > KEPT_BYTES and len(self._states) > 1:
            del self._states[next(iter(self._states))]
        return found[1]


def _no_vectors() -> NoReturn:
    raise ValueError("a policy that scores nodes by vectors of their own can't be trained with")
