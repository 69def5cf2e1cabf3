"""The text that facts are planted in: stretches of so many tokens, and a sentence put in at a depth. Knows no model.

The text is tokenized once, to know where stretches of a length begin and end; both are ends of sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sharedllm_cli.documents.chunking import tokenize
from sharedllm_cli.lab.evaluation.perplexity_stretches import read_texts
from sharedllm_cli.lab.training.records import DataFile
from sharedllm_cli.progress import Reporter
from sharedllm_cli.retrieval.boundaries import TokenText

_GAP = "\n\n"
_REACH = 1024
"""Tokens around a place in which the end of a sentence is looked for."""


def read_text(files: Sequence[Path], *, reporter: Reporter) -> str:
    """The documents of all files, one after the other. Raises DocumentError for a file that can't be read."""
    found = read_texts(tuple(map(DataFile, files)), last=None, skip_bad_lines=False, reporter=reporter)
    return _GAP.join(text.strip() for _, text in found)


@dataclass(frozen=True)
class Stretch:
    """Tokens `[first, end)` of the haystack, both at the end of a sentence where there is one nearby."""

    first: int
    end: int


@dataclass(frozen=True)
class Planted:
    """A document with its planted sentence. `depth`: percent of its tokens that stand before the sentence."""

    text: str
    depth: float


class Haystack:
    """A text and its tokens."""

    def __init__(self, text: str, tokenizer: Any) -> None:
        tokens = tokenize(text, tokenizer)
        self._text = TokenText(text, tokens.starts, tokens.ends, np.zeros((0, 2), dtype=np.int64))

    def __len__(self) -> int:
        """Tokens of the whole text."""
        return len(self._text)

    def stretch(self, tokens: int, random: np.random.Generator) -> Stretch:
        """A stretch of at most `tokens` tokens, drawn from all; ValueError where the text has fewer."""
        if tokens > len(self):
            raise ValueError(f"a stretch of {tokens} tokens in a text of {len(self)}")
        drawn = int(random.integers(len(self) - tokens + 1))
        first = self._border(range(drawn, max(drawn - _REACH, -1), -1))
        last = first + tokens
        return Stretch(first, self._border(range(last, max(last - _REACH, first), -1)))

    def text(self, stretch: Stretch) -> str:
        """A stretch's own words."""
        return self._between(stretch.first, stretch.end).strip()

    def plant(self, stretch: Stretch, sentence: str, depth: float) -> Planted:
        """A stretch with a sentence put in where `depth` percent of its tokens stand before, between two sentences."""
        first, end = stretch.first, stretch.end
        target = first + round((end - first) * depth / 100)
        near = sorted(
            range(max(first, target - _REACH), min(end, target + _REACH) + 1), key=lambda at: abs(at - target)
        )
        place = target if target in (first, end) else self._border(near)
        before, after = self._between(first, place), self._between(place, end)
        gap = before[len(before.rstrip()) :] + after[: len(after) - len(after.lstrip())]
        parts = [part for part in (before.strip(), sentence, after.strip()) if part]
        return Planted((gap if gap.strip(" ") else " ").join(parts), 100 * (place - first) / (end - first))

    def _border(self, candidates: Sequence[int]) -> int:
        """The first candidate at which a sentence begins, else a line, else a word, else the first of all."""
        place = self._text.best(candidates)
        return candidates[0] if place is None else place

    def _between(self, first: int, end: int) -> str:
        return self._text.text[self._character(first) : self._character(end)]

    def _character(self, token: int) -> int:
        return int(self._text.starts[token]) if token < len(self) else len(self._text.text)
