"""The text of a document as the tool reads it: its pages, its headings, or the sections that a name means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sharedllm_cli.config import Settings
from sharedllm_cli.documents.pages import Document, Page, PageRange, resolve
from sharedllm_cli.documents.readers import Limits, named
from sharedllm_cli.documents.sources import expand
from sharedllm_cli.errors import DocumentError, UsageError
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Reporter, Silent
from sharedllm_cli.retrieval import numbered
from sharedllm_cli.retrieval.sections import Heading, Titled, headings


@dataclass(frozen=True)
class Chosen:
    """What of a document was asked for: pieces of pages as (page, start, end) in its text, and the headings there.

    `remark` says how the pages were meant, where that must be told.
    """

    pages: list[tuple[Page, int, int]]
    titles: list[tuple[Heading, Page]]
    remark: str | None = None


def opened(
    store: IndexStore,
    argument: str,
    settings: Settings,
    reporter: Reporter | None = None,
    *,
    paths: Sequence[str] | None = None,
) -> Document:
    """The document that an argument names: from its index where there is one, else from its file.

    `paths`: what the argument stands for, where that is no path itself.

    Raises DocumentError where it can't be read, UsageError for an argument that names several.
    """
    reporter = reporter or Silent()
    missing: list[tuple[str, DocumentError]] = []
    sources = expand([argument] if paths is None else paths, missing)
    if missing and not sources:
        raise missing[0][1]
    if len(sources) > 1:
        raise UsageError(f"{argument} is {len(sources)} documents; read them one by one")
    probe = store.probe(sources[0], settings.password, Limits.of(settings))
    stored = store.read_text(probe.content_hash)
    if stored is None or not stored.serves(ocr=settings.ocr):
        return probe.read(reporter)
    found = named(stored, sources[0])
    for warning in found.warnings:
        reporter.warn(warning)
    return found


def chosen(document: Document, pages: PageRange | str | None = None, section: str | None = None) -> Chosen:
    """The pages and headings that are asked for; UsageError for pages or sections that the document has not."""
    remark = None
    numbers = frozenset(page.number for page in document.pages)
    if pages is not None:
        found = resolve(PageRange.of(pages), document)
        remark = found.remark
        numbers = frozenset(number for first, last in found.spans for number in range(first, last + 1))
    spans = [(0, len(document.text))] if section is None else _spans(document, section)
    pieces = [piece for first, end in spans for piece in document.page_spans(first, end) if piece[0].number in numbers]
    titles = [
        (heading, document.page_at(heading.start))
        for heading in headings(_titled(document))
        if any(first <= heading.start < end for first, end in spans)
    ]
    if section is not None and not pieces:
        raise UsageError(f"--section {section}: nothing of it is on these pages")
    return Chosen(pieces, [(heading, page) for heading, page in titles if page.number in numbers], remark)


def as_json(document: Document, found: Chosen, *, outline: bool) -> dict[str, Any]:
    """The object of `read --json`: pages with their text, or with `outline` the headings alone."""
    told: dict[str, Any] = {"document": document.name, "kind": document.kind, "page_count": document.page_count}
    told["outline"] = [
        {
            "title": heading.title,
            "level": heading.level,
            "page": page.counted,
            "page_label": page.label,
            "part": page.part,
        }
        for heading, page in found.titles
    ]
    if not outline:
        told["pages"] = [
            {
                "page": page.counted,
                "page_label": page.label,
                "part": page.part,
                "part_title": page.part_title,
                "text": document.text[first:end].strip("\n"),
            }
            for page, first, end in found.pages
        ]
    told["warnings"] = [*document.warnings, *filter(None, [carried(document)])]
    return told


def carried(document: Document) -> str | None:
    """The warning that names the documents which a document carries, since their text is not its own."""
    names = ", ".join(attachment.name for attachment in document.attachments)
    return f"{document.name} carries documents of its own, which are not printed: {names}" if names else None


def _titled(document: Document) -> Titled:
    starts = {page.counted: page.start for page in reversed(document.pages)}
    outline = [(entry.title, entry.level, starts.get(entry.page, 0)) for entry in document.outline]
    return Titled(document.name, document.text, outline)


def _spans(document: Document, section: str) -> list[tuple[int, int]]:
    """The characters of the sections that a name or a number means; UsageError where none is like it."""
    if not section.strip():
        raise UsageError("--section needs a heading or its number", hint='for example: --section "4.2"')
    titled = _titled(document)
    found = numbered.find(section, titled)
    if not found:
        near = numbered.near_names(section, [titled])
        hint = f"nearest are: {'; '.join(near)}" if near else "the document has no headings that can be told"
        raise UsageError(f"--section: no heading is like {section.strip()!r:.80}", hint=hint)
    return [(part.start, part.end) for part in found]
