"""Laws of the search: preserved nodes tile each chunk once, and the best leaf is kept at the finest grain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from counting import calls
from hypothesis import given
from hypothesis import strategies as st

from sharedllm_cli.config import TreeConfig
from sharedllm_cli.context.search import leaf_scores, search
from sharedllm_cli.context.tree import ChunkTree, Node

DEFAULT = TreeConfig()
lengths = st.lists(st.one_of(st.integers(1, 7), st.integers(8, 600)), min_size=0, max_size=6)
configs = st.integers(1, 4).map(
    lambda height: TreeConfig(512, height, tuple(2 ** (height + 1 - level) for level in range(height)))
)


def random_values(trees: Sequence[ChunkTree], seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    # few distinct values, so that ties are met
    return [random.integers(0, 4, tree.leaf_count).astype(float) for tree in trees]


def plain_search(tree: ChunkTree, chunk: int, values: np.ndarray) -> set[Node]:
    """The search of docs/method.md §2 for one chunk, written as it reads."""
    if tree.depth == 0:
        return {Node(chunk, 0, 0)}
    best = lambda level, index: max(values[leaf] for leaf in tree.leaf_range(level, index))  # noqa: E731
    preserved: set[Node] = set()
    index = 0
    for level in range(1, tree.depth + 1):
        left, right = 2 * index, 2 * index + 1
        index = right if best(level, right) >= best(level, left) else left
        preserved.add(Node(chunk, level, index ^ 1))
    return preserved | {Node(chunk, tree.depth, index)}


@given(lengths=lengths, config=configs, seed=st.integers(0, 10**6))
def test_preserved_nodes_tile_every_chunk_once_in_document_order(
    lengths: list[int], config: TreeConfig, seed: int
) -> None:
    trees = [ChunkTree(length, config) for length in lengths]
    nodes = search(trees, leaf_scores(trees, random_values(trees, seed)))
    covered = [
        (node.chunk, token) for node in nodes for token in range(*trees[node.chunk].span(node.level, node.index))
    ]
    assert covered == [(chunk, token) for chunk, length in enumerate(lengths) for token in range(length)]


@given(lengths=lengths, config=configs, seed=st.integers(0, 10**6))
def test_it_is_the_search_as_the_method_tells_it(lengths: list[int], config: TreeConfig, seed: int) -> None:
    trees = [ChunkTree(length, config) for length in lengths]
    values = random_values(trees, seed)
    expected = set().union(*(plain_search(tree, k, values[k]) for k, tree in enumerate(trees)))
    nodes = search(trees, leaf_scores(trees, values))
    assert set(nodes) == expected
    assert len(nodes) == len(expected)


@given(lengths=st.lists(st.integers(8, 600), min_size=1, max_size=4), config=configs, data=st.data())
def test_the_needles_leaf_is_kept_at_the_finest_grain_wherever_it_stands(
    lengths: list[int], config: TreeConfig, data: st.DataObject
) -> None:
    trees = [ChunkTree(length, config) for length in lengths]
    values = [np.zeros(tree.leaf_count) for tree in trees]
    chunk = data.draw(st.integers(0, len(trees) - 1))
    tree = trees[chunk]
    leaf = data.draw(st.integers(0, tree.leaf_count - 1))
    values[chunk][leaf] = 1.0
    assert Node(chunk, tree.depth, leaf) in search(trees, leaf_scores(trees, values))


def test_a_full_chunk_keeps_half_at_16_a_quarter_at_8_and_two_eighths_at_4() -> None:
    trees = [ChunkTree(512, DEFAULT)]
    for leaf in range(8):
        values = np.zeros(8)
        values[leaf] = 1.0
        nodes = search(trees, leaf_scores(trees, [values]))
        kept = sorted((node.level, trees[0].kept_count(node.level, node.index)) for node in nodes)
        assert kept == [(1, 16), (2, 16), (3, 16), (3, 16)]


def test_ties_go_right_so_no_preference_reads_the_end_most_finely() -> None:
    trees = [ChunkTree(512, DEFAULT), ChunkTree(3, DEFAULT), ChunkTree(512, DEFAULT)]
    right = [(1, 0), (2, 2), (3, 6), (3, 7)]
    expected = [Node(0, *place) for place in right] + [Node(1, 0, 0)] + [Node(2, *place) for place in right]
    assert search(trees, lambda nodes: np.zeros(len(nodes))) == expected


def test_score_is_called_once_a_level_with_both_children_of_every_chunk() -> None:
    trees = [ChunkTree(512, DEFAULT), ChunkTree(4, DEFAULT), ChunkTree(100, DEFAULT)]
    calls: list[list[Node]] = []

    def score(nodes: Sequence[Node]) -> np.ndarray:
        calls.append(list(nodes))
        return np.array([float(node.index % 2 == 0) for node in nodes])

    search(trees, score)
    assert calls == [[Node(k, level, index) for k in (0, 2) for index in (0, 1)] for level in (1, 2, 3)]


def test_nodes_may_be_scored_by_themselves() -> None:
    """`paper-cosine`: an inner node's score need not be the best of its leaves'."""
    table = {Node(0, 1, 0): 2.0, Node(0, 1, 1): 1.0, Node(0, 2, 0): 0.0, Node(0, 2, 1): 9.0}
    nodes = search([ChunkTree(512, DEFAULT)], lambda asked: np.array([table.get(node, 0.0) for node in asked]))
    assert nodes == [Node(0, 2, 0), Node(0, 3, 2), Node(0, 3, 3), Node(0, 1, 1)]


def test_no_chunks_preserve_nothing() -> None:
    assert search([], leaf_scores([], [])) == []


@pytest.mark.parametrize("bad", [np.array([0.0]), np.array([np.nan, 1.0]), np.zeros((1, 2))])
def test_a_score_of_the_wrong_shape_or_not_a_number_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="score"):
        search([ChunkTree(512, DEFAULT)], lambda nodes: bad)


def test_leaf_scores_refuses_what_does_not_fit_the_trees() -> None:
    trees = [ChunkTree(512, DEFAULT), ChunkTree(3, DEFAULT)]
    good = [np.zeros(8), np.zeros(1)]
    leaf_scores(trees, good)
    with pytest.raises(ValueError, match="2 chunks"):
        leaf_scores(trees, good[:1])
    with pytest.raises(ValueError, match="chunk 1 has 1 leaves, got 8"):
        leaf_scores(trees, [np.zeros(8), np.zeros(8)])
    with pytest.raises(ValueError, match="not a number"):
        leaf_scores(trees, [np.zeros(8), np.array([np.nan])])


def test_a_million_tokens_are_searched_by_looking_at_every_chunk_once_a_level() -> None:
    values = list(np.random.default_rng(0).random((16_384, 8)))
    spent = {}
    for chunks in (1024, 16_384):
        trees = [ChunkTree(64, DEFAULT)] * chunks
        score, asked, found = leaf_scores(trees, values[:chunks]), [], []

        def counted(nodes: Sequence[Node], score: Any = score, asked: list[int] = asked) -> np.ndarray:
            asked.append(len(nodes))
            return score(nodes)  # type: ignore[no-any-return]

        spent[chunks] = calls(lambda: found.extend(search(trees, counted)))  # noqa: B023 (called at once)
        assert len(found) == 4 * chunks
        assert asked == [2 * chunks] * 3
    assert spent[16_384] <= 16 * spent[1024]
