"""Bytes to characters in whatever encoding they are, and characters as they should be in a text.

Compatibility forms are resolved, odd spaces and invisible characters removed. Lines, pages and files are for others.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Mapping
from contextlib import suppress

from sharedllm_cli.errors import DocumentError

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
_SYMBOLS = str.maketrans({"\uf0b7": "•", "\uf0a7": "▪", "\uf0d8": "▸", "\uf0fc": "✓", "\u2044": "/"})
# A run of these says no more than three of them: leaders of a table of contents, rules, blanks of a form.
# Spaces before the first dot are entered at their beginning alone: a long run of spaces would be read once from each.
_LEADERS = re.compile(r"(?:(?<![ \t])[ \t]+)?\.(?:[ \t]*\.){3,}|(?:…[ \t]*){2,}")
_RULES = re.compile(r"([_=*~─━═\-])\1{3,}")
_TWO_DOTS = re.compile(r"\.[ \t]*\.")
_LONG_RULES = tuple(4 * sign for sign in "_=*~─━═-")
_INNER_SPACES = re.compile(r"(?<=\S)[ \t]+(?=\S)")
_COLUMN_GAP = re.compile(r"(?<=\S)(?: ?\t[ \t]*| {2,}[ \t]*)(?=\S)")
_MANY_BLANK_LINES = re.compile(r"\n{3,}")
SAMPLE = 1 << 18
"""So many bytes are looked at to tell an encoding."""
# Longer marks first: the one of UTF-32 begins with the one of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
# Python decodes these too, but they spell domain names, source code, or mail of long ago.
_NOT_OF_PAGES = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "utf-7"})
# What pages that declare the first are in: it has characters where the first has none (WHATWG, Encoding Standard).
_WIDER = {
    **dict.fromkeys(("ascii", "iso8859-1"), "cp1252"),
    "iso8859-9": "cp1254",
    **dict.fromkeys(("iso8859-11", "tis-620"), "cp874"),
    **dict.fromkeys(("gb2312", "gbk"), "gb18030"),
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
}
MOST_CONTROLS = 0.02
"""A file with a larger share of control bytes is no text."""


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
    text = _BROKEN_WORD.sub("-\n", text) if "\ufffe" in text or "\x02" in text else text
    if not text.isascii():
        text = _with_windows_letters(text)
    text = _LINE_ENDS.sub("\n", text)
    if not text.isascii():
        text = text.translate(_SYMBOLS)
        text = _COMPATIBILITY.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
        text = _ODD_SPACES.sub(" ", text)
    text = _INVISIBLE.sub("", text)
    if not text.isascii():
        text = unicodedata.normalize("NFC", _SOFT_HYPHEN.sub("", text))
    if any(run in text for run in _LONG_RULES):
        text = _RULES.sub(r"\1\1\1", text)
    if "…" in text or _TWO_DOTS.search(text):
        while (shorter := _LEADERS.sub(" ...", text)) != text:  # a dot before ellipses goes with what they became
            text = shorter
    lines = [_spaced(line, layout) for line in text.split("\n")]
    return _MANY_BLANK_LINES.sub("\n\n", "\n".join(lines)).strip("\n")


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
    indent = len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())
    return " " * (indent if body else 0) + _COLUMN_GAP.sub("  ", body)


def decode(data: bytes, name: str, *, declared: str | None = None) -> tuple[str, list[str]]:
    """The text and any warnings: by byte order mark, as declared (HTML), as UTF-8, or as detected.

    Raises DocumentError for bytes that are no text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _with(data[len(mark) :], encoding, name)
    if declared:
        # A wrong declaration is common: go on as if there were none.
        with suppress(LookupError):
            own = _for_page(declared)
            wider = _WIDER.get(own, own)
            if wider == "cp1252" and _is_utf8(data):
                wider = "utf-8"  # declared out of habit: no Western text looks like UTF-8 by chance
            for encoding in (wider, own):
                with suppress(UnicodeError):
                    return data.decode(encoding), []
    wide = _unmarked_utf16(data)
    if wide:
        return _with(data, wide, name)
    sample = data[:SAMPLE]
    if b"\0" in sample or len(_CONTROLS.findall(sample)) > MOST_CONTROLS * len(sample):
        raise DocumentError(
            f"{name} is a binary file, not a document", hint="give a PDF, txt, md, rst, html or epub file"
        )
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError as failure:
        # One bad byte in a long UTF-8 text is damage, not another encoding.
        if failure.start > 0 and _mostly_utf8(data):
            return _with(data, "utf-8", name)
    return _with(data, _detected(sample), name)


def _for_page(declared: str) -> str:
    """The encoding that a declaration means which could be read as ASCII; LookupError for none that a page has."""
    name = codecs.lookup(declared).name
    if name in _NOT_OF_PAGES:
        raise LookupError(declared)
    # So the standard of HTML says: bytes that spell a declaration in ASCII are in no wide encoding.
    return "utf-8" if name.startswith(("utf-16", "utf-32")) else name


def _is_utf8(data: bytes) -> bool:
    with suppress(UnicodeDecodeError):
        return not data.isascii() and bool(data.decode("utf-8"))
    return False


def _with(data: bytes, encoding: str, name: str) -> tuple[str, list[str]]:
    text = data.decode(encoding, "surrogatepass" if encoding.startswith("utf-16") and len(data) % 2 == 0 else "replace")
    text = repair(text)
    lost = text.count("\ufffd")
    if not lost:
        return text, []
    return text, [f"{name}: {lost} character{'s' if lost > 1 else ''} could not be decoded as {encoding}"]


def _unmarked_utf16(data: bytes) -> str | None:
    """UTF-16 without its mark: in most scripts nearly every second byte is 0, always on the same side."""
    sample = data[:4096]
    if len(sample) < 4 or len(data) % 2:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if odd > 0.4 * half and even == 0:
        return "utf-16-le"
    if even > 0.4 * half and odd == 0:
        return "utf-16-be"
    return None


def _mostly_utf8(data: bytes) -> bool:
    text = data[:SAMPLE].decode("utf-8", "replace")
    sound = sum(character > "\x7f" and character != "\ufffd" for character in text)
    return sound > 10 * text.count("\ufffd")


def _detected(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    matches = from_bytes(sample)
    best = matches.best()
    # Several code pages of Europe fit most texts equally; the Western one is by far the likeliest where it fits.
    if best is None or any("cp1252" in match.could_be_from_charset for match in matches):
        try:
            sample.decode("cp1252")
        except UnicodeDecodeError:
            return "latin-1"
        return "cp1252"
    return best.encoding
