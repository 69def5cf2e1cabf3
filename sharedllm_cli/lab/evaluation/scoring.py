"""Leaves of one document scored for many questions, as `ask` scores them; no index is read or written.

Node vectors do not depend on the question and are computed once. So are the states of `late`, and where many questions
are asked of a document those of `hybrid`: in half precision, as `index --late-states` would store them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from sharedllm_cli.context.tree import Node
from sharedllm_cli.index.leaves import LeafStates
from sharedllm_cli.index.nodes import LiveNodes, Room
from sharedllm_cli.model.lower import CompressedNodes
from sharedllm_cli.model.shared import SharedModel
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.scoring import LeafMeaning, Scored, leaf_states, score_documents
from sharedllm_cli.retrieval import policies


class DocumentScorer:
    """Scores the leaves and nodes of one document; `many_questions` computes the states of all leaves beforehand."""

    def __init__(self, opened: OpenDocument, shared: SharedModel, *, many_questions: bool = False) -> None:
        self.opened = opened
        self._shared = shared
        self._meaning = None if shared.encoder is None else LeafMeaning(shared.encoder)
        self._beforehand = ("best", "all") if many_questions else ("all",)

    def __call__(self, question: str, policy_name: str) -> Scored:
        """The scores that a policy gives for a question."""
        states = self._states if policies.policy(policy_name).states in self._beforehand else None
        return score_documents(
            question,
            [self.opened],
            self._shared.base,
            self._shared.lower,
            policy_name,
            nodes=lambda: self._vectors,
            stored_states=[states],
            cosines=None if self._meaning is None else self._meaning.cosines,
        )

    @cached_property
    def _states(self) -> LeafStates:
        return leaf_states(self.opened.leaves, self._shared.lower, lambda tokens: None)

    @cached_property
    def _vectors(self) -> RememberedVectors:
        return RememberedVectors(LiveNodes(self._shared.lower, self.opened.leaves))


class RememberedVectors:
    """Nodes whose vectors are computed once, when they are first asked for."""

    def __init__(self, nodes: LiveNodes) -> None:
        self._nodes = nodes
        self._known: dict[Node, Tensor] = {}

    def room(self, nodes: Sequence[Node]) -> Room:
        """What the keys and values of the nodes take."""
        return self._nodes.room(nodes)

    def compressed(self, nodes: Sequence[Node], onto: Tensor | None = None) -> CompressedNodes:
        """Keys and values of the nodes, in the order given."""
        return self._nodes.compressed(nodes, onto)

    def node_vectors(self, nodes: Sequence[Node]) -> Tensor:
        """[nodes, hidden] float32."""
        missing = [node for node in nodes if node not in self._known]
        if missing:
            self._known.update(zip(missing, self._nodes.node_vectors(missing), strict=True))
        return torch.stack([self._known[node] for node in nodes])
