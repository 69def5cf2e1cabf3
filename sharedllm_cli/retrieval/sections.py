"""The part of a document that a question names in quotation marks: `In "Snow man": what …?`, `the chapter "Install"`.

A title's words tell where to look; searched for as words they find the leaves that repeat the title instead
(docs/log/ has the measurement). Only a whole heading in quotation marks counts: any looser match is a guess. Knows
text and the headings that a reader found, no model and no tokens.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from typing import Any, NamedTuple

from sharedllm_cli.documents.furniture import parsed

LONGEST_HEADING = 100
"""Characters of a line that may be a heading where no outline tells."""
LONGEST_TITLE = 50
"""Words of a title that is sought in the text; a part with a longer one begins with its page."""

_QUOTED = re.compile(r"\"([^\"\n]+)\"|“([^”\n]+)”|„([^“”\n]+)[“”]|«([^»\n]+)»")
_LONE_LINE = re.compile(rf"(?:(?<=\n\n)|\A)[^\n]{{1,{LONGEST_HEADING}}}(?=\n\n)")
_SENTENCE_ENDS = tuple(".!?,;:\"'”’")
_SPEECH_BEGINS = tuple("\"'“‘„«")
_BEFORE = re.compile(r"(?:\b(?:in|from|of|within|under)\s+)?(?:\bthe\s+)?\Z", re.IGNORECASE)
_AFTER = re.compile(r"\s*[:,]?\s*")


_PAGE_ALONE = re.compile(r"[\W_]*(?:\d{1,4}|[ivxlc]{1,7})[\W_]*", re.IGNORECASE)
"""A page's number by itself."""


class Heading(NamedTuple):
    """A heading's title, its level (1 is the highest) and where it begins in the text."""

    title: str
    level: int
    start: int


class Titled(NamedTuple):
    """What names the parts of a document: its name, its text, and its outline as (title, level, where its page begins).

    Without an outline short lines that stand alone and end no sentence are taken for headings.
    """

    name: str
    text: str
    outline: Sequence[tuple[str, int, int]] = ()


@dataclass(frozen=True)
class NamedPart:
    """What is asked apart from the part's name, and `spans[d]`: the part's characters in document d, `[start, end)`."""

    question: str
    spans: tuple[tuple[tuple[int, int], ...], ...]


def named_part(question: str, documents: Sequence[Titled]) -> NamedPart | None:
    """The part that a question names in quotation marks; None where it names none.

    Every heading of that title counts, and among several documents a document's name. Of several names the first that
    is a heading counts.
    """
    for match in _QUOTED.finditer(question):
        title = _normalised(next(filter(None, match.groups())))
        spans = tuple(tuple(_spans(title, document, several=len(documents) > 1)) for document in documents)
        if title and any(spans):
            return NamedPart(_without(question, match), spans)
    return None


def _spans(title: str, document: Titled, *, several: bool) -> Iterator[tuple[int, int]]:
    if several and title in (_normalised(document.name), _normalised(document.name.rpartition(".")[0])):
        yield 0, len(document.text)
        return
    if document.outline and title not in {_normalised(entry[0]) for entry in document.outline}:
        return
    found = list(headings(document))
    for place, heading in enumerate(found):
        if _normalised(heading.title) == title:
            later = (other.start for other in found[place + 1 :] if other.level <= heading.level)
            yield heading.start, next(later, len(document.text))


def headings(document: Titled) -> Iterator[Heading]:
    """A document's headings in order: those of its outline, else the lines that look like it.

    One of the outline begins where its title stands as lines of its own, from its page on and before the page of the
    next; where it stands nowhere, with its page.
    """
    if not document.outline:
        yield from _lone_lines(document.text)
        return
    places = _own_lines(document.text, [title for title, _, _ in document.outline])
    page_starts = sorted({page_start for _, _, page_start in document.outline})
    position = 0
    for title, level, page_start in document.outline:
        position = max(position, page_start)
        # A title that its page sets in another way may stand as a line of its own much later, in an appendix.
        following = bisect_right(page_starts, page_start)
        bound = page_starts[following] if following < len(page_starts) else len(document.text)
        found = places.get(_words(title), [])
        place = bisect_left(found, (position,))
        if place < len(found) and found[place][0] < bound:
            start, position = found[place]
            yield Heading(title, level, start)
        else:
            yield Heading(title, level, position)


def _own_lines(text: str, titles: Iterable[str]) -> dict[tuple[str, ...], list[tuple[int, int]]]:
    """Where each title's words fill whole lines, as spans `[start, end)` in order; sought all at once."""
    found: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    beginnings: dict[str, Any] = {}  # a tree of words; under "" where a title may end its spans are collected
    for words in map(_words, titles):
        if 0 < len(words) <= LONGEST_TITLE:
            branch = beginnings
            for word in words:
                branch = branch.setdefault(word, {})
            branch[""] = found.setdefault(words, [])
    lines = text.split("\n")
    starts = list(accumulate((len(line) + 1 for line in lines), initial=0))
    for first, line in enumerate(lines):
        branch = beginnings if line and not line.isspace() else {}
        last = first
        while branch and last < len(lines):
            words = _words(lines[last])
            branch = reduce(lambda below, word: below.get(word, {}), words, branch)
            if words and "" in branch:
                branch[""].append((starts[first], starts[last] + len(lines[last])))
            last += 1
    return found


def _words(line: str) -> tuple[str, ...]:
    """The words of a title or a line, in small letters; of a longer one than any title the rest in one piece."""
    return tuple(line.lower().split(maxsplit=LONGEST_TITLE))


def _lone_lines(text: str) -> Iterator[Heading]:
    """Lines that look like headings. One right below another belongs to it: `Last updated: …` ends no part."""
    end = -1
    for match in _LONE_LINE.finditer(text):
        line = match.group().strip()
        if parsed(line) is not None or _PAGE_ALONE.fullmatch(line):
            continue
        if line and not line.endswith(_SENTENCE_ENDS) and not line.startswith(_SPEECH_BEGINS):
            below = end >= 0 and not text[end : match.start()].strip()
            yield Heading(line, 2 if below else 1, match.start())
            end = match.end()


def _normalised(text: str) -> str:
    return " ".join(text.lower().split()).strip(" :,.")


def _without(question: str, match: re.Match[str]) -> str:
    """The question without the part's name and the small words that tie it in."""
    before = _BEFORE.sub("", question[: match.start()])
    after = question[match.end() :]
    after = after[_AFTER.match(after).end() :] if not before.strip() else after  # type: ignore[union-attr]
    return " ".join(f"{before} {after}".split())
