"""Any document: from a file or standard input to a `Document`. The page to read first in this room.

data flow: bytes → formats (what is it?) → pdf, epub, markup or encodings (pages as extracted) → normalise → Document
"""

from __future__ import annotations

import stat
import sys
from collections.abc import Sequence
from dataclasses import replace

from sharedllm_cli.documents import encodings, formats
from sharedllm_cli.documents.characters import repair
from sharedllm_cli.documents.extraction import ExtractedPage, Extraction
from sharedllm_cli.documents.normalise import NormalisedText, normalise
from sharedllm_cli.documents.pages import Document, Page
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.durable import sha256_of, sha256_of_bytes
from sharedllm_cli.errors import DocumentError
from sharedllm_cli.progress import Reporter, Silent


def content_hash(source: SourceFile) -> tuple[str, bytes | None]:
    """SHA-256 of the document's bytes; and the bytes where they can be read only once (standard input, a pipe).

    Raises DocumentError where the file can't be read.
    """
    try:
        if source.path is not None and stat.S_ISREG(source.path.stat().st_mode):
            return sha256_of(source.path), None
    except OSError as failure:
        raise _unreadable(source, failure) from failure
    data = _bytes(source)
    return sha256_of_bytes(data), data


def read(
    source: SourceFile, *, password: str | None = None, reporter: Reporter | None = None, data: bytes | None = None
) -> Document:
    """Read a document whole. `data` are its bytes where `content_hash` has returned them.

    Raises DocumentError for a document that is missing, encrypted, damaged, of another kind or without any text. What
    could be read only in part stands in the document's warnings and is told to the reporter.
    """
    reporter = reporter or Silent()
    data = _bytes(source) if data is None else data
    if not data.strip():
        raise DocumentError(f"{source.name} is empty")
    kind, extraction = _extract(source.name, data, password, reporter)
    raws = [repair(page.raw) for page in extraction.pages]
    normalised = normalise(
        raws,
        running=kind in ("pdf", "text", "mail"),
        reflow=extraction.reflow,
        layout=extraction.layout,
        seams=[page.seam for page in extraction.pages],
    )
    if not normalised.text.strip():
        raise _no_text(source.name, kind, extraction)
    labels = _labels(extraction.pages, normalised.printed_numbers)
    pages = tuple(
        Page(number, label, start, end, raw, page.part, page.part_title)
        for number, (label, (start, end), raw, page) in enumerate(
            zip(labels, normalised.spans, raws, extraction.pages, strict=True), 1
        )
    )
    warnings = (*formats.remarks(source.name, kind), *extraction.warnings)
    if kind == "pdf":
        warnings += _pages_without_text(source.name, extraction, normalised)
    for warning in warnings:
        reporter.warn(warning)
    return Document(
        name=source.name,
        path=str(source.path) if source.path else None,
        kind=kind,
        content_hash=sha256_of_bytes(data),
        text=normalised.text,
        pages=pages,
        paged=extraction.paged,
        outline=extraction.outline,
        warnings=warnings,
    )


def named(document: Document, source: SourceFile) -> Document:
    """A document that was read under another name, as this file: what its old name promised is no longer told."""
    old = formats.remarks(document.name, document.kind)
    told = [text for text in document.warnings if text not in old]
    return replace(
        document,
        name=source.name,
        path=None if source.path is None else str(source.path),
        warnings=(*formats.remarks(source.name, document.kind), *told),
    )


def _bytes(source: SourceFile) -> bytes:
    try:
        if source.path is None:
            return sys.stdin.buffer.read()
        return source.path.read_bytes()
    except OSError as failure:
        raise _unreadable(source, failure) from failure


def _unreadable(source: SourceFile, failure: OSError) -> DocumentError:
    if isinstance(failure, FileNotFoundError):
        return DocumentError(f"{source.name} does not exist")
    return DocumentError(f"{source.name} can't be read ({(failure.strerror or type(failure).__name__).lower()})")


def _extract(name: str, data: bytes, password: str | None, reporter: Reporter) -> tuple[str, Extraction]:
    """The document's kind and its pages; the libraries of a format are imported only when it comes."""
    kind = formats.sniff(data, name)
    if kind == "pdf":
        from sharedllm_cli.documents import pdf

        return kind, pdf.extract(data, name, password=password, reporter=reporter)
    if kind == "epub":
        from sharedllm_cli.documents import epub

        return kind, epub.extract(data, name)
    declared = formats.declared_encoding(data)
    text, warnings = encodings.decode(data, name, declared=declared)
    kind = formats.text_kind(text, name)
    if kind in ("text", "mail"):
        return kind, _plain(text, warnings)
    return kind, _marked_up(kind, text, warnings, name)


def _plain(text: str, warnings: Sequence[str]) -> Extraction:
    """A text file or a mail; form feeds are its page breaks."""
    pieces = text.split("\f")
    if len(pieces) > 1 and not pieces[-1].strip():
        pieces.pop()
    pages = tuple(ExtractedPage(piece) for piece in pieces)
    return Extraction(pages, len(pages) > 1, reflow=True, layout=True, warnings=tuple(warnings))


def _marked_up(kind: str, text: str, warnings: list[str], name: str) -> Extraction:
    from sharedllm_cli.documents import markup

    text = text.replace("\f", "\n")
    readers = {"html": markup.from_html, "markdown": markup.from_markdown, "rst": markup.from_rst}
    try:
        found = readers[kind](text)
    except (RecursionError, ValueError, AssertionError) as failure:
        # The libraries stumble over some hostile or half-finished files; their source is readable text all the same.
        warnings = [*warnings, f"{name}: its markup can't be followed, so it is read as plain text ({failure!r:.80})"]
        found = markup.MarkupText(text, ())
    page = ExtractedPage(found.text)
    return Extraction((page,), False, reflow=False, layout=True, outline=found.outline, warnings=tuple(warnings))


def _labels(pages: Sequence[ExtractedPage], printed: Sequence[str | None]) -> list[str | None]:
    """Each page's label: as the file says, unless that only counts the pages and the pages print something else."""
    labels = [page.label for page in pages]
    counting = all(label is None or label == str(number) for number, label in enumerate(labels, 1))
    if not counting:
        return labels
    return [number or label for number, label in zip(printed, labels, strict=True)]


def _no_text(name: str, kind: str, extraction: Extraction) -> DocumentError:
    if kind != "pdf":
        return DocumentError(f"{name} holds no text")
    count = len(extraction.pages)
    told = "its only page is" if count == 1 else f"its {count} pages are"
    if any(page.images for page in extraction.pages):
        return DocumentError(
            f"{name} holds no text: {told} scanned or drawn", hint="add the text first, e.g. ocrmypdf in.pdf out.pdf"
        )
    return DocumentError(f"{name} holds no text: {told} blank or drawn")


def _pages_without_text(name: str, extraction: Extraction, normalised: NormalisedText) -> tuple[str, ...]:
    """One warning that names the pages without text, with a hint where they show images."""
    from sharedllm_cli.documents.pdf import name_pages

    empty = [
        number for number, (start, end) in enumerate(normalised.spans, 1) if not normalised.text[start:end].strip()
    ]
    if not empty:
        return ()
    told = f"{name}: no text on {name_pages(empty)}"
    scanned = [number for number in empty if extraction.pages[number - 1].images]
    if not scanned:
        return (told,)
    which = "" if scanned == empty else f"; {name_pages(scanned)} {'show' if len(scanned) > 1 else 'shows'} images"
    return (f"{told}{which}; if scanned, OCR adds it, e.g. ocrmypdf in.pdf out.pdf",)
