"""From the pages as extracted to one readable text: words joined, paragraphs joined, running heads kept once.

`normalise` never invents and never reorders words: all it does is drop page numbers (running_heads.py), keep running
heads and feet once each (furniture.py), resolve characters (characters.py), and turn line ends into spaces, nothing,
or line ends. Knows no file format.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

from sharedllm_cli.documents import furniture, running_heads
from sharedllm_cli.documents.characters import LINE_END_HYPHENS, clean

LONGEST_NAME = 200
"""The rest of an address or a file's name that a hyphen breaks is looked for in so many characters."""

PROSE_SHARE = 0.35
"""Lines are joined only where this share of the lines after a full one starts small: prose, not tables."""

LONGEST_ENTRY = 120
LEAST_ENTRIES = 6
"""Lines of a page with page numbers behind their words, if they are half of it at least, make it an index."""

_LIST_ITEM = re.compile(r"(?:[!»•◦▪▸‣·●○■□*✓–—−+-]|\(?\d{1,3}[.)]|\(?[A-Za-z][.)]|\d+(?:\.\d+)+\.?|[IVX]+[.)])\s")
_CODE = re.compile(r"[>$#%+]\s|.*(?:<-|:=|==|&&|\|\||[{}]$|\)\s?;$)")
_BARS = re.compile(r"(?:\S |^)\| ?\S")
_CELLS = re.compile(r"\S  \S|\S \| ?\S")
# An entry of a book's index: words, and the pages that they are on.
_PAGES = r"(?:\d{1,4}(?:[-–]\d{1,4})?|[ivxlc]{1,6})(?:f{1,2}|n)?\.?"
_ENTRY = re.compile(rf"\W*[^\W\d_].{{0,80}}?,\s*{_PAGES}(?:,\s*{_PAGES})*,?")
_SEE = re.compile(
    r"\b(?:see|siehe|voir|véase|zie|vedi)(?: (?:also|under|auch|aussi|también|ook|anche))? \w", re.IGNORECASE
)
"""An entry that ends in a word under which the reader finds more."""
_MAY_BE_CODE = re.compile(r"[>$#%+<:=&|{};]")  # quick, and true of most code
_SENTENCE_ENDS, _CLOSING = (".", "!", "?", "…"), "\"'”’»)]"
# A line of prose never ends a sentence so: `to`, `of the`, `on 30`.
_UNFINISHED = re.compile(
    r"\b(?:a|an|and|at|by|for|from|in|of|on|or|that|the|to|with|das|dem|den|der|die|und|von|zu|de|des|du|et|la|le|les)"
    r"(?: \d{1,2}\.?)?$",
    re.IGNORECASE,
)
_LONGEST_UNFINISHED = 10  # what it matches is shorter
_TRAILING_MARK = re.compile(r"[,.;:)\]](?:\s|$)")
_MAIL_ADDRESS = re.compile(r"\w@")
# Only entered where such characters begin: from each of them on, a long word would be read again and again.
_HEAD_FRAGMENT = re.compile(r"(?<![\w'’-])['’-]*(\w[\w'’-]*)$")
_TAIL_FRAGMENT = re.compile(r"[\w'’]+(?:-\w+)*")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_NO_SPACE_BETWEEN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u3001-\u303f\uff01-\uff60]")
# A line of a page ends in the index of a word, `granite3`: what follows is a piece of the same line.
_RAISED = r"(?:\d{1,3}|[*†‡§¶¹²³⁴-⁹]{1,3})"
_AFTER_RAISED = re.compile(
    rf"(?:(?<=[^\W\d_])|(?<=[^\W\d_][,.;:)”’\"']))({_RAISED})[ \t]*(?:\r\n|\r|\n)(?: (?=\S)|(?=[,;:.)]))"
)
_GOES_ON = re.compile(r"[\r\n](?: \S|[,;:.)])")  # quick, and rare
_REST_OF_ADDRESS = re.compile(r"[\w-]+@[\w-]|[\w/-]+\.[a-z]{2,4}(?!\w)", re.IGNORECASE)
# What keeps its hyphen although nothing else in the document tells.
_TENS = frozenset(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"])
_ONES = re.compile(r"(?:one|two|three|four|five|six|seven|eight|nine|first|second|third|\w+th)s?\b", re.IGNORECASE)
_KEPT_PREFIXES = frozenset({"self", "well", "ex", "half", "quasi", "all"})
_HYPHENS = tuple(LINE_END_HYPHENS)
CONJUNCTIONS = frozenset({"and", "or", "to", "und", "oder", "bzw", "et", "ou", "y", "o", "e"})


@dataclass(frozen=True)
class NormalisedText:
    """The joined text, the span of each page in it (they tile it), and the page numbers found printed.

    `furniture` are the spans of the running heads and feet that are kept, a line each (furniture.py).
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    printed_numbers: tuple[str | None, ...]
    furniture: tuple[tuple[int, int], ...] = ()


def normalise(
    pages: Sequence[str],
    *,
    running: bool = True,
    reflow: bool = True,
    layout: bool = False,
    cells: bool = False,
    seams: Sequence[str | None] = (),
) -> NormalisedText:
    """One text out of the pages' raw ones; never raises.

    `running`: drop page numbers, and keep running heads and feet once each. `reflow`: join words broken at line ends
    and the lines of a paragraph, over page breaks too. `layout`: keep indentation and column gaps (for text files).
    `seams`: what stands before each page where lines are not joined, None for a blank line. `cells`: a gap within a
    line parts the cells of a row, which goes on no line before it.
    """
    if reflow and not layout:
        pages = [_AFTER_RAISED.sub(_rejoined, page) if _GOES_ON.search(page) else page for page in pages]
    lines = [clean(page, layout=layout).split("\n") for page in pages]
    found = running_heads.bodies(lines) if running else [running_heads.Body(0, len(page), None) for page in lines]
    kept = [_without_blank_edges(page[body.first : body.last]) for page, body in zip(lines, found, strict=True)]
    texts = _Joiner(kept, cells=cells).join() if reflow else _as_lines(kept, seams)
    lasting = furniture.insert(texts, furniture.kept(lines, found)) if running else []
    spans: list[tuple[int, int]] = []
    start = 0
    for text in texts:
        spans.append((start, start + len(text)))
        start += len(text)
    return NormalisedText(
        "".join(texts),
        tuple(spans),
        tuple(body.printed_number for body in found),
        tuple((spans[page][0] + first, spans[page][0] + end) for page, first, end in lasting),
    )


def _rejoined(match: re.Match[str]) -> str:
    return f"{match[1]} " if match[0].endswith(" ") else match[1]


def _without_blank_edges(lines: list[str]) -> list[str]:
    filled = [place for place, line in enumerate(lines) if line.strip()]
    return lines[filled[0] : filled[-1] + 1] if filled else []


def _as_lines(pages: Sequence[list[str]], seams: Sequence[str | None]) -> list[str]:
    texts = ["\n".join(lines) for lines in pages]
    filled = [place for place, text in enumerate(texts) if text]
    for place, after in pairwise(filled):
        seam = seams[after] if seams else None
        texts[place] += "\n\n" if seam is None else seam
    return texts


class _Joiner:
    """Joins lines into paragraphs. Widths and the share of prose are taken page by page, words from all pages."""

    def __init__(self, pages: Sequence[list[str]], *, cells: bool = False) -> None:
        self.pages = pages
        self.cells = cells
        self.words = _words_within_lines(pages)

    def join(self) -> list[str]:
        """The pages' texts, each with what separates it from the next."""
        texts: list[list[str]] = [[] for _ in self.pages]
        before: tuple[int, str] | None = None  # the page and the words of the last line that was not blank
        blank = False
        measures = [_Measure(lines) for lines in self.pages]
        for index, lines in enumerate(self.pages):
            for line in lines:
                if not line.strip():
                    blank = True
                    continue
                if before is not None:
                    page, words = before
                    crosses = page != index
                    cut, separator = self._seam(words, line, measures[page], blank=blank, crosses=crosses)
                    texts[page][-1] = texts[page][-1][: len(texts[page][-1]) - cut] + separator
                    # After a word or a paragraph was joined on, the new line continues without its indentation.
                    line = line if "\n" in separator else line.lstrip()
                texts[index].append(line)
                before, blank = (index, line), False
        return ["".join(pieces) for pieces in texts]

    def _seam(self, before: str, after: str, measure: _Measure, *, blank: bool, crosses: bool) -> tuple[int, str]:
        """How many characters of the line before go, and what stands between it and the line after."""
        if blank and not crosses:
            return 0, "\n\n"
        if before.endswith(_HYPHENS) and (broken := self._broken_word(before, after.lstrip())) is not None:
            return broken
        if measure.index:
            if not crosses and _entry_continues(before, after.lstrip()):
                return 0, _space(before, after.lstrip())
            return 0, "\n\n" if crosses else "\n"
        if measure.prose and not _set_apart(before, after) and not self._is_row(before, after):
            if crosses and _runs_over(before, after):
                return 0, _space(before, after)
            if not crosses and _continues(before, after, measure):
                return 0, _space(before, after)
        return 0, "\n\n" if crosses else "\n"

    def _is_row(self, before: str, after: str) -> bool:
        """Whether one of two lines has cells, so that they are rows; a cell goes on in a line that starts small."""
        if not self.cells:
            return False
        return _has_cells(after) or _has_bars(before) or (_has_cells(before) and not _starts_small(after))

    def _broken_word(self, before: str, after: str) -> tuple[int, str] | None:
        """The seam inside a word that a hyphen breaks at the line end; None where there is none."""
        if not before[:-1]:
            return None
        head, tail = _HEAD_FRAGMENT.search(before[:-1]), _TAIL_FRAGMENT.match(after)
        if head is None or tail is None:
            return None
        if before[-1] == "\u00ad":
            return 1, ""
        if tail[0].casefold() in CONJUNCTIONS and head[1].casefold() + tail[0].casefold() not in self.words:
            return 0, " "
        if _breaks_an_address(before, after):
            return 0, ""
        return (0, "") if keeps_hyphen(head[1], tail[0], self.words) else (1, "")


def keeps_hyphen(head: str, tail: str, words: Mapping[str, int] = MappingProxyType({})) -> bool:
    """Whether a word that is broken at its hyphen is written with it; `words`: how often each stands unbroken."""
    joined, hyphenated = (head + tail).casefold(), f"{head}-{tail}".casefold()
    if words.get(joined) or words.get(hyphenated):
        return words.get(hyphenated, 0) > words.get(joined, 0)
    if "-" in head or "-" in tail or head.casefold() in _KEPT_PREFIXES:
        return True
    if head.casefold() in _TENS and _ONES.match(tail):
        return True
    # No word is broken behind its first letter, nor behind a digit (12-month) or an abbreviation (DNA-based).
    if len(head) == 1 or not head.isalpha() or (not head.islower() and head[1:].lower() != head[1:] and tail.islower()):
        return True
    # A capital or digit starts a new part of a compound, unless the whole word is in capitals.
    return not tail[0].islower() and not (head.isupper() and tail.isupper() and len(head) > 1)


class _Measure:
    """How full the lines of a page are, and whether they are prose."""

    def __init__(self, lines: Sequence[str]) -> None:
        entries = sum(map(is_entry, lines))
        self.index = entries >= LEAST_ENTRIES and entries >= 0.5 * sum(bool(line.strip()) for line in lines)
        lines = [line for line in lines if not _has_bars(line)]
        lengths = sorted(len(line.strip()) for line in lines if line.strip())
        self.width = lengths[int(len(lengths) * 0.8)] if lengths else 0
        after_full = [
            after.lstrip()[:1]
            for line, after in pairwise(lines)
            if after.strip() and len(line.strip()) >= 0.8 * self.width and not _LIST_ITEM.match(after.lstrip())
        ]
        before_small = [len(line.strip()) for line, after in pairwise(lines) if _starts_small(after)]
        full = sum(length >= 0.8 * self.width for length in before_small)
        # Among glossaries and code small letters start lines after short lines too: only full ones are joined there.
        self.least = (0.6 if full >= 0.7 * len(before_small) else 0.85) * self.width
        small = sum(_starts_small(start) for start in after_full)
        overlong = sum(len(line.strip()) > 1.4 * self.width and not _has_cells(line) for line in lines)
        self.prose = bool(small) and small >= PROSE_SHARE * len(after_full) and overlong <= 0.1 * len(lengths)


def is_entry(line: str) -> bool:
    """Whether a line is an entry of a book's index: words, and the numbers of the pages that they are on."""
    return len(line) <= LONGEST_ENTRY and _ENTRY.fullmatch(line.strip()) is not None


def _entry_continues(before: str, after: str) -> bool:
    """Whether an entry of an index goes on in the next line: with more pages, or before any."""
    if _SEE.search(before) and not before.endswith(",") and not _UNFINISHED.search(before):
        return False
    if before.endswith((",", "–", "-")):
        return after[:1].isdigit() or not before[-2:-1].isdigit()
    return not before[-1:].isdigit() and _starts_small(after) and _ENTRY.fullmatch(before.strip()) is None


def _ends_sentence(line: str) -> bool:
    return line.rstrip(_CLOSING).endswith(_SENTENCE_ENDS)


def _starts_small(text: str) -> bool:
    """Whether the text goes on in mid-sentence as far as its first letter tells (caseless scripts always do)."""
    return text[:1].isalpha() and not text[:1].isupper()


def _is_code(line: str) -> bool:
    return _MAY_BE_CODE.search(line) is not None and _CODE.match(line) is not None


def _has_bars(line: str) -> bool:
    """Whether a line is a row whose cells are whole, with bars between them."""
    return "|" in line and _BARS.search(line) is not None


def _has_cells(line: str) -> bool:
    """Whether a line is a row of cells, with gaps or bars between them."""
    return ("  " in line or "|" in line) and _CELLS.search(line) is not None


def _set_apart(before: str, after: str) -> bool:
    """Lines that are never joined to each other: code, list items, indented lines."""
    return bool(
        after[:1].isspace() or _LIST_ITEM.match(after) or _is_code(before.lstrip()) or _is_code(after)
    ) or before.endswith(" ...")


def _continues(before: str, after: str, measure: _Measure) -> bool:
    """Whether a line goes on in the next one of the same page."""
    length = len(before.strip())
    if _TRAILING_MARK.match(after) and before[-1:].isalnum():
        return True
    if before.endswith(":"):
        return False
    if _starts_small(after) and not _ends_sentence(before):
        return length >= measure.least
    if len(after) <= 4:
        return False
    if _UNFINISHED.search(before[-_LONGEST_UNFINISHED:]) and length >= 0.6 * measure.width:
        return True
    return length >= (0.92 if _ends_sentence(before) else 0.8) * measure.width


def _runs_over(before: str, after: str) -> bool:
    """Whether a sentence runs over the page break."""
    return _starts_small(after) and not _ends_sentence(before) and not before.endswith((":", ";"))


def _space(before: str, after: str) -> str:
    if after[:1].isalnum() and _ends_within_address(before):
        return ""
    if _TRAILING_MARK.match(after) and before[-1:].isalnum():
        return ""
    return "" if _NO_SPACE_BETWEEN.match(before[-1:]) and _NO_SPACE_BETWEEN.match(after[:1]) else " "


def _ends_within_address(line: str) -> bool:
    """Whether a line breaks off within an address or a path, as it seems: `https://example.`, `docs/`."""
    last = line.rsplit(maxsplit=1)[-1]
    if last.endswith("/"):
        return True
    if "://" in last[:-1] and last.endswith((".", "_", "=", "&", "?")):
        return True
    return last.endswith(".") and _MAIL_ADDRESS.search(last[:-1]) is not None


def _breaks_an_address(before: str, after: str) -> bool:
    """Whether a hyphen at a line's end is one of an address or a file's name."""
    last = before.rsplit(maxsplit=1)[-1]
    is_address = "://" in last or "@" in last or last.startswith(("www.", "/", "~")) or ("/" in last and "." in last)
    return is_address or _REST_OF_ADDRESS.match(after[:LONGEST_NAME]) is not None


def _words_within_lines(pages: Iterable[Iterable[str]]) -> Counter[str]:
    """How often each word, with its hyphens, stands unbroken in the document; empty where no line ends in a hyphen."""
    lines = [line for page in pages for line in page]
    if not any(line[-1:] in LINE_END_HYPHENS for line in lines if line):
        return Counter()
    whole = (line[: line.rfind(" ") + 1] if line[-1:] in LINE_END_HYPHENS else line for line in lines)
    return Counter(map(str.casefold, _WORD.findall("\n".join(whole))))
