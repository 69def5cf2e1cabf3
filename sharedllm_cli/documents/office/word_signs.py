"""Signs that Word sets in a font of symbols, as characters that say the same: ticked boxes, Greek letters, arrows."""

from __future__ import annotations


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
