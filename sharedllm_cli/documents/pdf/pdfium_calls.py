"""PDFium's functions that are asked for every character of a page, in the quickest way that ctypes has."""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Sequence
from itertools import repeat
from typing import Any, ClassVar

import numpy as np
import pypdfium2.raw as pdfium

from sharedllm_cli.documents.pdf.glyph_names import UNKNOWN

Array = np.ndarray[Any, np.dtype[Any]]


def _quick(typed: Any, result: Any) -> Any:
    """A function of PDFium that takes pointers as `ctypes.byref` and `from_param` make them, and plain integers.

    These are made once, so a call costs half of a typed one. It is short, so other threads wait for it.
    """
    return ctypes.PYFUNCTYPE(result)(ctypes.cast(typed, ctypes.c_void_p).value or 0)


POINTER, _INT = ctypes.c_void_p, ctypes.c_int
_AT_ONCE = 4096
"""Characters whose boxes are asked for before these are copied."""
unicode_of = _quick(pdfium.FPDFText_GetUnicode, ctypes.c_uint)
loose_box = _quick(pdfium.FPDFText_GetLooseCharBox, _INT)
tight_box = _quick(pdfium.FPDFText_GetCharBox, _INT)
origin_of = _quick(pdfium.FPDFText_GetCharOrigin, _INT)
matrix_of = _quick(pdfium.FPDFText_GetMatrix, _INT)
font_size = _quick(pdfium.FPDFText_GetFontSize, ctypes.c_double)
map_error = _quick(pdfium.FPDFText_HasUnicodeMapError, _INT)
is_generated = _quick(pdfium.FPDFText_IsGenerated, _INT)
is_hyphen = _quick(pdfium.FPDFText_IsHyphen, _INT)
text_object = _quick(pdfium.FPDFText_GetTextObject, POINTER)
object_font = _quick(pdfium.FPDFTextObj_GetFont, POINTER)
font_name = _quick(pdfium.FPDFFont_GetBaseFontName, ctypes.c_size_t)
object_mode = _quick(pdfium.FPDFTextObj_GetTextRenderMode, _INT)


class _Boxes:
    """Places for the boxes of characters, with the pointers to them made once: they cost more than the question."""

    free: ClassVar[list[_Boxes]] = []

    def __init__(self) -> None:
        self.numbers = (ctypes.c_float * (4 * _AT_ONCE))()
        self.array = np.frombuffer(memoryview(self.numbers), np.float32).reshape(_AT_ONCE, 4)
        self.pointers = [ctypes.byref(self.numbers, 16 * place) for place in range(_AT_ONCE)]


def boxes_of(handle: Any, count: int, places: Sequence[int] | None = None) -> Array:
    """The characters' loose boxes; with `places` those of these characters alone, and zeros for the others."""
    found = np.zeros((count, 4), np.float32)
    asked = range(count) if places is None else places
    boxes = _Boxes.free.pop() if _Boxes.free else _Boxes()
    for first in range(0, len(asked), _AT_ONCE):
        part = asked[first : first + _AT_ONCE]
        boxes.array[:] = 0  # of a character without a box
        deque(map(loose_box, repeat(handle), part, boxes.pointers), 0)
        found[part] = boxes.array[: len(part)]
    _Boxes.free.append(boxes)
    return found


class _Origins:
    """Places for the origins of characters, as `_Boxes`."""

    free: ClassVar[list[_Origins]] = []

    def __init__(self) -> None:
        self.numbers = (ctypes.c_double * (2 * _AT_ONCE))()
        self.array = np.frombuffer(memoryview(self.numbers), np.float64).reshape(_AT_ONCE, 2)
        self.xs = [ctypes.byref(self.numbers, 16 * place) for place in range(_AT_ONCE)]
        self.ys = [ctypes.byref(self.numbers, 16 * place + 8) for place in range(_AT_ONCE)]


def origins_of(handle: Any, places: Sequence[int]) -> list[tuple[float, float]]:
    """The origins of the characters at these places."""
    found: list[tuple[float, float]] = []
    origins = _Origins.free.pop() if _Origins.free else _Origins()
    for first in range(0, len(places), _AT_ONCE):
        part = places[first : first + _AT_ONCE]
        deque(map(origin_of, repeat(handle), part, origins.xs, origins.ys), 0)
        found += map(tuple, origins.array[: len(part)].tolist())
    _Origins.free.append(origins)
    return found


def codes_of(text_page: Any, handle: Any, count: int) -> Array:
    """The characters' codes, all at once where PDFium's text leaves none out, else one by one."""
    buffer = (ctypes.c_ushort * (count + 1))()
    written = pdfium.FPDFText_GetText(text_page, 0, count, buffer) - 1
    codes: Array = np.frombuffer(memoryview(buffer), np.uint16)[:count].astype(np.int64)
    if written != count or ((codes >= 0xD800) & (codes < 0xE000)).any():
        codes = np.fromiter(map(unicode_of, repeat(handle), range(count)), np.int64, count)
        codes[codes > sys.maxunicode] = ord(UNKNOWN)
    return codes
