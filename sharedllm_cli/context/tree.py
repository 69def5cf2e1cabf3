"""The context tree over one chunk, as integers: which tokens a node holds and which of them are kept.

docs/method.md §1 to §3. A chunk is split in two, its halves again, down to `height` levels below the root; level w of a
chunk of l tokens has 2^w nodes. Knows no model, no tensor, no file and no text.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sharedllm_cli.config import TreeConfig


class Node(NamedTuple):
    """A node's address: chunk number (over all chunks read), level below the root, and place within its level."""

    chunk: int
    level: int
    index: int  # type: ignore[assignment]  # a place, not the tuple's method of that name


class Span(NamedTuple):
    """Tokens `[start, end)`, counted from the chunk's first token."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


def chunk_lengths(total_tokens: int, chunk_tokens: int) -> list[int]:
    """Lengths of the chunks of a document: all equal but the last, which is shorter, never padded, never dropped."""
    full, rest = divmod(total_tokens, chunk_tokens)
    return [chunk_tokens] * full + ([rest] if rest else [])


def kept_positions(length: int, ratio: int) -> np.ndarray:
    """Positions kept of a node of `length` tokens at ratio α: the last of each window, min((i + 1)·α, l) − 1.

    There are ceil(l / α) of them (docs/method.md §3: the last token of a window has read the window).
    """
    count = -(-length // ratio)
    return np.minimum((np.arange(count, dtype=np.int64) + 1) * ratio, length) - 1


class ChunkTree:
    """All nodes of one chunk.

    Every split is at floor(l/2). A chunk of fewer than 2^h tokens is its root alone, kept at the leaves' ratio.
    """

    def __init__(self, length: int, config: TreeConfig) -> None:
        if length < 1:
            raise ValueError("a chunk holds at least one token")
        self.length = length
        self.config = config
        self.levels: list[list[Span]] = [[Span(0, length)]]
        if length < 2**config.height:
            return
        for _ in range(config.height):
            spans: list[Span] = []
            for parent in self.levels[-1]:
                half = parent.length // 2
                spans += [Span(parent.start, parent.start + half), Span(parent.start + half, parent.end)]
            self.levels.append(spans)

    @property
    def depth(self) -> int:
        """Level of the leaves: the tree's height, or 0 for a chunk too short to split."""
        return len(self.levels) - 1

    @property
    def leaf_count(self) -> int:
        return len(self.levels[-1])

    def span(self, level: int, index: int) -> Span:
        """Tokens of the node, relative to the chunk."""
        return self.levels[level][index]

    def kept(self, level: int, index: int) -> np.ndarray:
        """Kept positions of the node, relative to the node's own first token, ascending."""
        return kept_positions(self.span(level, index).length, self.config.ratio(level))

    def kept_count(self, level: int, index: int) -> int:
        """How many keys the node keeps: ceil(l / α)."""
        return -(-self.span(level, index).length // self.config.ratio(level))

    def kept_in_chunk(self, level: int, index: int) -> np.ndarray:
        """Kept positions of the node, relative to the chunk's first token, ascending."""
        return self.span(level, index).start + self.kept(level, index)

    @cached_property
    def kept_by_any(self) -> np.ndarray:
        """Positions in the chunk that some stored node keeps, ascending, each once.

        Where the levels' ratios and the chunk's halves are powers of two they are the leaves' alone.
        """
        return np.unique(np.concatenate([self.kept_in_chunk(level, index) for level, index in self.stored_nodes()]))

    def stored_nodes(self) -> Iterator[tuple[int, int]]:
        """(level, index) of every node that a search can preserve: levels 1..h, or the root of a short chunk."""
        first = 1 if self.depth else 0
        for level in range(first, self.depth + 1):
            for index in range(len(self.levels[level])):
                yield level, index

    def leaf_range(self, level: int, index: int) -> range:
        """The leaves below a node, by their place among the chunk's leaves."""
        width = 2 ** (self.depth - level)
        return range(index * width, (index + 1) * width)
