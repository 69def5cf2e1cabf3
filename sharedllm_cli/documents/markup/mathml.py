"""MathML as a line of plain text: `(a + b)/2`, `x^2`, `x_i`, `√(x)`. Annotations repeat it and are dropped.

Formulas in TeX become MathML first (`from_tex`): `\\frac{a}{b}` is read as a/b.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence

from bs4 import Tag
from bs4.element import NavigableString


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


_DROPPED = _names("annotation annotation-xml mphantom")
_SPACED = re.compile(r"[=<>≠≤≥≈≡∼~±+×·∙⋅÷∈∉⊂⊆∪∩→←↔⇒⇔∧∨−∝:]|:=|<=|>=")
_SIMPLE = re.compile(r"[\w.,!′'∞%]+")
_INVISIBLE = re.compile("[\u2061-\u2064]")
_ACCENTS = frozenset("¯‾ˉ^ˆ~˜˙¨→⃗´`ˇ˘_")
_CLOSING = frozenset(")]}|!′")
DEEPEST = 100
"""Levels of a formula that are written as such; a deeper one is its characters alone."""


def linear(math: Tag) -> str:
    """The formula of a `math` element, each element looked at once; empty where it has none to be seen."""
    done: dict[int, str] = {}
    waiting: list[tuple[Tag, int]] = [(math, 1)]
    while waiting:
        tag, level = waiting.pop()
        if level > DEEPEST:
            return " ".join(math.get_text(" ").split())
        if level:
            waiting.append((tag, 0))
            inner = (child for child in tag.children if isinstance(child, Tag) and _name(child) not in _DROPPED)
            waiting += [(child, level + 1) for child in inner]
            continue
        parts = [done.pop(id(child), "") for child in tag.children if isinstance(child, Tag)]
        done[id(tag)] = _written(tag, parts)
    return " ".join(done[id(math)].split())


def _written(tag: Tag, parts: Sequence[str]) -> str:
    """An element's text, given that of the elements in it."""
    name = _name(tag)
    if name == "mo":
        return _operator(tag)
    if name in ("mi", "mn", "mtext", "ms"):
        own = "".join(str(child) for child in tag.children if isinstance(child, NavigableString))
        text = " ".join(own.split()) + "".join(parts)
        return f" {text} " if name == "mtext" and len(text) > 1 else text
    if name == "mspace":
        return " "
    if name == "semantics":
        return parts[0] if parts else ""
    write = _LAYOUTS.get(name)
    needed, function = write if write else (0, _side_by_side)
    return function(parts) if len(parts) >= needed else _side_by_side(parts)


def _name(tag: Tag) -> str:
    return tag.name.rpartition(":")[2]


def _side_by_side(parts: Sequence[str]) -> str:
    """Parts of a row, a number and the fraction behind it apart."""
    pieces: list[str] = []
    for part in parts:
        touching = bool(pieces) and pieces[-1][-1:].isdigit() and part[:1].isdigit()
        pieces.append(f" {part}" if touching else part)
    return "".join(pieces)


def _operator(tag: Tag) -> str:
    text = _INVISIBLE.sub("", "".join(tag.get_text().split()))
    before = tag.find_previous_sibling(True)
    opens = before is None or (_name(before) == "mo" and before.get_text().strip() not in _CLOSING)
    prefix = opens or tag.get("form") in ("prefix", "postfix")
    if text in "−-" and text:
        return "-" if prefix else " - "
    if text == ",":
        return ", "
    return f" {text} " if _SPACED.fullmatch(text) and not prefix else text


def _grouped(text: str) -> str:
    """A part in brackets, unless it is one number or name."""
    text = text.strip()
    bracketed = text.startswith("(") and text.endswith(")") and ")" not in text[:-1]
    return text if bracketed or _SIMPLE.fullmatch(text) else f"({text})"


def _script(text: str) -> str:
    text = text.strip()
    return text if re.fullmatch(r"-?\w+|[*′+†-]", text) else f"({text})"


def _over(parts: Sequence[str]) -> str:
    above = parts[1].strip()
    return f"{parts[0]}{above}" if above in _ACCENTS else f"{parts[0]}^{_script(above)}"


def _many(parts: Sequence[str]) -> str:
    """Scripts after the base by turns: lower, upper; those before the base are left where they stand."""
    text = parts[0]
    for place, part in enumerate(parts[1:]):
        if part.strip():
            text += f"{'_' if place % 2 == 0 else '^'}{_script(part)}"
    return text


_LAYOUTS: dict[str, tuple[int, Callable[[Sequence[str]], str]]] = {
    "mfrac": (2, lambda parts: f"{_grouped(parts[0])}/{_grouped(parts[1])}"),
    "msup": (2, lambda parts: f"{_grouped(parts[0])}^{_script(parts[1])}"),
    "msub": (2, lambda parts: f"{parts[0]}_{_script(parts[1])}"),
    "msubsup": (3, lambda parts: f"{parts[0]}_{_script(parts[1])}^{_script(parts[2])}"),
    "munder": (2, lambda parts: f"{parts[0]}_{_script(parts[1])}"),
    "mover": (2, _over),
    "munderover": (3, lambda parts: f"{parts[0]}_{_script(parts[1])}^{_script(parts[2])} "),
    "mmultiscripts": (1, _many),
    "msqrt": (0, lambda parts: f"√({_side_by_side(parts).strip()})"),
    "mroot": (2, lambda parts: f"√[{parts[1].strip()}]({parts[0].strip()})"),
    "mfenced": (0, lambda parts: f"({', '.join(parts)})"),
    "mtd": (0, _side_by_side),
    "mtr": (0, lambda parts: ", ".join(part.strip() for part in parts)),
    "mtable": (0, lambda parts: f"[{'; '.join(parts)}]"),
}


LONGEST_FORMULA = 5000
"""Characters of a formula; a longer one stands as it is written."""


def from_tex(source: str, *, block: bool = False) -> str:
    """The formula as MathML, or, where it can't be parsed, as it is written."""
    from docutils.utils.math import latex2mathml

    text = source.strip()
    if len(text) <= LONGEST_FORMULA:
        try:
            return str(latex2mathml.tex2mathml(text, as_block=block))
        except Exception:  # the parser stumbles over what it does not know in as many ways as there are
            pass
    return html.escape(text)
