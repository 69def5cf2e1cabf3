"""What the codes of a PDF's characters mean, and the names of glyphs in fonts that say nothing else.

PDFium takes no characters from the names of Type 3 glyphs, nor from names with suffixes. What a name says is settled in
the Adobe Glyph List and its rules; names of TeX's large signs are added. A name such as `g12` says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pypdf

_ABOUT = 45  # thousandths of the size: PDFium's boxes of Type 3 glyphs are that exact
_LONGEST_HEAD = 100_000
_ENTRY = re.compile(rb"\bdup\s{1,4}(\d{1,3})\s{0,4}/([^\s/]{1,60})\s{1,4}put\b")
MARK = 0xFFFE
"""PDFium's sign for the hyphen of a word that is broken at a line end; for U+0000, too"""
# Windows' characters in the place of control codes, as old producers map them: they are drawn as what they look like.
_WINDOWS = {code: bytes([code]).decode("cp1252", "ignore") for code in range(0x80, 0xA0)}
# Adobe's private codes for the figures and small capitals of expert fonts: ASCII and Latin-1, moved.
_EXPERT = {0xF700 + code: chr(code).upper() for code in (*range(0x21, 0x7B), *range(0xA1, 0x100))}
_EXPERT |= dict(zip(range(0xF6F9, 0xF700), ("Ł", "Œ", "Œ", "\u02da", "Š", "\u02dc", "Ž"), strict=True))
UNKNOWN = "\ufffd"
"""In the place of a glyph that has no meaning."""

DEEPEST_TREE = 40
"""Levels of the tree of pages."""
DEEPEST = 8
"""Forms within forms are followed so deep."""
_TEX = {"lscript": "ℓ", "visiblespace": "␣", "summation": "∑", "product": "∏", "coproduct": "∐", "integral": "∫"}
_TEX |= {"radical": "√", "contintegral": "∮", "angbracketleft": "⟨", "angbracketright": "⟩", "slash": "/"}
_SIZES = re.compile(r"(?:big|Big|bigg|Bigg|text|display)$")


@dataclass(frozen=True)
class _Table:
    """Characters of a font's codes. `widths` are those of its glyphs, for fonts without a name."""

    characters: Mapping[int, str]
    widths: Mapping[int, float]


KnownFonts = dict[int, tuple[Any, _Table]]
"""By the identity of a font, which lasts as long as it is kept here."""


class GlyphNames:
    """What the names of glyphs say in the fonts of a page (its index). `known` are the file's fonts that were read."""

    def __init__(self, reader: pypdf.PdfReader, page: int, known: KnownFonts | None = None) -> None:
        self._fonts: dict[str, list[Any]] = {}
        self._known = {} if known is None else known
        for font in _fonts(page_of(reader, page)):
            self._fonts.setdefault(str(font.get("/BaseFont", "")).lstrip("/"), []).append(font)

    def characters(self, name: str, widths: Mapping[int, float]) -> Mapping[int, str]:
        """The characters of a font's codes: of fonts with one name (or none) those whose widths are the same.

        `widths` are those of some codes' glyphs as they are drawn, in thousandths of the size. Where several fonts fit
        and do not agree, a code has no character.
        """
        found: dict[int, str] = {}
        for table in map(self._table, self._fonts.get(name, ())):
            if all(abs(table.widths.get(code, wide) - wide) < _ABOUT for code, wide in widths.items()):
                for code, text in table.characters.items():
                    found[code] = text if found.get(code, text) == text else ""
        return {code: text for code, text in found.items() if text}

    def _table(self, font: Any) -> _Table:
        known = self._known.get(id(font))
        if known is None:
            known = self._known[id(font)] = font, _Table(_named(font), _widths(font))
        return known[1]


def _value(entry: Any) -> Any:
    return entry.get_object() if hasattr(entry, "get_object") else entry


def page_of(reader: pypdf.PdfReader, index: int) -> Any:
    """A page's dictionary with the resources that it inherits, found without reading the pages before it."""
    node, resources, place = _value(reader.root_object["/Pages"]), None, index
    for _ in range(DEEPEST_TREE):
        resources = node.get("/Resources", resources)
        kids = _value(node.get("/Kids"))
        if kids is None:
            return node if "/Resources" in node else {"/Resources": resources or {}}
        if node.get("/Count") == len(kids):  # its kids are pages
            kids, place = kids[place : place + 1], 0
        for kid in kids:
            node = _value(kid)
            count = int(node.get("/Count", 1))
            if place < count:
                break
            place -= count
        else:
            break
    return reader.pages[index]


def _fonts(page: Any) -> Iterator[Any]:
    """The fonts of a page and of the forms on it, each once."""
    seen: set[int] = set()
    waiting = [(_value(page.get("/Resources")) or {}, 0)]
    while waiting:
        resources, depth = waiting.pop()
        for entry in (_value(resources.get("/Font")) or {}).values():
            font = _value(entry)
            if id(font) not in seen and hasattr(font, "get"):
                seen.add(id(font))
                yield font
        for entry in (_value(resources.get("/XObject")) or {}).values():
            form = _value(entry)
            if id(form) not in seen and depth < DEEPEST and form.get("/Subtype") == "/Form":
                seen.add(id(form))
                waiting.append((_value(form.get("/Resources")) or {}, depth + 1))


def _named(font: Any) -> dict[int, str]:
    """The characters of a font's codes, by the names that its own program and the PDF give them."""
    if font.get("/Subtype") == "/Type0":
        return {}
    names = _built_in(font)
    encoding = _value(font.get("/Encoding"))
    differences = _value(encoding.get("/Differences")) if hasattr(encoding, "get") else ()
    code = 0
    for entry in differences or ():
        entry = _value(entry)
        if not isinstance(entry, str):
            code = int(entry)
            continue
        names[code] = str(entry).lstrip("/")
        code += 1
    found = {code: character_of(name) for code, name in names.items() if 0 <= code < 256}
    return {code: text for code, text in found.items() if text is not None}


def _built_in(font: Any) -> dict[int, str]:
    """The encoding that a Type 1 font's program has, which is written in clear at its beginning."""
    descriptor = _value(font.get("/FontDescriptor"))
    program = _value(descriptor.get("/FontFile")) if hasattr(descriptor, "get") else None
    if program is None:
        return {}
    clear = program.get_data()[:_LONGEST_HEAD].split(b"eexec", 1)[0]
    return {int(code): name.decode("latin-1") for code, name in _ENTRY.findall(clear)}


def _widths(font: Any) -> dict[int, float]:
    """Widths of a Type 3 font's glyphs in thousandths of the size; none of fonts that have a name."""
    if font.get("/Subtype") != "/Type3":
        return {}
    matrix = [float(number) for number in _value(font.get("/FontMatrix")) or (0.001,)]
    first = int(font.get("/FirstChar", 0))
    return {first + place: float(_value(wide)) * matrix[0] * 1000 for place, wide in enumerate(_value(font["/Widths"]))}


def character_of(name: str) -> str | None:
    """The character or characters that a glyph's name says, None where it says none.

    `a.sc` is an a, `f_i` is fi, `uni00E9` is é, `parenleftBigg` is a bracket.
    """
    from pypdf._codecs.adobe_glyphs import adobe_glyphs

    found = ""
    for part in name.split(".", 1)[0].split("_"):
        plain = _SIZES.sub("", part)
        if plain in _TEX:
            found += _TEX[plain]
        elif f"/{part}" in adobe_glyphs:
            found += adobe_glyphs[f"/{part}"]
        elif f"/{plain}" in adobe_glyphs:
            found += adobe_glyphs[f"/{plain}"]
        elif re.fullmatch(r"uni(?:[0-9A-F]{4})+", part):
            found += bytes.fromhex(part[3:]).decode("utf-16-be", "replace")
        elif re.fullmatch(r"u[0-9A-F]{4,6}", part) and int(part[1:], 16) < 0x110000:
            found += chr(int(part[1:], 16))
        else:
            return None
    return found or None


def meant(letters: str) -> str:
    """Characters of a glyph's name as they are meant: figures and capitals of expert fonts as plain ones."""
    return "".join(meaning_of(letter) for letter in letters)


def meaning_of(letter: str) -> str:
    code = ord(letter)
    if code < 0xA0:
        return letter if 0x20 <= code < 0x7F else _WINDOWS.get(code) or UNKNOWN
    if code in _EXPERT:
        return _EXPERT[code]
    return UNKNOWN if code in (0xFFFD, MARK, 0xFFFF) else letter
