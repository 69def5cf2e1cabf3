"""How well each leaf and node of the opened documents fits a question.

The policies' numbers (context/policies.py) are fed here: BM25 from the index, states and vectors from the lower model,
each computed only when the policy asks for it. Leaves and chunks are numbered through all documents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from sharedllm_cli.config import LATE_LAYERS
from sharedllm_cli.context import lexical, policies
from sharedllm_cli.context.lexical import LexicalScores
from sharedllm_cli.context.search import Score, leaf_scores
from sharedllm_cli.context.tree import ChunkTree, Node
from sharedllm_cli.index.leaves import Leaves
from sharedllm_cli.index.states import LeafStates

if TYPE_CHECKING:
    from sharedllm_cli.index.nodes import CompressedSource
    from sharedllm_cli.model.lower import LowerModel

_BATCH_TOKENS = 4096
_LARGEST_HALF = 65504.0


@dataclass(frozen=True)
class Scored:
    """Scores of a question: one array [leaves] a document, a score of nodes for the search, and what BM25 matched.

    `informed` is False where no leaf stands out from any other, as for a question without a word of the documents.
    """

    leaves: list[np.ndarray]
    nodes: Score
    lexical: LexicalScores

    @property
    def informed(self) -> bool:
        return any(len(values) and values.max() > values.min() for values in self.leaves)


class QuestionLeaves:
    """The leaves of all documents as one `LeafSource` for one question."""

    def __init__(
        self,
        question: str,
        question_ids: Sequence[int],
        leaves: Sequence[Leaves],
        lower: LowerModel,
        nodes: Callable[[], CompressedSource],
        stored_states: Sequence[LeafStates | None],
    ) -> None:
        self._question = question
        self._question_ids = question_ids
        self._documents = leaves
        self._lower = lower
        self._nodes = nodes
        self._stored_states = stored_states
        self._first = np.cumsum([0, *(document.leaf_count for document in leaves)])

    @property
    def leaf_count(self) -> int:
        return int(self._first[-1])

    @cached_property
    def matches(self) -> LexicalScores:
        """BM25 over all documents together, and which of the question's words they hold."""
        return lexical.scores(self._question, [document.lexical for document in self._documents])

    def lexical(self) -> np.ndarray:
        """BM25 of every leaf."""
        return np.concatenate(self.matches.values)

    def late(self, leaves: np.ndarray) -> np.ndarray:
        """Late interaction of some leaves, from stored states where there are any, else through the lower model."""
        if not len(leaves) or not self._question_ids:
            return np.zeros(len(leaves))
        layers = min(LATE_LAYERS, self._lower.lower_layers)
        query = self._lower.states(torch.tensor([self._question_ids]), layers)[0].float().cpu().numpy()
        states = self._states(leaves, layers)
        centre = np.concatenate(states).mean(axis=0, dtype=np.float32)
        weights = policies.token_weights(np.array(self._question_ids), self._leaf_ids)
        return policies.late_interaction(query, states, centre, token_weights=weights)

    @cached_property
    def _leaf_ids(self) -> list[np.ndarray]:
        return [self._token_ids(leaf) for leaf in range(self.leaf_count)]

    def node_cosines(self) -> np.ndarray:
        """The paper's cosine of every leaf."""
        nodes: list[Node] = []
        first_chunk = 0
        for document in self._documents:
            local = (document.leaf_node(leaf) for leaf in range(document.leaf_count))
            nodes += [node._replace(chunk=node.chunk + first_chunk) for node in local]
            first_chunk += len(document.trees)
        return self.cosine(nodes)

    def cosine(self, nodes: Sequence[Node]) -> np.ndarray:
        """The paper's cosine of some nodes, their chunks numbered through all documents."""
        query = self._lower.node_vectors(torch.tensor([self._question_ids]))[0].float().cpu().numpy()
        return policies.paper_cosine(self._nodes().node_vectors(nodes).cpu().numpy(), query)

    def _states(self, leaves: np.ndarray, layers: int) -> list[np.ndarray]:
        found: dict[int, np.ndarray] = {}
        by_length: dict[int, list[int]] = {}
        for leaf in leaves.tolist():
            place, local = self._local(leaf)
            stored = self._stored_states[place]
            if stored is not None:
                found[leaf] = stored.leaf(local).astype(np.float32)
            else:
                start, end = self._documents[place].leaf_span(local)
                by_length.setdefault(end - start, []).append(leaf)
        for length, alike in by_length.items():
            step = max(1, _BATCH_TOKENS // length)
            for first in range(0, len(alike), step):
                batch = alike[first : first + step]
                token_ids = torch.tensor(np.stack([self._token_ids(leaf) for leaf in batch]), dtype=torch.long)
                states = self._lower.states(token_ids, layers).float().cpu().numpy()
                found.update(zip(batch, states, strict=True))
        return [found[leaf] for leaf in leaves.tolist()]

    def _token_ids(self, leaf: int) -> np.ndarray:
        place, local = self._local(leaf)
        start, end = self._documents[place].leaf_span(local)
        return self._documents[place].tokens.ids[start:end]

    def _local(self, leaf: int) -> tuple[int, int]:
        place = int(np.searchsorted(self._first, leaf, side="right")) - 1
        return place, leaf - int(self._first[place])

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """Values of all leaves, cut into one array a document."""
        return np.split(values, self._first[1:-1])


def score(source: QuestionLeaves, documents: Sequence[Leaves], policy_name: str) -> Scored:
    """Score all leaves by a policy, and the nodes as that policy scores them (METHOD section 2)."""
    policy = policies.policy(policy_name)
    values = source.split(policy.scores(source))
    if policy.node_vectors:
        nodes: Score = source.cosine
    else:
        trees: list[ChunkTree] = [tree for document in documents for tree in document.trees]
        by_chunk = [part for document, own in zip(documents, values, strict=True) for part in document.by_chunk(own)]
        nodes = leaf_scores(trees, by_chunk)
    return Scored(values, nodes, source.matches)


def leaf_states(leaves: Leaves, lower: LowerModel, advance: Callable[[int], None]) -> LeafStates:
    """States of every token of a document, leaf by leaf, for `--policy late` (`index --late-states`)."""
    layers = min(LATE_LAYERS, lower.lower_layers)
    spans = [leaves.leaf_span(leaf) for leaf in range(leaves.leaf_count)]
    states = np.empty((leaves.token_count, lower.hidden_size), dtype=np.float16)
    by_length: dict[int, list[tuple[int, int]]] = {}
    for span in spans:
        by_length.setdefault(span[1] - span[0], []).append(span)
    for length, alike in by_length.items():
        step = max(1, _BATCH_TOKENS // length)
        for first in range(0, len(alike), step):
            batch = alike[first : first + step]
            ids = np.stack([leaves.tokens.ids[start:end] for start, end in batch])
            found = lower.states(torch.tensor(ids, dtype=torch.long), layers).float().cpu().numpy()
            for (start, end), rows in zip(batch, found, strict=True):
                states[start:end] = rows.clip(-_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
            advance(length * len(batch))
    boundaries = np.array([0, *(end for _, end in spans)], dtype=np.int32)
    return LeafStates(states, boundaries)
