"""From text to the terms that a lexical search compares: words lower-cased, stemmed, without accents and stop words.

Numbers stay (`1,024` is `1024`, `3.5` stays), and names as programmers write them (`read.table`, `lm()`,
`--force-yes`, `/usr/share`, `dh_installdocs`, `camelCase`) stay whole and give their parts too. Scripts that put no
spaces between words (Chinese, Japanese, Thai) and Korean, whose words carry particles, give pairs of characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import metadata
from typing import NamedTuple

import snowballstemmer  # type: ignore[import-untyped,unused-ignore]

from sharedllm_cli.retrieval.languages import STOP_WORDS

TERMS_VERSION = "3"
"""Raised when the same text would give other terms (here, or by the stop words of languages.py)."""
PREFERRED_STEMMERS = {"dutch": "dutch_porter"}
"""The algorithm that stems a language, where the library has it: its `dutch` parts regular plurals (veld, velden)."""
_DUTCH_PLURAL = re.compile(r"(.*[aeiouyàáâäèéêëìíîïòóôöùúûü].*(?:e[lmnr]|aar|aard|ier|eur|oor|ie|[^e]je))s")
"""Plurals in -s of words of two syllables and more: the stemmer takes one ending alone (`molens`, `molen`, `mol`)."""
_DUTCH_ENDS = re.compile(r"([bdfgklmnprst])\1\Z|[vz]\Z|(?<=[bdfgklmnprt])s\Z")
"""What a stem ends with in the plural alone: bruggen, brieven, huizen, mensen (of `mens` the stemmer takes the s)."""
_DUTCH_VOICELESS = {"v": "f", "z": "s"}

_PAIRED = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Burmese, Khmer
    "\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)
PAIRED_SCRIPT = re.compile(f"[{_PAIRED}]")
"""One character of a script that is compared by pairs of characters."""

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_GROUPED_BY_COMMAS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_GROUPED_BY_POINTS = re.compile(r"\d{1,3}(?:\.\d{3})+(?:,\d+)?")
_APOSTROPHES = re.compile("['’ʼ`]")
_CAMEL = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][^\W\d_A-Z])")
_SEPARATORS = re.compile(r"[-.@&+/:~#()_\s]+")
_LETTERS_WITHOUT_PARTS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "ß": "ss", "ı": "i"}
)
_COMBINING_ACCENTS = re.compile("[\u0300-\u036f]+")


SHARED_BEGINNING = 4
"""Two stems with this many first letters in common (and most of the longer) count as forms of one word."""


class Word(NamedTuple):
    """One word of a text as typed, where it begins, and its terms (none for a stop word)."""

    surface: str
    start: int
    terms: tuple[str, ...]


def words(text: str, language: str) -> Iterator[Word]:
    """The words of a text in order. `language` is a key of `STOP_WORDS`.

    A compound such as `read.table()` or `mother-to-child` is one word of several terms.
    """
    known: dict[str, tuple[str, ...]] = {}
    for match in _compound().finditer(text):
        surface = match.group()
        terms = known.get(surface)
        if terms is None:
            terms = known[surface] = tuple(_terms(surface, language))
        yield Word(surface, match.start(), terms)


@cache
def _compound() -> re.Pattern[str]:
    """Words joined by what joins the parts of one name, with the marks that make it an option, a path or a call.

    Python's `\\w` leaves out combining marks, without which words of many scripts fall apart: they are added here.
    """
    marks = "".join(
        f"\\u{code:04x}" for code in range(0x300, 0x10000) if unicodedata.category(chr(code)) in ("Mn", "Mc")
    )
    letter = f"[\\w{marks}]"
    after_space = r"(?<![\w.)\]/~-])"
    number = r"\d+(?:[.,]\d+)+(?!\w)"
    path = rf"{after_space}(?:~|\.\.?)?/\.?{letter}+(?:[-.+~/]+{letter}+)*"
    name = rf"(?:{after_space}(?:--?|\.)(?=[^\W\d_]))?{letter}+(?:(?:[-.'’ʼ@&+]|::){letter}+)*(?:\(|\+\+|\#)?"
    return re.compile(f"{number}|{path}|{name}")


def _terms(surface: str, language: str) -> Iterator[str]:
    """The terms of one word as typed, the whole first where it has parts."""
    text = unicodedata.normalize("NFKC", surface)
    if _NUMBER.fullmatch(text):
        yield from _number_terms(text, language)
        return
    plain = _APOSTROPHES.sub(" ", text)
    parts = [part for part in _SEPARATORS.split(_CAMEL.sub(" ", plain)) if part]
    if plain == text and parts != [text] and not PAIRED_SCRIPT.search(text):
        whole = fold(text.lower())
        yield whole + ")" if whole.endswith("(") else whole
    for part in parts:
        yield from _part_terms(part.lower(), language)


def _number_terms(text: str, language: str) -> Iterator[str]:
    """`1,024` is `1024`, in most languages `1.024` too; `3.5` stays, as does `3,5` where it means that; else a list."""
    if _GROUPED_BY_COMMAS.fullmatch(text):
        yield text.replace(",", "")
    elif language == "english":
        yield from text.split(",")
    elif _GROUPED_BY_POINTS.fullmatch(text):
        yield text.replace(".", "").replace(",", ".")
    elif text.count(",") == 1:
        yield text.replace(",", ".")
    else:
        yield from text.split(",")


def _part_terms(part: str, language: str) -> Iterator[str]:
    if PAIRED_SCRIPT.search(part):
        for run in re.findall(f"[{_PAIRED}]+|[^{_PAIRED}]+", part):
            if PAIRED_SCRIPT.match(run):
                yield from (run[place : place + 2] for place in range(max(1, len(run) - 1)))
            else:
                yield from _part_terms(run, language)
    elif part not in STOP_WORDS[language]:
        # English writes accents or not as it likes; elsewhere the stemmer's rules need them
        yield fold(_stem(fold(part) if language == "english" else part, language))


def same_word(term: str, other: str) -> bool:
    """Whether two terms look like forms of one word that their stems don't show as one (`fulli` of fully, `full`)."""
    shared = next((place for place, (a, b) in enumerate(zip(term, other, strict=False)) if a != b), None)
    length = min(len(term), len(other)) if shared is None else shared
    return length >= SHARED_BEGINNING and length * 5 >= max(len(term), len(other)) * 3


def fold(text: str) -> str:
    """Lower-case text without accents: `é` is `e`, `ß` is `ss`; marks that are vowels in other scripts stay."""
    if text.isascii():
        return text
    bare = _COMBINING_ACCENTS.sub("", unicodedata.normalize("NFKD", text.translate(_LETTERS_WITHOUT_PARTS)))
    return unicodedata.normalize("NFC", bare)


def _stem(word: str, language: str) -> str:
    if language == "dutch" and (plural := _DUTCH_PLURAL.fullmatch(word)):
        word = plural[1]
    stemmed: str = _stemmer(language).stemWord(word)
    if language == "dutch" and len(stemmed) > 2:
        stemmed = _DUTCH_ENDS.sub(lambda end: _DUTCH_VOICELESS.get(end[0], end[1] or ""), stemmed)
    return stemmed


@cache
def _stemmer(language: str) -> snowballstemmer.stemmer:
    # asked for by name: `algorithms()` of releases before 3.1 fails where PyStemmer is installed too
    with suppress(KeyError):
        return snowballstemmer.stemmer(PREFERRED_STEMMERS.get(language, language))
    return snowballstemmer.stemmer(language)


@cache
def stemmer_version() -> str:
    """The library that stems, and its version: the same word has other stems under another one.

    Where PyStemmer is installed, snowballstemmer hands every word to it.
    """
    library = "PyStemmer" if type(_stemmer("english")).__module__ == "Stemmer" else "snowballstemmer"
    return f"{library} {metadata.version(library)}"
