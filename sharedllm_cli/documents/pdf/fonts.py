"""What a PDF's page is drawn with: size, direction and font of its text, and the characters that are meant by each.

A font may say nothing of its characters, or something wrong; the names of its glyphs help then (glyph_names.py).
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any

import pypdfium2.raw as pdfium

from sharedllm_cli.documents.pdf.glyph_names import UNKNOWN, meaning_of, meant
from sharedllm_cli.documents.pdf.pdfium_calls import (
    POINTER,
    Array,
    font_name,
    font_size,
    map_error,
    matrix_of,
    object_font,
    object_mode,
    text_object,
)

Named = Callable[[str, Mapping[int, float]], Mapping[int, str]]
Drawing = tuple[float, int, int | None, bool]
"""Size, direction in degrees and font of what is drawn as one, and whether it is painted."""


_PLAIN = frozenset(map(chr, range(0x20, 0x7F)))
"""Characters that mean what they are in any font that says so."""


class _Known:
    """Characters of a font that were met: those that mean what they are, and those that mean something else."""

    def __init__(self) -> None:
        self.plain = {" "}
        self.other: dict[str, str] = {}


class Fonts:
    """The fonts of an open text page; the arrays have one number for each character that PDFium lists.

    `unknown` counts the characters without meaning. `named` and `trust`: as in `page_pieces.read`.
    """

    def __init__(self, handle: Any, codes: Array, widths: Array, named: Named | None, *, trust: bool) -> None:
        self.unknown = 0
        self._handle = handle
        self._codes = codes
        self._widths = widths
        self._named = named
        self._trust = trust
        self._sizes: dict[tuple[float, bytes], tuple[float, int]] = {}
        self._known: dict[int | None, _Known] = {}
        self._numbers = (ctypes.c_float * 6)()
        self._coefficients = memoryview(self._numbers)[:4]
        self._matrix = ctypes.byref(self._numbers)

    def drawings(self, numbers: Sequence[int]) -> list[Drawing]:
        """How each of these characters is drawn: those of one text object alike."""
        things = list(map(text_object, repeat(self._handle), numbers))
        found: dict[int | None, Drawing] = {}
        firsts = dict(zip(reversed(things), reversed(numbers), strict=True))
        for thing, number in firsts.items():
            if thing:
                drawn = POINTER.from_param(thing)
                shown = object_mode(drawn) != pdfium.FPDF_TEXTRENDERMODE_INVISIBLE
                found[thing] = *self._turned(number), object_font(drawn), shown
        if None not in firsts:
            return [found[thing] for thing in things]
        alone = [(*self._turned(number), None, True) for number in numbers]
        return [found.get(thing, other) for thing, other in zip(things, alone, strict=True)]

    def _turned(self, number: int) -> tuple[float, int]:
        """Size and direction of a character."""
        matrix_of(self._handle, number, self._matrix)
        key = font_size(self._handle, number), self._coefficients.tobytes()
        found = self._sizes.get(key)
        if found is None:
            along, beside, across, upwards = self._numbers[:4]
            size = abs(key[0]) * math.hypot(across, upwards) or 1.0
            found = self._sizes[key] = size, round(math.degrees(math.atan2(beside, along))) % 360
        return found

    def are_plain(self, text: str, font: int | None) -> bool:
        """Whether all characters of a text are known to mean what they are."""
        known = self._known.get(font)
        return known is not None and known.plain.issuperset(text)

    def meant(self, text: str, numbers: Sequence[int], font: int | None, level: bool) -> str:
        """The characters that are meant, of text at places; those without meaning are counted, and become U+FFFD."""
        known = self._known.get(font)
        if known is None:
            known = self._known[font] = _Known()
        letters = set(text) - known.plain
        if not letters:
            return text
        new = letters - known.other.keys()
        if new:
            bare = text.replace(" ", "")
            unmapped = [letter for letter in new if map_error(self._handle, numbers[bare.index(letter)])]
            names = self._names(font, numbers, level) if unmapped else {}
            if not unmapped:
                known.plain |= new & _PLAIN
                new -= _PLAIN
            for letter in new:
                meaning = meaning_of(letter)
                if letter in unmapped:
                    meaning = meant(names.get(ord(letter), "")) or (meaning if self._trust else UNKNOWN)
                if meaning == letter:
                    known.plain.add(letter)
                else:
                    known.other[letter] = meaning
        if not known.other.keys() & letters:
            return text
        text = "".join([known.other.get(letter, letter) for letter in text])
        self.unknown += text.count(UNKNOWN)
        return text

    def _names(self, font: int | None, numbers: Sequence[int], level: bool) -> Mapping[int, str]:
        """Characters of a font's codes by its glyphs' names."""
        if not font or self._named is None:
            return {}
        buffer = ctypes.create_string_buffer(256)
        length = font_name(POINTER.from_param(font), buffer, ctypes.c_size_t(len(buffer)))
        measured = numbers if level else ()
        widths = {int(self._codes[number]): float(self._widths[number]) for number in measured}
        matrix_of(self._handle, numbers[0], self._matrix)
        size = abs(font_size(self._handle, numbers[0])) * math.hypot(self._numbers[0], self._numbers[1]) or 1.0
        name = buffer.value.decode("utf-8", "replace") if length else ""
        return self._named(name, {code: 1000 * wide / size for code, wide in widths.items()})
