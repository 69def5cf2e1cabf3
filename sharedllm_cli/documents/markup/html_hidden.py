"""What of an HTML page is not for its reader: programs, menus, hidden elements; and the text that only seems to be so.

A page whose `nav` is never closed, or which stands whole in an element that a program shows, hides nearly all of its
words: they are its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bs4 import Tag
from bs4.element import NavigableString

from sharedllm_cli.documents.markup.html_elements import Facts


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


_NEVER = _names("script style head iframe embed datalist rt rp")
_DROPPED = _names("nav noscript template object canvas button dialog")
_UNSEEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_ASIDE = re.compile(r"modal|popup|pop-up|cookie|consent|lightbox|overlay|newsletter|login|adblock", re.IGNORECASE)
_NOTE = re.compile(r"\b(?:footnote|endnote|rearnote|note)s?(?:\s|$)")
_MATHML = "http://www.w3.org/1998/Math/MathML"
_HEADS = ["h1", "h2", "h3", "h4", "h5", "h6", "dt", "th", "summary", "legend", "caption"]
MOST_OF_THE_PAGE = 3
"""A hidden element is the page's text if it has so many times the words of all else, links not counted."""
LEAST_WORDS = 30
"""Words of such an element at least, unless the page would be empty without it."""
SENTENCE = 3
"""Words of a button at least that opens a part of the page, for it to be a heading."""
MOST_WRAPPED = 8
"""Hidden elements within each other that may be the page's text."""


def is_hidden(tag: Tag, facts: Facts) -> bool:
    """What a reader of the page does not see as text. A formula's MathML is hidden where a picture of it is shown."""
    name = tag.name
    if name in _NEVER:
        return not (name == "script" and str(tag.get("type", "")).startswith("math/"))
    if id(tag) in facts.main:
        return False
    if name in _DROPPED:
        return not _is_shown(tag)
    if tag.get("role") == "navigation" or "katex-html" in (tag.get("class") or ()):
        return True
    if (parent := tag.parent) is not None and parent.name == "switch" and name in ("case", "default"):
        return _is_other_case(tag, parent)
    if _NOTE.search(f"{tag.get('epub:type', '')} {tag.get('role', '')}"):
        return False  # reading systems show a hidden note on request
    if tag.has_attr("hidden") and str(tag["hidden"]).lower() != "until-found":
        return True
    if name in ("ul", "ol") and facts.main and _is_menu(tag, facts):
        return True
    return bool(_UNSEEN.search(str(tag.get("style", "")))) and id(tag) not in facts.formulas


def _is_other_case(tag: Tag, switch: Tag) -> bool:
    """Whether an epub's switch shows another of its children: of the cases, the one with a formula can be read."""
    cases = [
        case for case in switch.find_all("case", recursive=False) if _MATHML in str(case.get("required-namespace"))
    ]
    return tag is not cases[0] if cases else tag.name == "case"


def _is_shown(tag: Tag) -> bool:
    if tag.name == "button":
        # The heading of a part that opens with a click.
        if tag.find_parent(_HEADS) is not None:
            return True
        opens = tag.has_attr("aria-expanded") or tag.has_attr("aria-controls")
        return opens and len(tag.get_text(" ").split()) >= SENTENCE
    if tag.name == "template":
        return tag.has_attr("shadowrootmode")
    return tag.name == "dialog" and tag.has_attr("open")


def _is_menu(tag: Tag, facts: Facts) -> bool:
    """Whether a list within a `nav` that holds the page's text is the menu that the `nav` was for."""
    if not any(id(above) in facts.main and _is_navigation(above) for above in tag.parents):
        return False
    return not any(word for word, linked in _words(tag, facts) if not linked)


def _is_navigation(tag: Tag) -> bool:
    return tag.name == "nav" or tag.get("role") == "navigation"


def main_text(page: Tag, facts: Facts) -> frozenset[int]:
    """The ids of the hidden elements that hold the page's text."""
    found: frozenset[int] = frozenset()
    root = page
    for _ in range(MOST_WRAPPED):
        shown, hidden = 0, []
        waiting: list[Tag] = [page]
        while waiting:
            for child in waiting.pop().contents:
                if not isinstance(child, Tag):
                    shown += len(child.split()) if type(child) is NavigableString else 0
                elif id(child) in found or not is_hidden(child, facts):
                    waiting.append(child)
                elif child.name not in _NEVER and not (_is_navigation(child) and child.get("epub:type")):
                    hidden.append(child)
        if not hidden:
            break
        counted = [(sum(count for count, linked in _words(tag, facts) if not linked), tag) for tag in hidden]
        words, root = max(counted, key=lambda one: one[0])
        aside = root.name in ("dialog", "template") or _ASIDE.search(f"{root.get('class', '')} {root.get('id', '')}")
        least = max(LEAST_WORDS, MOST_OF_THE_PAGE * shown) if shown else 1
        if words < least or (aside and shown):
            break
        found |= {id(root)}
    return found


def _words(tag: Tag, facts: Facts) -> Iterator[tuple[int, bool]]:
    """How many words each text in an element has, and whether it is within a link."""
    waiting: list[tuple[Tag, bool]] = [(tag, tag.name == "a")]
    while waiting:
        element, linked = waiting.pop()
        for child in element.contents:
            if isinstance(child, Tag):
                if child.name not in _NEVER:
                    waiting.append((child, linked or child.name == "a"))
            elif type(child) is NavigableString:
                yield len(child.split()), linked
