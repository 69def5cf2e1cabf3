"""What a document is once it has been read: its text, and the page that each character stands on.

Knows no file format, no tokenizer and no model.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property

READING_VERSION = "3"
"""Raised whenever the same bytes of a file would come out as another text, other pages or other raw pages."""


@dataclass(frozen=True)
class Page:
    """One page: its number as counted (from 1), its label as printed, and the span of its text in the document's.

    `raw` is the page's text exactly as extracted, before normalisation: what quotes are verified against.
    The spans of the pages tile the document's text: page i ends where page i + 1 starts.
    """

    number: int
    label: str | None
    start: int
    end: int
    raw: str


@dataclass(frozen=True)
class OutlineEntry:
    """One heading of the document's table of contents and the page it points to."""

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
        """Numbers of the pages on which no text was found."""
        return tuple(page.number for page in self.pages if not self.text[page.start : page.end].strip())

    @property
    def page_count(self) -> int:
        """How many pages a reader can turn: 0 where the format has none."""
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
