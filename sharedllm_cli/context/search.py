"""Which nodes does the upper model see? The search of docs/method.md §2, over integers and scores alone.

All chunks are searched side by side, one level a step. Knows no model, no tensor, no file and no text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sharedllm_cli.context.tree import ChunkTree, Node

Score = Callable[[Sequence[Node]], np.ndarray]
"""Scores of some nodes, larger is better: one number a node, in the nodes' order."""


def search(trees: Sequence[ChunkTree], score: Score) -> list[Node]:
    """The preserved nodes of all chunks, in document order: by chunk, then by first token.

    Chunk k is `trees[k]`. From the root the child with the larger score is chosen (a tie goes right) and the other one
    preserved; at the last level both are. A chunk too short to split preserves its root. `score` is called once a
    level, with both children of every chunk's selected node, so a policy can answer in one vectorised step.
    Raises ValueError where `score` returns another number of scores than nodes, or NaN.
    """
    depths = np.array([tree.depth for tree in trees], dtype=np.int64)
    selected = np.zeros(len(trees), dtype=np.int64)
    short = np.flatnonzero(depths == 0)
    # one row a preserved node: chunk, level, index
    preserved = [_rows(short, 0, selected[short])]
    for level in range(1, int(depths.max(initial=0)) + 1):
        chunks = np.flatnonzero(depths >= level)
        left = 2 * selected[chunks]
        pairs = np.repeat(_rows(chunks, level, left), 2, axis=0)
        pairs[1::2, 2] += 1
        scores = _checked(score(_nodes(pairs)), len(pairs)).reshape(-1, 2)
        chosen = left + (scores[:, 1] >= scores[:, 0])
        selected[chunks] = chosen
        preserved.append(_rows(chunks, level, chosen ^ 1))
        last = depths[chunks] == level
        preserved.append(_rows(chunks[last], level, chosen[last]))
    rows = np.concatenate(preserved)
    # the first leaf below a node tells its place in the chunk
    first_leaf = rows[:, 2] << (depths[rows[:, 0]] - rows[:, 1])
    return _nodes(rows[np.lexsort((first_leaf, rows[:, 0]))])


def leaf_scores(trees: Sequence[ChunkTree], values: Sequence[np.ndarray]) -> Score:
    """A score for `search` from leaves' scores: an inner node has the best of the leaves below it (docs/method.md §2).

    `values[k]` holds one number for each leaf of `trees[k]`. All nodes are worked out here, so that the returned
    function only looks them up. Raises ValueError for a wrong number of values or NaN.
    """
    if len(values) != len(trees):
        raise ValueError(f"{len(trees)} chunks need as many arrays of leaf scores, got {len(values)}")
    counts = np.array([tree.leaf_count for tree in trees], dtype=np.int64)
    given = np.array([len(leaves) for leaves in values], dtype=np.int64)
    if wrong := np.flatnonzero(counts != given).tolist():
        chunk = wrong[0]
        raise ValueError(f"chunk {chunk} has {counts[chunk]} leaves, got {given[chunk]} scores")
    flat = _checked(np.concatenate([np.zeros(0), *values]), int(counts.sum()))
    heap_starts, heaps = _heaps(flat, counts)

    def score(nodes: Sequence[Node]) -> np.ndarray:
        rows = np.array(nodes, dtype=np.int64).reshape(-1, 3)
        found: np.ndarray = heaps[heap_starts[rows[:, 0]] + (1 << rows[:, 1]) - 1 + rows[:, 2]]
        return found

    return score


def _heaps(leaves: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores of all nodes from those of all leaves, each chunk as a heap: where each chunk's begins, and all values.

    `counts` are the leaves of each chunk, powers of two. Node (level, index) lies at its chunk's start + 2^level − 1 +
    index, so a tree of n leaves takes 2n − 1 places.
    """
    leaf_starts = np.cumsum(counts) - counts
    heap_starts = 2 * leaf_starts - np.arange(len(counts))
    heaps = np.empty(2 * len(leaves) - len(counts), dtype=np.float64)
    for count in np.unique(counts).tolist():
        chunks = np.flatnonzero(counts == count)
        values = leaves[leaf_starts[chunks, None] + np.arange(count)]
        while True:
            width = values.shape[1]
            heaps[heap_starts[chunks, None] + width - 1 + np.arange(width)] = values
            if width == 1:
                break
            values = values.reshape(len(chunks), width // 2, 2).max(axis=2)
    return heap_starts, heaps


def _rows(chunks: np.ndarray, level: int, indices: np.ndarray) -> np.ndarray:
    return np.stack([chunks, np.full_like(chunks, level), indices], axis=1)


def _nodes(rows: np.ndarray) -> list[Node]:
    return list(map(Node._make, rows.tolist()))


def _checked(scores: Any, count: int) -> np.ndarray:
    array = np.asarray(scores, dtype=np.float64)
    if array.shape != (count,):
        raise ValueError(f"{count} nodes need as many scores, got an array of shape {array.shape}")
    if np.isnan(array).any():
        raise ValueError("a score is not a number")
    return array
