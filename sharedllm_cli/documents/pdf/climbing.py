"""Letters set one by one along a slope, each upright: the words of a mark across the page, no part of its lines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from sharedllm_cli.documents.pdf.page_pieces import Piece

_LEAST_LETTERS = 6
_LEAST_SLOPE = 0.09
"""A share of 1 as of rise to way, some 5 degrees; text at a smaller angle was scanned askew."""
_STEEPEST = 2.5
"""Signs that are set nearly below each other are a column."""
_MOST_LETTERS = 200
_FARTHEST = 3.0
"""Sizes from one letter to the next, at most."""
_OFF = 0.2
"""Sizes that a letter may be off the slope, at most."""
_WORD_STEP = 1.6
"""A step longer than the usual one by this factor is a space between words."""


def gathered(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """The pieces, those of a slope as one piece at its angle; the same sequence where there is none."""
    alone = [len(piece.text) == 1 and piece.turn == 0 for piece in pieces]
    if sum(alone) < _LEAST_LETTERS:
        return pieces
    found: list[Piece] = []
    place = 0
    while place < len(pieces):
        end = _end(pieces, alone, place) if alone[place] else place
        if end - place >= _LEAST_LETTERS and len({piece.text for piece in pieces[place:end]}) > 2:
            found.append(_turned(pieces[place:end]))
            place = end
        else:
            found.append(pieces[place])
            place += 1
    return found


def _end(pieces: Sequence[Piece], alone: Sequence[bool], place: int) -> int:
    """Where the letters end that follow the one at a place along one slope, in the order of drawing."""
    first = pieces[place]
    end = place + 1
    while end < min(len(pieces), place + _MOST_LETTERS) and alone[end]:
        before, piece = pieces[end - 1], pieces[end]
        way, rise = piece.x0 - first.x0, piece.y - first.y
        step = piece.x0 - before.x0, piece.y - before.y
        if step[0] <= 0.1 * first.size or math.hypot(*step) > _FARTHEST * first.size:
            break
        if not _LEAST_SLOPE * way <= abs(rise) <= _STEEPEST * way or abs(piece.size - first.size) > 0.05 * first.size:
            break
        if any(
            abs(one.y - first.y - rise / way * (one.x0 - first.x0)) > _OFF * first.size for one in pieces[place:end]
        ):
            break
        end += 1
    return end


def _turned(letters: Sequence[Piece]) -> Piece:
    """Letters of a slope as one piece in the frame of its angle."""
    first, last = letters[0], letters[-1]
    angle = math.atan2(last.y - first.y, last.x0 - first.x0)
    text = first.text + "".join(_with_space(letters))
    x = first.x0 * math.cos(angle) + first.y * math.sin(angle)
    y = first.y * math.cos(angle) - first.x0 * math.sin(angle)
    long = math.hypot(last.x0 - first.x0, last.y - first.y) + 0.6 * first.size
    turn = round(math.degrees(angle)) % 360
    return replace(first, text=text, x0=x, x1=x + long, y=y, turn=turn, lefts=(), rights=())


def _with_space(letters: Sequence[Piece]) -> Iterator[str]:
    """The letters behind the first, with a space where a step is long."""
    steps = [after.x0 - before.x0 for before, after in pairwise(letters)]
    usual = sorted(steps)[len(steps) // 2]
    for piece, step in zip(letters[1:], steps, strict=True):
        yield f" {piece.text}" if step > _WORD_STEP * usual else piece.text
