"""Text, labels and outline of a PDF.

PDFium reads everything that it can: it is the faster by far, and where pypdf gives labels and outline too they are the
same. pypdf is the second opinion: for a file that PDFium refuses, and for a page on which it fails or finds nothing.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pypdfium2
import pypdfium2.raw

from sharedllm_cli.documents.metadata import of_pdf
from sharedllm_cli.documents.pages import AttachedFile, ExtractedPage, Extraction, OutlineEntry
from sharedllm_cli.documents.pdf_beside import NOTHING, Beside, Looked
from sharedllm_cli.errors import DocumentError
from sharedllm_cli.progress import Reporter

if TYPE_CHECKING:
    import pypdf

FEW_CHARACTERS = 200
"""Images are looked for on pages with less text than this: they may be scans with a printed stamp."""

LONGEST_LINE = 500
"""A page of more characters than this in a single line has lost its line ends."""


class OpenPDF:
    """A PDF that has opened, and whose pages have not been read yet.

    Raises DocumentError for a file that is encrypted (no or a wrong password) or that neither library can open.
    """

    def __init__(self, data: bytes, name: str, password: str | None) -> None:
        self._name = name
        self._second = SecondOpinion(data, name, password)
        self._document: pypdfium2.PdfDocument | None = None
        try:
            self._document = pypdfium2.PdfDocument(data, password=password)
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
            pages, damaged = _pages(document, self._second, self._name, reporter, beside)
            outline = tuple(_outline(document))
            metadata = of_pdf(document.get_metadata_dict())
        files, remarks = self._second.attached() if beside.carries_files else ((), ())
        return Extraction(
            pages,
            True,
            reflow=True,
            layout=False,
            outline=outline,
            warnings=(*_damage(self._name, damaged), *beside.warnings(self._name), *remarks),
            metadata=metadata,
            attachments=files,
        )


def _pages(
    document: pypdfium2.PdfDocument, second: SecondOpinion, name: str, reporter: Reporter, beside: Beside
) -> tuple[tuple[ExtractedPage, ...], list[int]]:
    pages: list[ExtractedPage] = []
    damaged: list[int] = []
    with reporter.task(f"reading {name}", len(document), "pages") as task:
        for index in range(len(document)):
            raw, images, sound, around = "", False, True, NOTHING
            try:
                raw, images, blank, around = _page(document, index, beside)
            except pypdfium2.PdfiumError:
                blank = sound = False
            if not raw.strip() and not blank:
                found = second.page(index)
                sound = sound or found is not None
                raw = found or ""
            elif _lost_its_lines(raw):
                raw = _with_lines(second.page(index), raw)
            if not sound:
                damaged.append(index + 1)
            pages.append(ExtractedPage(around.into(raw), _label(document, index), images))
            task.advance(1)
    return tuple(pages), damaged


def _page(document: pypdfium2.PdfDocument, index: int, beside: Beside) -> tuple[str, bool, bool, Looked]:
    """The page's text, whether it shows images (told where there is little text) or nothing, and what is beside it."""
    page = document[index]
    try:
        around = beside.look(page)
        text_page = page.get_textpage()
        try:
            raw = text_page.get_text_range()
        finally:
            text_page.close()
        if len(raw.strip()) >= FEW_CHARACTERS:
            return raw, False, False, around
        kinds = [thing.type for thing in page.get_objects(max_depth=4)]
        return raw, pypdfium2.raw.FPDF_PAGEOBJ_IMAGE in kinds, not kinds, around
    finally:
        page.close()


def _lost_its_lines(raw: str) -> bool:
    """PDFium finds no line ends on some pages that are turned by 90 degrees."""
    return len(raw) > LONGEST_LINE and "\n" not in raw


def _with_lines(other: str | None, raw: str) -> str:
    """pypdf's text of such a page if it holds as much, with line ends."""
    if other is None or "\n" not in other.strip():
        return raw
    return other if len("".join(other.split())) >= 0.9 * len("".join(raw.split())) else raw


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
    """pypdf tells every oddity of a file on its logger and as a warning; what matters is told by us."""
    logger = logging.getLogger("pypdf")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
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
        from sharedllm_cli.documents.pdf_strings import signatures

        with _quiet():
            reader = self._open()
            try:
                return signatures(reader) if reader else {}
            except Exception:
                return {}

    def beside(self, index: int) -> tuple[list[str], int]:
        """The words that the page's annotations and figures hold, and how many boxes are ticked."""
        from sharedllm_cli.documents.pdf_strings import strings, ticked

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
                    pages.append(ExtractedPage(text or "", labels[index]))
                    task.advance(1)
            outline = tuple(self._outline(reader))
        files, remarks = self.attached()
        return Extraction(
            tuple(pages),
            True,
            reflow=True,
            layout=False,
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
