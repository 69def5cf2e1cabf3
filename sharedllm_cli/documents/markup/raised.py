"""Raised and lowered text (`sup`, `sub`) in a line of plain text, so that no number becomes another one.

    10⁶ → 10^6   m⁻³ → m^-3   H₂O → H2O   xᵢ → x_i   6 ½ → 6 1/2   1ˢᵗ → 1st   granite² (a note) → granite [2]

Whether raised figures are a power or the mark of a note is decided by what they stand on. Plain functions over text.
"""

from __future__ import annotations

import re


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


LONGEST_SCRIPT = 24
"""Characters of a raised or lowered text; a longer one is words set small."""
LOOK_BACK = 64
"""Characters before a raised or lowered text that decide what it means."""

_MINUS = re.compile("[−–‐‑]")
_NUMBERS = re.compile(r"\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*[,;]?")
_LETTERS = re.compile(r"[A-Za-z](?:, ?[A-Za-z])*")
_NOTE_SIGNS = re.compile(r"[*†‡§¶#]+")
_SIGNED = re.compile(r"[+-]\d+(?:[.,/]\d+)?")
_CHARGE = re.compile(r"(?:\d?[+-]|[+-]{2,3})")
_LAST_WORD = re.compile(r"[^\W_]+$")
_ELEMENT_NAMES = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc
Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi
Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm
"""
_ELEMENT = "|".join(sorted(_ELEMENT_NAMES.split(), key=len, reverse=True))
_COMPOUND = re.compile(rf"(?:(?<![^\W\d_])|(?<=[a-z]-))(?:(?:{_ELEMENT})\d*|[()\[\]])*(?:{_ELEMENT}|[)\]])$")
_BEGINS_ELEMENT = re.compile(rf"(?:{_ELEMENT})(?![a-z])")
_ORDINALS = _names("st nd rd th er re ère e ème eme ième d de nde o os ª º")
_ORDINALS_OF = {"a": ("es", "pt", "it", "gl", "ca"), "as": ("es", "pt")}
_ABBREVIATED = _names("Mr Mrs Mme Mmes Mlle Mlles Mgr Me Dr Drs no No nos Nos nr St Ste Cie Sr Sra Jr Bd")
_ROMAN = re.compile(r"(?<!\w)[IVXLC]+$")
_UNITS = _names(
    "m cm mm km dm µm μm nm pm ft yd mi inch s ms µs μs min h hr d kg g mg µg μg t l L mL dL Hz J W Pa K mol cd sr rad "
    "A V N T px ha au eV sec Å"
)
_ENGLISH_UNITS = _names("in")
_FUNCTIONS = _names("sin cos tan cot sec csc sinh cosh tanh log ln exp det")
_SIGNS = {"TM": "™", "SM": "℠", "tm": "™"}
_OPERATOR_BEFORE = re.compile(r"[=+×·*/^<>≤≥≈√(]\s*\d[\d.,]*$")
_OPERATOR_AFTER = re.compile(r"\s*(?:[=+×·*/<>≤≥≈−]|-\s*\d|−)")
_WORD = re.compile(r"[^\W\d_]{3,}")


def raised(
    before: str, text: str, following: str = "", *, note: bool = False, cell: bool = False, lang: str = ""
) -> str:
    """What stands on the line for a raised text: a power, the mark of a note, or the letters as they are.

    `before` and `following` are what stands around it on the line. `note`: the page itself says that it is a note's
    mark. `cell`: it stands in a table, where letters are marks of notes. `lang` is the page's language.
    """
    inner = _MINUS.sub("-", " ".join(text.split()))
    bare = inner.strip("[]()")
    if not bare:
        return inner
    if note:
        return _note(before, bare)
    if len(inner) > LONGEST_SCRIPT:
        return _apart(before, inner)
    if inner in _SIGNS or not re.search(r"\w", inner):
        return _SIGNS.get(inner, inner if _CHARGE.fullmatch(inner) or _NOTE_SIGNS.fullmatch(inner) else text)
    if inner.startswith("[") and inner.endswith("]"):
        return _note(before, bare)
    if not before or before[-1].isspace():
        return _leading(before, inner, following)
    if _is_joined(before, inner, cell=cell, lang=lang):
        return inner
    if _SIGNED.fullmatch(inner) or _CHARGE.fullmatch(inner):
        return f"^{inner}"
    if _is_note(before, inner, following, cell=cell):
        return _note(before, inner.rstrip(",;"))
    return f"^{inner}" if re.fullmatch(r"\w+", inner) else f"^({inner})"


def lowered(before: str, text: str) -> str:
    """What stands on the line for a lowered text: joined in a compound's formula, else `_` and the index."""
    inner = _MINUS.sub("-", " ".join(text.split()))
    if not inner or not before or before[-1].isspace() or len(inner) > LONGEST_SCRIPT:
        return inner if before[-1:].isspace() or not before else _apart(before, inner)
    word = _LAST_WORD.search(before)
    capitals = word is not None and len(word[0]) > 1 and word[0].isupper() and word[0].isalpha()
    if re.match(r"\d", inner) and (capitals or _COMPOUND.search(before[-LOOK_BACK:])):
        return inner
    if not before[-1].isalnum() and before[-1] not in ")]}|′'":
        return inner
    return f"_{inner}" if re.fullmatch(r"\w[\w.]*|[+-]?\w", inner) else f"_({inner})"


def fraction(before: str, numerator: str) -> str:
    """The raised numerator of a fraction whose bar follows: apart from a number before it."""
    return f" {numerator}" if before[-1:].isdigit() else numerator


def _note(before: str, label: str) -> str:
    return f"[{label}]" if not before or before[-1].isspace() else f" [{label}]"


def _apart(before: str, text: str) -> str:
    return f" {text}" if text and before and not before[-1].isspace() else text


def _leading(before: str, inner: str, following: str) -> str:
    """A raised text that stands on nothing: before an element it is an isotope's number, else a note's own mark."""
    if not _NUMBERS.fullmatch(inner):
        return inner
    begins = not before.strip() or before.rstrip()[-1] in ".!?:"
    return (
        f"^{inner}"
        if _BEGINS_ELEMENT.match(following) and not begins
        else f"[{inner.rstrip(',;')}]" + (" " if following[:1].isalnum() else "")
    )


def _is_joined(before: str, inner: str, *, cell: bool, lang: str) -> bool:
    """Ordinals, abbreviations and charges without a number: a reader says them with what they stand on."""
    word = _LAST_WORD.search(before[-LOOK_BACK:])
    held = word[0] if word else ""
    if held + inner in _ABBREVIATED:
        return True
    if inner in "+-" and _COMPOUND.search(before[-LOOK_BACK:]):
        return True
    if not (held.isdecimal() or _ROMAN.search(before[-LOOK_BACK:])) or (cell and len(inner) == 1):
        return False
    return inner in _ORDINALS or lang[:2] in _ORDINALS_OF.get(inner, ())


def _is_note(before: str, inner: str, following: str, *, cell: bool) -> bool:
    """Whether raised figures or a raised letter mark a note: by the word or number that they stand on."""
    numbers = _NUMBERS.fullmatch(inner) is not None
    if not numbers and not _LETTERS.fullmatch(inner):
        return False
    near = before[-LOOK_BACK:]
    last = near[-1]
    if last in '.,;:!?…"”’»%':
        return True
    if last in ")]":
        return _stands_on_words(near)
    word = _LAST_WORD.search(near)
    if word is None or re.search(r"[_^]\(?[\w-]+$", near):
        return False
    held = word[0]
    if held.isdecimal():
        return _marks_a_number(near, held, inner, following) if numbers else True
    if not numbers:
        return len(held) > 2 or cell
    if not inner.isdecimal():
        return True
    if len(held) == 1 or held in _FUNCTIONS or re.search(r"\d[A-Za-z]$", held):
        return False
    if held in _ENGLISH_UNITS:
        return re.search(r"\d\s*in$", near) is None
    return not (held in _UNITS and int(inner) <= 6) and _COMPOUND.search(near) is None


def _marks_a_number(near: str, held: str, inner: str, following: str) -> bool:
    """Whether raised figures on a number mark a note. Ten and two are raised to powers, others in formulas alone."""
    if not inner.isdecimal():
        return True
    if held == "10" or (held == "2" and int(inner) > 3):
        return False
    return not (_OPERATOR_BEFORE.search(near) or _OPERATOR_AFTER.match(following))


def _stands_on_words(near: str) -> bool:
    """Whether the brackets that end a line hold words rather than a formula."""
    opening = max(near.rfind("("), near.rfind("["))
    words = _WORD.findall(near[opening + 1 :])
    return opening < 0 or any(word not in _FUNCTIONS for word in words)
