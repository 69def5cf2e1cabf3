"""Which tokens of a prompt are tokens of the passages in it. Knows integers alone."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

LEAST_RUN = 8
"""Fewer tokens in a row that agree may agree by chance."""


class Run(NamedTuple):
    """Tokens `[start, start + length)` of a prompt that are those from `token` on of what was looked for."""

    start: int
    token: int
    length: int


def runs(prompt: Sequence[int], wanted: Sequence[int], start: int = 0) -> list[Run]:
    """The runs of at least `LEAST_RUN` equal tokens of a passage within a prompt, in the order of both.

    A passage's first and last words may be other tokens in the prompt than in the document, and a long passage has page
    marks within. So the longest run is looked for first, and the others on either side of it: another passage may hold
    the same few words. What is found begins at `start` or later.
    """
    blocks = SequenceMatcher(None, prompt[start:], wanted, autojunk=False).get_matching_blocks()
    return [Run(start + place, token, length) for place, token, length in blocks if length >= LEAST_RUN]
