"""Which lines at the top and the bottom of pages are running heads, feet and page numbers.

A line is dropped only where it stands at the page's edge (or next to lines dropped there), so what remains of a page is
one contiguous piece, and only on evidence from several pages: the same words on a real share of them, or a number that
counts with the pages. Knows lines of text and page indices, nothing else.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import pairwise, takewhile

EDGE_LINES = 4
"""Running heads and feet are sought among this many lines at each edge of a page, and have fewer than so many."""
LONGEST = 120
"""A longer line is never a running head."""
REPEATED_SHARE = 0.2
"""Words that stand at the same edge of this share of all pages (and of at least three) are a running head."""
COUNTED_SHARE = 0.4
"""A number that counts with the pages is a page number if it does so on this share of the pages between its first and
last, and on at least three (a line that is nothing but the number: two)."""

MOST_OF_A_CHAPTER = 0.5
"""Words on one run of pages that is no longer than this share of all pages name a chapter, not the document."""
LEAST_REMAINING = 0.5
"""Nothing is dropped where less than this share of the document's characters would remain."""

_DIGITS = re.compile(r"\d+")
_NUMBER = re.compile(r"(?<![^\W_])\d{1,6}(?![^\W_])")
_SENTENCE = re.compile(r"\w[\"'”’)\]]?[.!?,;:][\"'”’)\]]?$")
_COUNTED = re.compile(r"\s*(?:/|of|von|de|di|sur)\s*\d", re.IGNORECASE)
_FIRST_NUMBER = re.compile(r"\W*(\d{1,5}|[ivxlc]{1,7})\b", re.IGNORECASE)
_LAST_NUMBER = re.compile(r"\b(\d{1,5}|[ivxlc]{1,7})\W*$", re.IGNORECASE)
_NUMBER_OF = re.compile(r"(\d{1,5})\s*(?:/|of|von|de|di|sur)\s*\d+\W*$", re.IGNORECASE)
_BARE = re.compile(
    r"\W*(?:(?:page|p\.|pg\.?|seite|página|pagina|стр\.?)\s*)?(?:\d{1,5}|[ivxlc]{1,7})(?:\s*(?:/|of|von|de|di|sur)\s*\d{1,5})?\W*",
    re.IGNORECASE,
)
# "Chapter 3" at the top of page 3 is a heading that happens to count with the pages, not a running head.
_NUMBERED_HEADING = re.compile(
    r"\W*(?:chapter|section|part|article|question|exercise|problem|lesson|lecture|unit|table|figure|appendix|slide|day|"
    r"week|step|item|act|scene|book|kapitel|teil|chapitre|capítulo)\s*\W*#\W*",
    re.IGNORECASE,
)
_ROMAN = re.compile(r"(?=.)(?:c{0,3})(?:xc|xl|l?x{0,3})(?:ix|iv|v?i{0,3})")
_ROMAN_DIGITS = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}


@dataclass(frozen=True)
class Body:
    """What remains of a page: its lines `[first, last)`, and the page number printed on it, where one was found."""

    first: int
    last: int
    printed_number: str | None


@dataclass(frozen=True)
class _Line:
    """A line near a page's edge, and the evidence that it could be part of."""

    place: int
    words: str
    pattern: str
    counters: tuple[tuple[str, object], ...]
    numbers: tuple[tuple[str, str, int], ...]
    bare: bool


@dataclass
class _Evidence:
    """Pages on which each key was seen, for one edge."""

    words: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    counters: dict[object, set[int]] = field(default_factory=lambda: defaultdict(set))
    numbers: dict[tuple[str, int], set[int]] = field(default_factory=lambda: defaultdict(set))
    bare: dict[tuple[str, int], set[int]] = field(default_factory=lambda: defaultdict(set))


def bodies(pages: Sequence[Sequence[str]]) -> list[Body]:
    """For each page (its lines, top first) the lines that remain when running heads, feet and page numbers are gone."""
    count = len(pages)
    if count < 2:
        return [Body(0, len(lines), None) for lines in pages]
    tops = [[_describe(lines, place, index) for place in _edge(lines, 1)] for index, lines in enumerate(pages)]
    feet = [[_describe(lines, place, index) for place in _edge(lines, -1)] for index, lines in enumerate(pages)]
    filled = [[line for line in lines if line.strip()] for lines in pages]
    inner = Counter(_patterns(line for lines in filled for line in lines[EDGE_LINES:-EDGE_LINES]))
    top, foot = _Judge(tops, count, inner, filled), _Judge(feet, count, inner, filled)
    top.opposite, foot.opposite = foot, top
    result = _remaining(pages, top, foot)
    if not _letters(pages, result):  # the document is nothing else: `Page 1`, `Page 2`
        return [Body(0, len(lines), body.printed_number) for lines, body in zip(pages, result, strict=True)]
    # Where little else would remain, the lines that repeat are the document itself (labels, tickets, short slides).
    if _letters(pages, result) < LEAST_REMAINING * sum(len(line) for lines in pages for line in lines):
        top.numbers_only = foot.numbers_only = True
        result = _remaining(pages, top, foot)
    return result


def _remaining(pages: Sequence[Sequence[str]], top: _Judge, foot: _Judge) -> list[Body]:
    result = []
    for index, lines in enumerate(pages):
        dropped_top, dropped_foot = top.dropped(index), foot.dropped(index)
        first = max(dropped_top, default=-1) + 1
        last = min(dropped_foot, default=len(lines))
        number = top.printed_number(index) or foot.printed_number(index)
        first = min(first, last)
        if index == 0 and not any(line.strip() for line in lines[first:last]) and any(map(_is_worded, lines)):
            first, last = 0, len(lines)  # a title page says what the heads repeat, and is no head
        result.append(Body(first, last, number))
    return result


def _letters(pages: Sequence[Sequence[str]], found: Sequence[Body]) -> int:
    return sum(len(line) for lines, body in zip(pages, found, strict=True) for line in lines[body.first : body.last])


class _Judge:
    """Decides for the lines at one edge of all pages, from the evidence of all of them."""

    def __init__(
        self, edges: list[list[_Line]], page_count: int, inner: Counter[str], pages: Sequence[Sequence[str]]
    ) -> None:
        self.edges = edges
        self.pages = pages
        self.page_count = page_count
        self.inner = inner
        evidence = _Evidence()
        for index, lines in enumerate(edges):
            for line in lines:
                if line.words:
                    evidence.words[line.words].add(index)
                for counter in line.counters:
                    evidence.counters[counter].add(index)
                for _, kind, offset in line.numbers:
                    evidence.numbers[kind, offset].add(index)
                    if line.bare:
                        evidence.bare[kind, offset].add(index)
        least = max(3, REPEATED_SHARE * page_count)
        self.counting_bare = {key for key, seen in evidence.bare.items() if _counts(seen, 2)}
        # Footnotes count with the pages too, for a while: only on a real share of all pages is it their number.
        self.counting = {key for key, seen in evidence.numbers.items() if _counts(seen, 3) and len(seen) >= least}
        self.page_numbers = self.counting | self.counting_bare
        self.implied_numbers = self._implied_numbers(evidence)
        self.counters = {key for key, seen in evidence.counters.items() if len(seen) >= least}
        self.repeated = {
            words for words, seen in evidence.words.items() if len(seen) >= least and not self._is_run(seen)
        }
        self.kept_once = self._local_runs(evidence)
        self.numbers_only = False
        self.opposite: _Judge | None = None
        """The other edge of the same pages: a page that has its number there has it once."""

    def _implied_numbers(self, evidence: _Evidence) -> dict[int, str]:
        """The number of each page between the first and the last that count in one way; the way of most pages wins."""
        seen = {offset: evidence.numbers[kind, offset] for kind, offset in self.page_numbers if kind == "arabic"}
        beginning = sorted((min(pages), offset) for offset, pages in seen.items())[::-1]
        implied: dict[int, str] = {}
        under_way: list[tuple[int, int, int]] = []  # a heap of (minus how many pages, offset, last page)
        for index in range(self.page_count):
            while beginning and beginning[-1][0] < index:
                offset = beginning.pop()[1]
                heappush(under_way, (-len(seen[offset]), offset, max(seen[offset])))
            while under_way and under_way[0][2] <= index:
                heappop(under_way)
            if under_way:
                implied[index] = str(index + under_way[0][1])
        return implied

    def _is_run(self, seen: set[int]) -> bool:
        """Whether pages follow each other, and are the pages of one chapter."""
        first, last = min(seen), max(seen)
        gaps = [after - before for before, after in pairwise(sorted(seen))]
        return max(gaps, default=0) <= 2 and last - first + 1 <= MOST_OF_A_CHAPTER * self.page_count

    def _local_runs(self, evidence: _Evidence) -> dict[str, set[int]]:
        """Words that repeat over at least three neighbouring pages only (the head of one chapter), and where to drop.

        Such a line may be the heading of a table that runs on, or a title, so its first occurrence stays unless the
        same words stand elsewhere within a page, or within a title right before.
        """
        runs: dict[str, set[int]] = {}
        for words, seen in evidence.words.items():
            if words in self.repeated or len(seen) < 3:
                continue
            run: list[int] = []
            for index in [*sorted(seen), self.page_count + 9]:
                if run and index - run[-1] > 2:
                    if len(run) >= 3:
                        told = self.inner[_pattern(words)] or self._is_titled(words, run[0])
                        runs.setdefault(words, set()).update(run if told else run[1:])
                    run = []
                run.append(index)
        return runs

    def _is_titled(self, words: str, index: int) -> bool:
        """Whether a line of a page or the two before it says the words of a head and more: `Chapter 3. The mill`."""
        sought = _squeeze(words)
        lines = (line for page in self.pages[max(0, index - 2) : index + 1] for line in page if len(line) <= LONGEST)
        return any(sought in line and sought != line for line in map(_squeeze, lines))

    def dropped(self, index: int) -> list[int]:
        """Places of the page's lines to drop at this edge: contiguous from the edge inwards."""
        edge = self.edges[index]
        surely = self._has_number(index) or (self.opposite is not None and self.opposite._has_number(index))
        places = list(
            takewhile(
                lambda line: (
                    self._is_number(line) or self._repeats(line, index) or (not surely and self._counts_perhaps(line))
                ),
                edge,
            )
        )
        # As many repeated lines as we look at go on below: they are a form, or the same text on every page.
        if self.numbers_only or len(places) == EDGE_LINES:
            places = list(takewhile(self._is_number, edge))
        return [line.place for line in places]

    def _has_number(self, index: int) -> bool:
        """Whether the page's number surely stands at this edge, alone or with words that come with it on each page."""
        return any(self._is_number(line) or self._counts_surely(line) for line in self.edges[index])

    def _is_number(self, line: _Line) -> bool:
        """Whether the line is the page number and nothing else."""
        keys = {(kind, offset) for _, kind, offset in line.numbers}
        return line.bare and not keys.isdisjoint(self.page_numbers)

    def _repeats(self, line: _Line, index: int) -> bool:
        """Whether the line's words stand on many pages, alone or with a number that counts with the pages."""
        if line.words in self.repeated or index in self.kept_once.get(line.words, ()):
            return not self._is_text(line)
        return self._counts_surely(line)

    def _counts_surely(self, line: _Line) -> bool:
        return any(counter in self.counters for counter in line.counters) and not self._is_text(line)

    def _counts_perhaps(self, line: _Line) -> bool:
        """Whether other words come with the page number on each page: the title of a section, as a rule."""
        return any((kind, offset) in self.counting for _, kind, offset in line.numbers) and not self._is_text(line)

    def _is_text(self, line: _Line) -> bool:
        """Whether such lines stand within pages as well: rows of a table, a numbered list."""
        return self.inner[line.pattern] >= 3

    def printed_number(self, index: int) -> str | None:
        """The page number printed at this edge, or the one that its neighbours imply."""
        for line in self.edges[index]:
            for text, kind, offset in line.numbers:
                if (kind, offset) in self.counting or (line.bare and (kind, offset) in self.counting_bare):
                    return text
        return self.implied_numbers.get(index)


def _counts(seen: set[int], least: int) -> bool:
    return len(seen) >= least and len(seen) >= COUNTED_SHARE * (max(seen) - min(seen) + 1)


def _edge(lines: Sequence[str], direction: int) -> Iterator[int]:
    """Places of the outermost lines that are not blank, from the edge inwards."""
    places = range(len(lines)) if direction > 0 else range(len(lines) - 1, -1, -1)
    found = 0
    for place in places:
        if lines[place].strip():
            yield place
            found += 1
            if found == EDGE_LINES:
                return


def _is_worded(line: str) -> bool:
    """Whether a line has words, and not a number alone."""
    return sum(map(str.isalpha, line)) >= 3 and _BARE.fullmatch(line.strip()) is None


def _squeeze(line: str) -> str:
    return "".join(line.split()).casefold()


def _pattern(line: str) -> str:
    """The line with its numbers masked."""
    return _DIGITS.sub("#", _squeeze(line))


def _patterns(lines: Iterable[str]) -> list[str]:
    """The patterns of many lines, all at once."""
    return _DIGITS.sub("#", "\n".join(["".join(line.split()) for line in lines]).casefold()).split("\n")


def _describe(lines: Sequence[str], place: int, index: int) -> _Line:
    text = lines[place].strip()
    if len(text) > LONGEST:
        return _Line(place, "", "", (), (), False)
    words = "".join(text.split()) if sum(map(str.isalpha, text)) >= 3 else ""
    bare = bool(_BARE.fullmatch(text))
    # A sentence that names its own page is text.
    counting = bare or not (_SENTENCE.search(text) or _NUMBERED_HEADING.fullmatch(_NUMBER.sub("#", text)))
    counters = []
    for match in _outer_numbers(text) if counting else ():
        masked = f"{text[: match.start()]}#{text[match.end() :]}"
        if any(character.isalpha() for character in masked):
            counters.append((_squeeze(masked), int(match[0]) - index))
    numbers = tuple(_page_numbers(text, index)) if counting else ()
    return _Line(place, words, _pattern(text), tuple(counters), numbers, bare)


def _outer_numbers(text: str) -> Iterator[re.Match[str]]:
    """Numbers among the first and last two words of a line: where a head has its page number."""
    for match in _NUMBER.finditer(text):
        if (
            len(text[: match.start()].split()) <= 1
            or len(text[match.end() :].split()) <= 1
            or _COUNTED.match(text, match.end())
        ):
            yield match


def _page_numbers(text: str, index: int) -> Iterator[tuple[str, str, int]]:
    """Numbers at the line's start and end that could be the page's: as printed, kind, and lead over the index."""
    for match in (
        _FIRST_NUMBER.match(text),
        _LAST_NUMBER.search(text),
        _NUMBER_OF.search(text),
    ):
        if match is None:
            continue
        printed = match[1]
        if printed.isdigit():
            yield printed, "arabic", int(printed) - index
        elif printed in (printed.lower(), printed.upper()) and _ROMAN.fullmatch(printed.lower()):
            yield printed, "roman", _roman_value(printed.lower()) - index


def _roman_value(numeral: str) -> int:
    values = [_ROMAN_DIGITS[digit] for digit in numeral]
    following = [*values[1:], 0]
    return sum(-value if value < after else value for value, after in zip(values, following, strict=True))
