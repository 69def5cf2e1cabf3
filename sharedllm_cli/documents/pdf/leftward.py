"""Lines of a PDF in scripts that run to the left, from the places of their characters to the order of reading."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sharedllm_cli.documents.pdf.page_pieces import LEFTWARD, Piece


def right_to_left(run: Sequence[Piece]) -> str:
    """The characters in the order of reading, from their places: Unicode's rules for display, the other way round."""
    signs = sorted((sign for piece in run for sign in _signs(piece)), key=lambda sign: (sign.left, sign.right))
    shown: list[str] = []
    before: _Sign | None = None
    for sign in signs:
        if before is not None:
            gap = sign.left - before.right
            if gap > 0.33 * run[0].size or ((before.space_right or sign.space_left) and gap > 0.12 * run[0].size):
                shown.append(" ")
        shown.append(sign.letters)
        before = sign
    return logical(shown)


@dataclass(slots=True)
class _Sign:
    """A glyph at its place: the letters that it says, and whether a space is beside it."""

    left: float
    right: float
    letters: str
    space_left: bool = False
    space_right: bool = False


def _signs(piece: Piece) -> list[_Sign]:
    letters = piece.text.replace(" ", "")
    lefts, rights = piece.lefts, piece.rights
    if len(lefts) != len(letters):
        wide = (piece.x1 - piece.x0) / max(1, len(letters))
        lefts = [piece.x0 + wide * place for place in range(len(letters))]
        rights = [left + wide for left in lefts]
    signs: list[_Sign] = []
    spaces = iter(_spaces_before(piece))
    for left, right, letter in zip(lefts, rights, letters, strict=True):
        space = next(spaces)
        if signs and (signs[-1].left, signs[-1].right) == (left, right):
            # PDFium turns the letters of one glyph round where it turns the line.
            last = signs[-1].letters
            signs[-1].letters = letter + last if runs_left(letter) else last + letter
            continue
        sign = _Sign(left, right, letter)
        ahead = bool(signs) and left > signs[-1].left
        if not signs:
            ahead = not runs_left(letter)
        if space and ahead:
            sign.space_left = True
        elif space:
            sign.space_right = True
        signs.append(sign)
    if signs and piece.space_after:
        last_sign = signs[-1]
        if runs_left(last_sign.letters):
            last_sign.space_left = True
        else:
            last_sign.space_right = True
    return signs


def _spaces_before(piece: Piece) -> Iterable[bool]:
    """Whether a space is before each letter of a piece."""
    space = piece.space_before
    for letter in piece.text:
        if letter == " ":
            space = True
        else:
            yield space
            space = False


def runs_left(text: str) -> bool:
    """Whether a text has letters of a script that runs to the left."""
    return not text.isascii() and LEFTWARD.search(text) is not None


def logical(shown: Sequence[str]) -> str:
    """Characters as they are seen from left to right, in the order in which they are read."""
    kinds = [unicodedata.bidirectional(letters[0]) for letters in shown]
    right = sum(kind in ("R", "AL") for kind in kinds)
    if right == 0:
        return "".join(shown)
    leftward = right >= sum(kind == "L" for kind in kinds)
    runs: list[tuple[bool, list[str]]] = []
    for place, (letters, kind) in enumerate(zip(shown, kinds, strict=True)):
        if kind in ("R", "AL", "NSM"):
            rtl = True
        elif kind in ("L", "EN", "AN"):
            rtl = False
        else:
            rtl = _neutral(kinds, place, leftward)
        if runs and runs[-1][0] == rtl:
            runs[-1][1].append(letters)
        else:
            runs.append((rtl, [letters]))
    ordered = reversed(runs) if leftward else runs
    return "".join("".join(_mirrored(reversed(letters))) if rtl else "".join(letters) for rtl, letters in ordered)


def _neutral(kinds: Sequence[str], place: int, leftward: bool) -> bool:
    """Whether a sign without direction runs to the left: as its neighbours, where they agree, else as the line."""
    strong = ("L", "EN", "AN", "R", "AL")
    before = next((kind for kind in reversed(kinds[:place]) if kind in strong), None)
    after = next((kind for kind in kinds[place + 1 :] if kind in strong), None)
    if before is None or after is None:
        return leftward
    sides = {kind in ("R", "AL") for kind in (before, after)}
    return sides.pop() if len(sides) == 1 else leftward


def _mirrored(letters: Iterable[str]) -> Iterable[str]:
    pairs = {"(": ")", ")": "(", "[": "]", "]": "[", "{": "}", "}": "{", "«": "»", "»": "«", "<": ">", ">": "<"}
    return (pairs.get(letter, letter) for letter in letters)
