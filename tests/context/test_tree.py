"""Laws of the context tree's integers (docs/method.md §1 to §3)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedllm_cli.config import TreeConfig
from sharedllm_cli.context.tree import ChunkTree, chunk_lengths, kept_positions

DEFAULT = TreeConfig()
configs = st.integers(1, 4).map(
    lambda height: TreeConfig(512, height, tuple(2 ** (height + 1 - level) for level in range(height)))
)


@given(total=st.integers(0, 5000), chunk=st.integers(1, 600))
def test_chunks_tile_the_document_and_only_the_last_is_shorter(total: int, chunk: int) -> None:
    lengths = chunk_lengths(total, chunk)
    assert sum(lengths) == total
    assert all(length == chunk for length in lengths[:-1])
    assert all(1 <= length <= chunk for length in lengths)


@given(length=st.integers(1, 600), ratio=st.integers(1, 40))
def test_kept_positions_are_the_last_of_each_window(length: int, ratio: int) -> None:
    expected = [min((i + 1) * ratio, length) - 1 for i in range(-(-length // ratio))]
    assert kept_positions(length, ratio).tolist() == expected
    assert expected[-1] == length - 1
    assert len(set(expected)) == len(expected)


@given(length=st.integers(1, 600), config=configs)
def test_every_level_tiles_the_chunk(length: int, config: TreeConfig) -> None:
    tree = ChunkTree(length, config)
    for level, spans in enumerate(tree.levels):
        assert len(spans) == 2**level
        assert spans[0].start == 0
        assert spans[-1].end == length
        assert all(left.end == right.start for left, right in pairwise(spans))
        assert all(span.length >= 1 for span in spans)


@given(length=st.integers(1, 600), config=configs)
def test_a_child_halves_its_parent_rounding_down_to_the_left(length: int, config: TreeConfig) -> None:
    tree = ChunkTree(length, config)
    for level in range(tree.depth):
        for index in range(2**level):
            parent, left = tree.span(level, index), tree.span(level + 1, 2 * index)
            assert left.length == parent.length // 2


def test_an_empty_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        ChunkTree(0, DEFAULT)


@given(length=st.integers(1, 7))
def test_a_chunk_too_short_to_split_is_its_root_at_the_leaves_ratio(length: int) -> None:
    tree = ChunkTree(length, DEFAULT)
    assert (tree.depth, tree.leaf_count) == (0, 1)
    assert list(tree.stored_nodes()) == [(0, 0)]
    assert tree.kept(0, 0).tolist() == kept_positions(length, DEFAULT.leaf_ratio).tolist()


def test_a_chunk_of_exactly_two_to_the_height_is_split_into_single_tokens() -> None:
    tree = ChunkTree(8, DEFAULT)
    assert tree.depth == 3
    assert [span.length for span in tree.levels[3]] == [1] * 8


@given(length=st.integers(8, 600))
def test_stored_nodes_are_all_levels_below_the_root(length: int) -> None:
    tree = ChunkTree(length, DEFAULT)
    nodes = list(tree.stored_nodes())
    assert nodes == [(level, index) for level in (1, 2, 3) for index in range(2**level)]
    for level in (1, 2, 3):
        assert sum(tree.span(w, i).length for w, i in nodes if w == level) == length


@given(length=st.integers(1, 600), config=configs)
def test_kept_count_counts_what_is_kept_at_the_levels_ratio(length: int, config: TreeConfig) -> None:
    tree = ChunkTree(length, config)
    for level, index in tree.stored_nodes():
        kept = tree.kept(level, index)
        assert len(kept) == tree.kept_count(level, index) == -(-tree.span(level, index).length // config.ratio(level))
        assert kept[-1] == tree.span(level, index).length - 1


def test_the_stored_nodes_of_a_full_chunk_hold_448_keys_per_1024_tokens() -> None:
    tree = ChunkTree(1024, TreeConfig(1024))
    assert sum(tree.kept_count(level, index) for level, index in tree.stored_nodes()) == 448


@given(length=st.integers(1, 600), config=configs, data=st.data())
def test_a_leaf_lies_below_its_ancestors(length: int, config: TreeConfig, data: st.DataObject) -> None:
    tree = ChunkTree(length, config)
    leaf = data.draw(st.integers(0, tree.leaf_count - 1))
    for level in range(tree.depth + 1):
        index = leaf >> (tree.depth - level)
        below = tree.leaf_range(level, index)
        assert leaf in below
        assert tree.span(level, index).start == tree.span(tree.depth, below[0]).start
        assert tree.span(level, index).end == tree.span(tree.depth, below[-1]).end


@pytest.mark.parametrize(
    ("config", "beta"), [(DEFAULT, 8), (TreeConfig(512, 2, (16, 8)), 32 / 3), (TreeConfig(64, 1, (4,)), 4)]
)
def test_beta_is_what_a_full_chunk_keeps(config: TreeConfig, beta: float) -> None:
    tree = ChunkTree(config.chunk_tokens, config)
    kept = sum(tree.kept_count(level, 0) for level in range(1, config.height + 1)) + tree.kept_count(config.height, 0)
    assert config.overall_ratio == pytest.approx(beta) == config.chunk_tokens / kept
