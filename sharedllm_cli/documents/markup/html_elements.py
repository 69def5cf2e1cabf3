"""What a single HTML element says by its name, its attributes and its neighbours."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bs4 import Tag
from bs4.element import NavigableString

from sharedllm_cli.documents.markup import mathml, raised

_STRUCK = frozenset({"del", "s", "strike"})
_NOTE_WORDS = re.compile(r"\b(?:noteref|doc-noteref|footnote-?ref\w*|footnote|fnref|endnote|reference|cite_ref|fn)\b")
_SUPER = re.compile(r"vertical-align\s*:\s*(super|sub)\b", re.IGNORECASE)
_THROUGH = re.compile(r"text-decoration(?:-line)?\s*:[^;]*line-through", re.IGNORECASE)
_QUOTES = {
    "": "“”‘’",
    **dict.fromkeys(("de", "cs", "sk", "sl", "hr", "bg"), "„“‚‘"),
    **dict.fromkeys(("fr", "es", "it", "pt", "ru", "uk", "el", "no", "nb", "nn"), "«»“”"),
    "pl": "„”«»",
    **dict.fromkeys(("ja", "zh"), "「」『』"),
}
_FILE_NAME = re.compile(r"\S+\.(?:png|jpe?g|gif|svg|webp|bmp|tiff?)|\S*/\S*|https?:\S+", re.IGNORECASE)
_SHOWN_INPUTS = frozenset(
    [
        "text",
        "number",
        "date",
        "time",
        "email",
        "tel",
        "url",
        "search",
        "month",
        "week",
        "datetime-local",
        "range",
        "color",
    ]
)
SHORT_WORDS = 3
"""Characters of a picture that stands for a sign."""
MOST_SPANNED = 65_534
"""Rows that a merged cell may reach into (HTML's own bound)."""


@dataclass(frozen=True)
class Facts:
    """What is found of a page before it is written, so that no element is searched twice: ids of elements.

    `layout` hold more than a table's cell does; so do those with `lists`, unless the table is `headed`. `linked` hold a
    link; `formulas` hold one. `lang` is the page's own. `main` are hidden and hold the page's text all the same.
    """

    layout: frozenset[int]
    lists: frozenset[int]
    headed: frozenset[int]
    linked: frozenset[int]
    formulas: frozenset[int]
    lang: str = ""
    main: frozenset[int] = frozenset()


def is_struck_out(tag: Tag) -> bool:
    """Whether a line goes through the element's text."""
    return tag.name in _STRUCK or _THROUGH.search(str(tag.get("style", ""))) is not None


def is_apart(tag: Tag) -> bool:
    """Whether a formula or a drawing stands on lines of its own."""
    return tag.name == "svg" or (tag.name == "math" and tag.get("display") == "block")


def stand_in(tag: Tag, *, beside_formula: bool = False) -> str:
    """What is read for an element without a text of its own: a field's value, a picture's words, a formula.

    A picture beside a formula shows that formula once more, and has no words.
    """
    match tag.name:
        case "input":
            return _field(tag)
        case "select":
            options = tag.find_all("option")
            chosen = [option for option in options if option.has_attr("selected")] or options[:1]
            return f" {', '.join(' '.join(option.get_text().split()) for option in chosen)} "
        case "img":
            return "" if beside_formula else _picture(tag)
        case "math":
            return mathml.linear(tag) or " ".join(str(tag.get("alttext", "")).split())
        case "svg":
            return " ".join(piece.get_text(" ") for piece in tag.find_all("text"))
        case _:
            return tag.get_text()


def shows_formula(tag: Tag | None, facts: Facts) -> bool:
    """Whether an element holds a formula and no more: a picture in it shows that formula once more."""
    if tag is None or id(tag) not in facts.formulas:
        return False
    return tag.name in ("span", "a") or "math" in " ".join(tag.get("class") or ()).lower()


def _field(tag: Tag) -> str:
    kind = str(tag.get("type", "text")).lower()
    if kind in ("checkbox", "radio"):
        return " [x] " if tag.has_attr("checked") else " [ ] "
    return f" {tag['value']} " if kind in _SHOWN_INPUTS and tag.get("value") else ""


def _picture(tag: Tag) -> str:
    """The words that the author gives for a picture; a sign drawn as a picture stands as it is."""
    words = " ".join(str(tag.get("alt", "")).split())
    if not words or _FILE_NAME.fullmatch(words):
        return ""
    formula = "math" in " ".join(tag.get("class") or ()).lower()
    return words if len(words) <= SHORT_WORDS or formula else f"[image: {words}]"


def quotation_marks(lang: str) -> str:
    """The four marks of a language: around a quotation, and around one within it."""
    return _QUOTES.get(lang[:2].lower(), _QUOTES[""])


def script(tag: Tag) -> str | None:
    """`sup` or `sub` for what is raised or lowered, by its element or its own style."""
    if tag.name in ("sup", "sub"):
        return tag.name
    style = _SUPER.search(str(tag.get("style", ""))) if tag.name == "span" else None
    return None if style is None else {"super": "sup", "sub": "sub"}[style[1].lower()]


def says_note(tag: Tag) -> bool:
    """Whether an element says of itself that it is the mark of a note."""
    kept = (tag.get("class"), tag.get("role"), tag.get("epub:type"), tag.get("id"))
    words = " ".join(" ".join(value) if isinstance(value, list) else str(value) for value in kept if value)
    return bool(words) and _NOTE_WORDS.search(words.lower()) is not None


def is_numerator(tag: Tag) -> bool:
    """Whether a fraction's bar and its lowered part follow."""
    bar = tag.next_sibling
    if not isinstance(bar, NavigableString) or str(bar).strip() not in ("/", "⁄"):
        return False
    return isinstance(bar.next_sibling, Tag) and script(bar.next_sibling) == "sub"


def following(tag: Tag) -> str:
    """The first characters behind an element, within the same parent."""
    after = tag.next_sibling
    for _ in range(4):
        if isinstance(after, NavigableString):
            return str(after)[: raised.LOOK_BACK]
        after = next(iter(after.children), None) if isinstance(after, Tag) else None
    return ""


def span_of(tag: Tag, name: str) -> int:
    """A cell's `colspan` or `rowspan`; 0 rows are all that follow."""
    value = str(tag.get(name, "1")).strip()
    number = int(value) if value.isascii() and value.isdigit() and len(value) < 7 else 1
    return min(number, MOST_SPANNED) if name == "rowspan" else max(1, number)
