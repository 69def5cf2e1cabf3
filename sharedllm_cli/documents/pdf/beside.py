"""What lies beside a PDF page's own text and is seen on it: form fields, typed words, notes, and what figures show.

PDFium reads them; `placing.py` finds their places. Notes are told without their authors.
"""

from __future__ import annotations

import ctypes
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise

import pypdfium2
import pypdfium2.raw as pdfium

from sharedllm_cli.documents.pdf.placing import Box, Glyph, Item, place

MOST_ITEMS = 2000
"""Annotations of a page, and elements of its structure, that are looked at."""
LONGEST_STEP = 30.0
"""Points between two characters of a line at most, where the direction of text is looked for."""
LONGEST_TEXT = 50_000
"""Characters of a field or a note; what goes beyond is named as cut."""
_HIDDEN = pdfium.FPDF_ANNOT_FLAG_HIDDEN | pdfium.FPDF_ANNOT_FLAG_NOVIEW
_PASSWORD = 1 << 13
_MARKED = re.compile(r"\A\[(?:note|figure|stamp): (.*)\]\Z", re.DOTALL)
_TICKED, _NOT_TICKED = "[x]", "[ ]"
_NOTES = frozenset(
    (
        pdfium.FPDF_ANNOT_TEXT,
        pdfium.FPDF_ANNOT_HIGHLIGHT,
        pdfium.FPDF_ANNOT_UNDERLINE,
        pdfium.FPDF_ANNOT_SQUIGGLY,
        pdfium.FPDF_ANNOT_STRIKEOUT,
        pdfium.FPDF_ANNOT_CARET,
        pdfium.FPDF_ANNOT_SQUARE,
        pdfium.FPDF_ANNOT_CIRCLE,
        pdfium.FPDF_ANNOT_LINE,
        pdfium.FPDF_ANNOT_POLYGON,
        pdfium.FPDF_ANNOT_POLYLINE,
        pdfium.FPDF_ANNOT_INK,
        pdfium.FPDF_ANNOT_STAMP,
        pdfium.FPDF_ANNOT_FILEATTACHMENT,
    )
)
_SAID_BY_STAMPS = """
Approved AsIs Confidential Departmental Experimental Expired Final ForComment ForPublicRelease NotApproved
NotForPublicRelease Sold TopSecret Void Completed Revised Reviewed Received
"""
_STAMPS = frozenset(_SAID_BY_STAMPS.split())
"""The stamps that are named by what they say; `Draft` is the name of a stamp without one, too."""
_FIGURES = frozenset({"Figure", "Image", "Diagram", "Chart", "Artwork"})
_CHOICES = frozenset((pdfium.FPDF_FORMFIELD_COMBOBOX, pdfium.FPDF_FORMFIELD_LISTBOX))
_TICKS = frozenset((pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON))


@dataclass(frozen=True)
class Looked:
    """What lies beside one page's text, and the characters of the page that say where."""

    items: tuple[Item, ...] = ()
    glyphs: tuple[Glyph, ...] = ()

    def into(self, raw: str) -> str:
        """A text of the page with all of it in place; a note that only repeats words of the page is left out."""
        squeezed = _squeezed(raw)
        fresh = [item for item in self.items if item.kind != "end" or _squeezed(_bare(item)) not in squeezed]
        return place(raw, self.glyphs, fresh) if fresh else raw

    def confirmed(self, strings: Sequence[str], ticked: int) -> Looked:
        """The items whose words another reading of the page's annotations and figures holds, too.

        `strings` are that reading's; `ticked` is how many boxes it has as ticked, all of which count if these agree.
        """
        known = {_squeezed(text) for text in strings}
        same_ticks = ticked == sum(item.text == _TICKED for item in self.items)
        kept = (item for item in self.items if (same_ticks if item.kind == "tick" else _squeezed(_bare(item)) in known))
        return replace(self, items=tuple(kept))


NOTHING = Looked()
"""Nothing beside the text."""


class Beside:
    """What lies beside the text of an open PDF's pages. Make it before any page is opened.

    `signed` gives the signatures by their fields' names, asked for where there are some.
    """

    def __init__(self, document: pypdfium2.PdfDocument, signed: Callable[[], dict[str, str]] = dict) -> None:
        self._document = document
        self._signed = signed
        self._signatures: dict[str, str] | None = None
        self.form = pdfium.FPDF_GetFormType(document)
        if self.form != pdfium.FORMTYPE_NONE:
            _open_forms(document)
        self.carries_files = document.count_attachments() > 0
        """Whether there are attachments, as far as the pages were looked at."""
        self._tagged = bool(pdfium.FPDFCatalog_IsTagged(document))

    def warnings(self, name: str) -> tuple[str, ...]:
        """What the file shows that can't be read: an XFA form, whose pages a viewer builds from a program in it."""
        if self.form != pdfium.FORMTYPE_XFA_FULL:
            return ()
        return (f"{name} is a dynamic form (XFA), which can't be read; open it in Adobe Reader and print it as a PDF",)

    def look(self, page: pypdfium2.PdfPage) -> Looked:
        """What lies beside an open page's text."""
        items = [*self._annotations(page), *(_figures(page) if self._tagged else [])]
        if not items:
            return NOTHING
        glyphs = _glyphs(page)
        turned = _Turned(_direction(glyphs))
        return Looked(
            tuple(replace(item, box=turned.box(item.box)) for item in items),
            tuple(Glyph(glyph.text, turned.box(glyph.box)) for glyph in glyphs),
        )

    def shown(self, page: pypdfium2.PdfPage) -> list[tuple[str, Box]]:
        """The words that lie beside an open page's text, and their boxes on it, as far as they have a place."""
        items = [*self._annotations(page), *(_figures(page) if self._tagged else [])]
        return [(_bare(item), item.box) for item in items if item.box[0] < item.box[2] and item.box[1] < item.box[3]]

    def _annotations(self, page: pypdfium2.PdfPage) -> Iterator[Item]:
        count = min(pdfium.FPDFPage_GetAnnotCount(page), MOST_ITEMS)
        for number in range(count):
            annotation = pdfium.FPDFPage_GetAnnot(page, number)
            if annotation:
                try:
                    if not pdfium.FPDFAnnot_GetFlags(annotation) & _HIDDEN:
                        yield from self._shown(annotation)
                finally:
                    pdfium.FPDFPage_CloseAnnot(annotation)

    def _shown(self, annotation: pdfium.FPDF_ANNOTATION) -> Iterator[Item]:
        subtype = pdfium.FPDFAnnot_GetSubtype(annotation)
        box = _box(annotation)
        self.carries_files = self.carries_files or subtype == pdfium.FPDF_ANNOT_FILEATTACHMENT
        if subtype == pdfium.FPDF_ANNOT_WIDGET:
            yield from self._field(annotation, box)
        elif subtype == pdfium.FPDF_ANNOT_FREETEXT:
            if words := _entry(annotation, "Contents"):
                yield Item(words, box, "typed")
        elif subtype in _NOTES and not _entry(annotation, "StateModel"):
            words = _entry(annotation, "Contents")
            stamp = _entry(annotation, "Name") if subtype == pdfium.FPDF_ANNOT_STAMP else ""
            if stamp in _STAMPS:
                yield Item(f"[stamp: {stamp}]", box, "block")
            if words:
                yield Item(f"[note: {words}]", box, "end")

    def _field(self, annotation: pdfium.FPDF_ANNOTATION, box: Box) -> Iterator[Item]:
        form = self._document.formenv
        if form is None:
            return
        kind = pdfium.FPDFAnnot_GetFormFieldType(form, annotation)
        own = _string(pdfium.FPDFAnnot_GetFormFieldName, form, annotation)
        name = _string(pdfium.FPDFAnnot_GetFormFieldAlternateName, form, annotation) or _spoken(own)
        if kind in _TICKS:
            mark = _TICKED if pdfium.FPDFAnnot_IsChecked(form, annotation) else _NOT_TICKED
            yield Item(mark, box, "tick", name)
            return
        words = ""
        if kind in _CHOICES:
            words = _chosen(form, annotation) or _string(pdfium.FPDFAnnot_GetFormFieldValue, form, annotation)
        elif kind == pdfium.FPDF_FORMFIELD_TEXTFIELD:
            if not pdfium.FPDFAnnot_GetFormFieldFlags(form, annotation) & _PASSWORD:
                words = _string(pdfium.FPDFAnnot_GetFormFieldValue, form, annotation)
        elif kind == pdfium.FPDF_FORMFIELD_SIGNATURE:
            words = self._signature(own)
        if words:
            yield Item(words, box, "value", name)

    def _signature(self, name: str) -> str:
        if self._signatures is None:
            signed = pdfium.FPDF_GetSignatureCount(self._document) > 0
            self._signatures = self._signed() if signed else {}
        return self._signatures.get(name, "")


def _open_forms(document: pypdfium2.PdfDocument) -> None:
    """Make the form's values readable; the library tells of XFA forms on its logger, which we do ourselves."""
    logger = logging.getLogger("pypdfium2")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with suppress(pypdfium2.PdfiumError, RuntimeError):
            document.init_forms()
    finally:
        logger.setLevel(level)


def _squeezed(text: str) -> str:
    return "".join(text.split()).casefold()


def _bare(item: Item) -> str:
    return _MARKED.sub(r"\1", item.text)


# -- what PDFium says ------------------------------------------------------------------------------------------------


def _string(getter: Callable[..., int], *arguments: object) -> str:
    """A text of PDFium's: asked for its length in bytes first, UTF-16 with a zero at its end."""
    length = getter(*arguments, None, 0)
    if length <= 2 or length > 1 << 24:
        return ""
    buffer = ctypes.create_string_buffer(length)
    getter(*arguments, ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), length)
    text = buffer.raw[: length - 2].decode("utf-16-le", "replace").replace("\0", "")
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " … (cut)"


def _entry(annotation: pdfium.FPDF_ANNOTATION, key: str) -> str:
    return _string(pdfium.FPDFAnnot_GetStringValue, annotation, key.encode("ascii"))


def _chosen(form: object, annotation: pdfium.FPDF_ANNOTATION) -> str:
    count = min(pdfium.FPDFAnnot_GetOptionCount(form, annotation), MOST_ITEMS)
    chosen = [number for number in range(count) if pdfium.FPDFAnnot_IsOptionSelected(form, annotation, number)]
    labels = [_string(pdfium.FPDFAnnot_GetOptionLabel, form, annotation, number) for number in chosen]
    return ", ".join(label for label in labels if label)


def _box(annotation: pdfium.FPDF_ANNOTATION) -> Box:
    rect = pdfium.FS_RECTF()
    pdfium.FPDFAnnot_GetRect(annotation, rect)
    left, right = sorted((rect.left, rect.right))
    bottom, top = sorted((rect.bottom, rect.top))
    return left, bottom, right, top


def _spoken(name: str) -> str:
    """A field's own name in words: the last part of `form1[0].Page1[0].OwnerName[0]` is `Owner Name`."""
    last = re.sub(r"\[\d+\]", "", name).rsplit(".", 1)[-1]
    return _apart(re.sub(r"[_\s]+", " ", last)).strip()


def _apart(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)


class _Turned:
    """Boxes as they are seen where the text runs to the right, of a page whose text is turned by some degrees."""

    def __init__(self, degrees: int) -> None:
        self._degrees = degrees % 360

    def box(self, box: Box) -> Box:
        left, bottom, right, top = box
        if self._degrees == 90:
            return bottom, -right, top, -left
        if self._degrees == 180:
            return -right, -top, -left, -bottom
        if self._degrees == 270:
            return -top, left, -bottom, right
        return box


def _direction(glyphs: Sequence[Glyph]) -> int:
    """By how many degrees the page's text is turned: 0 to the right, 90 upwards; the way of most characters counts.

    A page may be shown turned with its text, or be turned so that its text is upright: what counts is the text.
    """
    ways = {0: 0, 90: 0, 180: 0, 270: 0}
    for one, after in pairwise(glyphs):
        (x, y), (next_x, next_y) = one.middle, after.middle
        across, up = next_x - x, next_y - y
        if max(abs(across), abs(up)) <= LONGEST_STEP:
            ways[(0 if across >= 0 else 180) if abs(across) >= abs(up) else (90 if up >= 0 else 270)] += 1
    return max(ways, key=lambda way: ways[way])


def _glyphs(page: pypdfium2.PdfPage) -> list[Glyph]:
    glyphs = []
    text_page = page.get_textpage()
    try:
        for number in range(text_page.count_chars()):
            code = pdfium.FPDFText_GetUnicode(text_page, number)
            character = chr(code) if 0 < code < 0x110000 else ""
            if character and not character.isspace() and not pdfium.FPDFText_IsGenerated(text_page, number):
                glyphs.append(Glyph(character, text_page.get_charbox(number)))
    finally:
        text_page.close()
    return glyphs


# -- figures ---------------------------------------------------------------------------------------------------------


def _figures(page: pypdfium2.PdfPage) -> list[Item]:
    """The alternative texts of the page's figures, where the figures stand."""
    tree = pdfium.FPDF_StructTree_GetForPage(page)
    if not tree:
        return []
    try:
        described = list(_described(tree))
    finally:
        pdfium.FPDF_StructTree_Close(tree)
    if not described:
        return []
    boxes = _marked_boxes(page)
    items = []
    for words, marks in described:
        box = next((boxes[mark] for mark in marks if mark in boxes), None)
        text = f"[figure: {words}]"
        items.append(Item(text, (0.0, 0.0, 0.0, 0.0), "end") if box is None else Item(text, box, "block"))
    return items


def _described(tree: object) -> Iterator[tuple[str, list[int]]]:
    """The text of each figure that has one, and the numbers of its marked content."""
    count = pdfium.FPDF_StructTree_CountChildren(tree)
    waiting = [pdfium.FPDF_StructTree_GetChildAtIndex(tree, number) for number in reversed(range(count))]
    seen = 0
    while waiting and seen < MOST_ITEMS:
        element = waiting.pop()
        seen += 1
        if not element:
            continue
        figure = _string(pdfium.FPDF_StructElement_GetType, element) in _FIGURES
        words = " ".join(_string(pdfium.FPDF_StructElement_GetAltText, element).split()) if figure else ""
        if words:
            yield words, list(_marks(element))
            continue
        children = min(pdfium.FPDF_StructElement_CountChildren(element), MOST_ITEMS)
        waiting += [pdfium.FPDF_StructElement_GetChildAtIndex(element, number) for number in reversed(range(children))]


def _marks(element: object) -> Iterator[int]:
    for number in range(min(max(pdfium.FPDF_StructElement_GetMarkedContentIdCount(element), 0), MOST_ITEMS)):
        yield pdfium.FPDF_StructElement_GetMarkedContentIdAtIndex(element, number)
    for number in range(min(pdfium.FPDF_StructElement_CountChildren(element), MOST_ITEMS)):
        if child := pdfium.FPDF_StructElement_GetChildAtIndex(element, number):
            yield from (
                pdfium.FPDF_StructElement_GetMarkedContentIdAtIndex(child, place)
                for place in range(min(max(pdfium.FPDF_StructElement_GetMarkedContentIdCount(child), 0), MOST_ITEMS))
            )


def _marked_boxes(page: pypdfium2.PdfPage) -> dict[int, Box]:
    """The box of the page's objects by the number of their marked content."""
    boxes: dict[int, Box] = {}
    with suppress(pypdfium2.PdfiumError):
        for number, thing in enumerate(page.get_objects(max_depth=1)):
            if number >= 10 * MOST_ITEMS:
                break
            mark = pdfium.FPDFPageObj_GetMarkedContentID(thing)
            if mark >= 0 and mark not in boxes:
                with suppress(pypdfium2.PdfiumError):
                    boxes[mark] = thing.get_bounds()
    return boxes
