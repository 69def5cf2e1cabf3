"""The arms of `eval ppl`: ways to read what came before the scored tokens.

All arms score the same tokens with the same weights and read the same recent tokens before them as plain text, without
prompt or special token. They differ in what else they read. Knows no file and no metric.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from sharedllm_cli.errors import UsageError
from sharedllm_cli.lab.evaluation.perplexity_stretches import Book, Sizes, Stretch, has_other, other_book
from sharedllm_cli.lab.evaluation.perplexity_trees import StretchTrees
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.shared import SharedModel
from sharedllm_cli.model.streaming import StreamingReader

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Scored:
    """Negative log-likelihood in nats, summed over a stretch's scored tokens; the tree's keys, and its text's name."""

    nll: float
    tree_keys: int = 0
    tree_of: str | None = None


class StretchReader:
    """Reads stretches and scores their last tokens. `streaming_window`: what that arm's tokens see beside the sinks."""

    def __init__(
        self, books: Sequence[Book], shared: SharedModel, sizes: Sizes, trees: StretchTrees, streaming_window: int
    ) -> None:
        self.books = books
        self.sizes = sizes
        self.trees = trees
        self._shared = shared
        self._streaming_window = streaming_window
        self._by_window: dict[tuple[int, int], Scored] = {}

    def window(self, stretch: Stretch, advance: Advance) -> Scored:
        """The recent tokens alone. The same for every length that ends here, so it is read once."""
        place = (stretch.book, stretch.end)
        if place not in self._by_window:
            self._by_window[place] = self._plain(stretch, self.sizes.plain, None)
        advance(self.sizes.plain)
        return self._by_window[place]

    def full(self, stretch: Stretch, advance: Advance) -> Scored:
        """The whole stretch in the window."""
        scored = self._plain(stretch, stretch.length, None)
        advance(stretch.length)
        return scored

    def streaming(self, stretch: Stretch, advance: Advance) -> Scored:
        """The whole stretch through sinks and sliding window, from its first token on."""
        reader = StreamingReader(self._shared.upper, window=self._streaming_window)
        logits = reader.read(self._ids(stretch, stretch.length)[:-1], keep=self.sizes.scored, advance=advance)
        advance(1)
        return Scored(self._nll(logits, stretch))

    def tree(self, stretch: Stretch, advance: Advance) -> Scored:
        """The recent tokens, and the tree of all that came before."""
        return self._beside(stretch, self.books[stretch.book], stretch.start, advance)

    def tree_wrong(self, stretch: Stretch, advance: Advance) -> Scored:
        """The recent tokens, and the tree of as many tokens from the beginning of another text, or of all others."""
        other = other_book(self.books, stretch.book, stretch.length - self.sizes.plain)
        assert other is not None, "such stretches are left out beforehand"
        return self._beside(stretch, other, 0, advance)

    def _beside(self, stretch: Stretch, book: Book, first: int, advance: Advance) -> Scored:
        before = stretch.length - self.sizes.plain
        tree = self.trees.read(book, first, first + before, advance)
        scored = self._plain(stretch, self.sizes.plain, tree.context)
        advance(self.sizes.plain)
        return Scored(scored.nll, tree.keys, book.name)

    @torch.inference_mode()
    def _plain(self, stretch: Stretch, tokens: int, tree: TreeContext | None) -> Scored:
        """Score with the stretch's last so many tokens as plain text; the last one is predicted only."""
        ids = self._ids(stretch, tokens)[:-1]
        logits = self._shared.upper.forward(ids[None], tree, logits_to_keep=self.sizes.scored)[0]
        return Scored(self._nll(logits, stretch))

    @torch.inference_mode()
    def _nll(self, logits: Tensor, stretch: Stretch) -> float:
        """logits: [scored, vocabulary], each after the token before a scored one."""
        targets = self._ids(stretch, self.sizes.scored).to(logits.device)
        return float(torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum"))

    def _ids(self, stretch: Stretch, tokens: int) -> Tensor:
        ids = self.books[stretch.book].tokens.ids[stretch.end - tokens : stretch.end]
        return torch.from_numpy(ids).long().to(self._shared.base.device)


@dataclass(frozen=True)
class Arm:
    """A way to read. `needs_tree`: without an open gate it would be `window` again. `wrong` reads another text's tree.

    `whole`: the stretch has to fit the window.
    """

    name: str
    read: Callable[[StretchReader, Stretch, Advance], Scored]
    needs_tree: bool = False
    wrong: bool = False
    whole: bool = False

    def cost(self, stretch: Stretch, sizes: Sizes) -> int:
        """Tokens that are read or encoded, for progress."""
        return sizes.plain if self.name == "window" else stretch.length


ARMS: Mapping[str, Arm] = MappingProxyType(
    {
        arm.name: arm
        for arm in (
            Arm("window", StretchReader.window),
            Arm("streaming", StretchReader.streaming),
            Arm("sharedllm", StretchReader.tree, needs_tree=True),
            Arm("tree-wrong", StretchReader.tree_wrong, needs_tree=True, wrong=True),
            Arm("full", StretchReader.full, whole=True),
        )
    }
)
"""Every arm by its name on the command line."""


def check_names(names: Sequence[str]) -> None:
    """Raises UsageError where no arm is named, one twice, or one that there isn't."""
    if not names or len(set(names)) < len(names):
        raise UsageError("--arms names no arm, or one twice")
    for name in names:
        if name not in ARMS:
            raise UsageError(f"unknown arm {name!r}", hint=f"choose among {', '.join(ARMS)}")


def left_out(
    names: Sequence[str], stretches: Sequence[Stretch], books: Sequence[Book], shared: SharedModel, sizes: Sizes
) -> dict[tuple[int, str], str]:
    """Why an arm can't be measured at a length, by length and name: at each an arm scores all stretches or none."""
    reasons: dict[tuple[int, str], str] = {}
    for length in sorted({stretch.length for stretch in stretches}):
        before = length - sizes.plain
        here = [stretch for stretch in stretches if stretch.length == length]
        for arm in (ARMS[name] for name in names):
            if arm.needs_tree and not shared.upper.reads_tree:
                reasons[length, arm.name] = "the adapter reads no tree, so it would be window again"
            elif arm.wrong and not all(has_other(books, stretch.book, before) for stretch in here):
                reasons[length, arm.name] = "the other texts together are too short for a tree of as many tokens"
            elif arm.whole and length > shared.base.window:
                reasons[length, arm.name] = f"it does not fit the model's window of {shared.base.window:,} tokens"
    return reasons


def line(arm: Arm, book: Book, stretch: Stretch, scored: Scored, sizes: Sizes) -> dict[str, Any]:
    """One line of predictions."""
    return {
        "arm": arm.name,
        "text": book.name,
        "length": stretch.length,
        "scored": [stretch.end - sizes.scored, stretch.end],
        "nll": scored.nll,
        "tree_keys": scored.tree_keys,
        "tree_of": scored.tree_of,
    }
