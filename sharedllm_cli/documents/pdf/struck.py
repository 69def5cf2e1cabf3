"""Words of a PDF's page that a line goes through: they are read as struck out, as in marked-up text.

A line strikes words out if it lies about the middle of their small letters and ends where they end. A line that reaches
beyond the words is a border or a line to write on.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby

from sharedllm_cli.documents.pdf.page_pieces import Piece
from sharedllm_cli.documents.pdf.rules import Rules

OPENING, CLOSING = "[struck out: ", "]"
_BEGIN, _END = "\x02", "\x03"
_SEAM = re.compile(f"{_END}(\\s*){_BEGIN}")
LOWEST, HIGHEST = 0.12, 0.5
"""Where a line through words lies above their baseline, as shares of the size."""
THICKEST = 0.16
"""A line through words is no thicker than this share of the size."""
_BEYOND = 0.6
"""A line that reaches farther than this share of the size beyond the words does not strike them out."""


def mark(pieces: Sequence[Piece], rules: Rules) -> bool:
    """Marks the letters of the pieces that are struck out, for `written`; says whether there are any."""
    lines = [rule for rule in rules.level if rule.thick <= 3 and rule.line]
    if not lines and not rules.struck:
        return False
    level = sorted((piece for piece in pieces if piece.lefts and piece.shown), key=lambda piece: piece.y)
    heights = [piece.y for piece in level]
    largest = max((piece.size for piece in level), default=0.0)
    struck: dict[Piece, set[int]] = {}
    for rule in lines:
        near = level[bisect_left(heights, rule.at - HIGHEST * largest) : bisect_right(heights, rule.at)]
        crossed = [
            piece
            for piece in near
            if LOWEST <= (rule.at - piece.y) / piece.size <= HIGHEST
            and rule.thick <= THICKEST * piece.size
            and min(piece.x1, rule.end) - max(piece.x0, rule.start) > 0.3 * piece.size
        ]
        if crossed and _ends_with(rule.start, rule.end, crossed):
            for piece in crossed:
                struck.setdefault(piece, set()).update(_letters(piece, rule.start, rule.end))
    for left, bottom, right, top in rules.struck:
        for piece in level[bisect_left(heights, bottom - largest) : bisect_right(heights, top)]:
            if bottom <= piece.y + 0.3 * piece.size <= top:
                struck.setdefault(piece, set()).update(_letters(piece, left, right))
    for piece, letters in struck.items():
        piece.text = _marked(piece.text, letters)
    return any(struck.values())


def written(text: str) -> str:
    """A text whose marks are words: what is struck out stands in brackets that say so."""
    return _SEAM.sub(r"\1", text).replace(_BEGIN, OPENING).replace(_END, CLOSING)


def _ends_with(start: float, end: float, crossed: Sequence[Piece]) -> bool:
    """Whether a line begins and ends where words do."""
    slack = _BEYOND * max(piece.size for piece in crossed)
    return min(piece.x0 for piece in crossed) - start <= slack and end - max(piece.x1 for piece in crossed) <= slack


def _letters(piece: Piece, start: float, end: float) -> Iterator[int]:
    """The letters of a piece between two places (spaces are not counted)."""
    for place, (left, right) in enumerate(zip(piece.lefts, piece.rights, strict=True)):
        if start <= (left + right) / 2 <= end:
            yield place


def _marked(text: str, struck: set[int]) -> str:
    """A piece's text with marks around the letters that are struck out."""
    number = -1
    parts: list[tuple[bool, str]] = []
    for character in text:
        if character != " ":
            number += 1
            parts.append((number in struck, character))
        elif parts:
            parts.append((number in struck and number + 1 in struck, character))
    return "".join(
        f"{_BEGIN}{''.join(letter for _, letter in run)}{_END}" if out else "".join(letter for _, letter in run)
        for out, run in groupby(parts, key=lambda part: part[0])
    )
