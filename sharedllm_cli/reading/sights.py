"""What a reader can see of a source: its page as a picture with the words marked, or the text around them.

A picture is made of the file as it was read: of one that has changed or is gone there is none, and the text that was
read is shown instead.
A strip is a document from beginning to end: what the model read of it for an answer (preserved nodes of the tree, or
passages), and the places of its sources. Knows opened documents; no model, no terminal, no web page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sharedllm_cli.answer import FILE_METADATA, Source, Stretch
from sharedllm_cli.documents.furniture import BETWEEN
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.documents.pdf.page_pictures import LONGEST_SIDE, Asked, PagePicture, pictures
from sharedllm_cli.documents.pdf.quoted_words import MOST_ANSWERED
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.sources import original

AROUND = 700
"""Characters of text shown before and after a quote."""


@dataclass(frozen=True)
class TextAround:
    """A quote and the text before and after it; `cut_before` and `cut_after`: the document goes on there.

    `answer` is the span of the answer's words in the quote, where it has them.
    """

    before: str
    quote: str
    after: str
    cut_before: bool = False
    cut_after: bool = False
    answer: tuple[int, int] | None = None

    @property
    def pieces(self) -> tuple[str, str, str]:
        """The quote before, in and behind the answer's words."""
        first, last = self.answer or (len(self.quote), len(self.quote))
        return self.quote[:first], self.quote[first:last], self.quote[last:]


@dataclass(frozen=True)
class Sight:
    """What can be seen of one source: always its text, a picture for a PDF, and a sentence where there is none."""

    text: TextAround
    picture: PagePicture | None = None
    remark: str | None = None


class Sights:
    """Sights of the sources of some opened documents; a file is read and hashed once."""

    def __init__(self, documents: Sequence[OpenDocument], password: str | None = None) -> None:
        self._documents = documents
        self._password = password

    @cached_property
    def _named(self) -> dict[str, OpenDocument]:
        return {opened.name: opened for opened in self._documents}

    def of(
        self, sources: Sequence[Source], answer: str = "", *, drawn: bool = False, side: int = LONGEST_SIDE
    ) -> list[Sight]:
        """One sight for each source. `drawn`: marks are in the pictures; `side`: pixels of their longer side.

        `answer`: words that are marked more strongly in the quotes that have them.
        """
        answer = answer.strip().rstrip(".")
        found = [Sight(_with_answer(self._text(source), answer)) for source in sources]
        by_document: dict[str, list[int]] = {}
        for number, source in enumerate(sources):
            opened = self._named.get(source.document)
            if opened is not None and opened.document.kind == "pdf" and source.place != FILE_METADATA and source.page:
                by_document.setdefault(source.document, []).append(number)
        for name, numbers in by_document.items():
            file = original(self._named[name], self._documents, self._password)
            if file.data is None:
                for number in numbers:
                    found[number] = replace(found[number], remark=f"{file.reason}: there is no picture of this page")
                continue
            asked = [Asked(sources[number].page, sources[number].quote, answer, drawn, side) for number in numbers]
            for number, picture in zip(numbers, pictures(file.data, asked, password=self._password), strict=True):
                remark = None if picture else "this page could not be drawn"
                found[number] = replace(found[number], picture=picture, remark=remark)
        return found

    def _text(self, source: Source) -> TextAround:
        opened = self._named.get(source.document)
        if opened is None or source.place == FILE_METADATA:
            return TextAround("", source.quote, "")
        return text_around(opened.document, source)


def _with_answer(around: TextAround, answer: str) -> TextAround:
    if not answer or len(answer.split()) > MOST_ANSWERED:
        return around
    found = re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", around.quote, re.IGNORECASE)
    return around if found is None else replace(around, answer=found.span())


def text_around(document: Document, source: Source) -> TextAround:
    """The document's text around a quote, as it was read; the quote alone where it can't be found there."""
    text = document.text
    pages = [page for page in document.pages if page.counted == source.page]
    start = text.find(source.quote, pages[0].start if pages else 0)
    if start < 0:
        pieces = source.quote.split(BETWEEN)
        start = text.find(pieces[0], pages[0].start if pages else 0) if source.place else -1
        if start < 0:
            return TextAround("", source.quote, "")
        end = start + len(pieces[0])
    else:
        end = start + len(source.quote)
    first, last = max(0, start - AROUND), min(len(text), end + AROUND)
    first = _at_word(text, first, start) if first else 0
    last = text.rfind(" ", end, last) if last < len(text) and " " in text[end:last] else last
    before, after = text[first:start].lstrip("\n"), text[end:last].rstrip()
    return TextAround(before, text[start:end], after, first > 0, last < len(text.rstrip()))


def _at_word(text: str, first: int, start: int) -> int:
    """The beginning of the first whole word from `first` on."""
    space = text.find(" ", first, start)
    return first if space < 0 else space + 1


MOST_GRAINS = 500
"""Of a strip; neighbouring nodes of the coarsest level of a longer document are one."""


@dataclass(frozen=True)
class Grain:
    """A stretch that was read, as shares of the document's length.

    `level` is that of a node of the tree, counted from the root; None for words that were read as they are.
    """

    start: float
    end: float
    level: int | None


@dataclass(frozen=True)
class Place:
    """Where a source is, as shares of the document's length; `number` counts the answer's sources from 1."""

    start: float
    end: float
    number: int
    read: bool


@dataclass(frozen=True)
class Strip:
    """One document: what was read of it, its sources' places, and its pages without text: numbers and places.

    `levels` is the finest level of its trees.
    """

    document: str
    grains: tuple[Grain, ...]
    places: tuple[Place, ...]
    levels: int
    empty: tuple[tuple[int, float], ...] = ()


def strips(
    documents: Sequence[OpenDocument], sources: Sequence[Source], stretches: Sequence[Stretch] = ()
) -> list[Strip]:
    """A strip for each document that was read or has a source, in the documents' order."""
    found = []
    for opened in documents:
        own = [(number, one) for number, one in enumerate(sources, 1) if one.document == opened.name]
        own = [(number, one) for number, one in own if one.place != FILE_METADATA]
        read = [one for one in stretches if one.document == opened.name]
        if own or read:
            found.append(_strip(opened, own, read))
    return found


def _strip(opened: OpenDocument, sources: Sequence[tuple[int, Source]], read: Sequence[Stretch]) -> Strip:
    length = max(opened.tokens, 1)
    step = max(1, len(read) // MOST_GRAINS)
    grains: list[Grain] = []
    for count, one in enumerate(sorted(read, key=lambda one: (one.level is None, one.start))):
        grain = Grain(one.start / length, one.end / length, one.level)
        if count % step and grain.level == 0 and grains[-1].level == 0 and grains[-1].end == grain.start:
            grains[-1] = Grain(grains[-1].start, grain.end, 0)
        else:
            grains.append(grain)
    levels = max((tree.depth for tree in opened.leaves.trees), default=0)
    return Strip(opened.name, tuple(grains), tuple(_places(opened, sources)), levels, tuple(_empty(opened)))


def _places(opened: OpenDocument, sources: Sequence[tuple[int, Source]]) -> Iterator[Place]:
    """Each source where its words are; one whose words can't be found has none."""
    document, tokens, length = opened.document, opened.leaves.tokens, max(opened.tokens, 1)
    for number, source in sources:
        around = text_around(document, source)
        pages = [page for page in document.pages if page.counted == source.page]
        start = document.text.find(around.quote, pages[0].start if pages else 0)
        if start < 0:
            continue
        first = int(np.searchsorted(tokens.ends, start, side="right"))
        last = int(np.searchsorted(tokens.starts, start + len(around.quote)))
        yield Place(first / length, max(last, first + 1) / length, number, source.read)


def _empty(opened: OpenDocument) -> Iterator[tuple[int, float]]:
    """The pages without text, where they would be among the others."""
    wanted, whole = set(opened.pages_without_text), max(len(opened.document.text), 1)
    for page in opened.document.pages:
        if page.counted in wanted:
            wanted.discard(page.counted)
            yield page.counted, page.start / whole
