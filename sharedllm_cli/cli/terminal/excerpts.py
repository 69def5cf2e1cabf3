"""Which words of a long quote to show on a screen: those around what was asked and answered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WORDS = 45
"""Words of a quote shown on the screen; --verbose, `/sources` and --json have all of them."""
FEW_WORDS = 16
"""Words shown of a quote that the answer does not rest on."""
STEM = 5
"""Two words are held for forms of one word where their first letters agree so far."""
SHORTEST = 4
"""Shorter words (of, the, is) say nothing about what was asked, unless they are numbers."""


@dataclass(frozen=True)
class Excerpt:
    """Words of a quote in order, which of them were asked for, and whether words before or after are left out."""

    words: tuple[str, ...]
    wanted: tuple[bool, ...]
    cut_before: bool = False
    cut_after: bool = False


def excerpt(quote: str, *texts: str, whole: bool = False, most: int = WORDS) -> Excerpt:
    """The `most` words of a quote around most of the words of `texts` (question, answer); else its beginning."""
    words = quote.split()
    sought = stems(" ".join(texts).split())
    wanted = [bool(stems([word]) & sought) for word in words]
    if whole or len(words) <= most:
        return Excerpt(tuple(words), tuple(wanted))
    start = _best_start(wanted, most)
    end = start + most
    return Excerpt(tuple(words[start:end]), tuple(wanted[start:end]), start > 0, end < len(words))


def _best_start(wanted: Sequence[bool], most: int) -> int:
    sums = [0]
    for hit in wanted:
        sums.append(sums[-1] + hit)
    hits = [sums[start + most] - sums[start] for start in range(len(wanted) - most + 1)]
    first = last = hits.index(max(hits))
    while last + 1 < len(hits) and hits[last + 1] == hits[first]:
        last += 1
    return (first + last) // 2 if hits[first] else 0


def stems(words: Iterable[str]) -> set[str]:
    """The words that say something, each cut to its stem."""
    bare = (re.sub(r"\W+", "", word).lower() for word in words)
    return {word[:STEM] for word in bare if len(word) >= SHORTEST or any(letter.isdigit() for letter in word)}
