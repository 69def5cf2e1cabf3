"""How leaves are scored for a question: one policy π a name (docs/method.md §2), each saying what it needs.

Numbers in, numbers out: states and vectors come from whoever has a model, BM25 from `lexical`. Larger is better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol

import numpy as np

from sharedllm_cli.config import POLICIES as NAMES
from sharedllm_cli.config import RERANK_LEAVES
from sharedllm_cli.errors import UsageError

LATE_SHARE_AFTER, LATE_SHARE_BEFORE = 0.7, 0.5
"""In the hybrid a leaf has at least these shares of the late interaction of the leaf before it and of the one after it
(docs/log/ has the measurement)."""
BY_WORDS = frozenset({"hybrid", "hybrid-words", "bm25", "right"})
"""The policies whose scores rest on the question's words: without any of them no leaf is better than another, unless
meaning was scored, too."""
BLOCK_TOKENS = 8192
"""Late interaction compares this many leaf tokens with the question at once, which bounds its memory."""


class LeafSource(Protocol):
    """What can be known about the leaves of all documents of one question; each is computed when a policy asks."""

    @property
    def leaf_count(self) -> int:
        """Leaves of all documents together."""

    def lexical(self) -> np.ndarray:
        """BM25 of every leaf, [leaves]."""

    def late(self, leaves: np.ndarray) -> np.ndarray:
        """Late interaction of the leaves with these numbers, in their order, [len(leaves)]."""

    def node_cosines(self) -> np.ndarray:
        """The paper's cosine of every leaf, [leaves]."""

    def meaning(self) -> np.ndarray | None:
        """The cosine of every leaf's meaning with the question's, [leaves]; None where no encoder can give it."""


@dataclass(frozen=True)
class LeafPolicy:
    """A policy and what it needs: BM25, hidden states of the best or of all leaves, one vector for every node, meaning.

    `scores(source)` gives a score to every leaf and asks `source` for nothing else than what is declared here. Where
    `node_vectors` is set the search scores every node by itself (`paper_cosine`); otherwise an inner node's score is
    the best of its leaves' (`search.leaf_scores`).
    """

    name: str
    scores: Callable[[LeafSource], np.ndarray]
    lexical: bool = False
    states: Literal["none", "best", "all"] = "none"
    node_vectors: bool = False
    meaning: bool = False


def policy(name: str) -> LeafPolicy:
    """The policy with a name of `config.POLICIES`; UsageError for another."""
    if name not in POLICIES:
        raise UsageError(f"unknown policy {name!r}", hint=f"choose one of {', '.join(NAMES)}")
    return POLICIES[name]


def late_interaction(
    query_states: np.ndarray,
    leaf_states: Sequence[np.ndarray],
    centre: np.ndarray | None = None,
    *,
    token_weights: np.ndarray | None = None,
) -> np.ndarray:
    """For each query token the best cosine with any token of the leaf, averaged over the query tokens: [leaves].

    `query_states` [q, d], `leaf_states` one [l, d] (l >= 1) a leaf. `centre` [d] (the mean state of the documents'
    tokens) is taken from both first: raw states share one large direction and all look alike. `token_weights` [q]
    makes the average a weighted one. A state equal to the centre has cosine 0 with everything, and a query without
    tokens or weight scores every leaf 0. Raises ValueError for a leaf without tokens.
    """
    lengths = np.array([len(states) for states in leaf_states], dtype=np.int64)
    if (lengths == 0).any():
        raise ValueError("a leaf without tokens has no states to compare")
    scores = np.zeros(len(lengths))
    weights = np.ones(len(query_states)) if token_weights is None else np.asarray(token_weights, dtype=np.float64)
    if not len(lengths) or not weights.sum():
        return scores
    query = _unit(query_states, centre)
    ends = np.cumsum(lengths)
    first = 0
    while first < len(lengths):
        block_end = ends[first] - lengths[first] + BLOCK_TOKENS
        last = max(first + 1, int(np.searchsorted(ends, block_end, side="right")))
        cosines = query @ _unit(np.concatenate(leaf_states[first:last]), centre).T
        leaf_starts = ends[first:last] - lengths[first:last] - (ends[first] - lengths[first])
        best = np.maximum.reduceat(cosines, leaf_starts, axis=1)
        scores[first:last] = weights @ best / weights.sum()
        first = last
    return scores


def token_weights(query_ids: np.ndarray, leaf_ids: Sequence[np.ndarray]) -> np.ndarray:
    """How much each token of a question tells a leaf from others, [q]: the idf of BM25 over the leaves' token ids.

    `leaf_ids` holds one integer array a leaf, over all documents. As `token_weights` of `late_interaction` it keeps
    `what`, `the` and `?` from deciding (docs/log/ has the measurement).
    """
    return joined_token_weights(query_ids, leaf_ids, np.array([len(ids) for ids in leaf_ids], dtype=np.int64))


def joined_token_weights(query_ids: np.ndarray, ids: Sequence[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    """`token_weights` where `ids`, joined, are the leaves' ids one after another, `lengths` [leaves] of them each."""
    query_ids = np.asarray(query_ids)
    if not len(lengths) or not len(query_ids):
        return np.ones(len(query_ids))
    leaves = np.repeat(np.arange(len(lengths)), lengths)
    distinct, place = np.unique(query_ids, return_inverse=True)
    joined = np.concatenate(ids)
    asked = np.isin(joined, distinct)
    holds = np.zeros((len(distinct), len(lengths)), dtype=bool)
    holds[np.searchsorted(distinct, joined[asked]), leaves[asked]] = True
    held = holds.sum(axis=1)[place]
    weights: np.ndarray = np.log1p((len(lengths) - held + 0.5) / (held + 0.5))
    return weights


def paper_cosine(node_vectors: np.ndarray, query_vector: np.ndarray) -> np.ndarray:
    """Cosine of each node's vector [nodes, d] with the query's [d]: [nodes] (docs/method.md §2, the paper's π)."""
    cosines: np.ndarray = _unit(node_vectors, None) @ _unit(query_vector[None], None)[0]
    return np.asarray(cosines, dtype=np.float64)


def best_leaves(scores: np.ndarray, count: int = RERANK_LEAVES) -> np.ndarray:
    """Numbers of the `count` best leaves (all, where there are fewer), best first, the earlier of equals first."""
    best: np.ndarray = np.argsort(-scores, kind="stable")[:count]
    return best


def combine(lexical: np.ndarray, late: np.ndarray, leaves: np.ndarray) -> np.ndarray:
    """The hybrid: z-scores of BM25 [leaves] and of late interaction added, [leaves] (docs/method.md §2).

    `late[i]` belongs to leaf `leaves[i]`; all other leaves get the smallest of `late`, so that re-ranking can lift a
    leaf but never one that it has not looked at. A leaf that was looked at counts for its neighbours, too (these shares
    of what it has above the smallest). Without any late interaction it is BM25 alone.
    """
    above = np.zeros(len(lexical))
    above[leaves] = late - late.min() if len(late) else 0.0
    looked_at = np.zeros(len(lexical), dtype=bool)
    looked_at[leaves] = True
    shared = above.copy()
    shared[1:] = np.maximum(shared[1:], LATE_SHARE_AFTER * above[:-1])
    shared[:-1] = np.maximum(shared[:-1], LATE_SHARE_BEFORE * above[1:])
    added: np.ndarray = z_scores(lexical) + z_scores(np.where(looked_at, shared, 0.0))
    return added


def z_scores(values: np.ndarray) -> np.ndarray:
    """Values less their mean over their standard deviation; all 0 where they don't differ."""
    values = np.asarray(values, dtype=np.float64)
    spread = values.std() if len(values) else 0.0
    if not spread or values.max() == values.min():
        return np.zeros(len(values))
    return np.asarray((values - values.mean()) / spread)


def _unit(states: np.ndarray, centre: np.ndarray | None) -> np.ndarray:
    """States [n, d] less the centre, each of length 1 (a zero stays zero), in float32."""
    states = np.asarray(states, dtype=np.float32)
    if centre is not None:
        states = states - np.asarray(centre, dtype=np.float32)
    lengths = np.linalg.norm(states, axis=1, keepdims=True)
    return np.asarray(states / np.where(lengths == 0, 1, lengths))


def _hybrid_words(source: LeafSource) -> np.ndarray:
    lexical = source.lexical()
    leaves = best_leaves(lexical)
    return combine(lexical, source.late(leaves), leaves)


def _hybrid(source: LeafSource) -> np.ndarray:
    words, meaning = _hybrid_words(source), source.meaning()
    return words if meaning is None else words + z_scores(meaning)


def _meaning(source: LeafSource) -> np.ndarray:
    meaning = source.meaning()
    if meaning is None:
        raise UsageError(
            "--policy meaning needs the sentence encoder, and the documents' passages encoded",
            hint="sharedllm models pull all-minilm-l6-v2, then sharedllm index",
        )
    return meaning


POLICIES: Mapping[str, LeafPolicy] = MappingProxyType(
    {
        made.name: made
        for made in (
            LeafPolicy("hybrid", _hybrid, lexical=True, states="best", meaning=True),
            LeafPolicy("hybrid-words", _hybrid_words, lexical=True, states="best"),
            LeafPolicy("meaning", _meaning, meaning=True),
            LeafPolicy("bm25", lambda source: source.lexical(), lexical=True),
            LeafPolicy("late", lambda source: source.late(np.arange(source.leaf_count)), states="all"),
            LeafPolicy("paper-cosine", lambda source: source.node_cosines(), node_vectors=True),
            LeafPolicy("right", lambda source: np.zeros(source.leaf_count)),
        )
    }
)
"""Every policy by its name in `config.POLICIES`."""
