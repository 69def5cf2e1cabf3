"""What a document is: as a format's reader found it, and once it has been read, each character on its page.

No file format, no tokenizer, no model.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property

READING_VERSION = "4"
"""Raised whenever the same bytes of a file would come out as another text, other pages or other raw pages."""


@dataclass(frozen=True)
class Page:
    """One page: its number as counted (from 1), its label as printed, and the span of its text in the document's.

    A format without pages of its own has parts (an epub's files, in the order of reading): `part` counts them from 1,
    `part_title` is as the table of contents has it. A part is one page, or as many as it marks of a print edition.
    `raw` is the page's text exactly as extracted, before normalisation: what quotes are verified against.
    The spans of the pages tile the document's text: page i ends where page i + 1 starts.
    """

    number: int
    label: str | None
    start: int
    end: int
    raw: str
    part: int | None = None
    part_title: str | None = None

    @property
    def counted(self) -> int:
        """What a reader counts: the part where there are parts, else the page."""
        return self.number if self.part is None else self.part


@dataclass(frozen=True)
class OutlineEntry:
    """One heading of the document's table of contents and the page (of an epub: the part) it points to."""

    title: str
    level: int
    page: int


@dataclass(frozen=True)
class Document:
    """A document as read: normalised text, pages, and what could not be read, told in `warnings`.

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
    the page begins within a paragraph or a word; None where pages are apart.
    """

    raw: str
    label: str | None = None
    images: bool = False
    part: int | None = None
    part_title: str | None = None
    seam: str | None = None


@dataclass(frozen=True)
class Extraction:
    """A file as extracted.

    `reflow` and `layout` are for `normalise`: whether line ends are those of a typesetter (to be joined) or of the
    author, and whether indentation and column gaps mean something.
    """

    pages: tuple[ExtractedPage, ...]
    paged: bool
    reflow: bool
    layout: bool
    outline: tuple[OutlineEntry, ...] = ()
    warnings: tuple[str, ...] = ()
