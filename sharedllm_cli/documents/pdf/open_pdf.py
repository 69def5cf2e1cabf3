"""Text, labels and outline of a PDF.

PDFium reads everything that it can: it is the faster by far, and where pypdf gives labels and outline too they are the
same. Its characters are put in the order of reading here (page_pieces.py, page_text.py). pypdf is the second
opinion: for a file that PDFium refuses, and for a page on which it fails or finds nothing.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import pypdfium2
import pypdfium2.raw

from sharedllm_cli.documents.metadata import of_pdf
from sharedllm_cli.documents.pages import AttachedFile, ExtractedPage, Extraction, OutlineEntry
from sharedllm_cli.documents.pdf import layers, page_pieces, rules
from sharedllm_cli.documents.pdf.beside import NOTHING, Beside, Looked
from sharedllm_cli.documents.pdf.glyph_names import GlyphNames
from sharedllm_cli.documents.pdf.page_pieces import Named
from sharedllm_cli.documents.pdf.page_text import PageText, page_text
from sharedllm_cli.documents.pdf.plausible import is_words, surely_words
from sharedllm_cli.errors import DocumentError
from sharedllm_cli.progress import Reporter

if TYPE_CHECKING:
    import pypdf

FEW_CHARACTERS = 200
"""Images are looked for on pages with less text than this: they may be scans with a printed stamp."""

MOST_UNKNOWN = 0.3
"""A page is not read where a larger share of its glyphs has no meaning."""

_Answer = TypeVar("_Answer")
_GAPS = re.compile(r"(?<=\S)[ \t]{2,}")


class OpenPDF:
    """A PDF that has opened, and whose pages have not been read yet.

    Raises DocumentError for a file that is encrypted (no or a wrong password) or that neither library can open.
    """

    def __init__(self, data: bytes, name: str, password: str | None) -> None:
        self._name = name
        self._password = password
        self._second = SecondOpinion(data, name, password)
        self._document: pypdfium2.PdfDocument | None = None
        shown = self._second.without_hidden()
        try:
            self._document = _open(data, password) if shown is None else pypdfium2.PdfDocument(shown)
        except pypdfium2.PdfiumError as failure:
            if failure.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
                raise _password_error(name, password) from failure
        if self._document is None or len(self._document) == 0:
            self._document = None
            self._second.require()

    def extract(self, reporter: Reporter) -> Extraction:
        """Everything readable, page by page as extracted. Closes the file.

        A damaged page is an empty one, and named in the warnings.
        """
        if self._document is None:
            return self._second.whole(reporter)
        with self._document as document:
            beside = Beside(document, self._second.signatures)
            read = _Pages(self._name, self._second, document, beside, reporter)
            with _quiet():
                outline = tuple(_outline(document))
            metadata = of_pdf(document.get_metadata_dict())
        files, remarks = self._second.attached() if beside.carries_files else ((), ())
        return Extraction(
            read.extracted,
            True,
            reflow=True,
            layout=True,
            outline=outline,
            warnings=(*read.warnings(), *beside.warnings(self._name), *remarks),
            metadata=metadata,
            attachments=files,
        )


@dataclass
class _Page:
    """A page as read, and what lies beside its text (`around`).

    `images` is found out where there is little text, `blank` is a page that draws nothing.
    """

    found: PageText = field(default_factory=lambda: PageText(""))
    around: Looked = NOTHING
    images: bool = False
    blank: bool = False

    @property
    def readable(self) -> bool:
        return self.found.unknown <= MOST_UNKNOWN * self.found.glyphs and is_words(self.found.text)


class _Pages:
    """All pages of a document, and what could not be read of them."""

    def __init__(
        self,
        name: str,
        second: SecondOpinion,
        document: pypdfium2.PdfDocument,
        beside: Beside,
        reporter: Reporter,
    ) -> None:
        self.name = name
        self.second = second
        self.damaged: list[int] = []
        self.unreadable: list[int] = []
        self.guessed: list[int] = []
        self.unknown: dict[int, int] = {}
        count = len(document)
        pages: list[_Page | None] = []
        with reporter.task(f"reading {name}", count, "pages") as task:
            for index in range(count):
                pages.append(_attempt(document, index, beside, second.named_on(index)))
                task.advance(1)
            for index, page in enumerate(pages):
                if page is not None and not page.readable:
                    guess = _attempt(document, index, beside, second.named_on(index), trust=True)
                    if guess is not None and guess.readable and surely_words(guess.found.text):
                        pages[index] = guess
                        self.guessed.append(index + 1)
            labels = [_label(document, index) for index in range(count)]
            self.extracted = tuple(
                self._extracted(index, page, label)
                for index, (page, label) in enumerate(zip(pages, labels, strict=True))
            )

    def _extracted(self, index: int, page: _Page | None, label: str | None) -> ExtractedPage:
        raw, number = "", index + 1
        if page is None:
            other = self.second.page(index)
            if other is None:
                self.damaged.append(number)
            return ExtractedPage(_single_spaced(other or ""), label)
        if not page.readable:
            self.unreadable.append(number)
            return ExtractedPage(page.around.into(""), label, page.images, unreadable=True)
        raw = page.found.text
        if page.found.unknown:
            self.unknown[number] = page.found.unknown
        if not raw.strip() and not page.blank:
            raw = _single_spaced(self.second.page(index) or "")
        return ExtractedPage(page.around.into(raw), label, page.images)

    def warnings(self) -> tuple[str, ...]:
        told = _damage(self.name, self.damaged)
        if self.unreadable:
            whose = "its font does" if len(self.unreadable) == 1 else "their fonts do"
            told += (
                f"{self.name}: the text of {name_pages(self.unreadable)} can't be made out: {whose} not say which"
                f" characters they draw; OCR adds the text, e.g. ocrmypdf --force-ocr in.pdf out.pdf",
            )
        if self.guessed:
            whose = "its font does" if len(self.guessed) == 1 else "their fonts do"
            told += (
                f"{self.name}: {whose} not say which characters {name_pages(self.guessed)} draw"
                f"{'s' if len(self.guessed) == 1 else ''}: they are guessed from the codes, and make words",
            )
        if self.unknown:
            count = sum(self.unknown.values())
            which = name_pages(sorted(self.unknown))
            told += (f"{self.name}: {count} character{'s' if count > 1 else ''} of {which} can't be made out",)
        return told


def _open(data: bytes, password: str | None) -> pypdfium2.PdfDocument:
    return pypdfium2.PdfDocument(data, password=password)


def _attempt(
    document: pypdfium2.PdfDocument, index: int, beside: Beside, named: Named, *, trust: bool = False
) -> _Page | None:
    """A page as read, None where PDFium fails on it; `trust` as in `page_pieces.read`."""
    try:
        return _page(document, index, beside, named, trust)
    except pypdfium2.PdfiumError:
        return None


def _page(document: pypdfium2.PdfDocument, index: int, beside: Beside, named: Named, trust: bool = False) -> _Page:
    page = document[index]
    try:
        around = beside.look(page)
        text_page = page.get_textpage()
        try:
            found = _laid_out(page, text_page, named, trust=trust)
        finally:
            text_page.close()
        if len(found.text.strip()) >= FEW_CHARACTERS:
            return _Page(found, around)
        kinds = [thing.type for thing in page.get_objects(max_depth=4)]
        return _Page(found, around, pypdfium2.raw.FPDF_PAGEOBJ_IMAGE in kinds, not kinds)
    finally:
        page.close()


def _laid_out(page: pypdfium2.PdfPage, text: pypdfium2.PdfTextPage, named: Named, *, trust: bool) -> PageText:
    """A page's text in the order of reading; in PDFium's own order where it has more pieces than can be sorted."""
    if text.count_chars() <= page_pieces.MOST_CHARACTERS:
        pieces = page_pieces.read(text, named, trust=trust)
        if len(pieces.pieces) <= page_pieces.MOST_PIECES:
            return page_text(pieces, rules.rules(page) if pieces.pieces else None)
    return PageText(text.get_text_range())


def _single_spaced(text: str) -> str:
    """pypdf's text: the white space within its lines means nothing."""
    return _GAPS.sub(" ", text)


def _label(document: pypdfium2.PdfDocument, index: int) -> str | None:
    """The label that the file gives the page, None where it has no labels or a damaged one."""
    try:
        return document.get_page_label(index).strip() or None
    except (pypdfium2.PdfiumError, UnicodeDecodeError):
        return None


def _outline(document: pypdfium2.PdfDocument) -> Iterator[OutlineEntry]:
    """The bookmarks that point to a page, without damaged ones."""
    with suppress(pypdfium2.PdfiumError):  # A damaged outline is no reason to give up the text.
        for bookmark in document.get_toc():
            with suppress(pypdfium2.PdfiumError, UnicodeDecodeError):
                destination = bookmark.get_dest()
                index = destination.get_index() if destination else None
                title = " ".join(bookmark.get_title().split())
                if index is not None and 0 <= index < len(document) and title:
                    yield OutlineEntry(title, bookmark.level + 1, index + 1)


def _damage(name: str, damaged: list[int]) -> tuple[str, ...]:
    if not damaged:
        return ()
    return (f"{name}: {name_pages(damaged)} could not be read (damaged)",)


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


def _password_error(name: str, password: str | None) -> DocumentError:
    if password is None:
        return DocumentError(f"{name} is encrypted", hint="give its password with --password")
    return DocumentError(f"the password does not open {name}", hint="give the right one with --password")


@contextmanager
def _quiet() -> Iterator[None]:
    """pypdf and pypdfium2 log every oddity of a file, or warn of it; what matters is told by us."""
    loggers = [logging.getLogger(name) for name in ("pypdf", "pypdfium2")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class SecondOpinion:
    """pypdf, opened when first needed. On a damaged file it can raise nearly anything, so here anything is caught."""

    def __init__(self, data: bytes, name: str, password: str | None) -> None:
        self.data = data
        self.name = name
        self.password = password
        self._reader: pypdf.PdfReader | None = None
        self._refused = False

    def _open(self) -> pypdf.PdfReader | None:
        if self._reader is None and not self._refused:
            from io import BytesIO

            import pypdf

            try:
                reader = pypdf.PdfReader(BytesIO(self.data), strict=False, password=self.password)
                len(reader.pages)
                self._reader = reader
            except Exception:
                self._refused = True
        return self._reader

    def without_hidden(self) -> bytes | None:
        """The file without layers that are off, None where it has none (or where they can't be told)."""
        if b"/OCProperties" not in self.data and b"/ObjStm" not in self.data:
            return None
        return self._asked(layers.without_hidden)

    def named_on(self, index: int) -> Named:
        """What gives the characters that names of glyphs say in the fonts of a page; the file is opened when asked."""
        names: list[GlyphNames] = []

        def named(font: str, widths: Mapping[int, float]) -> Mapping[int, str]:
            def ask(reader: pypdf.PdfReader) -> Mapping[int, str]:
                if not names:
                    names.append(GlyphNames(reader, index))
                return names[0].characters(font, widths)

            return self._asked(ask) or {}

        return named

    def _asked(self, question: Callable[[pypdf.PdfReader], _Answer]) -> _Answer | None:
        """What is found in the file as pypdf opens it, None where it fails."""
        with _quiet():
            reader = self._open()
            try:
                return None if reader is None else question(reader)
            except Exception:
                return None

    def page(self, index: int) -> str | None:
        """The page's text, None where pypdf fails on it too."""
        with _quiet():
            reader = self._open()
            try:
                return reader.pages[index].extract_text() if reader else None
            except Exception:
                return None

    def require(self) -> pypdf.PdfReader:
        """The file as pypdf opens it; DocumentError where that is impossible."""
        with _quiet():
            reader = self._open()
            if reader is not None and len(reader.pages) > 0:
                return reader
            if self._needs_password():
                raise _password_error(self.name, self.password)
        raise DocumentError(f"{self.name} is damaged, or not a PDF", hint="open it in a PDF viewer and save it again")

    def attached(self) -> tuple[tuple[AttachedFile, ...], tuple[str, ...]]:
        """The documents that the file carries, and what is to be said of others that it carries."""
        from sharedllm_cli.documents.attachments import attached

        with _quiet():
            reader = self._open()
            try:
                files, remarks = attached(reader, self.name) if reader else ([], [])
                return tuple(files), tuple(remarks)
            except Exception:
                return (), (f"{self.name}: its attachments could not be read (damaged)",)

    def signatures(self) -> dict[str, str]:
        """What the file's signatures say of who signed and when, by the names of their fields."""
        from sharedllm_cli.documents.pdf.strings import signatures

        with _quiet():
            reader = self._open()
            try:
                return signatures(reader) if reader else {}
            except Exception:
                return {}

    def beside(self, index: int) -> tuple[list[str], int]:
        """The words that the page's annotations and figures hold, and how many boxes are ticked."""
        from sharedllm_cli.documents.pdf.strings import strings, ticked

        with _quiet():
            reader = self._open()
            try:
                page = reader.pages[index] if reader else None
                return ([], 0) if reader is None or page is None else (strings(reader, page), ticked(page))
            except Exception:
                return [], 0

    def whole(self, reporter: Reporter) -> Extraction:
        """The file read by pypdf alone; DocumentError where that is impossible."""
        reader = self.require()
        with _quiet():
            count = len(reader.pages)
            labels = self._labels(reader)
            with reporter.task(f"reading {self.name}", count, "pages") as task:
                pages, damaged = [], []
                for index in range(count):
                    text = self.page(index)
                    if text is None:
                        damaged.append(index + 1)
                    pages.append(ExtractedPage(_single_spaced(text or ""), labels[index]))
                    task.advance(1)
            outline = tuple(self._outline(reader))
        files, remarks = self.attached()
        return Extraction(
            tuple(pages),
            True,
            reflow=True,
            layout=True,
            outline=outline,
            warnings=(*_damage(self.name, damaged), *remarks),
            attachments=files,
        )

    def _needs_password(self) -> bool:
        from io import BytesIO

        import pypdf

        try:
            reader = pypdf.PdfReader(BytesIO(self.data), strict=False)
            return reader.is_encrypted and not reader.decrypt(self.password or "")
        except Exception:
            return False

    def _labels(self, reader: pypdf.PdfReader) -> list[str | None]:
        try:
            labels: list[str | None] = list(reader.page_labels) if "/PageLabels" in reader.root_object else []
        except Exception:
            labels = []
        return labels if len(labels) == len(reader.pages) else [None] * len(reader.pages)

    def _outline(self, reader: pypdf.PdfReader) -> Iterator[OutlineEntry]:
        try:
            waiting: list[tuple[Any, int]] = [(entry, 1) for entry in reversed(reader.outline)]
            while waiting:
                entry, level = waiting.pop()
                if isinstance(entry, list):
                    waiting += [(inner, level + 1) for inner in reversed(entry)]
                    continue
                index = reader.get_destination_page_number(entry)
                if index is not None and entry.title:
                    yield OutlineEntry(" ".join(str(entry.title).split()), level, index + 1)
        except Exception:
            return
