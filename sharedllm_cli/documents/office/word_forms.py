"""Small forms of Word's XML: of several ways to write the same the one that counts, boxes of text, fields of forms.

Signs that Word sets in a font of symbols become characters that say the same: ticked boxes, Greek letters, arrows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

from lxml import etree

from sharedllm_cli.documents.office.package import attribute, child, local, number


def visible(html: str) -> bool:
    """Whether some HTML shows anything."""
    return "<img" in html or bool(re.sub(r"<[^>]*>", "", html).strip())


def chosen(element: etree._Element) -> etree._Element | None:
    """Of several forms of the same content the first that is not empty: newer programs write a richer one first."""
    choices = [one for one in element if local(one) in ("Choice", "Fallback")]
    return next((one for one in choices if len(one)), None)


def boxes(element: etree._Element) -> Iterable[etree._Element]:
    """The boxes of text in a drawing, those within another one left to it; of two forms of a drawing the first."""
    for one in element:
        if local(one) == "txbxContent":
            yield one
        elif local(one) == "AlternateContent":
            if (form := chosen(one)) is not None:
                yield from boxes(form)
        else:
            yield from boxes(one)


def form_value(data: etree._Element | None) -> str:
    """What an old form's field shows beside its result: a box, or the entry chosen of a list."""
    box, listed = child(data, "checkBox"), child(data, "ddList")
    if box is not None:
        state = child(box, "checked")
        state = child(box, "default") if state is None else state
        on = state is not None and attribute(state, "val", "1").lower() in ("1", "true", "on")
        return "[x]" if on else "[ ]"
    if listed is None:
        return ""
    entries = [attribute(one, "val") for one in listed if local(one) == "listEntry"]
    chosen = number(attribute(child(listed, "result"), "val", "0"))
    return escape(entries[chosen]) if 0 <= chosen < len(entries) else ""


def _signs(pairs: str) -> dict[int, str]:
    """Codes in hexadecimal and their signs by turns; a box is written as brackets."""
    parts = pairs.split()
    boxes = {"☐": "[ ]", "☒": "[x]"}
    return {int(code, 16): boxes.get(sign, sign) for code, sign in zip(parts[::2], parts[1::2], strict=True)}


_FONTS = {
    "wingdings": _signs(
        "6F ☐ 70 ☐ 71 ☐ 72 ☐ A8 ☐ FB ✗ FC ✓ FD ☒ FE ☒ E0 → DF ← E1 ↑ E2 ↓ E8 → F0 → 4A ☺ 4C ☹ 6C ● 6E ■ 75 ◆ A7 ▪ "
        "9F • D8 ➢ 28 ☎ 2A ✉ 46 ☞ AB ★"
    ),
    "wingdings 2": _signs("2A ☐ 30 ☐ A3 ☐ 4F ✗ 50 ✓ 51 ☒ 52 ☒ 53 ☒ 54 ☒"),
    "webdings": _signs("61 ✓ 63 ☐ 72 ✗"),
}
_SYMBOL = _signs(
    "A2 ′ A3 ≤ A5 ∞ AB ↔ AC ← AD ↑ AE → AF ↓ B0 ° B1 ± B2 ″ B3 ≥ B4 × B5 ∝ B6 ∂ B7 • B8 ÷ B9 ≠ BA ≡ BB ≈ "
    "BC … C5 ⊕ C7 ∩ C8 ∪ CC ⊂ CD ⊆ CE ∈ CF ∉ D1 ∇ D2 ® D3 © D4 ™ D5 ∏ "
    "D6 √ D7 ⋅ D8 ¬ D9 ∧ DA ∨ DB ⇔ DC ⇐ DE ⇒ E5 ∑ F2 ∫ 22 ∀ 24 ∃ 2D − "
    "40 ≅ 5C ∴"
)
_GREEK = dict(
    zip(
        "abgdezhqiklmnxoprstufcywjJVvABGDEZHQIKLMNXOPRSTUFCYW",
        "αβγδεζηθικλμνξοπρστυφχψωϕϑςϖΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩ",
        strict=True,
    )
)
UNKNOWN = "\ufffd"
"""Stands for a sign that has no character of the same meaning."""


def sign(font: str, code: str) -> str:
    """The character for a sign, by its font and its code in hexadecimal."""
    try:
        value = int(code, 16) if len(code) <= 6 else 0
    except ValueError:
        return UNKNOWN
    plain = value - 0xF000 if 0xF000 <= value <= 0xF0FF else value
    name = font.strip().casefold()
    if name == "symbol":
        known = _SYMBOL.get(plain) or _GREEK.get(chr(plain))
        return known or (chr(plain) if 0x20 <= plain < 0x7F else UNKNOWN)
    if name in _FONTS:
        return _FONTS[name].get(plain, UNKNOWN)
    return chr(value) if 0x20 <= value < 0xD800 or 0xF8FF < value < 0x110000 else UNKNOWN
