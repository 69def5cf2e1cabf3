"""The boxes of a quote's words on an open page of a PDF, as shares of the page as it is shown.

Characters and their boxes are PDFium's; what lies beside the text (values of a form, notes) has the box of its field.
Of fonts that do not say what they draw, the pieces that were read (page_pieces.py) have the words.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pypdfium2.raw as pdfium

from sharedllm_cli.documents.pdf import page_pieces, quoted_words
from sharedllm_cli.documents.pdf.beside import Beside
from sharedllm_cli.documents.pdf.fonts import Named
from sharedllm_cli.documents.pdf.page_pictures import Box
from sharedllm_cli.documents.pdf.page_pieces import Piece
from sharedllm_cli.documents.pdf.pdfium_calls import POINTER, boxes_of, codes_of
from sharedllm_cli.documents.pdf.quoted_words import Found

if TYPE_CHECKING:
    import pypdfium2

Sides = tuple[float, float, float, float]
"""Left, bottom, right and top in points, upwards and to the right is more."""
_FINE = 100_000
"""Steps in which PDFium gives a place on the page as it is shown."""
_SAME_LINE = 0.5
"""Two boxes are of one line where they share so much of the smaller one's height."""
_GAP = 1.2
"""The widest gap within a mark, as a share of the line's height."""


class _Characters:
    """Characters in the order of drawing with their boxes, and which way each is turned."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.sides: list[Sides] = []
        self.upright: list[bool] = []
        """Whether the line of text runs up or down the page."""

    def add(self, text: str, sides: Sides, upright: bool = False) -> None:
        self.texts.append(text)
        self.sides.append(sides)
        self.upright.append(upright)

    @property
    def middles(self) -> list[tuple[float, float]]:
        """Along and across the lines of text: of a page whose text is turned, upwards and to the right."""
        found = [((left + right) / 2, (bottom + top) / 2) for left, bottom, right, top in self.sides]
        return [(y, x) for x, y in found] if 2 * sum(self.upright) > len(self.upright) else found

    def find(self, quote: str) -> Found:
        return quoted_words.find(quote, self.texts, self.middles)


@dataclass(frozen=True)
class Marked:
    """A quote's boxes, those of the answer's words within it, the number of its words, and how many are boxed whole."""

    boxes: list[Box]
    strong: list[Box]
    words: int
    boxed: int


def mark_boxes(page: pypdfium2.PdfPage, quote: str, beside: Beside, named: Named, *, answer: str = "") -> Marked:
    """The marks of a quote on an open page, and of an answer within it."""
    text_page = page.get_textpage()
    try:
        characters = _as_drawn(text_page, beside, page)
        found = characters.find(quote)
        if found.boxed < found.words:
            pieces = page_pieces.read(text_page, named).pieces if characters.texts else []
            meant = _as_read(pieces, beside, page)
            other = meant.find(quote)
            if other.boxed > found.boxed:
                characters, found = meant, other
    finally:
        text_page.close()
    strong = quoted_words.within(answer, found, characters.texts, characters.middles) if answer else []
    boxes, strong_boxes = (
        [box for first, last in one for mark in _marks(characters, first, last) if (box := _shown(page, mark))]
        for one in (found.stretches, strong)
    )
    return Marked(boxes, strong_boxes, found.words, found.boxed)


def _as_drawn(text_page: pypdfium2.PdfTextPage, beside: Beside, page: pypdfium2.PdfPage) -> _Characters:
    count = text_page.count_chars()
    found = _Characters()
    if 0 < count <= quoted_words.MOST_CHARACTERS:
        handle = POINTER.from_param(ctypes.cast(text_page.raw, POINTER).value or 0)
        codes, boxes = codes_of(text_page, handle, count).tolist(), boxes_of(handle, count).tolist()
        for number, (code, (left, top, right, bottom)) in enumerate(zip(codes, boxes, strict=True)):
            angle = pdfium.FPDFText_GetCharAngle(text_page, number)
            sides = min(left, right), min(top, bottom), max(left, right), max(top, bottom)
            found.add(chr(code) if code else " ", sides, abs(math.sin(angle)) > 0.7)
    _add_beside(found, beside, page)
    return found


def _as_read(pieces: Sequence[Piece], beside: Beside, page: pypdfium2.PdfPage) -> _Characters:
    found = _Characters()
    for piece in pieces:
        for text, first, last in _spread(piece):
            found.add(text, _on_page(piece, first, last), piece.turn % 180 == 90)
        found.add(" ", (0.0, 0.0, 0.0, 0.0))
    _add_beside(found, beside, page)
    return found


def _spread(piece: Piece) -> Iterator[tuple[str, float, float]]:
    """A piece's characters with their beginnings and ends along its line; estimated where they are not known."""
    drawn = len(piece.text) - piece.text.count(" ")
    if drawn == len(piece.lefts):
        number = 0
        for letter in piece.text:
            if letter == " ":
                yield letter, piece.lefts[number], piece.lefts[number]
            else:
                yield letter, piece.lefts[number], piece.rights[number]
                number += 1
        return
    step = (piece.x1 - piece.x0) / max(len(piece.text), 1)
    for number, letter in enumerate(piece.text):
        yield letter, piece.x0 + number * step, piece.x0 + (number + 1) * step


def _on_page(piece: Piece, first: float, last: float) -> Sides:
    """A stretch of a piece's line as sides on the page."""
    angle = math.radians(piece.turn)
    cosine, sine = math.cos(angle), math.sin(angle)
    corners = [
        (x * cosine - y * sine, x * sine + y * cosine)
        for x in (first, last)
        for y in (piece.y - 0.22 * piece.size, piece.y + 0.82 * piece.size)
    ]
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _add_beside(found: _Characters, beside: Beside, page: pypdfium2.PdfPage) -> None:
    for text, sides in beside.shown(page):
        found.add(" ", (0.0, 0.0, 0.0, 0.0))
        for letter in text:
            found.add(letter, sides)


def _marks(characters: _Characters, first: int, last: int) -> Iterator[Sides]:
    """One mark for each line of a stretch of characters."""
    mark: Sides | None = None
    for number in range(first, last + 1):
        sides = characters.sides[number]
        blank = characters.texts[number].isspace() or not (sides[0] < sides[2] and sides[1] < sides[3])
        if blank or not all(map(math.isfinite, sides)):
            continue
        if mark is not None and _goes_on(mark, sides, characters.upright[number]):
            mark = (
                *(min(mark[0], sides[0]), min(mark[1], sides[1])),
                *(max(mark[2], sides[2]), max(mark[3], sides[3])),
            )
            continue
        if mark is not None:
            yield mark
        mark = sides
    if mark is not None:
        yield mark


def _goes_on(mark: Sides, sides: Sides, upright: bool) -> bool:
    """Whether a character goes on in the line of a mark, without a wide gap."""
    along, across = ((1, 3), (0, 2)) if upright else ((0, 2), (1, 3))
    shared = min(mark[across[1]], sides[across[1]]) - max(mark[across[0]], sides[across[0]])
    high = min(mark[across[1]] - mark[across[0]], sides[across[1]] - sides[across[0]])
    gap = max(mark[along[0]] - sides[along[1]], sides[along[0]] - mark[along[1]])
    return shared > _SAME_LINE * high and gap < _GAP * max(high, sides[across[1]] - sides[across[0]])


def _shown(page: pypdfium2.PdfPage, sides: Sides) -> Box | None:
    """Sides on the page as shares of the picture; None for what is not shown."""
    corners = []
    for x, y in ((sides[0], sides[1]), (sides[2], sides[3])):
        across, down = ctypes.c_int(), ctypes.c_int()
        pdfium.FPDF_PageToDevice(page, 0, 0, _FINE, _FINE, 0, x, y, across, down)
        corners.append((across.value / _FINE, down.value / _FINE))
    (left, right), (top, bottom) = (sorted(pair) for pair in zip(*corners, strict=True))
    left, top, right, bottom = max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0)
    return Box(left, top, right, bottom) if left < right and top < bottom else None
