"""Characters as they should be in a text.

Compatibility forms are resolved, odd spaces and invisible characters removed. Bytes, lines and pages are for others.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

LINE_END_HYPHENS = "-\u2010\u00ad"
"""What a word broken at the end of a line may end with, once the text has been cleaned."""

# PDFium writes U+FFFE (older versions U+0002) for a hyphen at the end of a line together with the line end itself.
_BROKEN_WORD = re.compile(r"[\ufffe\x02][ \t]*(?:\r\n|\r|\n)?")
_LINE_ENDS = re.compile(r"\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
WINDOWS_1252: Mapping[int, str] = {code: bytes([code]).decode("cp1252", "replace") for code in range(0x80, 0xA0)}
"""What the control characters U+0080 to U+009F mean where a text has them; U+FFFD where that is nothing."""
_CONTROLS_AS_LETTERS = re.compile("[\x80-\x84\x86-\x9f]")
# U+0085 is the end of a line of its own right: it is three dots where other such characters are, or before a space.
_THREE_DOTS = re.compile("\x85(?=[\\s\"'’”».,;:!?)\\]]|\\Z)")
# Deleted: controls, marks without width or direction, byte order marks and noncharacters. The joiners U+200C and
# U+200D stay: they spell words in Persian, Indic scripts and emoji.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x1f\x7f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufdd0-\ufdef\ufff9-\ufffb\ufffe\uffff]"
)
_SOFT_HYPHEN = re.compile("\u00ad(?!\\s*\n|\\s*$)")
_ODD_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
# Resolved to their plain letters: ligatures, Arabic and Hebrew presentation forms, Kangxi radicals, full-width letters
# and digits, half-width katakana, mathematical letters. Superscripts, fractions and circled digits say something that
# the plain form does not, and stay.
_COMPATIBILITY = re.compile(
    "[\u2e80-\u2fdf\uf900-\ufaff\ufb00-\ufdcf\ufdf0-\ufdff\ufe70-\ufefc\uff10-\uff19\uff21-\uff3a\uff41-\uff5a"
    "\uff61-\uff9f\U0001d400-\U0001d7ff]+"
)
# Bullets that symbol fonts put into the private use area.
_SYMBOLS = {"\uf0b7": "•", "\uf0a7": "▪", "\uf0d8": "▸", "\uf0fc": "✓", "\u2044": "/"}
_SYMBOL = re.compile(f"[{''.join(_SYMBOLS)}]")
# A run of these says no more than three of them: leaders of a table of contents, rules, blanks of a form.
# Spaces before the first dot are entered at their beginning alone: a long run of spaces would be read once from each.
_LEADERS = re.compile(r"(?:(?<![ \t])[ \t]+)?\.(?:[ \t]*\.){3,}|(?:…[ \t]*){2,}")
_RULES = re.compile(r"([_=*~─━═\-])\1{3,}")
_TWO_DOTS = re.compile(r"\.[ \t]*\.")
_LONG_RULES = tuple(4 * sign for sign in "_=*~─━═-")
_INNER_SPACES = re.compile(r"(?<=\S)[ \t]+(?=\S)")
_COLUMN_GAP = re.compile(r"(?<=\S)(?: ?\t[ \t]*| {2,}[ \t]*)(?=\S)")
_MANY_BLANK_LINES = re.compile(r"\n{3,}")
# Of these alone a text is as it should be: ASCII, letters of Europe, quotation marks, dashes, signs of mathematics.
_PLAIN = re.compile("[\t\n -~\u00a1-\u00ac\u00ae-\u024f\u2010-\u2027\u2030-\u203a\u20ac\u2190-\u22ff]*")
WIDEST_INDENT = 200
"""Columns of indentation that are kept: no reader tells more of them apart."""


def repair(text: str) -> str:
    """Pair surrogates and replace lone ones, so that the text can be written as UTF-8."""
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def clean(text: str, *, layout: bool = False) -> str:
    """The text in plain characters and `\\n` line ends; cleaning twice changes nothing more.

    With `layout` the indentation of lines and gaps between columns (as two spaces) stay visible; without, all white
    space within a line is single spaces. A word broken at a line end by a marker of PDFium ends with `-` and a newline.
    """
    text = repair(text)
    if not _PLAIN.fullmatch(text):
        text = _plain(text)
    if any(run in text for run in _LONG_RULES):
        text = _RULES.sub(r"\1\1\1", text)
    if "…" in text or _TWO_DOTS.search(text):
        while (shorter := _LEADERS.sub(" ...", text)) != text:  # a dot before ellipses goes with what they became
            text = shorter
    lines = [_spaced(line, layout) for line in text.split("\n")]
    return _MANY_BLANK_LINES.sub("\n\n", "\n".join(lines)).strip("\n")


def _plain(text: str) -> str:
    text = _BROKEN_WORD.sub("-\n", text) if "\ufffe" in text or "\x02" in text else text
    if not text.isascii():
        text = _with_windows_letters(text)
    text = _LINE_ENDS.sub("\n", text)
    if not text.isascii():
        text = _SYMBOL.sub(lambda match: _SYMBOLS[match[0]], text)
        text = _COMPATIBILITY.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
        text = _ODD_SPACES.sub(" ", text)
    text = _INVISIBLE.sub("", text)
    if not text.isascii():
        text = unicodedata.normalize("NFC", _SOFT_HYPHEN.sub("", text))
    return text


def _with_windows_letters(text: str) -> str:
    """A text with U+0080 to U+009F as the letters and marks that Windows-1252 has there: no one writes the controls."""
    if _CONTROLS_AS_LETTERS.search(text):
        return text.translate(WINDOWS_1252)
    return _THREE_DOTS.sub("…", text)


def _spaced(line: str, layout: bool) -> str:
    body = line.strip()
    if not layout:
        return _INNER_SPACES.sub(" ", body)
    if body == line and "  " not in line and "\t" not in line:
        return line
    opening = line[: len(line) - len(line.lstrip())][:WIDEST_INDENT].expandtabs(4)
    return " " * (min(len(opening), WIDEST_INDENT) if body else 0) + _COLUMN_GAP.sub("  ", body)
