"""Stored states of late interaction: one hidden state a token, kept only where the user asks for it.

Late interaction over all leaves (`--policy late`) needs them all; the default policy computes a hundred leaves' and
stores none. 2 bytes a number: 1.1 KB a token at a hidden size of 576.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from safetensors import numpy as safetensors_numpy

STATES = "states.safetensors"


@dataclass(frozen=True)
class LeafStates:
    """States [tokens, hidden] float16 in the document's order; leaf i has rows `boundaries[i]` to `boundaries[i + 1]`.

    `boundaries` is int32 [leaves + 1].
    """

    states: np.ndarray
    boundaries: np.ndarray

    def __post_init__(self) -> None:
        if self.states.dtype != np.float16 or self.boundaries.dtype != np.int32:
            raise ValueError("states are stored as float16, boundaries as int32")
        if len(self.boundaries) < 1 or self.boundaries[0] != 0 or self.boundaries[-1] != len(self.states):
            raise ValueError("the leaves' boundaries must run from 0 to the number of tokens")

    def leaf(self, number: int) -> np.ndarray:
        """The states of one leaf, [tokens of the leaf, hidden]."""
        return self.states[self.boundaries[number] : self.boundaries[number + 1]]


def states_files(states: LeafStates) -> dict[str, bytes]:
    """The one file of a states part."""
    arrays = {"states": np.ascontiguousarray(states.states), "boundaries": states.boundaries}
    return {STATES: safetensors_numpy.save(arrays)}


def states_from(files: Mapping[str, bytes]) -> LeafStates:
    """The states that `states_files` wrote."""
    arrays = safetensors_numpy.load(files[STATES])
    return LeafStates(arrays["states"], arrays["boundaries"])
