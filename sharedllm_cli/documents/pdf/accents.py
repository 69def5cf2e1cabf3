"""Accents that a PDF draws as glyphs of their own, over letters: TeX's older fonts do so."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from sharedllm_cli.documents.pdf.page_pieces import Piece

_COMBINING = {
    "\u00b4": "\u0301",
    "\u02ca": "\u0301",
    "`": "\u0300",
    "\u02cb": "\u0300",
    "\u00a8": "\u0308",
    "^": "\u0302",
    "\u02c6": "\u0302",
    "~": "\u0303",
    "\u02dc": "\u0303",
    "\u02c7": "\u030c",
    "\u02da": "\u030a",
    "\u00b0": "\u030a",
    "\u00b8": "\u0327",
    "\u02db": "\u0328",
    "\u00af": "\u0304",
    "\u02d8": "\u0306",
    "\u02d9": "\u0307",
    "\u02dd": "\u030b",
}
_ACCENT = re.compile(f"[{re.escape(''.join(_COMBINING))}]")
_WITH_DOTS = {"\u0131": "i", "\u0237": "j"}


def composed(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """The pieces with accents put on the letters that they stand over; the pieces are changed."""
    marked = [piece for piece in pieces if piece.lefts and _ACCENT.search(piece.text)]
    if not marked:
        return pieces
    for piece in marked:
        _within(piece)
    alone = [piece for piece in marked if len(piece.text) == 1 and piece.text in _COMBINING]
    if not alone:
        return pieces
    by_height = sorted((piece for piece in pieces if piece.lefts and piece not in alone), key=lambda piece: piece.y)
    heights = [piece.y for piece in by_height]
    gone = set()
    for accent in alone:
        near = by_height[bisect_left(heights, accent.y - accent.size) : bisect_right(heights, accent.y + accent.size)]
        if any(_put(accent, base) for base in near):
            gone.add(accent)
    return [piece for piece in pieces if piece not in gone]


def _on(accent: str, letter: str) -> str | None:
    """The letter with the accent, None where there is no such letter."""
    made = unicodedata.normalize("NFC", _WITH_DOTS.get(letter, letter) + _COMBINING[accent])
    return made if len(made) == 1 and letter.isalpha() else None


def _put(accent: Piece, base: Piece) -> bool:
    """Put an accent on the letter below it, if that is one of this piece."""
    if not -0.3 * base.size <= accent.y - base.y <= 0.45 * base.size:
        return False
    letters = [place for place, letter in enumerate(base.text) if letter != " "]
    if len(letters) != len(base.lefts):
        return False
    middle = (accent.x0 + accent.x1) / 2
    place = bisect_right(base.lefts, middle) - 1
    if place < 0 or middle > base.rights[place]:
        return False
    made = _on(accent.text, base.text[letters[place]])
    if made is None:
        return False
    base.text = base.text[: letters[place]] + made + base.text[letters[place] + 1 :]
    return True


def _within(piece: Piece) -> None:
    """Accents whose letter is next to them in the same piece."""
    letters = list(piece.text.replace(" ", ""))
    lefts, rights = list(piece.lefts), list(piece.rights)
    if len(letters) != len(lefts):
        return
    spaced = [place for place, letter in enumerate(piece.text) if letter != " "]
    text: list[str] = list(piece.text)
    gone: list[int] = []
    for place, letter in enumerate(letters):
        if letter not in _COMBINING:
            continue
        middle = (lefts[place] + rights[place]) / 2
        for other in (place + 1, place - 1):
            if 0 <= other < len(letters) and other not in gone and lefts[other] < middle < rights[other]:
                made = _on(letter, text[spaced[other]])
                if made is not None:
                    text[spaced[other]] = made
                    low, high = sorted((spaced[place], spaced[other]))
                    text[spaced[place]] = ""
                    text[low + 1 : high] = [""] * (high - low - 1)
                    gone.append(place)
                    break
    if gone:
        piece.text = "".join(text)
        piece.lefts = [left for place, left in enumerate(lefts) if place not in gone]
        piece.rights = [right for place, right in enumerate(rights) if place not in gone]
