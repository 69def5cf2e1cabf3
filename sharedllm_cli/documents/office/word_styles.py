"""What the styles of a Word document say of a paragraph or a run: heading, list, hidden, struck out, raised."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from lxml import etree

from sharedllm_cli.documents.office.numbering import is_on
from sharedllm_cli.documents.office.package import attribute, child, local, number

MOST_BASES = 30
"""Styles that may rest on each other in a row."""
DEEPEST_HEADING = 6
_HEADING = re.compile(r"heading ([1-9])", re.IGNORECASE)


@dataclass(frozen=True)
class Look:
    """How a run is shown; None where nothing is said and what it rests on decides."""

    hidden: bool | None = None
    struck: bool | None = None
    script: str | None = None

    def over(self, below: Look) -> Look:
        """This look, and where it says nothing that below it."""
        own = {name: value for name, value in vars(self).items() if value is not None}
        return replace(below, **own)


@dataclass(frozen=True)
class Style:
    """A style, what it rests on included. `level` is a heading's, from 1; `list_key` that of the list it numbers."""

    level: int | None = None
    list_key: str | None = None
    list_level: int | None = None
    look: Look = Look()


PLAIN = Style()


class Styles:
    """The styles of a document by their ids."""

    def __init__(self, root: etree._Element | None) -> None:
        found = [] if root is None else [one for one in root if local(one) == "style"]
        self._elements = {attribute(one, "styleId"): one for one in found}
        self._known: dict[str, Style] = {}
        defaults = [one for one in found if attribute(one, "default") == "1" and attribute(one, "type") == "paragraph"]
        self._default = attribute(defaults[0], "styleId") if defaults else ""

    @property
    def lists(self) -> dict[str, str]:
        """The list that each style of lists stands for."""
        return {
            key: attribute(child(one, "pPr", "numPr", "numId"), "val")
            for key, one in self._elements.items()
            if attribute(one, "type") == "numbering"
        }

    def style(self, key: str) -> Style:
        """The style with an id; that of ordinary paragraphs where there is none."""
        key = key if key in self._elements else self._default
        if key not in self._known:
            chain: list[etree._Element] = []
            at = key
            while at in self._elements and len(chain) < MOST_BASES and self._elements[at] not in chain:
                chain.append(self._elements[at])
                at = attribute(child(self._elements[at], "basedOn"), "val")
            made = PLAIN
            for element in reversed(chain):
                made = _on_top(made, element)
            self._known[key] = made
        return self._known[key]


def look(properties: etree._Element | None) -> Look:
    """What the properties of a run (`rPr`) say of its look."""
    if properties is None:
        return Look()
    held = {local(one): one for one in properties}
    struck = [is_on(held[name]) for name in ("strike", "dstrike") if name in held]
    script = attribute(held.get("vertAlign"), "val") if "vertAlign" in held else None
    return Look(
        hidden=is_on(held["vanish"]) if "vanish" in held else None,
        struck=any(struck) if struck else None,
        script={"superscript": "sup", "subscript": "sub"}.get(script, "") if script is not None else None,
    )


def heading_level(properties: etree._Element | None, style: Style) -> int | None:
    """The level of a paragraph that is a heading, from 1."""
    own = child(properties, "outlineLvl")
    level = style.level if own is None else number(attribute(own, "val"), 9) + 1
    return min(level, DEEPEST_HEADING) if level is not None and 1 <= level <= 9 else None


def _on_top(below: Style, element: etree._Element) -> Style:
    properties = child(element, "pPr")
    name = attribute(child(element, "name"), "val")
    level = below.level
    if (named := _HEADING.fullmatch(name)) is not None:
        level = int(named[1])
    elif name.casefold() == "title":
        level = 1
    elif (outline := child(properties, "outlineLvl")) is not None:
        level = number(attribute(outline, "val"), 9) + 1
    numbered = child(properties, "numPr")
    key, place = child(numbered, "numId"), child(numbered, "ilvl")
    return Style(
        level,
        below.list_key if key is None else attribute(key, "val"),
        below.list_level if place is None else number(attribute(place, "val")),
        look(child(element, "rPr")).over(below.look),
    )
