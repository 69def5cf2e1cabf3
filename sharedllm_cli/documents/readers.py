"""Any document: from a file or standard input to a `Document`. The page to read first in this room.

data flow: bytes → formats (what is it?) → pdf, markup, office or characters (pages as extracted) → normalise → Document
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from sharedllm_cli.config import READ_MEMORY, READ_SECONDS, Settings
from sharedllm_cli.documents import formats
from sharedllm_cli.documents.characters import repair
from sharedllm_cli.documents.pages import (
    AttachedFile,
    Attachment,
    Document,
    ExtractedPage,
    Extraction,
    Page,
    name_pages,
)
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.durable import is_settled, sha256_of_bytes, stamp_of
from sharedllm_cli.errors import DocumentError
from sharedllm_cli.progress import Reporter, Silent

if TYPE_CHECKING:
    from sharedllm_cli.documents.normalise import NormalisedText
    from sharedllm_cli.documents.pdf.open_pdf import OpenPDF
    from sharedllm_cli.documents.process import Reading


OFFICE = frozenset({"docx", "pptx", "xlsx", "odt", "ods", "odp"})
HEAD_BYTES = 1024
"""The first bytes of a file, which show a kind that can't be read."""


SHORT_BYTES = 1 << 16
"""A plain text up to this size is read without a process of its own: no library parses it."""
WHOLE = 30
"""A document may take this many times the seconds that it may go without a sign of progress."""
WHOLE_RECOGNISED = 600
"""The same where text is recognised: about ten seconds a page."""
_OUTPUT_SHARE = 4
_RECOGNISE = "--ocr recognises the text of pages that are pictures"


@dataclass(frozen=True)
class Limits:
    """What reading one document may take: seconds without a sign of progress (a page), and bytes of memory.

    `ocr`: the text of pictures is recognised, which takes its time (recognition.py).
    """

    seconds: float = READ_SECONDS
    memory_bytes: int = READ_MEMORY << 30
    ocr: bool = False

    @staticmethod
    def of(settings: Settings) -> Limits:
        """Those that a user set. UsageError where what recognises text is wanted and not installed."""
        if settings.ocr:
            from sharedllm_cli.documents import recognition

            recognition.require()
        return Limits(settings.read_seconds, int(settings.read_memory * 2**30), settings.ocr)

    @property
    def step_seconds(self) -> float:
        """How long it may go without a sign of progress: recognising a page may take some times as long as reading."""
        return (3 if self.ocr else 1) * self.seconds

    @property
    def whole_seconds(self) -> float:
        """How long a document may take in all."""
        return (WHOLE_RECOGNISED if self.ocr else WHOLE) * self.seconds

    @property
    def output_bytes(self) -> int:
        """Bytes of text, pages and attachments that may come of it."""
        return self.memory_bytes // _OUTPUT_SHARE


class Probe:
    """One look at a document, which reading it goes on from: its file is read once, and a PDF opened once.

    Bytes, hash and kind are found when they are first asked for. Each raises DocumentError where the document can't be
    read. `data` and `content_hash` are given where the caller knows them already, `load` where the bytes lie within
    another file. With `limits` a process of its own opens and reads what is more than a short text (process.py);
    `ocr` as there, where it is read here.
    """

    def __init__(
        self,
        source: SourceFile,
        *,
        password: str | None = None,
        data: bytes | None = None,
        content_hash: str | None = None,
        load: Callable[[], bytes] | None = None,
        limits: Limits | None = None,
        ocr: bool = False,
    ) -> None:
        self.source = source
        self._limits = limits
        self._ocr = limits.ocr if limits else ocr
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
                formats.refuse(head, self.source.name, images=self._ocr)
                return head + file.read()
        except OSError as failure:
            raise _unreadable(self.source, failure) from failure

    def carried(self, file: Attachment | AttachedFile) -> Probe:
        """A first look at a document that this one carries, named `outer.pdf › inner.pdf`."""
        source = SourceFile(f"{self.source.name} › {file.name}", None)
        content, load = file.content_hash, partial(self._bytes_of, file.content_hash)
        return Probe(source, password=self._password, content_hash=content, load=load, limits=self._limits)

    def _bytes_of(self, content_hash: str) -> bytes:
        """The bytes of one attachment; DocumentError where the file no longer holds it."""
        data = self.attached().get(content_hash)
        if data is None:
            raise DocumentError(
                f"{self.source.name} no longer holds an attachment that it had", hint="ask with --reindex"
            )
        return data

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the document's bytes."""
        return sha256_of_bytes(self.data)

    @cached_property
    def _kind(self) -> str | None:
        if not self.data.strip():
            raise DocumentError(f"{self.source.name} is empty")
        return formats.sniff(self.data, self.source.name, images=self._ocr)

    @cached_property
    def _reading(self) -> Reading | None:
        """The process in which it is read, None where it is read here."""
        if self._limits is None or not self.data.strip() or self._is_short_text:
            return None
        from sharedllm_cli.documents.process import Reading

        return Reading(self.source, self._password, self._limits)

    @property
    def _is_short_text(self) -> bool:
        """Whether no library that parses is needed: a text that is neither marked up nor long."""
        data, name = self.data, self.source.name
        if len(data) > SHORT_BYTES or formats.suffix_kind(name) not in (None, "text"):
            return False
        if data.startswith(b"PK") or b"%PDF-" in data or self._kind is not None:
            return False
        from sharedllm_cli.documents.encodings import decode

        text, _ = decode(data, name, declared=formats.declared_encoding(data))
        return formats.text_kind(text, name) in ("text", "mail")

    @cached_property
    def _pdf(self) -> OpenPDF:
        from sharedllm_cli.documents.pdf.open_pdf import OpenPDF

        return OpenPDF(self.data, self.source.name, self._password, ocr=self._ocr)

    def open(self) -> None:
        """Find the kind and open a PDF. Raises DocumentError for what is empty, encrypted, damaged or not a document.

        What passes may still have no text: that shows once its pages are read.
        """
        if self._reading:
            self._reading.open(self.data)
        elif self._kind == "pdf":
            _ = self._pdf

    def forget(self) -> None:
        """Let the bytes of a regular file go: its index may serve, and it can be read again."""
        if reading := self.__dict__.get("_reading"):
            reading.let_go()
        if self.source.path is not None and self.source.path.is_file():
            _ = self.content_hash
            self.__dict__.pop("data", None)

    def read(self, reporter: Reporter | None = None) -> Document:
        """Read the document whole.

        Raises DocumentError for a document that is missing, encrypted, damaged, of another kind or without any text.
        What could be read only in part is in the document's warnings and is reported.
        """
        reporter = reporter or Silent()
        if self._reading:
            try:
                return self._reading.read(self.data, reporter)
            finally:
                self.attachments = self._reading.files
        kind, extraction = self._extract(reporter)
        self.attachments = extraction.attachments
        return _document(self.source, sha256_of_bytes(self.data), kind, extraction, reporter)

    def attached(self) -> dict[str, bytes]:
        """The bytes of the documents that this one carries, by their SHA-256; empty where it can't be opened again."""
        return {file.content_hash: file.data for file in self.attached_files()}

    def attached_files(self) -> tuple[AttachedFile, ...]:
        """The documents that this one carries; none where it can't be opened again."""
        if self.attachments:
            return self.attachments
        if self._reading:
            return self._reading.attached(self.data)
        if self._kind == "pdf":
            from sharedllm_cli.documents.pdf.second_opinion import SecondOpinion

            return SecondOpinion(self.data, self.source.name, self._password).attached()[0]
        self.attachments = self._extract(Silent())[1].attachments
        return self.attachments

    def _extract(self, reporter: Reporter) -> tuple[str, Extraction]:
        """The document's kind and its pages; the libraries of a format are imported only when it comes."""
        name, data, kind = self.source.name, self.data, self._kind
        if kind == "pdf":
            opened = self._pdf
            del self._pdf  # its pages are read once
            return kind, opened.extract(reporter)
        if kind == "image":
            from sharedllm_cli.documents import images

            return kind, images.extract(data, name, reporter)
        if kind is not None:
            return kind, _packed(kind, data, name)
        from sharedllm_cli.documents.encodings import decode

        text, warnings = decode(data, name, declared=formats.declared_encoding(data))
        kind = formats.text_kind(text, name)
        return kind, _of_text(kind, text, warnings, name)


def read(
    source: SourceFile, *, password: str | None = None, reporter: Reporter | None = None, data: bytes | None = None
) -> Document:
    """Read a document whole in this process, as `Probe.read` does: for files that the user's own tools made."""
    return Probe(source, password=password, data=data).read(reporter)


def _document(source: SourceFile, content_hash: str, kind: str, extraction: Extraction, reporter: Reporter) -> Document:
    """The extracted pages as one normalised text, with labels and warnings."""
    from sharedllm_cli.documents.normalise import normalise

    raws = [repair(page.raw) for page in extraction.pages]
    normalised = normalise(
        raws,
        running=kind in ("pdf", "text", "image"),
        reflow=extraction.reflow,
        layout=extraction.layout,
        cells=kind in ("pdf", "image"),
        seams=[page.seam for page in extraction.pages],
    )
    if not normalised.text.strip():
        raise _no_text(source.name, kind, extraction)
    labels = _labels(extraction.pages, normalised.printed_numbers)
    pages = tuple(
        Page(number, label, start, end, raw, page.part, page.part_title, page.recognised)
        for number, (label, (start, end), raw, page) in enumerate(
            zip(labels, normalised.spans, raws, extraction.pages, strict=True), 1
        )
    )
    warnings = (*formats.remarks(source.name, kind), *extraction.warnings)
    if kind == "pdf":
        warnings += _pages_without_text(source.name, extraction, normalised)
    if found := [page.number for page in pages if page.recognised]:
        where = name_pages(found) if extraction.paged else "it"
        warnings += (f"{source.name}: the text of {where} was recognised from images, and may have mistakes",)
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
        recognised_by=extraction.recognised_by,
        pictures=tuple(number for number, page in enumerate(extraction.pages, 1) if page.picture),
        attachments=tuple(Attachment(file.name, file.content_hash) for file in extraction.attachments),
    )


def rest() -> None:
    """End the process that waits for another document, if one does."""
    if process := sys.modules.get("sharedllm_cli.documents.process"):
        process.rest()


def named(document: Document, source: SourceFile) -> Document:
    """A document that was read under another name, as this file: what its old name promised is no longer told."""
    old = formats.remarks(document.name, document.kind)
    called = re.compile(rf"(?<![\w.-]){re.escape(document.name)}(?![\w-])")
    told = [called.sub(lambda _: source.name, text) for text in document.warnings if text not in old]
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
    """A text file; form feeds are its page breaks."""
    pieces = text.split("\f")
    if len(pieces) > 1 and not pieces[-1].strip():
        pieces.pop()
    pages = tuple(ExtractedPage(piece) for piece in pieces)
    return Extraction(pages, len(pages) > 1, reflow=True, layout=True, warnings=tuple(warnings))


def _packed(kind: str, data: bytes, name: str) -> Extraction:
    """The pages of a file that is no text but a PDF; the libraries of a format are imported only when it comes."""
    if kind == "epub":
        from sharedllm_cli.documents.markup import epub

        return epub.extract(data, name)
    if kind in ("mail", "saved page"):
        from sharedllm_cli.documents.office import mail

        return mail.extract(data, name) if kind == "mail" else mail.saved_page(data, name)
    if kind in ("odt", "ods", "odp"):
        from sharedllm_cli.documents.office import odf

        return odf.extract(data, name, kind)
    from sharedllm_cli.documents.office import docx, pptx, xlsx

    return {"docx": docx.extract, "pptx": pptx.extract, "xlsx": xlsx.extract}[kind](data, name)


def _of_text(kind: str, text: str, warnings: list[str], name: str) -> Extraction:
    if kind == "text":
        return _plain(text, warnings)
    if kind == "csv":
        from sharedllm_cli.documents.office import sheets

        return sheets.delimited(text, name, warnings)
    if kind == "notebook":
        from sharedllm_cli.documents.office import notebook

        return notebook.extract(text, name, warnings)
    return _marked_up(kind, text, warnings, name)


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
    if kind == "image":
        return DocumentError(f"{name} contains no text that can be recognised")
    if kind != "pdf":
        left_out = "; ".join(extraction.warnings[:3]) if kind in OFFICE else ""
        return DocumentError(f"{name} contains no text", hint=left_out or None)
    count = len(extraction.pages)
    told = "its only page is" if count == 1 else f"its {count} pages are"
    hint = _RECOGNISE if any(page.picture for page in extraction.pages) else None
    if any(page.unreadable for page in extraction.pages):
        return DocumentError(
            f"{name} contains no text that can be made out: its fonts do not say which characters they draw", hint=hint
        )
    drawn = "scanned or drawn" if any(page.images for page in extraction.pages) else "blank or drawn"
    return DocumentError(f"{name} contains no text: {told} {drawn}", hint=hint)


def _pages_without_text(name: str, extraction: Extraction, normalised: NormalisedText) -> tuple[str, ...]:
    """One warning that names the pages without text, with a hint where they show images."""
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
    hint = f"; if scanned, {_RECOGNISE}" if any(extraction.pages[number - 1].picture for number in scanned) else ""
    return (f"{told}{which}{hint}",)
