"""Raised and lowered figures of a line in a linear form that keeps what they mean.

power          4.7 × 10^6 · m^2 · mg m^-3 · x^(n + 1)
lowered        H2O · x_i · v_max
mark of a note `38 [2] bakeries`, `an hour. [4]`, at the beginning of the note itself `[2] Two further …`
fraction       2 1/2
ordinal        1st · 3e

A raised figure after a number is a power where the number is 10 or a sign of arithmetic is beside it, or where neither
a word follows nor a note of the page has this mark; otherwise it is the mark of a note. After a unit of measure, a
single letter or a short name of a formula (`E = mc^2`, `1/2 mv^2`) it is a power, after a word or a full stop a mark.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

INSERTED = re.compile(r"\^(?=\S)|(?<=\w)_(?=\w)| ?\[(?=[^\[\]\s]{1,12}\])|(?<=\S)\](?= ?)")
_MARK = re.compile(r"[\[(]?(?:\d{1,3}|[a-z])(?:\s?[,;–-]\s?(?:\d{1,3}|[a-z]))*[\])]?")
_FIGURES = re.compile(r"\d{1,3}")
_SIGNED = re.compile(r"[-−–+]\s?\d+(?:[.,]\d+)?|\d{0,2}[+−-]")
_NUMBER = re.compile(r"(?:^|(?<=[^\w.,]))(\d[\d.,]*)$")
_WORD = re.compile(r"([^\W\d_]+)$")
_WORDS = "st nd rd th e er re ère ème eme es o a os as d te ter"
_ORDINALS = frozenset(_WORDS.split())
_LENGTHS = frozenset(("m", "cm", "mm", "km", "dm", "nm", "µm", "μm", "ft"))
_OTHERS = "s in yd mi kg g mg l h min A V Hz ha px rad sr K N J W Pa mol cd lb"
_UNITS = _LENGTHS | frozenset(_OTHERS.split())
_FUNCTIONS = frozenset(("sin", "cos", "tan", "cot", "sinh", "cosh", "tanh", "log", "ln", "exp", "det"))
_BESIDE_NUMBER = re.compile(r"[=+×·*/÷<>≤≥≈±−^√]\s*$")
_AFTER = re.compile(r"\s*[=+×·*/÷<>≤≥≈±−^]")
_LONGEST_TERM = 4
"""Letters of a formula that are set without a space, as in `mgh`; only beside a sign of arithmetic."""
_BEGINS_TERM = re.compile(r"[=+×÷<>≤≥≈±−^√]\s*(?:\d[\d.,]*|(?:\d{1,2}/\d{1,2}|[½¼¾⅓⅔])\s*)?$")
_GREEK = re.compile(r"[α-ωΑ-Ω]")
_UNIT_AFTER = re.compile(rf"\s*(?:$|[.,;:)]|(?:{'|'.join(sorted(_UNITS))})(?![^\W\d_]))")
_RINGS = frozenset(("\u25e6", "\u2218"))
"""What TeX raises for degrees: the sign of a circle, or of two functions."""
_TRADE = frozenset(("TM", "SM", "MD", "MC"))


@dataclass(frozen=True)
class Part:
    """A part of a line: `rise` is 0 on the baseline, else how far above (or, negative, below), as a share of the size.

    `small`: set in a smaller size. `over`: begins where the part before begins (one is above the other).
    """

    text: str
    rise: float = 0.0
    space: bool = False
    small: bool = False
    over: bool = False


def linear(parts: Sequence[Part], notes: frozenset[str] = frozenset()) -> str:
    """The parts of a line, left to right, as one text. `notes`: marks that begin notes of the page."""
    text = ""
    place = 0
    while place < len(parts):
        part = parts[place]
        fraction = _fraction(parts, place, text)
        if fraction is not None:
            made, place, rest = fraction
            text += (" " if text[-1:].isdigit() or (part.space and text) else "") + made
            if rest[:1].isalnum():
                text += " "
            text += rest
            continue
        place += 1
        after = parts[place] if place < len(parts) else None
        if part.rise:
            text += _script(text, part, after, notes)
            if text.endswith("]") and after is not None and not after.space and after.text[:1].isalnum():
                text += " "
        else:
            text += (" " if part.space and text and not text.endswith(" ") else "") + part.text
    return text


def _fraction(parts: Sequence[Part], place: int, before: str) -> tuple[str, int, str] | None:
    """A fraction that begins with this part: its text, the part after it, and what is left of its last part."""
    upper = parts[place]
    if upper.rise <= 0 or not _FIGURES.fullmatch(upper.text) or place + 1 == len(parts):
        return _from_below(parts, place, before)
    if before[-1:].isalpha() or re.search(r"(?:^|\D)10$", before):
        return None
    lower = parts[place + 1]
    if lower.over and lower.rise < 0 and _FIGURES.fullmatch(lower.text):
        return f"{upper.text}/{lower.text}", place + 2, ""
    if lower.text[:1] not in ("/", "\u2044"):
        return None
    rest, end = lower.text[1:], place + 2
    if not rest and end < len(parts):
        rest, end = parts[end].text, end + 1
        if not (parts[end - 1].rise or parts[end - 1].small or lower.text == "\u2044"):
            return None
    found = re.match(r"\d{1,3}(?!\d)", rest)
    if found is None or int(upper.text) >= int(found[0]):
        return None
    return f"{upper.text}/{found[0]}", end, rest[found.end() :]


def _from_below(parts: Sequence[Part], place: int, before: str) -> tuple[str, int, str] | None:
    """A fraction whose lower figure comes first, where both begin at one place."""
    lower = parts[place]
    if lower.rise >= 0 or place + 1 == len(parts) or before[-1:].isalpha():
        return None
    upper = parts[place + 1]
    if upper.over and upper.rise > 0 and _FIGURES.fullmatch(lower.text) and _FIGURES.fullmatch(upper.text):
        return f"{upper.text}/{lower.text}", place + 2, ""
    return None


def _script(before: str, part: Part, after: Part | None, notes: frozenset[str]) -> str:
    """What is written for a raised or lowered part behind the text before it."""
    script = part.text.strip()
    if not before or before[-1].isspace():
        marks = part.rise > 0 and _MARK.fullmatch(script) and after is not None
        return f"{_bracketed(script)} " if marks else script
    if not any(letter.isalnum() for letter in script):
        if part.rise > 0 and script in _RINGS and before[-1].isdigit():
            script = "°"
        return (" " if part.space else "") + script
    if part.rise < 0:
        return _lowered(before, script)
    if script in _TRADE:
        return f" {script}"
    following = "" if after is None else (" " if after.space else "") + after.text
    kind = _raised(before, script, following, notes)
    if kind == "mark":
        return f" {_bracketed(script)}"
    if kind == "power":
        return f"^{_whole(script)}"
    return (" " if part.space else "") + script


def _bracketed(script: str) -> str:
    return script if script[0] in "[(" else f"[{''.join(script.split())}]"


def _whole(script: str) -> str:
    """Several words or terms are held together by brackets."""
    inner = script[1:] if script[0] in "-−–+" else script
    return f"({script})" if re.search(r"[\s+=×/]|(?<=\w)[-−]", inner.rstrip("+-−")) else script


def _lowered(before: str, script: str) -> str:
    if script[0].isdigit() and (before[-1].isalpha() or before[-1] in ")]"):
        return script
    return f"_{_whole(script)}" if before[-1].isalnum() or before[-1] in ")]}" else script


def _raised(before: str, script: str, after: str, notes: frozenset[str]) -> str:
    """`power`, `mark` (of a note) or `plain`."""
    number, word = _NUMBER.search(before), _WORD.search(before)
    if number is not None and script.lower() in _ORDINALS:
        return "plain"
    if _SIGNED.fullmatch(script):
        return "power" if before[-1].isalnum() or before[-1] in ")]" else "plain"
    if not _MARK.fullmatch(script):
        if word is not None and len(word[1]) > 1 and script.isalpha():
            return "plain"
        return "power" if before[-1].isalnum() or before[-1] in ")]|" else "plain"
    if script[0] in "[(":
        return "mark"
    if number is not None:
        return _after_number(before[: number.start()], number[1], script, after, notes)
    if word is not None:
        return _after_word(before[: word.start()], word[1], script, after)
    if before[-1] in ")]|":
        return "power" if _is_term(before) else "mark"
    return "power" if before[-1] in "πθλσμφψωαβγδ" else "mark"


def _after_number(before: str, number: str, script: str, after: str, notes: frozenset[str]) -> str:
    calculated = _BESIDE_NUMBER.search(before) or _AFTER.match(after)
    if not script.isdecimal():
        return "power" if script.isalpha() and calculated else "mark"
    if number == "10" or calculated:
        return "power"
    # Counted things follow a number, and their note's mark; of a power only a unit or nothing does.
    unit = _UNIT_AFTER.match(after)
    return "power" if script not in notes and unit and (len(number) < 4 or not number.isdecimal()) else "mark"


def _after_word(before: str, word: str, script: str, after: str) -> str:
    if word in _FUNCTIONS:
        return "power"
    small = script.isdecimal() and len(script) == 1 and script not in "01"
    if small and (word in _LENGTHS or (word in _UNITS and re.search(r"[\d/·.]\s*$|[⁻-]\d\s*$", before))):
        return "power"
    if len(word) == 1 and not (word in "aAIO" and not _AFTER.match(after)):
        return "power"
    if _is_of_formula(before, word, after):
        return "power"
    if len(word) == 2 and word[0] in "dΔ∆" and small and (_AFTER.match(after) or _BESIDE_NUMBER.search(before)):
        return "power"
    return "mark"


def _is_of_formula(before: str, word: str, after: str) -> bool:
    """Whether letters are a term of a formula: a short one beside a sign of arithmetic, or one with Greek letters."""
    if len(word) > _LONGEST_TERM:
        return False
    if _BEGINS_TERM.search(before):
        return True
    if _GREEK.search(word):
        return not all(map(_GREEK.match, word))
    return word.islower() and _AFTER.match(after) is not None and after.lstrip()[:1] not in "/*·"


def _is_term(before: str) -> bool:
    """Whether the bracket at the end holds a term of arithmetic, no words."""
    opening = max(before.rfind("("), before.rfind("["), before[:-1].rfind("|"))
    inner = before[opening + 1 : -1] if opening >= 0 else ""
    return bool(inner) and re.search(r"[^\W\d_]{3,}", inner) is None and not inner.isdecimal()
