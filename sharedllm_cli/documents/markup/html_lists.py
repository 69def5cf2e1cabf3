"""How the items of an HTML list are marked: numbers, letters or Roman numerals, from where, and in which direction."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bs4 import Tag

_ROMAN = (
    *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl")),
    *((10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")),
)
_STYLES = {
    **dict.fromkeys(("lower-alpha", "lower-latin"), "a"),
    **dict.fromkeys(("upper-alpha", "upper-latin"), "A"),
    "lower-roman": "i",
    "upper-roman": "I",
    "decimal": "1",
    "none": "",
}
_STYLE = re.compile(
    r"list-style(?:-type)?\s*:[^;]*?\b(lower-alpha|lower-latin|upper-alpha|upper-latin|lower-roman|"
    r"upper-roman|decimal|none)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\s*[+-]?\d{1,9}")
LARGEST_ROMAN = 3999
OWN_MARK = "data-own-mark"
"""The attribute of an item whose mark is given whole, as in a list of an Office file: `3.2.1`."""


@dataclass
class ListMarks:
    """The marks of one list: each call of `next` is an item. `kind` is as in HTML's `type`, empty where none is shown.

    `prefix` and `suffix` stand around the number (`(a)`, `II.`).
    """

    ordered: bool
    kind: str = "1"
    number: int = 1
    step: int = 1
    prefix: str = ""
    suffix: str = "."

    @staticmethod
    def of(tag: Tag) -> ListMarks:
        """The marks of an `ol` or `ul` by its attributes and its own style."""
        ordered = tag.name == "ol"
        down = ordered and tag.has_attr("reversed")
        count = sum(isinstance(child, Tag) and child.name == "li" for child in tag.children) if down else 1
        start = _number(tag.get("start"))
        return ListMarks(
            ordered,
            _kind(tag, "1"),
            count if start is None else start,
            -1 if down else 1,
            str(tag.get("data-prefix", "")),
            str(tag.get("data-suffix", ".")),
        )

    def next(self, item: Tag | None = None) -> str:
        """The mark of the next item, with a space behind it; empty where the list shows none."""
        if item is not None and item.has_attr(OWN_MARK):
            return f"{item[OWN_MARK]} "
        kind = self.kind if item is None else _kind(item, self.kind)
        if not self.ordered:
            return "- " if kind else ""
        value = None if item is None else _number(item.get("value"))
        number = self.number if value is None else value
        self.number = number + self.step
        return f"{self.prefix}{numeral(number, kind)}{self.suffix} " if kind else ""


def numeral(number: int, kind: str) -> str:
    """A number as HTML's `type` has it (1, a, A, i, I); where it has no such form, in digits."""
    if kind in ("a", "A") and number > 0:
        letters = ""
        while number:
            number, rest = divmod(number - 1, 26)
            letters = chr(ord(kind) + rest) + letters
        return letters
    if kind in ("i", "I") and 0 < number <= LARGEST_ROMAN:
        letters = ""
        for value, letter in _ROMAN:
            times, number = divmod(number, value)
            letters += letter * times
        return letters if kind == "i" else letters.upper()
    return str(number)


def _kind(tag: Tag, otherwise: str) -> str:
    style = _STYLE.search(str(tag.get("style", "")))
    if style:
        return _STYLES[style[1].lower()]
    kind = str(tag.get("type", "")).strip()
    return kind if kind in ("1", "a", "A", "i", "I") else otherwise


def _number(value: object) -> int | None:
    found = _NUMBER.match(str(value)) if value is not None else None
    return int(found[0]) if found else None
