"""Any document: from a file or standard input to a `Document`. The page to read first in this room.

data flow: bytes → formats (what is it?) → pdf, epub, markup or characters (pages as extracted) → normalise → Document
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from sharedllm_cli.documents import formats
from sharedllm_cli.documents.characters import repair
from sharedllm_cli.documents.encodings import decode
from sharedllm_cli.documents.normalise import NormalisedText, normalise
from sharedllm_cli.documents.pages import AttachedFile, Attachment, Document, ExtractedPage, Extraction, Page
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.durable import is_settled, sha256_of_bytes, stamp_of
from sharedllm_cli.errors import DocumentError
from sharedllm_cli.progress import Reporter, Silent

if TYPE_CHECKING:
    from sharedllm_cli.documents.pdf.open_pdf import OpenPDF


HEAD_BYTES = 1024
"""The first bytes of a file, which show a kind that can't be read."""


class Probe:
    """One look at a document, which reading it goes on from: its file is read once, and a PDF opened once.

    Bytes, hash and kind are found when they are first asked for. Each raises DocumentError where the document can't be
    read. `data` and `content_hash` are given where the caller knows them already, `load` where the bytes lie within
    another file.
    """

    def __init__(
        self,
        source: SourceFile,
        *,
        password: str | None = None,
        data: bytes | None = None,
        content_hash: str | None = None,
        load: Callable[[], bytes] | None = None,
    ) -> None:
        self.source = source
        self.stamp: list[int] = []
        """The file's stamp from before it was read; empty where it would prove nothing."""
        self.attachments: tuple[AttachedFile, ...] = ()
        """The documents that it carries, once it was read."""
        self._password = password
        self._load = load
        known = {"data": data, "content_hash": content_hash}
        self.__dict__.update({name: value for name, value in known.items() if value is not None})

    @cached_property
    def data(self) -> bytes:
        """The document's bytes. A file of a kind that can't be read is refused by its head, however long it is."""
        if self._load is not None:
            return self._load()
        try:
            if self.source.path is None:
                return sys.stdin.buffer.read()
            if is_settled(stamp := stamp_of(self.source.path)):
                self.stamp = stamp
            with self.source.path.open("rb") as file:
                head = file.read(HEAD_BYTES)
                formats.refuse(head, self.source.name)
                return head + file.read()
        except OSError as failure:
            raise _unreadable(self.source, failure) from failure

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the document's bytes."""
        return sha256_of_bytes(self.data)

    @cached_property
    def _kind(self) -> str | None:
        if not self.data.strip():
            raise DocumentError(f"{self.source.name} is empty")
        return formats.sniff(self.data, self.source.name)

    @cached_property
    def _pdf(self) -> OpenPDF:
        from sharedllm_cli.documents.pdf.open_pdf import OpenPDF

        return OpenPDF(self.data, self.source.name, self._password)

    def open(self) -> None:
        """Find the kind and open a PDF. Raises DocumentError for what is empty, encrypted, damaged or not a document.

        What passes may still have no text: that shows once its pages are read.
        """
        if self._kind == "pdf":
            _ = self._pdf

    def forget(self) -> None:
        """Let the bytes of a regular file go: its index may serve, and it can be read again."""
        if self.source.path is not None and self.source.path.is_file():
            _ = self.content_hash
            self.__dict__.pop("data", None)

    def read(self, reporter: Reporter | None = None) -> Document:
        """Read the document whole.

        Raises DocumentError for a document that is missing, encrypted, damaged, of another kind or without any text.
        What could be read only in part is in the document's warnings and is reported.
        """
        reporter = reporter or Silent()
        kind, extraction = self._extract(reporter)
        self.attachments = extraction.attachments
        return _document(self.source, sha256_of_bytes(self.data), kind, extraction, reporter)

    def attached(self) -> dict[str, bytes]:
        """The bytes of the documents that a PDF carries, by their SHA-256; empty where it can't be opened again."""
        from sharedllm_cli.documents.pdf.second_opinion import SecondOpinion

        files = self.attachments or SecondOpinion(self.data, self.source.name, self._password).attached()[0]
        return {file.content_hash: file.data for file in files}

    def _extract(self, reporter: Reporter) -> tuple[str, Extraction]:
        """The document's kind and its pages; the libraries of a format are imported only when it comes."""
        name, data, kind = self.source.name, self.data, self._kind
        if kind == "pdf":
            opened = self._pdf
            del self._pdf  # its pages are read once
            return kind, opened.extract(reporter)
        if kind == "epub":
            from sharedllm_cli.documents.markup import epub

            return kind, epub.extract(data, name)
        text, warnings = decode(data, name, declared=formats.declared_encoding(data))
        kind = formats.text_kind(text, name)
        if kind in ("text", "mail"):
            return kind, _plain(text, warnings)
        return kind, _marked_up(kind, text, warnings, name)


def read(
    source: SourceFile, *, password: str | None = None, reporter: Reporter | None = None, data: bytes | None = None
) -> Document:
    """Read a document whole, as `Probe.read` does."""
    return Probe(source, password=password, data=data).read(reporter)


def _document(source: SourceFile, content_hash: str, kind: str, extraction: Extraction, reporter: Reporter) -> Document:
    """The extracted pages as one normalised text, with labels and warnings."""
    raws = [repair(page.raw) for page in extraction.pages]
    normalised = normalise(
        raws,
        running=kind in ("pdf", "text", "mail"),
        reflow=extraction.reflow,
        layout=extraction.layout,
        cells=kind == "pdf",
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
        content_hash=content_hash,
        text=normalised.text,
        pages=pages,
        paged=extraction.paged,
        outline=extraction.outline,
        warnings=warnings,
        metadata=extraction.metadata,
        furniture=normalised.furniture,
        attachments=tuple(Attachment(file.name, file.content_hash) for file in extraction.attachments),
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


def _unreadable(source: SourceFile, failure: OSError) -> DocumentError:
    if isinstance(failure, FileNotFoundError):
        return DocumentError(f"{source.name} does not exist")
    return DocumentError(f"{source.name} can't be read ({(failure.strerror or type(failure).__name__).lower()})")


def _plain(text: str, warnings: Sequence[str]) -> Extraction:
    """A text file or a mail; form feeds are its page breaks."""
    pieces = text.split("\f")
    if len(pieces) > 1 and not pieces[-1].strip():
        pieces.pop()
    pages = tuple(ExtractedPage(piece) for piece in pieces)
    return Extraction(pages, len(pages) > 1, reflow=True, layout=True, warnings=tuple(warnings))


def _marked_up(kind: str, text: str, warnings: list[str], name: str) -> Extraction:
    from sharedllm_cli.documents import metadata
    from sharedllm_cli.documents.markup import html_reader, markdown, restructured

    text = text.replace("\f", "\n")
    readers = {"html": html_reader.from_html, "markdown": markdown.from_markdown, "rst": restructured.from_rst}
    try:
        found = readers[kind](text)
    except (RecursionError, ValueError, AssertionError) as failure:
        # The libraries stumble over some hostile or half-finished files; their source is readable text all the same.
        warnings = [*warnings, f"{name}: its markup can't be parsed, so it is read as plain text ({failure!r:.80})"]
        found = html_reader.MarkupText(text, ())
    warnings = [*warnings, *(f"{name}, {sentence}" for sentence in found.left_out)]
    return Extraction(
        (ExtractedPage(found.text),),
        False,
        reflow=False,
        layout=True,
        outline=found.outline,
        warnings=tuple(warnings),
        metadata=metadata.of_html(text) if kind == "html" else found.metadata,
    )


def _labels(pages: Sequence[ExtractedPage], printed: Sequence[str | None]) -> list[str | None]:
    """Each page's label: as the file says, unless that only counts the pages and the pages print something else."""
    labels = [page.label for page in pages]
    counting = all(label is None or label == str(number) for number, label in enumerate(labels, 1))
    if not counting:
        return labels
    return [number or label for number, label in zip(printed, labels, strict=True)]


def _no_text(name: str, kind: str, extraction: Extraction) -> DocumentError:
    if kind != "pdf":
        return DocumentError(f"{name} contains no text")
    count = len(extraction.pages)
    told = "its only page is" if count == 1 else f"its {count} pages are"
    if any(page.unreadable for page in extraction.pages):
        return DocumentError(
            f"{name} contains no text that can be made out: its fonts do not say which characters they draw",
            hint="add the text by OCR, e.g. ocrmypdf --force-ocr in.pdf out.pdf",
        )
    if any(page.images for page in extraction.pages):
        return DocumentError(
            f"{name} contains no text: {told} scanned or drawn", hint="add the text first, e.g. ocrmypdf in.pdf out.pdf"
        )
    return DocumentError(f"{name} contains no text: {told} blank or drawn")


def _pages_without_text(name: str, extraction: Extraction, normalised: NormalisedText) -> tuple[str, ...]:
    """One warning that names the pages without text, with a hint where they show images."""
    from sharedllm_cli.documents.pdf.second_opinion import name_pages

    empty = [
        number
        for number, ((start, end), page) in enumerate(zip(normalised.spans, extraction.pages, strict=True), 1)
        if not normalised.text[start:end].strip() and not page.unreadable
    ]
    if not empty:
        return ()
    told = f"{name}: no text on {name_pages(empty)}"
    scanned = [number for number in empty if extraction.pages[number - 1].images]
    if not scanned:
        return (told,)
    which = "" if scanned == empty else f"; {name_pages(scanned)} {'show' if len(scanned) > 1 else 'shows'} images"
    return (f"{told}{which}; if scanned, OCR adds it, e.g. ocrmypdf in.pdf out.pdf",)
