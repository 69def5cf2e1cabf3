"""What the styles of an OpenDocument file say: hidden, struck out, raised, titles, and how lists are numbered."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lxml import etree

from sharedllm_cli.documents.markup.html_lists import numeral
from sharedllm_cli.documents.office.package import attribute, child, local, number

MOST_PARENTS = 30
LEVELS = 10
BULLET = "-"


@dataclass(frozen=True)
class Look:
    """How text of a style is shown."""

    hidden: bool = False
    struck: bool = False
    script: str = ""
    title: bool = False


PLAIN = Look()


class Styles:
    """The styles of a document by family and name, those of the text and those of the program together."""

    def __init__(self, *roots: etree._Element | None) -> None:
        self._elements: dict[tuple[str, str], etree._Element] = {}
        self._looks: dict[tuple[str, str], Look] = {}
        self.lists: dict[str, dict[int, etree._Element]] = {}
        self.outline: dict[int, etree._Element] = {}
        for root in roots:
            for element in () if root is None else root.iter("{*}style", "{*}list-style", "{*}outline-style"):
                if local(element) == "style":
                    self._elements[attribute(element, "family"), attribute(element, "name")] = element
                    continue
                levels = {number(attribute(one, "level"), 1): one for one in element}
                if local(element) == "list-style":
                    self.lists[attribute(element, "name")] = levels
                else:
                    self.outline = levels

    def look(self, family: str, name: str) -> Look:
        """How a style is shown, what it rests on included."""
        key = family, name
        if key not in self._looks:
            found = PLAIN
            for element in reversed(self._chain(family, name)):
                found = _on_top(found, element)
            self._looks[key] = found
        return self._looks[key]

    def _chain(self, family: str, name: str) -> list[etree._Element]:
        chain: list[etree._Element] = []
        while (element := self._elements.get((family, name))) is not None and len(chain) < MOST_PARENTS:
            chain.append(element)
            name = attribute(element, "parent-style-name")
        return chain

    def property(self, family: str, name: str, kind: str, wanted: str) -> str:
        """A property of a style, as the style itself or one that it rests on has it."""
        for element in self._chain(family, name):
            if value := attribute(child(element, kind), wanted):
                return value
        return ""


def _on_top(below: Look, element: etree._Element) -> Look:
    properties = child(element, "text-properties")
    found = below
    if attribute(element, "name") == "Title":
        found = replace(found, title=True)
    if display := attribute(properties, "display"):
        found = replace(found, hidden=display == "none")
    through = attribute(properties, "text-line-through-style") or attribute(properties, "text-line-through-type")
    if through:
        found = replace(found, struck=through != "none")
    if position := attribute(properties, "text-position").split():
        raised = position[0].rstrip("%")
        if raised in ("super", "sub"):
            found = replace(found, script={"super": "sup", "sub": "sub"}[raised])
        else:
            height = number(raised)
            found = replace(found, script="sup" if height > 0 else "sub" if height < 0 else "")
    return found


@dataclass
class Counter:
    """The numbers of one list, level by level."""

    counts: list[int | None] = field(default_factory=lambda: [None] * (LEVELS + 1))

    def next(self, levels: dict[int, etree._Element], level: int, start: int | None = None) -> str:
        """The mark of the next item of a level, from 1; empty where it shows none."""
        level = min(max(level, 1), LEVELS)
        element = levels.get(level)
        if element is None:
            return ""
        if local(element) == "list-level-style-bullet":
            return BULLET
        if local(element) == "list-level-style-image":
            return BULLET
        begin = number(attribute(element, "start-value", "1"), 1)
        now = self.counts[level]
        self.counts[level] = start if start is not None else begin if now is None else now + 1
        for below in range(level + 1, LEVELS + 1):
            self.counts[below] = None
        form = attribute(element, "num-format")
        if not form:
            return ""
        shown = min(max(number(attribute(element, "display-levels", "1"), 1), 1), level)
        numbers = [self._number(levels, place) for place in range(level - shown + 1, level + 1)]
        text = ".".join(filter(None, numbers))
        return f"{attribute(element, 'num-prefix')}{text}{attribute(element, 'num-suffix')}".strip()

    def _number(self, levels: dict[int, etree._Element], level: int) -> str:
        element = levels.get(level)
        count = self.counts[level]
        if element is None:
            return ""
        form = attribute(element, "num-format")
        value = number(attribute(element, "start-value", "1"), 1) if count is None else count
        return numeral(value, form) if form else ""
