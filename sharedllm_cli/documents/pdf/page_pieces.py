"""Characters of a PDF's page as PDFium finds them, in pieces: stretches of one baseline, size and direction.

A piece has a place, so that the order of reading can be found (page_text.py). Here only characters are settled: codes
of Windows, figures and capitals of expert fonts, letters drawn twice for bold, spaces, and what has no meaning at all.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharedllm_cli.documents.pdf.fonts import Fonts, Named
from sharedllm_cli.documents.pdf.glyph_names import MARK
from sharedllm_cli.documents.pdf.pdfium_calls import (
    POINTER,
    Array,
    boxes_of,
    codes_of,
    font_size,
    is_generated,
    is_hyphen,
    map_error,
    matrix_of,
    origins_of,
    tight_box,
)

PIECE_GAP = 0.7
"""A gap of more than this share of the font's height ends a piece: it may part columns."""
MOST_CHARACTERS = 400_000
"""Of a page; the text of one with more is not put in order."""
_MOST_ALONE = 500  # signs of a page that are set into its columns
MOST_PIECES = 8_000
"""Of a page; one with more is read as PDFium gives it."""
FARTHEST = 100_000.0  # points: no page is so long
FIRST_WIDE = 0x2E80
"""The first character of the scripts that are set in columns."""
_DOUBLED = 0.12
"""Two equal characters nearer than this share of their size are one, drawn twice."""
_UNSEEN = 0.02
"""A space is not seen where the gap is smaller than this share of the size."""
_SEPARATORS = [0x09, 0x0A, 0x0D, 0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000]
_LAST = max(_SEPARATORS) + 1
_SEPARATES = np.isin(np.arange(_LAST + 1), _SEPARATORS)
"""By code, up to the first one behind all separators."""
LEFTWARD = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
"""Letters of the scripts that run to the left."""

Sides = tuple[float, float, float, float]
"""Left, bottom, right and top."""


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
    lefts: Sequence[float] = ()
    rights: Sequence[float] = ()
    """Left and right of each character that is no space, where the text is not turned."""
    leftward: bool = False
    """Has letters of a script that runs to the left."""


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


def read(text_page: Any, named: Named | None = None, *, trust: bool = False) -> PagePieces:
    """The pieces of an open text page (`pypdfium2.PdfTextPage`), in the order of drawing.

    `named` gives the characters of a font's codes, from its name and the widths of its glyphs; it is asked for fonts
    that say nothing themselves (glyph_names.py). With `trust` what these leave open is taken as PDFium guesses it from
    the codes, which are often those of a usual encoding.
    """
    handle = POINTER.from_param(ctypes.cast(text_page.raw, POINTER).value or 0)
    count = text_page.count_chars()
    if not 0 < count <= MOST_CHARACTERS:
        return PagePieces([])
    codes = codes_of(text_page, handle, count)
    boxes = boxes_of(handle, count, np.flatnonzero(codes != 0x20).tolist())
    return _Reader(handle, codes, boxes, named, trust=trust).pieces()


class _Reader:
    """Cuts a page's characters into pieces; the arrays have one number for each character that PDFium lists."""

    def __init__(self, handle: Any, codes: Array, boxes: Array, named: Named | None, *, trust: bool) -> None:
        self.handle = handle
        self.codes = codes
        if not np.abs(boxes).max() < FARTHEST:  # nor where it is no number at all
            boxes = np.clip(np.nan_to_num(boxes), -FARTHEST, FARTHEST)
        self.left, self.right = np.minimum(boxes[:, 0], boxes[:, 2]), np.maximum(boxes[:, 0], boxes[:, 2])
        self.bottom, self.top = np.minimum(boxes[:, 1], boxes[:, 3]), np.maximum(boxes[:, 1], boxes[:, 3])
        self.found = PagePieces([])
        self.fonts = Fonts(handle, codes, self.right - self.left, named, trust=trust)
        self.numbers = (ctypes.c_float * 6)()
        self.tight = (ctypes.c_double * 4)()
        self.tight_sides = [ctypes.byref(self.tight, 8 * side) for side in range(4)]
        self.matrix = ctypes.byref(self.numbers)

    def pieces(self) -> PagePieces:
        separator = _SEPARATES[np.minimum(self.codes, _LAST)]
        for place in np.flatnonzero((self.codes == MARK) | (self.codes == 2)).tolist():
            if is_hyphen(self.handle, place):
                self.codes[place] = ord("-")
            elif self.codes[place] == MARK:  # a glyph that is mapped to U+0000, which is a space in all files seen
                separator[place] = True
        for place in np.flatnonzero(separator & (self.codes != 0x20)).tolist():
            separator[place] = not map_error(self.handle, place)  # a code that happens to be a space's
        separator |= self.codes == 0
        places = np.flatnonzero(~separator)
        self.found.glyphs = len(places)
        places = self._without_doubles(places)
        if len(places):
            steps, gaps = self._steps(places)
            spaces = self._spaces(places, separator, gaps)
            self._cut(places, steps, spaces & ~self._taken_back(places, spaces, steps, gaps))
        return self.found

    def _without_doubles(self, places: Array) -> Array:
        """The characters without those that are drawn again at their place, as some programs make bold letters."""
        if len(places) < 2:
            return places
        codes, x, y = self.codes[places], self.left[places], self.bottom[places]
        same = (codes[1:] == codes[:-1]) & (x[1:] == x[:-1]) & (y[1:] == y[:-1])
        ligature = np.concatenate(([False], same))  # one glyph that says several letters, as the two of `ff`
        if not _repeated(codes[~ligature], x[~ligature], y[~ligature]):
            return places
        near = _DOUBLED * np.maximum(self.top[places] - y, self.right[places] - x)
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
        # Marks of a script that is set in columns are narrower than its signs, and stand at the column's left.
        codes, larger = self.codes[places], np.maximum(wide[1:], wide[:-1])
        columns = (codes[1:] >= FIRST_WIDE) & (codes[:-1] >= FIRST_WIDE) & ~level
        upright |= columns & (abs(left[1:] - left[:-1]) < 0.05 * larger)
        wide[1:][columns] = larger[columns]
        gap, steps = np.zeros(len(places)), np.zeros(len(places), np.int8)
        for number, fits, space, size in ((3, upright, apart, wide), (2, level, back, high), (1, level, ahead, high)):
            follows = fits & (space > -0.45 * size[1:]) & (space < PIECE_GAP * size[1:])
            steps[1:][follows] = number
            gap[1:][follows] = space[follows]
        self._check_columns(places, steps, apart, wide)
        same = level & upright  # of one glyph
        steps[1:][same] = np.where(steps[:-1][same] > 0, steps[:-1][same], 1)
        return steps, gap

    def _check_columns(self, places: Array, steps: Array, apart: Array, wide: Array) -> None:
        """Let characters below each other follow only where the text is turned, or of a script that is set so."""
        below = np.flatnonzero(steps == 3)
        codes = self.codes[places]
        matrix = self.numbers
        for place in below.tolist():
            if codes[place] >= FIRST_WIDE and codes[place - 1] >= FIRST_WIDE:
                steps[place] = 3 if apart[place - 1] < 0.35 * wide[place] else 0
                continue
            matrix_of(self.handle, int(places[place]), self.matrix)
            if abs(matrix[1]) < abs(matrix[0]):
                steps[place] = 0

    def _spaces(self, places: Array, separator: Array, gaps: Array) -> Array:
        """Whether a space is before each character."""
        separators = np.cumsum(separator)
        space = np.zeros(len(places), bool)
        space[1:] = separators[places[1:]] > separators[places[:-1]]
        jumps: Any = np.flatnonzero(space & (np.diff(places, prepend=places[0]) > 2)) if self.found.doubled else []
        for place in jumps:  # PDFium sees a gap where a letter that was drawn twice is followed by the next one
            if not separator[places[place - 1] + 1 : places[place]].all():
                space[place] = gaps[place] > 0.15 * (self.top[places[place]] - self.bottom[places[place]])
        codes = self.codes[places]
        for place in np.flatnonzero((codes == 0x2F) | (codes == 0x2044)).tolist():
            start = self._numerator(places, place)
            if 0 < start < place and 0x30 <= codes[start - 1] <= 0x39:
                space[start] = True
        return space

    def _taken_back(self, places: Array, spaces: Array, steps: Array, gaps: Array) -> Array:
        """The spaces between letters that are not seen: one is set at the end of the other, as kerning does.

        A drawn space counts as seen where that is so of many, as in a font whose widths are wrong.
        """
        high = self.top[places] - self.bottom[places]
        level = spaces & (steps == 1)
        unseen: Array = level & (gaps < _UNSEEN * high)
        many = 10 * unseen.sum() > level.sum()
        for place in np.flatnonzero(unseen).tolist():
            before = int(places[place]) - 1
            unseen[place] = all(chr(self.codes[places[one]]).isalpha() for one in (place - 1, place)) and (
                self.codes[before] in (0x0A, 0x0D)
                if is_generated(self.handle, before)
                else not many and gaps[place] < -_UNSEEN * high[place]
            )
        return unseen

    def _numerator(self, places: Array, slash: int) -> int:
        """Where the figure above a fraction's stroke begins; the stroke's place where there is none.

        The fraction is one glyph, or its figures are smaller than others of the line.
        """
        first = slash
        while first and self._one_glyph(places[first - 1], places[first]):
            first -= 1
        if first < slash or self.codes[places[slash]] == 0x2F:
            return first
        while first and 0x30 <= self.codes[places[first - 1]] <= 0x39:
            place = int(places[first - 1])
            tight_box(self.handle, place, *self.tight_sides)
            matrix_of(self.handle, place, self.matrix)
            high = abs(self.tight[3] - self.tight[2])
            full = abs(font_size(self.handle, place)) * math.hypot(self.numbers[2], self.numbers[3])
            if high > 0.55 * full:
                break
            first -= 1
        return first

    def _one_glyph(self, one: int, other: int) -> bool:
        return all(side[one] == side[other] for side in (self.left, self.right, self.bottom, self.top))

    def _cut(self, places: Array, steps: Array, spaces: Array) -> None:
        """Make the pieces: each goes on as long as its characters follow each other in one way."""
        codes = self.codes[places]
        before = np.cumsum(spaces)
        bounds = np.arange(len(places)) + before  # of each character in the text
        spaced = np.full(len(places) + int(before[-1]), 0x20, "<u4")
        spaced[bounds] = codes
        text = spaced.tobytes().decode("utf-32-le", "surrogatepass")
        left, right = self.left[places].tolist(), self.right[places].tolist()
        begins, ends = _stretches(steps)
        first = np.array(begins)
        own = places[first]
        numbers = own.tolist()
        follows = steps[np.minimum(first + 1, len(steps) - 1)].tolist()
        spaced_before = spaces[first].tolist()
        texts = np.append(bounds[first], len(text)).tolist()
        wide = (codes[first] >= FIRST_WIDE).tolist()
        alone: list[tuple[Piece, Sides]] = []
        pieces = self.found.pieces
        are_plain, meant = self.fonts.are_plain, self.fonts.meant
        for order, (begin, end, origin, bottom, top, (size, turn, font, shown), space, after) in enumerate(
            zip(
                *(begins, ends, origins_of(self.handle, numbers), self.bottom[own].tolist(), self.top[own].tolist()),
                *(self.fonts.drawings(numbers), spaced_before, [*spaced_before[1:], False]),
                strict=True,
            )
        ):
            going = follows[order] if end > begin + 1 else 0
            letters = text[texts[order] : texts[order + 1] - after]
            lefts, rights = left[begin:end], right[begin:end]
            if going < 2:
                x0, x1, y = lefts[0], max(rights[0], rights[-1]), origin[1]
            else:
                bottom, top = float(self.bottom[places[begin:end]].min()), float(self.top[places[begin:end]].max())
                x0, x1, y = min(lefts), max(rights), origin[1]
            sides = x0, bottom, x1, top
            upright = going == 3 and turn % 180 == 0
            if upright:
                letters = letters.replace(" ", "")  # PDFium ends a line behind each sign
                origin = (x0 + x1) / 2 - 0.3 * size, top
                turn, space, after = 270, False, False
            if not are_plain(letters, font):
                letters = meant(letters, places[begin:end].tolist(), font, going == 1)
            if turn:
                x0, x1, y = _in_frame(turn, sides, origin, size)
                lefts = rights = []
            leftward = not turn and not letters.isascii() and LEFTWARD.search(letters) is not None
            piece = Piece(letters, x0, x1, y, size, turn, order, space, after, shown, upright, lefts, rights, leftward)
            pieces.append(piece)
            if wide[order] and end == begin + 1 and not turn:
                alone.append((piece, sides))
        self.found.unknown = self.fonts.unknown
        self._join_columns(alone)

    def _join_columns(self, alone: Sequence[tuple[Piece, Sides]]) -> None:
        """Let signs that stand alone above or below a column of a page that is set in columns be of that column."""
        columns = [piece for piece in self.found.pieces if piece.upright]
        if len(alone) > _MOST_ALONE or 2 * sum(len(piece.text) for piece in columns) < self.found.glyphs:
            return
        for piece, (left, bottom, _, top) in alone:
            middle, first, last = left + 0.2 * piece.size, -top, -bottom
            for column in columns:
                gap = max(column.x0 - last, first - column.x1)
                alike = abs(piece.size - column.size) < 0.03 * column.size  # a head over the columns has its own size
                if alike and abs(column.y - middle) < 0.15 * piece.size and -0.2 < gap / piece.size < 1.6:
                    piece.x0, piece.x1, piece.y, piece.turn, piece.upright = first, last, column.y, column.turn, True
                    piece.lefts = piece.rights = ()
                    piece.space_before = piece.space_after = False
                    break


def _stretches(steps: Array) -> tuple[list[int], list[int]]:
    """Where the characters of each piece begin and end; a piece's second character says which way it goes."""
    changes = np.flatnonzero((steps[1:] == 0) | (steps[1:] != steps[:-1])) + 1
    begins, ends = [0], []
    for end, goes_on in zip(changes.tolist(), (steps[changes] != 0).tolist(), strict=True):
        if not (goes_on and end == begins[-1] + 1):
            ends.append(end)
            begins.append(end)
    return begins, [*ends, len(steps)]


def _repeated(codes: Array, x: Array, y: Array) -> bool:
    """Whether some character is drawn twice at nearly one place: a quick look, that may be mistaken."""
    for shift in (0.0, 1.0):
        column = np.floor((x + shift) / 2).astype(np.int64) & 0xFFFFF
        row = np.floor((y + shift) / 2).astype(np.int64) & 0xFFFFF
        keys = np.sort((codes << 40) | (column << 20) | row)
        if (keys[1:] == keys[:-1]).any():
            return True
    return False


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
