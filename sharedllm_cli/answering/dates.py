"""The dates and years that a text names: `14 March 2001`, `March 14, 2001`, `2001-03-14`, `14.3.2001`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_MONTHS = (
    "january janvier januar enero gennaio jan",
    "february février februar febrero febbraio feb",
    "march mars märz marzo mar",
    "april avril abril aprile apr",
    "may mai mayo maggio",
    "june juin juni junio giugno jun",
    "july juillet juli julio luglio jul",
    "august août agosto aug",
    "september septembre septiembre settembre sept sep",
    "october octobre oktober octubre ottobre oct okt",
    "november novembre noviembre nov",
    "december décembre dezember diciembre dicembre dec dez",
)
_MONTH_OF = {name: number for number, names in enumerate(_MONTHS, 1) for name in names.split()}
_NAME = "|".join(sorted(_MONTH_OF, key=len, reverse=True))
_YEAR = r"(?P<y>1\d{3}|20\d{2})"
_DAY = r"(?P<d>[0-3]?\d)"
_DATES = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"(?<![\w.]){_DAY}(?:st|nd|rd|th|\.|er)?(?: of| de| di)? (?P<m>{_NAME})\.?,?(?: de)? {_YEAR}(?!\w)",
        rf"(?<!\w)(?P<m>{_NAME})\.? {_DAY}(?:st|nd|rd|th)?,? {_YEAR}(?!\w)",
        rf"(?<![\w-]){_YEAR}-(?P<m>[01]\d)-(?P<d>[0-3]\d)(?![\w-])",
        rf"(?<![\w.]){_DAY}\. ?(?P<m>[01]?\d)\. ?{_YEAR}(?!\w|\.\d)",
    )
)
_YEAR_ALONE = re.compile(rf"(?<![\w.,/-]){_YEAR}(?![\w]|[.,]\d)")
_DAYS_OF_A_MONTH, _MONTHS_OF_A_YEAR = 31, 12


class FoundDate(NamedTuple):
    """A date or a year (month and day 0) with the words that give it and where they stand."""

    year: int
    month: int
    day: int
    text: str
    start: int
    end: int

    @property
    def when(self) -> tuple[int, int, int]:
        """What makes two of them the same date, and orders them."""
        return self.year, self.month, self.day


def dates_in(text: str) -> list[FoundDate]:
    """The dates of a text that have a day, a month and a year, in order."""
    found: dict[int, FoundDate] = {}
    for pattern in _DATES:
        for match in pattern.finditer(text):
            named = match["m"].lower()
            month = int(named) if named.isdecimal() else _MONTH_OF[named]
            day = int(match["d"])
            if 1 <= month <= _MONTHS_OF_A_YEAR and 1 <= day <= _DAYS_OF_A_MONTH:
                words = " ".join(match.group().split())
                found.setdefault(match.start(), FoundDate(int(match["y"]), month, day, words, *match.span()))
    return [found[start] for start in sorted(found)]


def years_in(text: str) -> Iterator[FoundDate]:
    """The years of a text, within dates or alone, in order: numbers from 1000 to 2099 that stand by themselves."""
    for match in _YEAR_ALONE.finditer(text):
        yield FoundDate(int(match["y"]), 0, 0, match["y"], *match.span())
