"""Which tokens of a prompt are tokens of the passages in it. Knows integers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LEAST_RUN = 8
"""Fewer tokens in a row that agree may agree by chance."""
_ANCHOR = 4


class Run(NamedTuple):
    """Tokens `[start, start + length)` of a prompt that are those from `token` on of what was looked for."""

    start: int
    token: int
    length: int


def runs(prompt: Sequence[int], wanted: Sequence[int], start: int = 0) -> list[Run]:
    """The runs of at least `LEAST_RUN` equal tokens of a stretch within a prompt, in the order of both.

    A passage's first and last words may be other tokens in the prompt than in the document, and a long passage has page
    marks within. What is found begins at `start` or later.
    """
    places: dict[tuple[int, ...], list[int]] = {}
    for place in range(len(prompt) - _ANCHOR, start - 1, -1):
        places.setdefault(tuple(prompt[place : place + _ANCHOR]), []).append(place)
    found: list[Run] = []
    token, reached = 0, start
    while token + _ANCHOR <= len(wanted):
        candidates = places.get(tuple(wanted[token : token + _ANCHOR]), [])
        run = max(
            (_run(prompt, wanted, place, token) for place in candidates if place >= reached),
            key=_longest_first,
            default=None,
        )
        if run is None or run.length < LEAST_RUN:
            token += 1
            continue
        found.append(run)
        token, reached = token + run.length, run.start + run.length
    return found


def _run(prompt: Sequence[int], wanted: Sequence[int], place: int, token: int) -> Run:
    most = min(len(prompt) - place, len(wanted) - token)
    length = next((step for step in range(most) if prompt[place + step] != wanted[token + step]), most)
    return Run(place, token, length)


def _longest_first(run: Run) -> tuple[int, int]:
    return run.length, -run.start
