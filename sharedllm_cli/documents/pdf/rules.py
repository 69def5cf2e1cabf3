"""Ruled lines of a PDF's page: the borders of tables, and what goes through words that are struck out.

PDFium draws them as paths. Here each is a level or an upright line with its thickness, in points on the page.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, repeat
from typing import Any, NamedTuple

import pypdfium2
import pypdfium2.raw as pdfium

MOST_OBJECTS = 20_000
"""Objects of a page that are looked at; what is drawn behind them rules nothing."""
MOST_PATHS = 4_000
"""A page with more paths than this is a drawing: its lines rule no table."""
MOST_POINTS = 40
"""Of a path; a path with more is a drawing, unless it is a whole grid of lines (see `_LONGEST_GRID`)."""
_LONGEST_GRID = 2_000
THICKEST = 3.0
"""Points; a thicker one is an area, whose edges are its lines."""
SHORTEST = 2.0
SNAP = 3.0
"""Points: lines nearer than this are one, and lines whose ends are nearer than this meet."""
_DEEPEST = 3  # forms within forms
_STRUCK_ANNOTATIONS = 500
_LEVEL = 0.7  # points that a line may rise over its length


class Rule(NamedTuple):
    """A straight line: `at` is its y (of a level one) or x (of an upright one), from `start` to `end`."""

    at: float
    start: float
    end: float
    thick: float = 0.5
    line: bool = True
    """Drawn as a line; the edge of an area otherwise."""


@dataclass
class Rules:
    """A page's level and upright lines, and the boxes of its strike-out annotations: left, bottom, right, top."""

    level: list[Rule] = field(default_factory=list)
    upright: list[Rule] = field(default_factory=list)
    struck: list[tuple[float, float, float, float]] = field(default_factory=list)

    def turned(self, turn: int) -> Rules:
        """The same lines in the frame of text in this direction (page_pieces.py); none for slanted text."""
        if turn == 0:
            return self
        if turn == 180:
            return Rules([_mirrored(rule, -1) for rule in self.level], [_mirrored(rule, -1) for rule in self.upright])
        if turn == 90:
            level = [rule._replace(at=-rule.at) for rule in self.upright]
            return Rules(level, [_mirrored(rule, 1) for rule in self.level])
        if turn == 270:
            upright = [rule._replace(at=-rule.at) for rule in self.level]
            return Rules([_mirrored(rule, 1) for rule in self.upright], upright)
        return Rules()

    def mirrored(self) -> Rules:
        """The same lines with left and right exchanged."""
        level = [_mirrored(rule, 1) for rule in self.level]
        return Rules(level, [rule._replace(at=-rule.at) for rule in self.upright])

    def joined(self) -> Rules:
        """The same lines, those that go on in each other made one."""
        return Rules(joined_rules(self.level), joined_rules(self.upright), self.struck)


def joined_rules(rules: Iterable[Rule]) -> list[Rule]:
    """Lines of one direction, those that go on in each other made one; without very short ones."""
    joined: list[Rule] = []
    rows: list[list[Rule]] = []
    for rule in sorted(rules):
        if rows and rule.at - rows[-1][0].at <= 1.5:
            rows[-1].append(rule)
        else:
            rows.append([rule])
    for row in rows:
        row.sort(key=lambda rule: rule.start)
        last = row[0]
        for rule in row[1:]:
            if rule.start - last.end <= SNAP:
                last = last._replace(end=max(last.end, rule.end))
            else:
                joined.append(last)
                last = rule
        joined.append(last)
    return [rule for rule in joined if rule.end - rule.start >= 2 * SNAP]


def _mirrored(rule: Rule, sign: int) -> Rule:
    return rule._replace(at=sign * rule.at, start=-rule.end, end=-rule.start)


Matrix = tuple[float, float, float, float, float, float]


def _plain(typed: Any, result: Any, *arguments: Any) -> Any:
    """A function of PDFium with plain integers for pointers: far quicker to call than the typed one."""
    return ctypes.PYFUNCTYPE(result, *arguments)(ctypes.cast(typed, ctypes.c_void_p).value or 0)


_POINTER, _INT, _LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_ulong
_count = _plain(pdfium.FPDFPage_CountObjects, _INT, _POINTER)
_object = _plain(pdfium.FPDFPage_GetObject, _POINTER, _POINTER, _INT)
_form_count = _plain(pdfium.FPDFFormObj_CountObjects, _INT, _POINTER)
_form_object = _plain(pdfium.FPDFFormObj_GetObject, _POINTER, _POINTER, _LONG)
_type = _plain(pdfium.FPDFPageObj_GetType, _INT, _POINTER)
_bounds = _plain(pdfium.FPDFPageObj_GetBounds, _INT, _POINTER, _POINTER, _POINTER, _POINTER, _POINTER)
_matrix = _plain(pdfium.FPDFPageObj_GetMatrix, _INT, _POINTER, _POINTER)
_draw_mode = _plain(pdfium.FPDFPath_GetDrawMode, _INT, _POINTER, _POINTER, _POINTER)
_segment_count = _plain(pdfium.FPDFPath_CountSegments, _INT, _POINTER)
_segment = _plain(pdfium.FPDFPath_GetPathSegment, _POINTER, _POINTER, _INT)
_point = _plain(pdfium.FPDFPathSegment_GetPoint, _INT, _POINTER, _POINTER, _POINTER)
_segment_type = _plain(pdfium.FPDFPathSegment_GetType, _INT, _POINTER)
_closes = _plain(pdfium.FPDFPathSegment_GetClose, _INT, _POINTER)


def rules(page: pypdfium2.PdfPage) -> Rules:
    """The ruled lines of an open page; none of a page that is a drawing."""
    found = Rules()
    try:
        _Paths(found).read(int(ctypes.cast(page.raw, ctypes.c_void_p).value or 0))
    except _DrawingError:
        found = Rules()
    found.struck = list(_struck(page))
    return found


class _DrawingError(Exception):
    """The page has too many paths."""


class _Paths:
    """Reads the lines of a page's paths."""

    def __init__(self, found: Rules) -> None:
        self.found = found
        self.paths = 0
        self.left = MOST_OBJECTS
        self.box = (ctypes.c_float * 4)()
        self.sides = [ctypes.addressof(self.box) + 4 * side for side in range(4)]
        self.modes = (ctypes.c_int * 2)()
        self.mode_places = [ctypes.addressof(self.modes) + 4 * place for place in range(2)]
        self.numbers = (ctypes.c_float * 6)()

    def read(self, page: int) -> None:
        self._objects(list(map(_object, repeat(page), range(min(_count(page), self.left)))), None, 0)

    def _objects(self, things: list[int | None], around: Matrix | None, depth: int) -> None:
        self.left -= len(things)
        for thing, kind in zip(things, map(_type, things), strict=True):
            if thing and kind == pdfium.FPDF_PAGEOBJ_PATH:
                self.paths += 1
                if self.paths > MOST_PATHS:
                    raise _DrawingError
                self._path(thing, around)
            elif thing and kind == pdfium.FPDF_PAGEOBJ_FORM and depth < _DEEPEST:
                count = min(_form_count(thing), self.left)
                within = _times(self._matrix_of(thing), around)
                self._objects(list(map(_form_object, repeat(thing), range(count))), within, depth + 1)

    def _matrix_of(self, thing: int) -> Matrix:
        if not _matrix(thing, ctypes.addressof(self.numbers)):
            return (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
        a, b, c, d, e, f = self.numbers
        return a, b, c, d, e, f

    def _path(self, thing: int, around: Matrix | None) -> None:
        if not _draw_mode(thing, *self.mode_places) or not any(self.modes) or not _bounds(thing, *self.sides):
            return
        left, bottom, right, top = self.box
        if around is not None:
            corners = [_at(around, x, y) for x in (left, right) for y in (bottom, top)]
            left, right = min(x for x, _ in corners), max(x for x, _ in corners)
            bottom, top = min(y for _, y in corners), max(y for _, y in corners)
        wide, high = right - left, top - bottom
        if not math.isfinite(wide + high) or max(wide, high) < SHORTEST:
            return
        thin = min(wide, high)
        if self.modes[1] and not self.modes[0]:  # PDFium adds the width of a stroke on each side
            thin /= 2
            left, bottom, right, top = left + thin, bottom + thin, right - thin, top - thin
        if thin <= THICKEST:
            self._line(left, bottom, right, top, thin)
        elif 2 <= (count := _segment_count(thing)) <= _LONGEST_GRID:
            self._edges(thing, count, _times(self._matrix_of(thing), around))

    def _line(self, left: float, bottom: float, right: float, top: float, thick: float) -> None:
        if right - left >= top - bottom:
            self.found.level.append(Rule((bottom + top) / 2, left, right, thick))
        else:
            self.found.upright.append(Rule((left + right) / 2, bottom, top, thick))

    def _edges(self, thing: int, count: int, matrix: Matrix) -> None:
        """The level and upright lines of a path of several; none of one with curves or slanted lines."""
        strokes = list(self._strokes(thing, count, matrix))
        if len(strokes) > MOST_POINTS and not _is_grid(strokes):
            return
        for (x0, y0), (x1, y1) in strokes:
            if abs(x1 - x0) > _LEVEL and abs(y1 - y0) > _LEVEL:
                return
        line = bool(self.modes[1])
        for (x0, y0), (x1, y1) in strokes:
            if abs(y1 - y0) <= _LEVEL and abs(x1 - x0) >= SHORTEST:
                self.found.level.append(Rule((y0 + y1) / 2, min(x0, x1), max(x0, x1), line=line))
            elif abs(x1 - x0) <= _LEVEL and abs(y1 - y0) >= SHORTEST:
                self.found.upright.append(Rule((x0 + x1) / 2, min(y0, y1), max(y0, y1), line=line))

    def _strokes(
        self, thing: int, count: int, matrix: Matrix
    ) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
        start = last = (0.0, 0.0)
        place = ctypes.addressof(self.numbers)
        for number in range(count):
            segment = _segment(thing, number)
            if not segment or not _point(segment, place, place + 4):
                return
            point = _at(matrix, self.numbers[0], self.numbers[1])
            kind = _segment_type(segment)
            if kind == pdfium.FPDF_SEGMENT_MOVETO:
                start = point
            elif kind == pdfium.FPDF_SEGMENT_LINETO:
                yield last, point
            else:
                yield (0.0, 0.0), (9.0, 9.0)  # a curve: slanted somewhere
                return
            if _closes(segment):
                yield point, start
            last = point


def _is_grid(strokes: Sequence[tuple[tuple[float, float], tuple[float, float]]]) -> bool:
    """Whether lines are apart from each other, or rectangles, and not one long staircase."""
    joins = sum(one[1] == other[0] for one, other in pairwise(strokes))
    return joins <= 0.8 * len(strokes)


def _at(matrix: Matrix, x: float, y: float) -> tuple[float, float]:
    a, b, c, d, e, f = matrix
    return a * x + c * y + e, b * x + d * y + f


def _times(inner: Matrix, outer: Matrix | None) -> Matrix:
    if outer is None:
        return inner
    a, b = inner[0] * outer[0] + inner[1] * outer[2], inner[0] * outer[1] + inner[1] * outer[3]
    c, d = inner[2] * outer[0] + inner[3] * outer[2], inner[2] * outer[1] + inner[3] * outer[3]
    return a, b, c, d, *_at(outer, inner[4], inner[5])


def _struck(page: pypdfium2.PdfPage) -> Iterator[tuple[float, float, float, float]]:
    """The boxes of the page's strike-out annotations that are shown."""
    hidden = pdfium.FPDF_ANNOT_FLAG_HIDDEN | pdfium.FPDF_ANNOT_FLAG_NOVIEW
    for number in range(min(pdfium.FPDFPage_GetAnnotCount(page), _STRUCK_ANNOTATIONS)):
        annotation = pdfium.FPDFPage_GetAnnot(page, number)
        if not annotation:
            continue
        try:
            kind = pdfium.FPDFAnnot_GetSubtype(annotation)
            if kind == pdfium.FPDF_ANNOT_STRIKEOUT and not pdfium.FPDFAnnot_GetFlags(annotation) & hidden:
                yield from _quads(annotation)
        finally:
            pdfium.FPDFPage_CloseAnnot(annotation)


def _quads(annotation: Any) -> Iterator[tuple[float, float, float, float]]:
    quad = pdfium.FS_QUADPOINTSF()
    for place in range(min(pdfium.FPDFAnnot_CountAttachmentPoints(annotation), _STRUCK_ANNOTATIONS)):
        if pdfium.FPDFAnnot_GetAttachmentPoints(annotation, place, quad):
            xs, ys = (quad.x1, quad.x2, quad.x3, quad.x4), (quad.y1, quad.y2, quad.y3, quad.y4)
            yield min(xs), min(ys), max(xs), max(ys)
