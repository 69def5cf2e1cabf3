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

    Of a word broken at a line end the other library may set the hyphen apart (`imple -`): such a one is passed over
    where the page's own extraction has it as the hyphen of a broken word too.
    """
    if verify(quote, second):
        return True
    joined = _APART.sub(r"\1\n", second)
    return joined != second and verify(quote, joined) and verify(quote, raw_page)


@lru_cache(_REMEMBERED_PAGES)
def _without_space(raw_page: str) -> str:
    return "".join(raw_page.split())


@lru_cache(_REMEMBERED_PAGES)
def _canonical_page(raw_page: str) -> _Canonical:
    return _canonical(raw_page)


def _canonical(text: str) -> _Canonical:
    text = clean(text).replace("…", "...")
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
