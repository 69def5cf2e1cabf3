"""Where a passage may begin and end: between tokens, at a word's edge, better at a sentence's, best at a paragraph's.

Works on a document's characters and its tokens' places in them; looks only at the neighbourhood asked about.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from itertools import pairwise

import numpy as np

from sharedllm_cli.retrieval.terms import PAIRED_SCRIPT

_SENTENCE_END = re.compile(r"[.!?…。！？；।؟]['\"’”»)\]]*$")
_ABBREVIATED = re.compile(
    r"(?:^|[\s(\[])(?:[^\W\d_]|(?:[^\W\d_]\.)+[^\W\d_]|Abs|al|approx|Art|bzw|ca|cf|Ch|Cong|Dr|ed|eds|Eq|eq|Fig|Figs|fig|Jr|Mme|Mr|Mrs|Ms"
    r"|No|Nr|no|p|pp|Prof|Pub|resp|Sec|Sess|Sr|St|Stat|Tab|usw|vgl|Vol|vol|vs)\.$"
)
# Before a number alone: at the end of a sentence most of them may stand, too.
_BEFORE_NUMBER = re.compile(
    r"(?:^|[\s(\[])(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|Okt|Dez|janv|févr|avr|juil|oct|nov|déc|Abb|App|Bd|Chap|Cl"
    r"|Doc|Ex|Ht|Kap|Nos|Nrn|Ord|Par|para|Pat|Reg|Rev|Ser|Suppl|Tel|Ziff)\.$"
)
_ITEM_NUMBER = re.compile(r"(?:^|\n)\s*\d{1,3}\.$")
_WIDE_SENTENCE_END = re.compile(r"[。！？；]")
_LONG_GAP = re.compile(r"\s{100,}")
_BAR = re.compile(r"(?<!\S)\|(?!\S)")
_LONGEST_ROW = 500
"""Characters on either side of a place within which the bars of a row are looked for."""
_LOOK_BACK = 24
"""Characters before a boundary that tell whether a sentence ends there."""


class Boundary(IntEnum):
    """What lies between two tokens, stronger is better to cut at."""

    CHARACTER = 0
    INSIDE = 1
    WORD = 2
    LINE = 3
    SENTENCE = 4
    PARAGRAPH = 5


@dataclass(frozen=True)
class TokenText:
    """A document's text, and where its tokens lie in it: token t is `text[starts[t]:ends[t]]` (int arrays).

    `leaves` [leaves, 2] are the tokens `[first, end)` of each leaf; they follow each other and tile the tokens.
    """

    text: str
    starts: np.ndarray
    ends: np.ndarray
    leaves: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def boundary(self, token: int) -> Boundary:
        """What lies before a token (after the last one for `token == len(self)`); text begins and ends a paragraph."""
        if token <= 0 or token >= len(self):
            return Boundary.PARAGRAPH
        if self.starts[token] < self.ends[token - 1]:
            return Boundary.CHARACTER  # tokens that share a character
        here = int(self.starts[token])
        before, after = self._gap(here)
        if before == 0 or after == len(self.text):
            return Boundary.PARAGRAPH
        found = _between(self.text[max(0, before - _LOOK_BACK) : before], self.text[before:after], self.text[after])
        if found is Boundary.LINE and (self._is_row(before - 1) or self._is_row(after)):
            return Boundary.SENTENCE  # a row says as much as a sentence, and half of one misleads
        return found

    def _is_row(self, place: int) -> bool:
        """Whether the line around a place is the row of a table, with bars between its cells."""
        first = self.text.rfind("\n", max(0, place - _LONGEST_ROW), place) + 1
        end = self.text.find("\n", place, place + _LONGEST_ROW)
        line = self.text[max(first, place - _LONGEST_ROW) : end if end >= 0 else place + _LONGEST_ROW]
        return "|" in line and _BAR.search(line) is not None

    def _gap(self, place: int) -> tuple[int, int]:
        """The white space around a place; a long one, which many tokens lie in, is measured once."""
        number = bisect_right(self._long_gaps, (place, len(self.text))) - 1
        if number >= 0 and place <= self._long_gaps[number][1]:
            return self._long_gaps[number]
        before = after = place
        while after < len(self.text) and self.text[after].isspace():
            after += 1
        while before > 0 and self.text[before - 1].isspace():
            before -= 1
        return before, after

    @cached_property
    def _long_gaps(self) -> list[tuple[int, int]]:
        return [match.span() for match in _LONG_GAP.finditer(self.text)]

    def best(self, candidates: Iterable[int], least: Boundary = Boundary.WORD) -> int | None:
        """The first of the candidate tokens before which a sentence or paragraph begins, else the first line, else the
        first word; None where none of them reaches `least`."""
        found: dict[Boundary, int] = {}
        for token in candidates:
            boundary = min(self.boundary(token), Boundary.SENTENCE)
            found.setdefault(Boundary(boundary), token)
            if boundary == Boundary.SENTENCE:
                break
        strongest = max(found, default=Boundary.CHARACTER)
        return found[strongest] if found and strongest >= least else None


def split_sentences(text: str) -> list[str]:
    """The sentences of a text in order, without the white space around them; a heading or a paragraph ends one, too."""
    cuts = [
        match.start()
        for match in re.finditer(r"\s+", text)
        if match.start() > 0
        and match.end() < len(text)
        and _between(text[max(0, match.start() - _LOOK_BACK) : match.start()], match.group(), text[match.end()])
        >= Boundary.SENTENCE
    ]
    pieces = (text[first:end].strip() for first, end in pairwise([0, *cuts, len(text)]))
    return [piece for piece in pieces if piece]


def _between(before: str, gap: str, after: str) -> Boundary:
    """What the white space `gap` separates; `before` ends and `after` begins with something else."""
    if not gap:
        if PAIRED_SCRIPT.match(before[-1]) or PAIRED_SCRIPT.match(after) or _WIDE_SENTENCE_END.match(before[-1]):
            return Boundary.SENTENCE if _WIDE_SENTENCE_END.match(before[-1]) else Boundary.WORD
        return Boundary.INSIDE
    if gap.count("\n") > 1 or "\f" in gap:
        return Boundary.PARAGRAPH
    ended = _SENTENCE_END.search(before) and not after.islower()
    numbered = after.isdigit() and _BEFORE_NUMBER.search(before)
    if ended and not numbered and not _ABBREVIATED.search(before) and not _ITEM_NUMBER.search(before):
        return Boundary.SENTENCE
    return Boundary.LINE if "\n" in gap else Boundary.WORD
