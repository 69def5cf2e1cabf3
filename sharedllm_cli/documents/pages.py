"""What a document is, each character on its page: as its format's reader found it, as read; and what `--pages` means.

No file format, no tokenizer, no model. Forms of a range of pages:

12-30   A-3   xii..A-7          the pages printed so, else (numbers alone) the pages or parts counted so
counted:12-30   #12             as counted, whatever is printed
3, 12-30        counted:3,12-30 several of these, with a comma between them
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sharedllm_cli.errors import UsageError

READING_VERSION = "9"
"""Raised whenever the same bytes of a file would come out as another text, other pages or other raw pages."""


@dataclass(frozen=True)
class Page:
    """One page: its number as counted (from 1), its label as printed, and the span of its text in the document's.

    A format without pages of its own has parts (an epub's files, in the order of reading): `part` counts them from 1,
    `part_title` is as the table of contents has it. A part is one page, or as many as it marks of a print edition.
    `raw` is the page's text exactly as extracted, before normalisation: what quotes are verified against.
    The spans of the pages tile the document's text: page i ends where page i + 1 starts. `recognised`: some of its
    text comes from an image (recognition.py), and may be wrong.
    """

    number: int
    label: str | None
    start: int
    end: int
    raw: str
    part: int | None = None
    part_title: str | None = None
    recognised: bool = False

    @property
    def counted(self) -> int:
        """What a reader counts: the part where there are parts, else the page."""
        return self.number if self.part is None else self.part


def name_pages(numbers: list[int]) -> str:
    """`page 4`, `pages 4, 9-12`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    told = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    return f"page{'s' if len(numbers) > 1 else ''} {told}"


@dataclass(frozen=True)
class OutlineEntry:
    """One heading of the document's table of contents and the page (of an epub: the part) it points to."""

    title: str
    level: int
    page: int


@dataclass(frozen=True)
class Attachment:
    """A document that a PDF carries: its name there, and the SHA-256 of its bytes."""

    name: str
    content_hash: str


@dataclass(frozen=True)
class AttachedFile(Attachment):
    """The same with its bytes."""

    data: bytes = field(repr=False, default=b"")


@dataclass(frozen=True)
class Document:
    """A document as read: normalised text, pages, and what could not be read, told in `warnings`.

    `metadata` is what the file says of itself, in pairs of a kind of fact and its value (metadata.py). `attachments`
    are documents of their own; those of kinds that can't be read are in the warnings. `furniture` are the spans of
    running heads and feet that are kept in the text, a line each (furniture.py). `pictures` are the pages, as counted,
    whose text may be an image that was not recognised; None where an older release did not note them. `recognised_by`
    is what recognised images of it, whether that found text or not (`rapidocr 3.10.0`).

    `content_hash` is the SHA-256 of the file's bytes (of the bytes on standard input). `paged` is False where the
    format has no pages (then there is one page, number 1, label None); sources then name no page to the reader.
    """

    name: str
    path: str | None
    kind: str
    content_hash: str
    text: str
    pages: tuple[Page, ...]
    paged: bool = True
    outline: tuple[OutlineEntry, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    metadata: tuple[tuple[str, str], ...] = ()
    attachments: tuple[Attachment, ...] = ()
    furniture: tuple[tuple[int, int], ...] = ()
    pictures: tuple[int, ...] | None = ()
    recognised_by: str | None = None

    @cached_property
    def _starts(self) -> list[int]:
        return [page.start for page in self.pages]

    @property
    def pages_without_text(self) -> tuple[int, ...]:
        """Numbers of the pages (where there are parts, of the parts) in which no text was found."""
        filled: dict[int, bool] = {}
        for page in self.pages:
            here = bool(self.text[page.start : page.end].strip())
            filled[page.counted] = filled.get(page.counted, False) or here
        return tuple(number for number, here in filled.items() if not here)

    def serves(self, *, ocr: bool) -> bool:
        """Whether reading the same bytes again, with or without recognising pictures, would find no more text."""
        return not ocr or self.pictures == ()

    @property
    def parts(self) -> int:
        """How many parts there are: 0 where the format has pages of its own, or neither."""
        return max((page.part or 0 for page in self.pages), default=0)

    @property
    def page_count(self) -> int:
        """How many pages a reader can turn: 0 where the format has none, those marked of the print edition in parts."""
        if self.parts:
            return len({page.label for page in self.pages if page.label is not None})
        return len(self.pages) if self.paged else 0

    def page_at(self, offset: int) -> Page:
        """The page of the character at `offset` of the text (of an empty page never)."""
        if not 0 <= offset < max(1, len(self.text)):
            raise IndexError(f"offset {offset} is outside the text of {len(self.text)} characters")
        return self.pages[bisect_right(self._starts, offset) - 1]

    def page_spans(self, start: int, end: int) -> list[tuple[Page, int, int]]:
        """The span `[start, end)` cut at page breaks: one (page, start, end) for each page that it touches."""
        spans: list[tuple[Page, int, int]] = []
        position = start
        while position < end:
            page = self.page_at(position)
            stop = min(end, page.end)
            spans.append((page, position, stop))
            position = stop
        return spans


@dataclass(frozen=True)
class ExtractedPage:
    """One page as extracted: its text, its label where the file gives one, and whether it shows images.

    `part` and `part_title` as in `pages.Page`. `seam` is the white space between the text before and this page's, where
    the page begins within a paragraph or a word; None where pages are apart. `unreadable`: there is text, but it can't
    be made out; `raw` is empty then. `picture`: its text may be an image that was not recognised; `recognised`: some
    of its text is what was recognised in one.
    """

    raw: str
    label: str | None = None
    images: bool = False
    part: int | None = None
    part_title: str | None = None
    seam: str | None = None
    unreadable: bool = False
    picture: bool = False
    recognised: bool = False


@dataclass(frozen=True)
class Extraction:
    """A file as extracted.

    `recognised_by` as in `Document`. `reflow` and `layout` are for `normalise`: whether line ends are those of a
    typesetter (to be joined) or of the author, and whether indentation and column gaps mean something.
    """

    pages: tuple[ExtractedPage, ...]
    paged: bool
    reflow: bool
    layout: bool
    outline: tuple[OutlineEntry, ...] = ()
    warnings: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    attachments: tuple[AttachedFile, ...] = ()
    recognised_by: str | None = None


LONGEST = 64
"""Characters of a range of pages; no page's number is that long."""
MOST_RANGES = 100
"""Ranges with commas between them."""
FORMS = "12-30, xii, A-3 or A-3..A-7 as printed; counted:12-30 as counted; several: 3,12-30"
_COUNTED = re.compile(r"(?:counted:|#)\s*", re.IGNORECASE)
_DASH = re.compile(r"\s*(?:\.\.|[-–—])\s*#?")

Spans = list[tuple[int, int]]
"""First and last of some pages, as `Page.number` counts them, a pair for each stretch."""


@dataclass(frozen=True)
class PageRange:
    """What a user wrote for `--pages`; `counted` where it means pages as counted and nothing else."""

    text: str
    counted: bool = False

    @classmethod
    def parse(cls, text: str) -> PageRange:
        """UsageError for what can be no range of pages in any document."""
        words = text.strip()
        counted = _COUNTED.match(words)
        bare = words[counted.end() :] if counted else words
        ranges = [piece.strip() for piece in bare.split(",")]
        if len(ranges) > MOST_RANGES:
            raise UsageError(f"--pages: {len(ranges)} ranges are more than {MOST_RANGES}", hint=FORMS)
        if len(ranges) > 1 and not all(ranges):
            raise UsageError(f"--pages: a range is missing beside a comma in {_shown(words)!r}", hint=FORMS)
        for one in ranges:
            _check_range(one, counted=bool(counted))
        return cls(", ".join(ranges), bool(counted))

    @property
    def ranges(self) -> list[PageRange]:
        """The ranges between commas, each by itself."""
        return [PageRange(one, self.counted) for one in self.text.split(", ")]

    @classmethod
    def of(cls, value: PageRange | str | tuple[int, int]) -> PageRange:
        """A range as it is, as a user writes it, or as the first and last page as counted."""
        if isinstance(value, tuple):
            return cls(f"{value[0]}-{value[1]}", True)
        return cls.parse(value) if isinstance(value, str) else value

    @property
    def words(self) -> str:
        """The range in a sentence: `page xii`, `pages 2 to 3`."""
        numbers = _DASH.split(self.text)
        if "," in self.text:
            return f"pages {self.text}"
        if not all(number.isdecimal() for number in numbers):
            return f"page {self.text}"
        return f"page {numbers[0]}" if numbers[0] == numbers[-1] else f"pages {' to '.join(numbers)}"

    def __str__(self) -> str:
        return f"counted:{self.text}" if self.counted else self.text


def _shown(words: str) -> str:
    return words if len(words) <= LONGEST else words[:12] + "…"


def _check_range(words: str, *, counted: bool) -> None:
    """UsageError for what can be no range of pages, between two commas or alone."""
    wrong = UsageError(f"--pages can't be {_shown(words)!r}", hint=FORMS)
    if not words or len(words) > LONGEST or not words.isprintable():
        raise wrong
    numbers = _DASH.split(words)
    plain = len(numbers) < 3 and all(number.isdecimal() for number in numbers)
    if (counted and not plain) or _COUNTED.match(words):
        raise wrong
    if plain:
        first, last = int(numbers[0]), int(numbers[-1])
        if not 1 <= first <= last:
            raise UsageError(f"--pages {_shown(words)} is not a range of pages", hint=FORMS)
    elif not any(letter.isalnum() for letter in words) or {words[0], words[-1]} & set("-–—."):
        raise wrong


@dataclass(frozen=True)
class Resolved:
    """The pages of one document that a range means, and a sentence about it where the range could mean others."""

    spans: Spans
    remark: str | None = None


def resolve(wanted: PageRange, document: Document) -> Resolved:
    """The pages of a document that a range means. Raises UsageError, which names what there is, where it has none."""
    if not document.paged:
        raise UsageError(f"--pages: {document.name} has no pages")
    if len(wanted.ranges) > 1:
        found = [resolve(one, document) for one in wanted.ranges]
        numbers = {number for one in found for first, last in one.spans for number in range(first, last + 1)}
        remarks = [one.remark for one in found if one.remark]
        return Resolved(
            _stretches([document.pages[number - 1] for number in sorted(numbers)]), "; ".join(remarks) or None
        )
    if not wanted.counted and (spans := _printed(wanted.text, document.pages)):
        return Resolved(spans, _remark_on_printed(wanted, spans, document))
    if span := _counted(wanted.text, document):
        return Resolved([span], None if wanted.counted else _remark_on_counted(wanted, span, document))
    what = "part" if document.parts else "page"
    if all(end.isdecimal() for end in _DASH.split(wanted.text)):
        count = document.parts or len(document.pages)
        counts = f"{count} {what}{'s' if count > 1 else ''}"
        raise UsageError(f"--pages {wanted.text}: {document.name} has only {counts}", hint=_there_is(document))
    raise UsageError(f"--pages {wanted}: {document.name} has no such page", hint=_there_is(document))


def _splits(text: str) -> Iterator[tuple[str, str]]:
    """A range as the first and the last page, at each dash that may be the one between them."""
    for dash in _DASH.finditer(text):
        if text[: dash.start()] and text[dash.end() :]:
            yield text[: dash.start()], text[dash.end() :]


def _printed(text: str, pages: Sequence[Page]) -> Spans:
    """The pages with these labels: all that are printed so, or from the first page of a range to its last."""
    alone = _labelled(text, pages)
    if alone:
        return _stretches(alone)
    for first, last in _splits(text):
        begins = _labelled(first, pages)
        ends = [page for page in _labelled(last, pages) if begins and page.number >= begins[0].number]
        if begins and not ends and _is_past_the_end(last, pages):
            ends = [page for page in pages if page.label and page.label.isdecimal()][-1:]
        if begins and ends:
            end = _stretches(ends)[0][1]
            return [(begins[0].number, end)]
    return []


def _labelled(text: str, pages: Sequence[Page]) -> list[Page]:
    """The pages with a label, written so, else in other capitals."""
    exact = [page for page in pages if page.label == text]
    return exact or [page for page in pages if page.label is not None and page.label.casefold() == text.casefold()]


def _is_past_the_end(text: str, pages: Sequence[Page]) -> bool:
    numbers = [int(page.label) for page in pages if page.label and page.label.isdecimal() and len(page.label) < 9]
    return text.isdecimal() and bool(numbers) and int(text) > max(numbers)


def _stretches(pages: Sequence[Page]) -> Spans:
    spans: Spans = []
    for page in pages:
        if spans and page.number == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], page.number)
        else:
            spans.append((page.number, page.number))
    return spans


def _counted(text: str, document: Document) -> tuple[int, int] | None:
    """The pages (of an epub: all of the parts) counted so, those that there are; None where there is none."""
    numbers = _DASH.split(text)
    if len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
        return None
    first, last = int(numbers[0]), int(numbers[-1])
    found = [page.number for page in document.pages if first <= page.counted <= last]
    return (found[0], found[-1]) if found else None


def _remark_on_printed(wanted: PageRange, spans: Spans, document: Document) -> str | None:
    """Said of numbers that count other pages, and of a label that several pages have."""
    if len(spans) > 1:
        return f"--pages {wanted}: {document.name} has {len(spans)} places printed {wanted}; all of them are read"
    numbers = _DASH.split(wanted.text)
    if document.parts or not all(number.isdecimal() for number in numbers):
        return None
    if _counted(wanted.text, document) == spans[0]:
        return None
    return f"--pages {wanted}: the {_words(wanted, spans[0], 'printed')}; counted:{wanted} counts from page 1"


def _remark_on_counted(wanted: PageRange, span: tuple[int, int], document: Document) -> str | None:
    """Said where the document prints other numbers, and where it has parts instead of pages."""
    first, last = (document.pages[number - 1] for number in span)
    if document.parts:
        marks = "has no page with this printed number" if document.page_count else "marks no pages"
        which = f"part {first.part}" if first.part == last.part else f"parts {first.part} to {last.part}"
        title = f", {first.part_title}" if first.part == last.part and first.part_title else ""
        verb = "is" if first.part == last.part else "are"
        return f"--pages {wanted}: {document.name} {marks}; {which}{title} {verb} read"
    if all(page.label in (None, str(page.number)) for page in document.pages):
        return None
    return f"--pages {wanted}: {document.name} has no such printed numbers; the {_words(wanted, span, 'counted')}"


def _words(wanted: PageRange, span: tuple[int, int], how: str) -> str:
    several = span[0] != span[1]
    other = "" if how == "counted" else f" (counted {span[0]}{f'-{span[1]}' if several else ''})"
    return f"page{'s' if several else ''} {how} {wanted.text}{other} {'are' if several else 'is'} read"


def _there_is(document: Document) -> str:
    """The numbers that the document's pages have, printed and counted: `printed are i-iv, 1-25; counted are 1-29`."""
    runs: list[list[Page]] = []
    for page in document.pages:
        if page.label is None or (runs and runs[-1][-1].label == page.label):
            continue
        if runs and _goes_on(runs[-1][-1].label or "", page.label):
            runs[-1].append(page)
        else:
            runs.append([page])
    named = [f"{run[0].label}-{run[-1].label}" if len(run) > 1 else str(run[0].label) for run in runs]
    shown = named if len(named) <= 6 else [*named[:5], "…", named[-1]]
    count = document.parts or len(document.pages)
    what = "parts" if document.parts else "counted"
    counted = f"{what} are 1-{count}" if count > 1 else f"{what} is 1"
    return f"printed are {', '.join(shown)}; {counted}" if named else counted


def _goes_on(label: str, other: str) -> bool:
    """Whether two labels are of one numbering, as far as their form tells: `xi` and `xii`, `A-3` and `A-4`."""
    forms = [re.sub(r"\d+", "0", text) for text in (label, other)]
    roman = [re.fullmatch(r"[ivxlcdm]+", text, re.IGNORECASE) is not None for text in (label, other)]
    if all(roman):
        return label.islower() == other.islower()
    if forms[0] != forms[1] or not any(letter.isdigit() for letter in label):
        return False
    first, second = (re.findall(r"\d+", text) for text in (label, other))
    return first[:-1] == second[:-1] and 0 <= int(second[-1][:9]) - int(first[-1][:9]) <= 1
