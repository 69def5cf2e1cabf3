"""Is a quote really on the page? Compared with the page's own extraction, not with the text it was cut from.

Only what the setting of a page changes is passed over: white space, the hyphen of a word broken at a line end, forms of
characters, the length of a row of dots or dashes. A changed word, digit or mark is never passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from sharedllm_cli.documents.characters import clean

_HYPHENS = "-\u2010\u2011\u00ad"
_LINE_END_HYPHEN = re.compile(f"(?<=\\w)[{_HYPHENS}][ \\t]*\\n\\s*(?=\\w)")
_APART = re.compile(f"(?<=[^\\W\\d_])[ \\t]+([{_HYPHENS}])[ \\t]*\\n\\s*(?=[^\\W\\d_])")
_PAGE_END_HYPHEN = re.compile(f"(?<=\\w)[{_HYPHENS}]\\s*$")
_ROWS = re.compile(r"([._=*~─━═])\1{3,}")
_PIECES = re.compile(r"(\n|\r|\t| {2,}|(?<!\S)\|(?!\S))")
# What is written for raised and lowered figures (superscripts.py), with the figures between two signs.
_SIGNS = re.compile(r"[_^]\(([^()\n]{1,20})\)| ?\[(\w{1,4}(?:[,;–-]\w{1,4})*)\] ?|\^(?=\S)|(?<=\w)_(?=\w)")
_ALIKE = str.maketrans({"…": "...", "\u25e6": "°", "\u2218": "°"})
"""Signs that are written for others: TeX raises a small circle for degrees."""
_OPTIONAL = "\x00"
_MARKS = re.compile(f"[{_HYPHENS}{_OPTIONAL}]+")
_REMEMBERED_PAGES = 16
"""A format without pages is one page of any length, and all of a question's quotes stand on it."""


@dataclass(frozen=True)
class _Canonical:
    """Characters that count, and the hyphens after each of them: how many, and whether one more may be there."""

    characters: str
    hyphens: dict[int, int]
    optional: frozenset[int]


def verify(quote: str, raw_page: str) -> bool:
    """Whether the quote stands on the page, word for word; `raw_page` is the page's text exactly as extracted.

    False for a quote without any character that counts.
    """
    wanted = _canonical(quote)
    if not wanted.characters:
        return False
    if "".join(quote.split()) in _without_space(raw_page):
        return True
    page = _canonical_page(raw_page)
    start = page.characters.find(wanted.characters)
    while start >= 0:
        if _same_hyphens(wanted, page, start):
            return True
        start = page.characters.find(wanted.characters, start + 1)
    return False


def verify_apart(quote: str, raw_page: str, between: str) -> bool:
    """Whether each of a quote's pieces, which stand apart on the page, stands there word for word."""
    return all(verify(piece, raw_page) for piece in quote.split(between))


def verify_by(quote: str, second: str, raw_page: str) -> bool:
    """Whether the quote stands in the second extraction of its page, word for word.

    The other library gives a page in the order in which it is drawn: where the quote as a whole is not found, it must
    stand on the page as it was read, and each piece of its lines in the second extraction. A line is cut between the
    cells of a row, whether a gap or a bar is written there, and around raised figures, whose signs `^`, `_` and `[ ]`
    are not printed.

    Of a word broken at a line end the other library may set the hyphen apart (`imple -`): such a one is passed over
    where the page's own extraction has it as the hyphen of a broken word too.
    """
    if verify(quote, second):
        return True
    if not verify(quote, raw_page):
        return False
    joined = _APART.sub(r"\1\n", second)
    if joined != second and verify(quote, joined):
        return True
    return all(_is_printed(piece, second) or _is_printed(piece, joined) for piece in _pieces_of(quote, raw_page))


def _pieces_of(quote: str, raw_page: str) -> list[str]:
    """The pieces of the page's lines that a quote of it touches; lines are cut at the gaps between cells."""
    start = _canonical_page(raw_page).characters.find(_canonical(quote).characters)
    end = start + len(_canonical(quote).characters)
    pieces: list[str] = []
    place = 0
    for number, piece in enumerate(_PIECES.split(raw_page)):
        length = len(_canonical(piece).characters)
        between = number % 2 == 1  # a gap, or the bar that is written for one
        if length and not between and place < end and place + length > start:
            pieces.append(piece)
        place += length
    return pieces if place == len(_canonical_page(raw_page).characters) else [quote]


def _is_printed(piece: str, second: str) -> bool:
    """Whether a piece of a line stands in the second extraction, as it is or without the signs of raised figures."""
    if verify(piece, second):
        return True
    if _SIGNS.search(piece) is None:
        return False
    if verify(_SIGNS.sub(lambda sign: sign[1] or sign[2] or "", piece), second):
        return True
    # A raised figure may be drawn apart from its line.
    parts = [part for part in _SIGNS.split(piece) if part and _canonical(part).characters]
    return all(verify(part, second) for part in parts)


@lru_cache(_REMEMBERED_PAGES)
def _without_space(raw_page: str) -> str:
    return "".join(raw_page.split())


@lru_cache(_REMEMBERED_PAGES)
def _canonical_page(raw_page: str) -> _Canonical:
    return _canonical(raw_page)


def _canonical(text: str) -> _Canonical:
    text = clean(text).translate(_ALIKE)
    text = _PAGE_END_HYPHEN.sub(_OPTIONAL, _LINE_END_HYPHEN.sub(_OPTIONAL, text))
    text = _ROWS.sub(r"\1\1\1", "".join(text.split()))
    hyphens: dict[int, int] = {}
    optional: set[int] = set()
    marks = 0
    for found in _MARKS.finditer(text):
        place = found.start() - marks
        marks += len(found[0])
        printed = len(found[0]) - found[0].count(_OPTIONAL)
        if printed:
            hyphens[place] = printed
        if printed < len(found[0]):
            optional.add(place)
    return _Canonical(_MARKS.sub("", text), hyphens, frozenset(optional))


def _same_hyphens(wanted: _Canonical, page: _Canonical, start: int) -> bool:
    """Whether the hyphens between the quote's characters are the page's; those at its edges may be cut off."""
    end = len(wanted.characters)
    places = {place for place in (*wanted.hyphens, *wanted.optional) if 0 < place < end}
    places |= {place - start for place in (*page.hyphens, *page.optional) if start < place < start + end}
    for place in places:
        asked, printed = min(wanted.hyphens.get(place, 0), 3), min(page.hyphens.get(start + place, 0), 3)
        may_differ = place in wanted.optional or start + place in page.optional
        if asked != printed and not (may_differ and abs(asked - printed) == 1):
            return False
    return True
