"""Bytes to characters, in whatever encoding they are: marked, declared, UTF-8, detected, or mixed."""

from __future__ import annotations

import codecs
import re
import unicodedata
from contextlib import suppress

from sharedllm_cli.documents.characters import repair
from sharedllm_cli.documents.sources import FORMATS
from sharedllm_cli.errors import DocumentError

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
LEAST_RECORD = 4
"""Bytes of a text between two NULs, on average."""
MOST_HOLES = 8
"""Pieces of a text between long runs of NULs."""
_NEVER_ALONE = frozenset({0xFE, 0xFF, 0x81, 0x8D, 0x8F, 0x90, 0x9D})
MOST_CONTROLS = 0.02
"""A file with a larger share of control bytes is no text."""


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
    if b"\0" in data:
        return _with_nul(data, name)
    return _narrow(data, name)


def _narrow(data: bytes, name: str) -> tuple[str, list[str]]:
    """The text of bytes without NUL. Raises DocumentError where they are none."""
    sample = data[:SAMPLE]
    if len(_CONTROLS.findall(sample)) > MOST_CONTROLS * len(sample):
        raise _binary(name)
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError:
        text, foreign = _mixed(data)
    # Some bytes that are not UTF-8 in a text that is: damage, or pieces from elsewhere, but not another encoding.
    sound = sum(character > "\x7f" and character != "\ufffd" for character in text) - foreign
    lost = text.count("\ufffd")
    if sound < foreign + lost:
        return _with(data, _detected(sample), name)
    warnings = [f"{name}: {_counted(foreign)} not UTF-8 and read as Windows-1252"] if foreign else []
    return text, warnings + _lost(lost, "utf-8", name)


def _counted(number: int) -> str:
    return f"{number} character{'s are' if number > 1 else ' is'}"


def _mixed(data: bytes) -> tuple[str, int]:
    """The text as UTF-8; a byte that belongs to no character is what it is in Windows-1252. And how many there are.

    Several such bytes together are the rest of a character that was cut, unless there are single ones elsewhere.
    """
    alone: list[int] = []
    every = False

    def instead(failure: UnicodeError) -> tuple[str, int]:
        if not isinstance(failure, UnicodeDecodeError):
            raise failure
        end = failure.start + 1 if every else failure.end
        if end - failure.start > 1 or data[failure.start] in _NEVER_ALONE:
            return "\ufffd", end
        alone.append(failure.start)
        return data[failure.start : end].decode("cp1252"), end

    codecs.register_error("sharedllm.mixed", instead)
    text = data.decode("utf-8", "sharedllm.mixed")
    if alone and "\ufffd" in text:
        every = True
        alone.clear()
        text = data.decode("utf-8", "sharedllm.mixed")
    return text, len(alone)


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
    return text, _lost(text.count("\ufffd"), encoding, name)


def _lost(count: int, encoding: str, name: str) -> list[str]:
    return [f"{name}: {count} character{'s' if count > 1 else ''} could not be decoded as {encoding}"] if count else []


def _unmarked_wide(data: bytes) -> str | None:
    """UTF-16 or UTF-32 without its mark: the byte that is 0 in a space or a line end is always on the same side."""
    sample = data[:4096]
    sample = sample[: len(sample) // 4 * 4]
    if b"\0\0\0" in sample:
        return next((name for name in ("utf-32-le", "utf-32-be") if _reads_as(sample, name)), None)
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    encoding = "utf-16-le" if odd >= even else "utf-16-be"
    most, least = max(odd, even), min(odd, even)
    return encoding if least <= most // 20 and _reads_as(sample, encoding) else None


def _reads_as(sample: bytes, encoding: str) -> bool:
    """Whether bytes make a text in a wide encoding: with spaces or line ends, and nothing that no text has."""
    try:
        text = sample.decode(encoding)
    except UnicodeDecodeError as failure:
        if failure.start < len(sample) - 4:
            return False
        text = sample[: failure.start].decode(encoding)
    odd = sum(
        unicodedata.category(character) in ("Cc", "Cn", "Co", "Cs") and character not in "\t\n\r\f"
        for character in text
    )
    return odd * 50 <= len(text) and (any(map(str.isspace, text)) or text.isascii())


def _with_nul(data: bytes, name: str) -> tuple[str, list[str]]:
    """Wide text, or a text with NULs between: records that end with one, the hole of a crash. Anything else is none."""
    pieces = [piece for piece in data.split(b"\0") if piece]
    rest = b"\n".join(pieces)
    count = data.count(b"\0")
    # Numbers of a program have other control codes, or a NUL behind every few bytes.
    few = count <= len(rest) // LEAST_RECORD or len(pieces) <= MOST_HOLES
    if few and _CONTROLS.search(rest[:SAMPLE]) is None and _is_text(rest):
        return rest.decode("utf-8"), [f"{name}: {count} NUL byte{'s are' if count > 1 else ' is'} left out"]
    if (wide := _unmarked_wide(data)) is None:
        raise _binary(name)
    return _with(data, wide, name)


def _is_text(data: bytes) -> bool:
    with suppress(UnicodeDecodeError):
        return bool(data.decode("utf-8").strip())
    return False


def _binary(name: str) -> DocumentError:
    return DocumentError(f"{name} is a binary file, not a document", hint=f"read are {FORMATS}")


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
