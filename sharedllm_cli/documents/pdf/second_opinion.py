"""pypdf, the second opinion on a PDF: for a file that PDFium refuses, and for what PDFium does not read.

Its words beside the text are compared with the first reading and name who signed; damaged files may raise anything.
Also what both readings of a file say of pages that they can't read.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sharedllm_cli.documents.pages import AttachedFile, ExtractedPage, Extraction, OutlineEntry, name_pages
from sharedllm_cli.documents.pdf import layers
from sharedllm_cli.documents.pdf.fonts import Named
from sharedllm_cli.documents.pdf.glyph_names import GlyphNames, KnownFonts
from sharedllm_cli.errors import DocumentError
from sharedllm_cli.progress import Reporter

if TYPE_CHECKING:
    import pypdf


_Answer = TypeVar("_Answer")
_GAPS = re.compile(r"(?<=\S)[ \t]{2,}")


def damage(name: str, damaged: list[int]) -> tuple[str, ...]:
    if not damaged:
        return ()
    return (f"{name}: {name_pages(damaged)} could not be read (damaged)",)


def password_error(name: str, password: str | None) -> DocumentError:
    if password is None:
        return DocumentError(f"{name} is encrypted", hint="give its password with --password")
    return DocumentError(f"the password does not open {name}", hint="give the right one with --password")


@contextmanager
def quiet() -> Iterator[None]:
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


def single_spaced(text: str) -> str:
    """pypdf's text: the white space within its lines means nothing."""
    return _GAPS.sub(" ", text)


class SecondOpinion:
    """pypdf, opened when first needed. On a damaged file it can raise nearly anything, so here anything is caught."""

    def __init__(self, data: bytes, name: str, password: str | None) -> None:
        self.data = data
        self.name = name
        self.password = password
        self._unchecked: pypdf.PdfReader | None = None
        self._reader: pypdf.PdfReader | None = None
        self._refused = False
        self._fonts: KnownFonts = {}

    def _open(self) -> pypdf.PdfReader | None:
        if self._reader is None and not self._refused:
            try:
                reader = self._begun()
                len(reader.pages)
                self._reader = reader
            except Exception:
                self._refused = True
        return self._reader

    def _begun(self) -> pypdf.PdfReader:
        """The file as pypdf opens it, before its pages are looked for, which takes the most time."""
        from io import BytesIO

        import pypdf

        if self._unchecked is None:
            self._unchecked = pypdf.PdfReader(BytesIO(self.data), strict=False, password=self.password)
        return self._unchecked

    def without_hidden(self) -> bytes | None:
        """The file without layers that are off, None where it has none (or where they can't be told)."""
        named = layers.names_layers(self.data)
        if named or (named is None and self._root_names_layers()):
            return self._asked(layers.without_hidden)
        return None

    def _root_names_layers(self) -> bool:
        with quiet():
            try:
                return "/OCProperties" in self._begun().root_object
            except Exception:
                return True

    def named_on(self, index: int) -> Named:
        """What gives the characters that names of glyphs say in the fonts of a page; the file is opened when asked."""
        names: list[GlyphNames] = []

        def named(font: str, widths: Mapping[int, float]) -> Mapping[int, str]:
            def ask(reader: pypdf.PdfReader) -> Mapping[int, str]:
                if not names:
                    names.append(GlyphNames(reader, index, self._fonts))
                return names[0].characters(font, widths)

            return self._asked(ask, whole=False) or {}

        return named

    def _asked(self, question: Callable[[pypdf.PdfReader], _Answer], *, whole: bool = True) -> _Answer | None:
        """What is found in the file as pypdf opens it (`whole`: with all of its pages), None where it fails."""
        with quiet():
            try:
                reader = self._open() if whole else self._begun()
                return None if reader is None else question(reader)
            except Exception:
                return None

    def page(self, index: int) -> str | None:
        """The page's text, None where pypdf fails on it too."""
        with quiet():
            reader = self._open()
            try:
                return reader.pages[index].extract_text() if reader else None
            except Exception:
                return None

    def require(self) -> pypdf.PdfReader:
        """The file as pypdf opens it; DocumentError where that is impossible."""
        with quiet():
            reader = self._open()
            if reader is not None and len(reader.pages) > 0:
                return reader
            if self._needs_password():
                raise password_error(self.name, self.password)
        raise DocumentError(f"{self.name} is damaged, or not a PDF", hint="open it in a PDF viewer and save it again")

    def attached(self) -> tuple[tuple[AttachedFile, ...], tuple[str, ...]]:
        """The documents that the file carries, and what is to be said of others that it carries."""
        from sharedllm_cli.documents.attachments import attached

        with quiet():
            reader = self._open()
            try:
                files, remarks = attached(reader, self.name) if reader else ([], [])
                return tuple(files), tuple(remarks)
            except Exception:
                return (), (f"{self.name}: its attachments could not be read (damaged)",)

    def signatures(self) -> dict[str, str]:
        """What the file's signatures say of who signed and when, by the names of their fields."""
        with quiet():
            reader = self._open()
            try:
                return signatures(reader) if reader else {}
            except Exception:
                return {}

    def beside(self, index: int) -> tuple[list[str], int]:
        """The words that the page's annotations and figures hold, and how many boxes are ticked."""
        with quiet():
            reader = self._open()
            try:
                page = reader.pages[index] if reader else None
                return ([], 0) if reader is None or page is None else (strings(reader, page), ticked(page))
            except Exception:
                return [], 0

    def whole(self, reporter: Reporter) -> Extraction:
        """The file read by pypdf alone; DocumentError where that is impossible."""
        reader = self.require()
        with quiet():
            count = len(reader.pages)
            labels = self._labels(reader)
            with reporter.task(f"reading {self.name}", count, "pages") as task:
                pages, damaged = [], []
                for index in range(count):
                    text = self.page(index)
                    if text is None:
                        damaged.append(index + 1)
                    pages.append(ExtractedPage(single_spaced(text or ""), labels[index]))
                    task.advance(1)
            outline = tuple(self._outline(reader))
        files, remarks = self.attached()
        return Extraction(
            tuple(pages),
            True,
            reflow=True,
            layout=True,
            outline=outline,
            warnings=(*damage(self.name, damaged), *remarks),
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


MOST_ELEMENTS = 20_000
"""Elements of the file's structure that are looked through for figures' texts."""
_OFF = ("", "/Off")


def strings(reader: pypdf.PdfReader, page: pypdf.PageObject) -> list[str]:
    """All words of the page's annotations, and of the file's figures."""
    found: list[str] = []
    for annotation in _annotations(page):
        value = _inherited(annotation, "/V")
        chosen = [str(one) for one in value] if isinstance(value, list) else []
        labels = dict(_options(annotation))
        single = [str(value)] if isinstance(value, str) else []
        found += [*single, *(labels.get(one, one) for one in [*single, *chosen])]
        if chosen:
            found.append(", ".join(labels.get(one, one) for one in chosen))
        if value is not None and hasattr(value, "get"):
            found.append(_signed(value))
        if isinstance(stamp := annotation.get("/Name"), str):
            found.append(stamp.lstrip("/"))
        if "/Contents" in annotation:
            found.append(str(annotation["/Contents"]))
    return [*found, *_alternatives(reader)]


def ticked(page: pypdf.PageObject) -> int:
    """How many boxes of the page are ticked."""
    return sum(
        1
        for annotation in _annotations(page)
        if _inherited(annotation, "/FT") == "/Btn" and str(annotation.get("/AS", "")) not in _OFF
    )


def signatures(reader: pypdf.PdfReader) -> dict[str, str]:
    """What each signature says, by its field's whole name."""
    fields = reader.get_fields() or {}
    signed = {}
    for name, field in fields.items():
        value = field.get("/V")
        value = value.get_object() if hasattr(value, "get_object") else value
        if field.get("/FT") == "/Sig" and hasattr(value, "get"):
            signed[str(name)] = _signed(value)
    return signed


def _signed(value: Any) -> str:
    who = " ".join(str(value.get("/Name", "")).split())
    when = re.match(r"D:(\d{4})(\d\d)(\d\d)", str(value.get("/M", "")))
    date = f"{when[1]}-{when[2]}-{when[3]}" if when else ""
    told = ", ".join(part for part in (who, date) if part)
    return f"[signed: {told}]" if told else "[signed]"


def _annotations(page: pypdf.PageObject) -> Iterator[Any]:
    for reference in page.get("/Annots", []) or []:
        annotation = reference.get_object()
        if hasattr(annotation, "get"):
            yield annotation


def _inherited(annotation: Any, key: str) -> Any:
    for _ in range(16):
        if key in annotation:
            return annotation[key]
        parent = annotation.get("/Parent")
        if parent is None:
            return None
        annotation = parent.get_object()
    return None


def _options(annotation: Any) -> Iterator[tuple[str, str]]:
    for option in _inherited(annotation, "/Opt") or []:
        option = option.get_object() if hasattr(option, "get_object") else option
        if isinstance(option, list) and len(option) == 2:
            yield str(option[0]), str(option[1])


def _alternatives(reader: pypdf.PdfReader) -> Iterator[str]:
    root = reader.root_object.get("/StructTreeRoot")
    waiting = [root] if root is not None else []
    seen: set[int] = set()
    for _ in range(MOST_ELEMENTS):
        if not waiting:
            return
        element = waiting.pop()
        element = element.get_object() if hasattr(element, "get_object") else element
        if id(element) in seen:
            continue
        seen.add(id(element))
        if isinstance(element, list):
            waiting += element
        elif hasattr(element, "get"):
            if "/Alt" in element:
                yield str(element["/Alt"])
            if "/K" in element:
                waiting.append(element.raw_get("/K"))
