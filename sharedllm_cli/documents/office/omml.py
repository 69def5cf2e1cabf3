"""An equation of Office (OMML) as MathML, which the shared writer of formulas puts on a line."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from lxml import etree

from sharedllm_cli.documents.office.package import attribute, child, local

DEEPEST = 80
"""Levels of an equation that are written as such; a deeper one is its characters alone."""


def mathml(math: etree._Element) -> str:
    """The `math` element for an `oMath`; empty for one without characters."""
    inner = _row(math, 0)
    return f"<math>{inner}</math>" if inner.strip() else ""


def _row(parent: etree._Element | None, level: int) -> str:
    if parent is None:
        return ""
    if level > DEEPEST:
        return f"<mtext>{escape(''.join(map(str, parent.itertext())))}</mtext>"
    return "".join(_element(one, level + 1) for one in parent if not local(one).endswith("Pr"))


def _part(element: etree._Element, name: str, level: int) -> str:
    return f"<mrow>{_row(child(element, name), level)}</mrow>"


def _element(element: etree._Element, level: int) -> str:
    name = local(element)
    if name == "r":
        return _run(element)
    if name in ("del", "moveFrom"):
        return ""
    write = _WRITTEN.get(name)
    return write(element, level) if write else _row(element, level)


def _run(element: etree._Element) -> str:
    text = "".join(one.text or "" for one in element if local(one) == "t")
    if child(element, "rPr", "nor") is not None:
        return f"<mtext>{escape(text)}</mtext>"
    pieces: list[str] = []
    digits = ""
    for letter in f"{text}\0":
        if letter.isdigit() or (letter in ".," and digits):
            digits += letter
            continue
        if digits:
            number = digits.rstrip(".,")
            pieces.append(f"<mn>{number}</mn>" + "".join(f"<mo>{mark}</mo>" for mark in digits[len(number) :]))
            digits = ""
        if letter.isalpha():
            pieces.append(f"<mi>{escape(letter)}</mi>")
        elif letter.strip(" \0"):
            pieces.append(f"<mo>{escape(letter)}</mo>")
    return "".join(pieces)


def _property(element: etree._Element, name: str, otherwise: str) -> str:
    """The value of a property of an element; one that is there without a value is empty."""
    held = child(element, f"{local(element)}Pr", name)
    return otherwise if held is None else attribute(held, "val", "")


def _fraction(element: etree._Element, level: int) -> str:
    above, below = _part(element, "num", level), _part(element, "den", level)
    if _property(element, "type", "bar") == "noBar":
        return f"<mo>(</mo>{above}<mo>,</mo>{below}<mo>)</mo>"
    return f"<mfrac>{above}{below}</mfrac>"


def _root(element: etree._Element, level: int) -> str:
    degree = _row(child(element, "deg"), level)
    base = _part(element, "e", level)
    return f"<mroot>{base}<mrow>{degree}</mrow></mroot>" if degree.strip() else f"<msqrt>{base}</msqrt>"


def _sum(element: etree._Element, level: int) -> str:
    sign = escape(_property(element, "chr", "∫"))
    limits = f"<munderover><mo>{sign}</mo>{_part(element, 'sub', level)}{_part(element, 'sup', level)}</munderover>"
    if not _row(child(element, "sub"), level) and not _row(child(element, "sup"), level):
        limits = f"<mo>{sign}</mo>"
    elif not _row(child(element, "sup"), level):
        limits = f"<munder><mo>{sign}</mo>{_part(element, 'sub', level)}</munder>"
    return f"{limits}<mtext> </mtext>{_part(element, 'e', level)}"


def _brackets(element: etree._Element, level: int) -> str:
    between = escape(_property(element, "sepChr", "|"))
    parts = [f"<mrow>{_row(one, level)}</mrow>" for one in element if local(one) == "e"]
    opening, closing = (escape(_property(element, name, sign)) for name, sign in (("begChr", "("), ("endChr", ")")))
    return f"<mo>{opening}</mo>{f'<mo>{between}</mo>'.join(parts)}<mo>{closing}</mo>"


def _matrix(element: etree._Element, level: int) -> str:
    rows = [one for one in element if local(one) in ("mr", "e")]
    cells = [[cell for cell in row if local(cell) == "e"] if local(row) == "mr" else [row] for row in rows]
    written = ["".join(f"<mtd>{_row(cell, level)}</mtd>" for cell in row) for row in cells]
    return f"<mtable>{''.join(f'<mtr>{row}</mtr>' for row in written)}</mtable>"


def _accent(element: etree._Element, level: int) -> str:
    return f"<mover>{_part(element, 'e', level)}<mo>{escape(_property(element, 'chr', '^'))}</mo></mover>"


def _named(tag: str, *parts: str) -> Callable[[etree._Element, int], str]:
    return lambda element, level: f"<{tag}>{''.join(_part(element, part, level) for part in parts)}</{tag}>"


_WRITTEN: dict[str, Callable[[etree._Element, int], str]] = {
    "f": _fraction,
    "rad": _root,
    "nary": _sum,
    "d": _brackets,
    "m": _matrix,
    "eqArr": _matrix,
    "acc": _accent,
    "sSup": _named("msup", "e", "sup"),
    "sSub": _named("msub", "e", "sub"),
    "sSubSup": _named("msubsup", "e", "sub", "sup"),
    "limLow": _named("munder", "e", "lim"),
    "limUpp": _named("mover", "e", "lim"),
    "phant": lambda element, level: "",
}
