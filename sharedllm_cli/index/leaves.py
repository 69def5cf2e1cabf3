"""The leaves of a document: its tokens, its chunks' trees as integers, and what is stored for each leaf.

A leaf is the smallest unit of search and of verbatim evidence (docs/method.md §1). Leaves are numbered through the
document in reading order, chunks likewise. Stored are BM25 statistics of every leaf, and only where the user asks for
them the states of late interaction, one hidden state a token: late interaction over all leaves (`--policy late`) needs
them all, 1.1 KB a token at a hidden size of 576. Depends on text, tokenizer, chunk size and height; knows no model.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from safetensors import numpy as safetensors_numpy

from sharedllm_cli.config import TreeConfig
from sharedllm_cli.context.tree import ChunkTree, Node, chunk_lengths
from sharedllm_cli.documents.chunking import Tokens, tokenize
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.retrieval.bm25 import LexicalIndex

TOKENS, TERMS, LEXICAL = "tokens.safetensors", "lexical-terms.json", "lexical.safetensors"
STATES = "states.safetensors"


@dataclass(frozen=True)
class Leaves:
    """A document's tokens and trees. `chunk_starts[k]` is the first token of chunk k, `trees[k]` its tree."""

    tokens: Tokens
    trees: list[ChunkTree]
    chunk_starts: list[int]
    lexical: LexicalIndex

    @cached_property
    def first_leaves(self) -> list[int]:
        """The number of every chunk's first leaf, and behind them the number of leaves."""
        counts = [0, *(tree.leaf_count for tree in self.trees)]
        return [int(number) for number in np.cumsum(counts)]

    @property
    def token_count(self) -> int:
        """Tokens of the document."""
        return len(self.tokens.ids)

    @property
    def leaf_count(self) -> int:
        """Leaves of all chunks."""
        return self.first_leaves[-1]

    @cached_property
    def leaf_spans(self) -> np.ndarray:
        """First and end token of every leaf, counted through the document: int64 [leaves, 2]; they tile its tokens."""
        within = {tree.length: np.array(tree.levels[-1], dtype=np.int64) for tree in self.trees}
        spans = [start + within[tree.length] for start, tree in zip(self.chunk_starts, self.trees, strict=True)]
        return np.concatenate([np.zeros((0, 2), dtype=np.int64), *spans])

    def leaf_node(self, leaf: int) -> Node:
        """The address of a leaf in its chunk's tree. Raises IndexError for a leaf that is not there."""
        if not 0 <= leaf < self.leaf_count:
            raise IndexError(f"leaf {leaf} is not one of {self.leaf_count}")
        chunk = bisect_right(self.first_leaves, leaf) - 1
        return Node(chunk, self.trees[chunk].depth, leaf - self.first_leaves[chunk])

    def node_span(self, node: Node) -> tuple[int, int]:
        """First and end token of a node, counted through the document."""
        span = self.trees[node.chunk].span(node.level, node.index)
        return self.chunk_starts[node.chunk] + span.start, self.chunk_starts[node.chunk] + span.end

    def leaf_span(self, leaf: int) -> tuple[int, int]:
        """First and end token of a leaf, counted through the document."""
        first, end = self.leaf_spans[leaf].tolist()
        return first, end

    def leaf_characters(self, leaf: int, document: Document) -> tuple[int, int]:
        """Span of the leaf's text in the document's, without white space at either end; empty where there is no other.

        A character whose bytes lie in two leaves belongs to both.
        """
        return _characters(self.tokens, self.leaf_span(leaf), document.text)

    def by_chunk(self, values: np.ndarray) -> list[np.ndarray]:
        """An array with a value for each leaf, cut into one array a chunk (what `search.leaf_scores` takes)."""
        return np.split(values, self.first_leaves[1:-1]) if self.trees else []


def _characters(tokens: Tokens, span: tuple[int, int], text: str) -> tuple[int, int]:
    first, end = span
    start, stop = int(tokens.starts[first:end].min()), int(tokens.ends[first:end].max())
    words = text[start:stop]
    start += len(words) - len(words.lstrip())
    return start, max(start, start + len(words.strip()))


def build_leaves(document: Document, tokenizer: Any, tree_config: TreeConfig) -> Leaves:
    """Tokenize a document, split it into chunks and leaves, and count the words of every leaf."""
    return leaves_of(document.text, tokenize(document.text, tokenizer), tree_config)


def leaves_of(text: str, tokens: Tokens, tree_config: TreeConfig) -> Leaves:
    """Split a text whose tokens are known into chunks and leaves, and count the words of every leaf."""
    trees, starts = _trees(len(tokens.ids), tree_config)
    ends = [start + span.end for tree, start in zip(trees, starts, strict=True) for span in tree.levels[-1]]
    # Bytes of one character may lie in two leaves: the earlier one's end must not pass the later one's.
    characters = np.maximum.accumulate(tokens.ends)[np.array(ends, dtype=np.int64) - 1]
    return Leaves(tokens, trees, starts, LexicalIndex.from_text(text, characters))


def recut(leaves: Leaves, tree_config: TreeConfig) -> Leaves:
    """The same tokens in other chunks; the statistics stay those of the leaves that were counted."""
    trees, starts = _trees(leaves.token_count, tree_config)
    return Leaves(leaves.tokens, trees, starts, leaves.lexical)


def _trees(total_tokens: int, config: TreeConfig) -> tuple[list[ChunkTree], list[int]]:
    """One tree a chunk, and the chunks' first tokens. Chunks of one length share a tree: it is integers alone."""
    lengths = chunk_lengths(total_tokens, config.chunk_tokens)
    return [_tree(length, config) for length in lengths], list(range(0, total_tokens, config.chunk_tokens))


@lru_cache(maxsize=4096)
def _tree(length: int, config: TreeConfig) -> ChunkTree:
    """The tree of all chunks of a length, in whatever document: thousands of notes have some hundred lengths."""
    return ChunkTree(length, config)


def leaves_files(leaves: Leaves) -> dict[str, bytes]:
    """The files of the leaves part. The trees' integers follow from the number of tokens and are not stored."""
    terms, arrays = leaves.lexical.to_arrays()
    tokens = {"ids": leaves.tokens.ids, "starts": leaves.tokens.starts, "ends": leaves.tokens.ends}
    return {
        TOKENS: _saved(tokens),
        TERMS: json.dumps(terms, ensure_ascii=False, indent=0).encode("utf-8", "surrogatepass"),
        LEXICAL: _saved(arrays),
    }


def _saved(arrays: Mapping[str, np.ndarray]) -> bytes:
    return safetensors_numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def leaves_from(files: Mapping[str, bytes], tree_config: TreeConfig) -> Leaves:
    """The leaves that `leaves_files` wrote."""
    arrays = safetensors_numpy.load(files[TOKENS])
    tokens = Tokens(arrays["ids"], arrays["starts"], arrays["ends"])
    terms: Sequence[str] = json.loads(files[TERMS].decode("utf-8", "surrogatepass"))
    lexical = LexicalIndex.from_arrays(list(terms), safetensors_numpy.load(files[LEXICAL]))
    trees, starts = _trees(len(tokens.ids), tree_config)
    return Leaves(tokens, trees, starts, lexical)


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
