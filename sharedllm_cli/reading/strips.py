"""A document from beginning to end as a strip: what the model read of it for an answer, and the places of its sources.

Where it read the tree, these are the preserved nodes, fine at some places and coarse at others; else the passages that
it read word for word. Knows opened documents and numbers; nothing is drawn here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sharedllm_cli.answer import FILE_METADATA, Source, Stretch
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.sights import text_around

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
