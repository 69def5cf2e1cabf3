"""A document from beginning to end as a strip: the grains of its tree as an answer's sources see it, and their places.

The tree is searched once more, by the sources alone (context/search.py): nodes are fine where sources are and coarse
beside them; a chunk without any is one coarse grain. Knows opened documents and numbers; nothing is drawn here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sharedllm_cli.answer import FILE_METADATA, Source
from sharedllm_cli.context.search import leaf_scores, search
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.sights import text_around

MOST_GRAINS = 500
"""Of a strip; neighbouring coarse grains of a longer document are one."""


@dataclass(frozen=True)
class Grain:
    """A node of the tree as shares of the document's length; `level` counts from the root, the finest are leaves."""

    start: float
    end: float
    level: int


@dataclass(frozen=True)
class Place:
    """Where a source is, as shares of the document's length; `number` counts the answer's sources from 1."""

    start: float
    end: float
    number: int
    read: bool


@dataclass(frozen=True)
class Strip:
    """One document's grains, its sources' places, and its pages without text: numbers, and where they would be."""

    document: str
    grains: tuple[Grain, ...]
    places: tuple[Place, ...]
    levels: int
    empty: tuple[tuple[int, float], ...] = ()


def strips(documents: Sequence[OpenDocument], sources: Sequence[Source]) -> list[Strip]:
    """A strip for each document that has a source, in the documents' order."""
    found = []
    for opened in documents:
        own = [(number, one) for number, one in enumerate(sources, 1) if one.document == opened.name]
        own = [(number, one) for number, one in own if one.place != FILE_METADATA]
        if own:
            found.append(_strip(opened, own))
    return found


def _strip(opened: OpenDocument, sources: Sequence[tuple[int, Source]]) -> Strip:
    trees, length = opened.leaves.trees, max(opened.tokens, 1)
    values = [np.zeros(tree.leaf_count) for tree in trees]
    touched: set[int] = set()
    for number, source in sources:
        if 0 <= source.chunk < len(trees) and source.level == trees[source.chunk].depth:
            # The first source is the best one; none counts less than a leaf without any.
            values[source.chunk][source.node] = max(values[source.chunk][source.node], 1 / number)
            touched.add(source.chunk)
    firsts = np.cumsum([0, *(tree.length for tree in trees)]).tolist()
    by_chunk: dict[int, list[Grain]] = {}
    chunks = sorted(touched)
    seen = [trees[chunk] for chunk in chunks]
    for node in search(seen, leaf_scores(seen, [values[chunk] for chunk in chunks])):
        chunk = chunks[node.chunk]
        span, first = trees[chunk].span(node.level, node.index), firsts[chunk]
        grain = Grain((first + span.start) / length, (first + span.end) / length, node.level)
        by_chunk.setdefault(chunk, []).append(grain)
    grains: list[Grain] = []
    step = max(1, len(trees) // MOST_GRAINS)
    for chunk, tree in enumerate(trees):
        if chunk in by_chunk:
            grains += by_chunk[chunk]
        elif grains and grains[-1].level == 0 and chunk % step:
            grains[-1] = Grain(grains[-1].start, (firsts[chunk] + tree.length) / length, 0)
        else:
            grains.append(Grain(firsts[chunk] / length, (firsts[chunk] + tree.length) / length, 0))
    places = tuple(_places(opened, sources))
    levels = max((tree.depth for tree in trees), default=0)
    return Strip(opened.name, tuple(grains), places, levels, tuple(_empty(opened)))


def _places(opened: OpenDocument, sources: Sequence[tuple[int, Source]]) -> Iterator[Place]:
    """Each source where its words are; where they can't be found, its leaf."""
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
