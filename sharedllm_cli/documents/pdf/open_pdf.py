"""Text, labels and outline of a PDF.

PDFium reads everything that it can: it is the faster by far, and where pypdf gives labels and outline too they are the
same. Its characters are put in the order of reading here (page_pieces.py, page_text.py). pypdf is the second
opinion: for a file that PDFium refuses, and for a page on which it fails or finds nothing. A
font that maps its glyphs to the wrong letters gives text without meaning; only that of scripts with letters as in
English is recognised as such, and only enough of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pypdfium2
import pypdfium2.raw

from sharedllm_cli.documents.metadata import of_pdf
from sharedllm_cli.documents.pages import ExtractedPage, Extraction, OutlineEntry, name_pages
from sharedllm_cli.documents.pdf import page_pieces, rules
from sharedllm_cli.documents.pdf.beside import NOTHING, Beside, Looked
from sharedllm_cli.documents.pdf.fonts import Named
from sharedllm_cli.documents.pdf.page_text import PageText, page_text
from sharedllm_cli.documents.pdf.second_opinion import (
    SecondOpinion,
    damage,
    password_error,
    quiet,
    single_spaced,
)
from sharedllm_cli.progress import Reporter

FEW_CHARACTERS = 200
"""Images are looked for on pages with less text than this: they may be scans with a printed stamp."""

MOST_UNKNOWN = 0.3
"""A page is not read where a larger share of its glyphs has no meaning."""


class OpenPDF:
    """A PDF that has opened, and whose pages have not been read yet.

    Raises DocumentError for a file that is encrypted (no or a wrong password) or that neither library can open.
    """

    def __init__(self, data: bytes, name: str, password: str | None, *, ocr: bool = False) -> None:
        """`ocr`: the text of pages that are pictures is recognised."""
        self._name = name
        self._ocr = ocr
        self._password = password
        self._second = SecondOpinion(data, name, password)
        self._document: pypdfium2.PdfDocument | None = None
        shown = self._second.without_hidden()
        try:
            self._document = _open(data, password) if shown is None else pypdfium2.PdfDocument(shown)
        except pypdfium2.PdfiumError as failure:
            if failure.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
                raise password_error(name, password) from failure
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
            if self._ocr:
                read.recognise(document, reporter)
            with quiet():
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
            recognised_by=read.recognised_by,
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

    @cached_property
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
        self.recognised_by: str | None = None
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
            return ExtractedPage(single_spaced(other or ""), label)
        if not page.readable:
            self.unreadable.append(number)
            return ExtractedPage(page.around.into(""), label, page.images, unreadable=True, picture=True)
        raw = page.found.text
        if page.found.unknown:
            self.unknown[number] = page.found.unknown
        if not raw.strip() and not page.blank:
            raw = single_spaced(self.second.page(index) or "")
        picture = page.images or not (raw.strip() or page.blank)
        return ExtractedPage(page.around.into(raw), label, page.images, picture=picture)

    def recognise(self, document: pypdfium2.PdfDocument, reporter: Reporter) -> None:
        """Add to pages that are pictures what can be recognised in them."""
        pages = [*self.extracted]
        pictures = [index for index, page in enumerate(pages) if page.picture]
        if not pictures:
            return
        from sharedllm_cli.documents import recognition

        with reporter.task(f"recognising text in {self.name}", len(pictures), "pages") as task:
            for index in pictures:
                with suppress(pypdfium2.PdfiumError):
                    pages[index] = _recognised(document, index, pages[index])
                task.advance(1)
        self.unreadable = [number for number in self.unreadable if pages[number - 1].unreadable]
        self.extracted = tuple(pages)
        self.recognised_by = recognition.version()

    def warnings(self) -> tuple[str, ...]:
        told = damage(self.name, self.damaged)
        if self.unreadable:
            whose = "its font does" if len(self.unreadable) == 1 else "their fonts do"
            told += (
                f"{self.name}: the text of {name_pages(self.unreadable)} can't be made out: {whose} not say which"
                f" characters they draw; --ocr recognises it",
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


def _recognised(document: pypdfium2.PdfDocument, index: int, page: ExtractedPage) -> ExtractedPage:
    """A page with the text of its picture; as it was, but no picture any more, where that adds nothing."""
    from sharedllm_cli.documents import recognition

    drawn = document[index]
    try:
        scale = min(recognition.DOTS / 72, recognition.LONGEST_SIDE / max(*drawn.get_size(), 1.0))
        text = recognition.recognised(drawn.render(scale=scale, may_draw_forms=True).to_pil())
    finally:
        drawn.close()
    added = recognition.added(text, page.raw)
    if not added.strip():
        return replace(page, picture=False)
    raw = f"{page.raw.rstrip()}\n\n{added}" if page.raw.strip() else added
    return replace(page, raw=raw, picture=False, recognised=True, unreadable=False)


def _laid_out(page: pypdfium2.PdfPage, text: pypdfium2.PdfTextPage, named: Named, *, trust: bool) -> PageText:
    """A page's text in the order of reading; in PDFium's own order where it has more pieces than can be sorted."""
    if text.count_chars() <= page_pieces.MOST_CHARACTERS:
        pieces = page_pieces.read(text, named, trust=trust)
        if len(pieces.pieces) <= page_pieces.MOST_PIECES:
            return page_text(pieces, rules.rules(page) if pieces.pieces else None)
    return PageText(text.get_text_range())


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


LEAST_PAIRS = 150
"""Pairs of letters from which on they alone are judged by."""
SAMPLE = 1_200
"""Characters of a text that are looked at."""
FEW_PAIRS = 12
"""Pairs of letters from which on they are judged by together with signs within words."""
LEAST_SHARE = 0.45
"""The share of common pairs below which letters are no words: European languages have 0.7 to 0.9, Welsh 0.5."""
SIGNS_WITHIN = 0.25
"""The share of words with a sign between letters from which on they are suspect."""
_SIGN_WITHIN = re.compile(r"[^\W\d_][!#$%&*()<>?@\\^{|}~\[\]=+]+[^\W\d_]")
_RUNS = re.compile(r"[a-z]{3,}")
# Pairs that are common in at least one of English, German, French, Spanish, Italian, Portuguese, Dutch, the Nordic
# languages, Polish, Czech, Finnish, Hungarian, Turkish.
_PAIRS = (
    "aa ab ac ad ag ai ak al am an ap ar as at au av az be bi br by ca ce ch ci ck cl co ct cz da de di do ds du ea "
    "ed ee eg ei ek el em en ep er es et ev ez fo fr ge gh gi go gr ha he hi ho ia ic id ie if ig ij ik il im in io "
    "ir is it iv je ka ke ki ko ku la ld le li ll lo lt lu ly ma me mi mo mp na nc nd ne ng ni nn no ns nt ny oc od "
    "of og oi ok ol om on op or os ot ou ov ow pa pe pl po pr qu ra rd re ri rk rl rm rn ro rs rt ru ry rz sa sc se "
    "sh si sk so sp ss st su sz ta te th ti to tr ts tt tu ty ub uc ue ui ul um un ur us ut va ve vi vo wa we wh wi "
    "wo ym ys za ze zi zy "
)
_LETTERS = 26
_IS_COMMON = np.zeros((_LETTERS, _LETTERS), bool)
_IS_COMMON[tuple(np.array([[ord(letter) - ord("a") for letter in pair] for pair in _PAIRS.split()]).T)] = True


SURE_PAIRS, SURE_SHARE = 8, 0.62
"""Pairs of letters, and the share of common ones, from which on guessed letters are words beyond doubt."""


def surely_words(text: str) -> bool:
    """Whether letters that were guessed make words of a European language; too few of them are no proof."""
    pairs, common = _counted(text[:SAMPLE])
    words = [word for word in text[:SAMPLE].split() if len(word) > 2]
    signs = sum(_SIGN_WITHIN.search(word) is not None for word in words)
    return pairs >= SURE_PAIRS and common >= SURE_SHARE * pairs and signs < SIGNS_WITHIN * len(words)


def is_words(text: str) -> bool:
    """False where the letters of the text can't be words of a European language, and are no other script."""
    text = text[:SAMPLE]
    pairs, common = _counted(text)
    if pairs < FEW_PAIRS or common >= LEAST_SHARE * pairs:
        return True
    if sum(map(len, _runs(text))) < 0.3 * sum(map(str.isalpha, text)):
        return True
    words = [word for word in text.split() if len(word) > 2]
    signs = sum(_SIGN_WITHIN.search(word) is not None for word in words)
    return pairs < LEAST_PAIRS and signs < SIGNS_WITHIN * len(words)


def _runs(text: str) -> list[str]:
    """The runs of letters, without accents and in small letters."""
    return _RUNS.findall(_in_ascii(text))


def _in_ascii(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFD", text).encode("ascii", "ignore").decode("ascii")
    return text.lower()


def _counted(text: str) -> tuple[int, int]:
    """How many pairs of letters a text has in its runs of three and more, and how many of these are common."""
    codes = np.frombuffer(f"  {_in_ascii(text)}  ".encode("ascii"), np.uint8) - np.uint8(ord("a"))
    letters = codes < _LETTERS
    together = letters[:-1] & letters[1:]
    pairs = together[1:-1] & (together[:-2] | together[2:])
    common = _IS_COMMON[codes[1:-2][pairs], codes[2:-1][pairs]]
    return int(pairs.sum()), int(common.sum())
