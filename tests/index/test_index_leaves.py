"""Laws of the leaves: they tile the document, are numbered through it, and come back from disk as they were."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from index_samples import TREE, leaves_key, sample_document, text_and_leaves

from sharedllm_cli.config import TreeConfig
from sharedllm_cli.index.leaves import build_leaves
from sharedllm_cli.index.store import IndexStore


@pytest.mark.parametrize("characters", [3, 7, 63, 64, 65, 700])
def test_leaves_tile_the_tokens_in_order(byte_tokenizer: Any, characters: int) -> None:
    document = sample_document(characters=characters)
    leaves = build_leaves(document, byte_tokenizer, TREE)
    spans = [leaves.leaf_span(leaf) for leaf in range(leaves.leaf_count)]
    assert spans[0][0] == 0
    assert spans[-1][1] == leaves.token_count == len(document.text.encode())
    assert all(before[1] == after[0] for before, after in itertools.pairwise(spans))


def test_numbers_and_addresses_of_leaves_agree(byte_tokenizer: Any) -> None:
    leaves = build_leaves(sample_document(), byte_tokenizer, TREE)
    for leaf in range(leaves.leaf_count):
        node = leaves.leaf_node(leaf)
        assert leaves.first_leaves[node.chunk] + node.index == leaf
        assert leaves.node_span(node) == leaves.leaf_span(leaf)
    with pytest.raises(IndexError):
        leaves.leaf_node(leaves.leaf_count)
    per_chunk = leaves.by_chunk(np.arange(leaves.leaf_count))
    assert [len(values) for values in per_chunk] == [tree.leaf_count for tree in leaves.trees]
    assert np.concatenate(per_chunk).tolist() == list(range(leaves.leaf_count))


def test_a_leafs_characters_are_its_words_without_surrounding_space(byte_tokenizer: Any) -> None:
    document = sample_document()
    leaves = build_leaves(document, byte_tokenizer, TREE)
    encoded = document.text.encode()
    for leaf in range(leaves.leaf_count):
        start, end = leaves.leaf_characters(leaf, document)
        first, stop = leaves.leaf_span(leaf)
        text = document.text[start:end]
        assert text == text.strip()
        # a character that a leaf's end cuts belongs to it whole
        assert encoded[first:stop].decode("utf-8", "ignore").strip() in text


def test_a_leaf_of_white_space_has_no_characters(byte_tokenizer: Any) -> None:
    document = replace(sample_document(), text="a" + " " * 62 + "b")
    leaves = build_leaves(document, byte_tokenizer, TREE)
    start, end = leaves.leaf_characters(3, document)
    assert start == end


def test_text_and_leaves_come_back_as_they_were(store: IndexStore, byte_tokenizer: Any) -> None:
    document = sample_document()
    leaves = text_and_leaves(store, document, byte_tokenizer)
    assert store.read_text(document.content_hash) == document
    again = store.read_leaves(document.content_hash, leaves_key(document))
    assert again is not None
    for name in ("ids", "starts", "ends"):
        assert np.array_equal(getattr(again.tokens, name), getattr(leaves.tokens, name))
        assert getattr(again.tokens, name).dtype == np.int32
    assert again.chunk_starts == leaves.chunk_starts
    assert [tree.levels for tree in again.trees] == [tree.levels for tree in leaves.trees]
    terms, arrays = leaves.lexical.to_arrays()
    terms_again, arrays_again = again.lexical.to_arrays()
    assert terms_again == terms
    assert all(np.array_equal(arrays_again[name], array) for name, array in arrays.items())


def test_a_document_with_half_a_surrogate_pair_comes_back(store: IndexStore) -> None:
    document = replace(sample_document(), text="a \ud835 b\r\n\u2028c", pages=sample_document().pages)
    store.write_text(document)
    assert store.read_text(document.content_hash) == document


def test_leaves_of_another_chunk_size_are_not_these(store: IndexStore, byte_tokenizer: Any) -> None:
    document = sample_document()
    text_and_leaves(store, document, byte_tokenizer)
    other = TreeConfig(32, 3, (16, 8, 4))
    assert store.read_leaves(document.content_hash, leaves_key(document, other)) is None
