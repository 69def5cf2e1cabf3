"""The numbers of a Word document's lists and headings as Word shows them: `3.2.1`, `(b)`, `IV.`; bullets as a dash.

Equations of numbers alone: what the file defines (numbering.xml), and one counter a definition and level.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lxml import etree

from sharedllm_cli.documents.markup.html_lists import numeral
from sharedllm_cli.documents.office.package import attribute, child, local, number

LEVELS = 9
BULLET = "-"
MOST_LINKS = 20
"""Definitions that may refer to each other in a row."""
_PLACE = re.compile(r"%([1-9])")
_KINDS = {"lowerLetter": "a", "upperLetter": "A", "lowerRoman": "i", "upperRoman": "I"}


@dataclass(frozen=True)
class Level:
    """How one level of a list is numbered: from where, in which form, with what around it."""

    start: int = 1
    form: str = "decimal"
    text: str = ""
    style: str = ""
    restart: int | None = None
    legal: bool = False

    @classmethod
    def of(cls, element: etree._Element) -> Level:
        restart = child(element, "lvlRestart")
        return cls(
            number(attribute(child(element, "start"), "val", "1"), 1),
            attribute(child(element, "numFmt"), "val", "decimal"),
            attribute(child(element, "lvlText"), "val"),
            attribute(child(element, "pStyle"), "val"),
            None if restart is None else number(attribute(restart, "val")),
            is_on(child(element, "isLgl")),
        )


@dataclass
class _List:
    """A list of the document: the definition whose counters it shares, its levels, and where they begin anew."""

    definition: str
    levels: dict[int, Level]
    starts: dict[int, int] = field(default_factory=dict)


class Numbering:
    """Gives each paragraph of a list its number; paragraphs must come in their order."""

    def __init__(self, root: etree._Element | None, styles: dict[str, str] | None = None) -> None:
        self._counts: dict[str, list[int | None]] = {}
        self._begun: set[str] = set()
        self._lists: dict[str, _List] = {}
        self._styled: dict[str, tuple[str, int]] = {}
        if root is not None:
            self._define(root, styles or {})

    def _define(self, root: etree._Element, styles: dict[str, str]) -> None:
        definitions = {attribute(one, "abstractNumId"): one for one in root if local(one) == "abstractNum"}
        lists = {attribute(one, "numId"): one for one in root if local(one) == "num"}
        for key, element in lists.items():
            definition = attribute(child(element, "abstractNumId"), "val")
            for _ in range(MOST_LINKS):
                link = attribute(child(definitions.get(definition), "numStyleLink"), "val")
                linked = lists.get(styles.get(link, "")) if link else None
                if linked is None:
                    break
                definition = attribute(child(linked, "abstractNumId"), "val")
            levels = _levels(definitions.get(definition))
            found = _List(definition, levels)
            for override in element:
                if local(override) == "lvlOverride":
                    place = number(attribute(override, "ilvl"))
                    levels.update(_levels(override))
                    if (start := child(override, "startOverride")) is not None:
                        found.starts[place] = number(attribute(start, "val", "1"), 1)
            self._lists[key] = found
            for place, level in levels.items():
                if level.style:
                    self._styled.setdefault(level.style, (key, place))

    def of_style(self, style: str) -> int:
        """The level at which a style of paragraphs is numbered."""
        return self._styled.get(style, ("", 0))[1]

    def next(self, key: str, place: int) -> str | None:
        """The number of the next paragraph of a list at a level; None where the list is not defined or shows none."""
        found = self._lists.get(key)
        place = min(max(place, 0), LEVELS - 1)
        level = found.levels.get(place) if found else None
        if found is None or level is None:
            return None
        counts = self._counts.setdefault(found.definition, [None] * LEVELS)
        if key not in self._begun:
            self._begun.add(key)
            for anew, start in found.starts.items():
                if anew < LEVELS:
                    counts[anew] = start - 1
        now = counts[place]
        counts[place] = level.start if now is None else now + 1
        for below in range(place + 1, LEVELS):
            restart = found.levels.get(below, Level()).restart
            if restart is None or (restart and place < restart):
                counts[below] = None
        if level.form == "bullet":
            return BULLET
        if level.form == "none" and not _PLACE.sub("", level.text).strip():
            return None
        return " ".join(_PLACE.sub(lambda match: self._shown(found, level, int(match[1]) - 1), level.text).split())

    def _shown(self, found: _List, level: Level, place: int) -> str:
        own = found.levels.get(place, Level())
        count = self._counts[found.definition][place]
        return shown(own.start if count is None else count, "decimal" if level.legal else own.form)


def shown(value: int, form: str) -> str:
    """A number in one of Word's forms; in digits where the form is another one."""
    if form == "none":
        return ""
    if form in ("lowerLetter", "upperLetter") and value > 0:
        # Word goes on with aa, bb, cc after z.
        return chr(ord(_KINDS[form]) + (value - 1) % 26) * min((value - 1) // 26 + 1, 30)
    if form == "decimalZero":
        return f"{value:02d}"
    if form == "ordinal":
        ending = "th" if value // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
        return f"{value}{ending}"
    return numeral(value, _KINDS.get(form, "1"))


def is_on(element: etree._Element | None) -> bool:
    """Whether a property that is there, or is not, is switched on."""
    return element is not None and attribute(element, "val", "1").lower() not in ("0", "false", "off", "none")


def _levels(parent: etree._Element | None) -> dict[int, Level]:
    found = [] if parent is None else [one for one in parent if local(one) == "lvl"]
    return {number(attribute(one, "ilvl")): Level.of(one) for one in found}
