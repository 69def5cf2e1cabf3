"""Is a quote really on the page? Compared with the page's own extraction, not with the text it was cut from.

Only what the setting of a page changes is passed over: white space, the hyphen of a word broken at a line end, forms of
characters, the length of a row of dots or dashes. A changed word, digit or mark is never passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sharedllm_cli.documents.characters import clean

_HYPHENS = "-\u2010\u2011\u00ad"
_LINE_END_HYPHEN = re.compile(f"(?<=\\w)[{_HYPHENS}][ \\t]*\\n\\s*(?=\\w)")
_PAGE_END_HYPHEN = re.compile(f"(?<=\\w)[{_HYPHENS}]\\s*$")
_ROWS = re.compile(r"([._=*~─━═])\1{3,}")
_OPTIONAL = "\x00"


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
    wanted, page = _canonical(quote), _canonical(raw_page)
    if not wanted.characters:
        return False
    start = page.characters.find(wanted.characters)
    while start >= 0:
        if _same_hyphens(wanted, page, start):
            return True
        start = page.characters.find(wanted.characters, start + 1)
    return False


def _canonical(text: str) -> _Canonical:
    text = clean(text).replace("…", "...")
    text = _PAGE_END_HYPHEN.sub(_OPTIONAL, _LINE_END_HYPHEN.sub(_OPTIONAL, text))
    text = _ROWS.sub(r"\1\1\1", "".join(text.split()))
    characters: list[str] = []
    hyphens: dict[int, int] = {}
    optional: set[int] = set()
    for character in text:
        if character == _OPTIONAL:
            optional.add(len(characters))
        elif character in _HYPHENS:
            hyphens[len(characters)] = hyphens.get(len(characters), 0) + 1
        else:
            characters.append(character)
    return _Canonical("".join(characters), hyphens, frozenset(optional))


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
