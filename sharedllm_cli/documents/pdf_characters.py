"""Characters of a PDF's page as PDFium finds them, in pieces: stretches of one baseline, size and direction.

A piece has a place, so that the order of reading can be found (pdf_layout.py). Here only characters are settled: codes
of Windows, figures and capitals of expert fonts, letters drawn twice for bold, spaces, and what has no meaning at all.
"""

from __future__ import annotations

import ctypes
import math
from collections import deque
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import numpy as np
import pypdfium2.raw as pdfium

PIECE_GAP = 0.7
"""A gap of more than this share of the font's height ends a piece: it may part columns."""
MOST_CHARACTERS = 400_000
"""Of a page; the text of one with more is not put in order."""
MOST_PIECES = 8_000
"""Of a page; one with more is read as PDFium gives it."""
_DOUBLED = 0.12
"""Two equal characters nearer than this share of their size are one, drawn twice."""
_SEPARATORS = np.array([0x09, 0x0A, 0x0D, 0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000])
_MARK = 0xFFFE  # PDFium's sign for the hyphen of a word that is broken at a line end; for U+0000, too
# Windows' characters in the place of control codes, as old producers map them: they are drawn as what they look like.
_WINDOWS = {code: bytes([code]).decode("cp1252", "ignore") for code in range(0x80, 0xA0)}
# Adobe's private codes for the figures and small capitals of expert fonts: ASCII and Latin-1, moved.
_EXPERT = {0xF700 + code: chr(code).upper() for code in (*range(0x21, 0x7B), *range(0xA1, 0x100))}
_EXPERT |= dict(zip(range(0xF6F9, 0xF700), ("Ł", "Œ", "Œ", "\u02da", "Š", "\u02dc", "Ž"), strict=True))
UNKNOWN = "\ufffd"
"""In the place of a glyph that has no meaning."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(slots=True, eq=False)
class Piece:
    """Characters that are drawn side by side on one baseline.

    The frame is that of the text itself: x grows in its direction, y upwards, in points. `turn` is the direction on the
    page in degrees, `order` the place in the order of drawing. `shown` is False for text that is not painted (OCR).
    """

    text: str
    x0: float
    x1: float
    y: float
    size: float
    turn: int
    order: int
    space_before: bool = False
    space_after: bool = False
    shown: bool = True
    upright: bool = False
    """Of a script that is set in columns: drawn downwards, each character upright."""
    edges: list[tuple[float, float]] = field(default_factory=list)
    """Left and right of each character, only where the text has letters of a script that runs to the left."""


@dataclass
class PagePieces:
    """The pieces of a page and what became of its glyphs.

    `glyphs` counts those that are not spaces, `doubled` those drawn a second time at their place, `unknown` those
    without meaning.
    """

    pieces: list[Piece]
    glyphs: int = 0
    doubled: int = 0
    unknown: int = 0


class _Function:
    """A function of PDFium with plain integers for pointers: far quicker to call than the typed one."""

    def __init__(self, typed: Any, result: Any, *arguments: Any) -> None:
        address = ctypes.cast(typed, ctypes.c_void_p).value
        self.call = ctypes.CFUNCTYPE(result, *arguments)(address)


_POINTER, _INT = ctypes.c_void_p, ctypes.c_int
_unicode = _Function(pdfium.FPDFText_GetUnicode, ctypes.c_uint, _POINTER, _INT).call
_loose_box = _Function(pdfium.FPDFText_GetLooseCharBox, _INT, _POINTER, _INT, _POINTER).call
_origin = _Function(pdfium.FPDFText_GetCharOrigin, _INT, _POINTER, _INT, _POINTER, _POINTER).call
_matrix = _Function(pdfium.FPDFText_GetMatrix, _INT, _POINTER, _INT, _POINTER).call
_font_size = _Function(pdfium.FPDFText_GetFontSize, ctypes.c_double, _POINTER, _INT).call
_map_error = _Function(pdfium.FPDFText_HasUnicodeMapError, _INT, _POINTER, _INT).call
_hyphen = _Function(pdfium.FPDFText_IsHyphen, _INT, _POINTER, _INT).call
_object = _Function(pdfium.FPDFText_GetTextObject, _POINTER, _POINTER, _INT).call
_object_font = _Function(pdfium.FPDFTextObj_GetFont, _POINTER, _POINTER).call
_object_mode = _Function(pdfium.FPDFTextObj_GetTextRenderMode, _INT, _POINTER).call


def read(text_page: Any) -> PagePieces:
    """The pieces of an open text page (`pypdfium2.PdfTextPage`), in the order of drawing."""
    handle = ctypes.cast(text_page.raw, ctypes.c_void_p).value
    count = text_page.count_chars()
    if not 0 < count <= MOST_CHARACTERS:
        return PagePieces([])
    codes = _codes(handle, count)
    boxes = np.zeros((count, 4), np.float32)
    start = boxes.ctypes.data
    deque(map(_loose_box, repeat(handle), range(count), range(start, start + 16 * count, 16)), 0)
    return _Reader(handle, codes, boxes).pieces()


def _codes(handle: int | None, count: int) -> Array:
    """The characters' codes, all at once where PDFium's text leaves none out, else one by one."""
    buffer = (ctypes.c_ushort * (count + 1))()
    written = pdfium.FPDFText_GetText(ctypes.cast(handle, pdfium.FPDF_TEXTPAGE), 0, count, buffer) - 1
    codes: Array = np.frombuffer(buffer, np.uint16)[:count].astype(np.int64)
    if written != count or ((codes >= 0xD800) & (codes < 0xE000)).any():
        codes = np.fromiter(map(_unicode, repeat(handle), range(count)), np.int64, count)
    return codes


class _Reader:
    """Cuts a page's characters into pieces; the arrays have one number for each character that PDFium lists."""

    def __init__(self, handle: int | None, codes: Array, boxes: Array) -> None:
        self.handle = handle
        self.codes = codes
        self.left, self.right = np.minimum(boxes[:, 0], boxes[:, 2]), np.maximum(boxes[:, 0], boxes[:, 2])
        self.bottom, self.top = np.minimum(boxes[:, 1], boxes[:, 3]), np.maximum(boxes[:, 1], boxes[:, 3])
        self.found = PagePieces([])
        self.known: dict[int | None, dict[str, str]] = {}
        self.numbers = (ctypes.c_double * 2)(), (ctypes.c_float * 6)()

    def pieces(self) -> PagePieces:
        separator = np.isin(self.codes, _SEPARATORS)
        for place in np.flatnonzero((self.codes == _MARK) | (self.codes == 2)).tolist():
            if _hyphen(self.handle, place):
                self.codes[place] = ord("-")
            elif self.codes[place] == _MARK:  # a glyph that is mapped to U+0000, which is a space in all files seen
                separator[place] = True
        separator |= self.codes == 0
        places = np.flatnonzero(~separator)
        self.found.glyphs = len(places)
        places = self._without_doubles(places)
        if len(places):
            steps, gaps = self._steps(places)
            self._cut(places, steps, self._spaces(places, separator, gaps))
        return self.found

    def _without_doubles(self, places: Array) -> Array:
        """The characters without those that are drawn again at their place, as some programs make bold letters."""
        codes, x, y = self.codes[places], self.left[places], self.bottom[places]
        near = _DOUBLED * np.maximum(self.top[places] - y, self.right[places] - x)
        same = (codes[1:] == codes[:-1]) & (x[1:] == x[:-1]) & (y[1:] == y[:-1])
        ligature = np.concatenate(([False], same))  # one glyph that says several letters, as the two of `ff`
        again = np.zeros(len(places), bool)
        for shift in (0.0, 0.5):
            order = np.lexsort((x, np.floor(y / 4.0 + shift), codes))
            here, before = order[1:], order[:-1]
            twice = (codes[here] == codes[before]) & (abs(x[here] - x[before]) < near[here])
            twice &= abs(y[here] - y[before]) < near[here]
            again[np.maximum(here, before)[twice]] = True
        again &= ~ligature
        self.found.doubled = int(again.sum())
        return places[~again]

    def _steps(self, places: Array) -> tuple[Array, Array]:
        """How each character follows the one before it, and the gap between them in points.

        0: not at all, 1: to the right, 2: to the left of it (turned upside down), 3: upwards or downwards.
        """
        left, right, top, bottom = (side[places] for side in (self.left, self.right, self.top, self.bottom))
        high, wide = top - bottom, right - left
        level = (abs(top[1:] - top[:-1]) < 0.02 * high[1:]) & (abs(bottom[1:] - bottom[:-1]) < 0.02 * high[1:])
        upright = (abs(left[1:] - left[:-1]) < 0.02 * wide[1:]) & (abs(right[1:] - right[:-1]) < 0.02 * wide[1:])
        ahead, back = left[1:] - right[:-1], left[:-1] - right[1:]
        apart = np.maximum(bottom[1:] - top[:-1], bottom[:-1] - top[1:])
        gap, steps = np.zeros(len(places)), np.zeros(len(places), np.int8)
        for number, fits, space, size in ((3, upright, apart, wide), (2, level, back, high), (1, level, ahead, high)):
            follows = fits & (space > -0.45 * size[1:]) & (space < PIECE_GAP * size[1:])
            steps[1:][follows] = number
            gap[1:][follows] = space[follows]
        same = level & upright  # of one glyph
        steps[1:][same] = np.where(steps[:-1][same] > 0, steps[:-1][same], 1)
        return steps, gap

    def _spaces(self, places: Array, separator: Array, gaps: Array) -> Array:
        """Whether a space is before each character."""
        separators = np.cumsum(separator)
        space = np.zeros(len(places), bool)
        space[1:] = separators[places[1:]] > separators[places[:-1]]
        jumps = np.flatnonzero(space & (np.diff(places, prepend=places[0]) > 2)) if self.found.doubled else []
        for place in jumps:  # PDFium sees a gap where a letter that was drawn twice is followed by the next one
            if not separator[places[place - 1] + 1 : places[place]].all():
                space[place] = gaps[place] > 0.15 * (self.top[places[place]] - self.bottom[places[place]])
        return space

    def _cut(self, places: Array, steps: Array, spaces: Array) -> None:
        tokens = [
            f" {chr(code)}" if space else chr(code) for code, space in zip(self.codes[places], spaces, strict=True)
        ]
        begin, going = 0, 0
        for place, step in enumerate([*steps.tolist()[1:], 0], 1):
            if step == 0 or (going and step != going):
                after = place < len(places) and bool(spaces[place])
                self._add(places[begin:place], tokens[begin:place], going, after)
                begin, going = place, 0
            else:
                going = step

    def _add(self, places: Array, tokens: list[str], going: int, space_after: bool) -> None:
        first = int(places[0])
        origin, matrix = self.numbers
        base = ctypes.addressof(origin)
        _origin(self.handle, first, base, base + 8)
        _matrix(self.handle, first, ctypes.addressof(matrix))
        size = abs(_font_size(self.handle, first)) * math.hypot(matrix[2], matrix[3])
        turn = round(math.degrees(math.atan2(matrix[1], matrix[0]))) % 360
        upright = going == 3 and turn % 180 == 0
        frame = 270 if upright else turn
        sides = (
            float(self.left[places].min()),
            float(self.bottom[places].min()),
            float(self.right[places].max()),
            float(self.top[places].max()),
        )
        if upright:
            origin[0], origin[1] = (sides[0] + sides[2]) / 2 - 0.3 * size, sides[3]
        x0, x1, y = _in_frame(frame, sides, (origin[0], origin[1]), size)
        thing = _object(self.handle, first)
        space_before = tokens[0][0] == " "
        text = self._meant("".join(tokens).lstrip(" "), places, _object_font(thing) if thing else None)
        piece = Piece(text, x0, x1, y, size or 1.0, frame, len(self.found.pieces), space_before, space_after)
        piece.shown = not thing or _object_mode(thing) != pdfium.FPDF_TEXTRENDERMODE_INVISIBLE
        piece.upright = upright
        if (
            frame == 0
            and not text.isascii()
            and any("\u0590" <= letter < "\u0900" or letter >= "\ufb1d" for letter in text)
        ):
            piece.edges = list(zip(self.left[places].tolist(), self.right[places].tolist(), strict=True))
        self.found.pieces.append(piece)

    def _meant(self, text: str, places: Array, font: int | None) -> str:
        """The characters that are meant; those without meaning are counted, and become U+FFFD."""
        table = self.known.setdefault(font, {})
        letters = set(text)
        if not letters <= table.keys():
            bare = text.replace(" ", "")
            for letter in letters - table.keys() - {" "}:
                table[letter] = _meaning(letter, bool(_map_error(self.handle, int(places[bare.index(letter)]))))
            table[" "] = " "
        if all(table[letter] == letter for letter in letters):
            return text
        text = "".join([table[letter] for letter in text])
        self.found.unknown += text.count(UNKNOWN)
        return text


def _meaning(letter: str, unmapped: bool) -> str:
    code = ord(letter)
    if unmapped:
        return UNKNOWN
    if code < 0xA0:
        return letter if 0x20 <= code < 0x7F else _WINDOWS.get(code) or UNKNOWN
    if code in _EXPERT:
        return _EXPERT[code]
    return UNKNOWN if code in (0xFFFD, _MARK, 0xFFFF) else letter


def _in_frame(
    turn: int, sides: tuple[float, float, float, float], origin: tuple[float, float], size: float
) -> tuple[float, float, float]:
    """Left, right and baseline of a piece in the frame of its direction."""
    left, bottom, right, top = sides
    if turn == 0:
        return left, right, origin[1]
    if turn == 90:
        return bottom, top, -origin[0]
    if turn == 180:
        return -right, -left, -origin[1]
    if turn == 270:
        return -top, -bottom, origin[0]
    cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    high = 1.15 * size
    if abs(cosine) >= abs(sine):
        wide = (right - left - high * abs(sine)) / abs(cosine)
    else:
        wide = (top - bottom - high * abs(cosine)) / abs(sine)
    x = origin[0] * cosine + origin[1] * sine
    return x, x + min(max(wide, 0.2 * size), 1.1 * size), origin[1] * cosine - origin[0] * sine
