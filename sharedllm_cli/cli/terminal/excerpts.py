"""Which sentences of a long quote to show on a screen: those around what was asked and answered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WORDS = 45
"""Words of a quote shown on the screen, in whole sentences; --sources, `/sources` and --json have all of them."""
STEM = 5
"""Two words are held for forms of one word where their first letters agree so far."""
SHORTEST = 4
"""Shorter words (of, the, is) say nothing about what was asked, unless they are numbers."""
HEADING = 6
"""A piece of at most so many words that ends no sentence is a heading: it is shown only where nothing else is."""


@dataclass(frozen=True)
class Excerpt:
    """Words of a quote in order, which of them were asked for, and whether words before or after are left out."""

    words: tuple[str, ...]
    wanted: tuple[bool, ...]
    cut_before: bool = False
    cut_after: bool = False


def excerpt(quote: str, *texts: str, whole: bool = False, most: int = WORDS) -> Excerpt:
    """The whole sentences of a quote around most of the words of `texts` (question, answer); else its first ones.

    They have at most `most` words together; of a longer sentence the `most` words around what is sought are shown.
    """
    from sharedllm_cli.retrieval.boundaries import split_sentences

    sought = stems(" ".join(texts).split())
    sentences = [sentence.split() for sentence in split_sentences(quote)]
    hits = [[bool(stems([word]) & sought) for word in words] for words in sentences]
    lengths = [len(words) for words in sentences]
    if whole or sum(lengths) <= most:
        return _joined(sentences, hits, 0, len(sentences))
    first = _best_sentence(sentences, hits)
    if lengths[first] > most:
        start = _best_start(hits[first], most)
        words, wanted = sentences[first][start : start + most], hits[first][start : start + most]
        before, after = first > 0 or start > 0, first + 1 < len(sentences) or start + most < lengths[first]
        return Excerpt(tuple(words), tuple(wanted), before, after)
    end = first + 1
    while end < len(sentences) and sum(lengths[first : end + 1]) <= most and not _is_heading(sentences[end]):
        end += 1
    while first > 0 and sum(lengths[first - 1 : end]) <= most and not _is_heading(sentences[first - 1]):
        first -= 1
    return _joined(sentences, hits, first, end)


def _joined(sentences: Sequence[list[str]], hits: Sequence[list[bool]], first: int, end: int) -> Excerpt:
    words = tuple(word for sentence in sentences[first:end] for word in sentence)
    wanted = tuple(hit for sentence in hits[first:end] for hit in sentence)
    return Excerpt(words, wanted, first > 0, end < len(sentences))


def _best_sentence(sentences: Sequence[list[str]], hits: Sequence[list[bool]]) -> int:
    """The sentence with the most of what is sought, a heading only where nothing else is; of equals the first."""
    return max(
        range(len(sentences)),
        key=lambda place: (not _is_heading(sentences[place]), sum(hits[place]), -place),
        default=0,
    )


def _is_heading(words: Sequence[str]) -> bool:
    return len(words) <= HEADING and not re.search(r"[.!?…。！？:;,]['\"”’»)\]]*$", words[-1])


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
