"""What the drawings of Office files say in words: alternative texts, text in boxes, diagrams, the data of charts."""

from __future__ import annotations

import re
from html import escape

from lxml import etree

from sharedllm_cli.documents.office.number_formats import shown
from sharedllm_cli.documents.office.package import Package, attribute, child, number

_SAYS_NOTHING = re.compile(r"(?:picture|image|photo|bild|grafik|imagen?)\W*\d*", re.IGNORECASE)
MOST_POINTS = 2_000
"""Values of one series of a chart that are read."""
MOST_SERIES = 100


def alternative(properties: etree._Element | None) -> str:
    """The words for a picture, from its properties (`docPr`, `cNvPr`), as an element of HTML."""
    words = " ".join((attribute(properties, "descr") or attribute(properties, "title")).split())
    return f'<img alt="{escape(words)}">' if words and not _SAYS_NOTHING.fullmatch(words) else ""


def diagram(package: Package, relations: dict[str, tuple[str, str]], frame: etree._Element) -> str:
    """The texts of a diagram (SmartArt), a line each, in the order of its list."""
    held = next(frame.iter("{*}relIds"), None)
    member = relations.get(attribute(held, "dm"), ("", ""))[1]
    root = package.optional(member) if member else None
    if root is None:
        return ""
    lines: list[str] = []
    for point in root.iter("{*}pt"):
        text = " ".join("".join(one.text or "" for one in part.iter("{*}t")) for part in point.iter("{*}p")).strip()
        if text:
            lines.append(f"<div>{escape(text)}</div>")
    return "".join(lines)


def chart(package: Package, member: str) -> str:
    """A chart as its title and a table of its data: a row for each category, a column for each series."""
    root = package.optional(member) if member else None
    if root is None:
        return ""
    plot = next(root.iter("{*}chart"), root)
    title = _rich(child(plot, "title"))
    series = list(root.iter("{*}ser"))[:MOST_SERIES]
    heads = [_rich(child(one, "tx")) or f"series {place}" for place, one in enumerate(series, 1)]
    columns = [_points(child(one, "val"), child(one, "yVal")) for one in series]
    places = sorted({place for column in columns for place in column})
    names = _names(series)
    pieces = [f"<p>[chart{f': {escape(title)}' if title else ''}]</p>"]
    axis = _axis(plot)
    if places:
        head = "".join(f"<th>{escape(text)}</th>" for text in (axis, *heads))
        cells = ([names.get(place, ""), *(column.get(place, "") for column in columns)] for place in places)
        rows = ("".join(f"<td>{escape(text)}</td>" for text in row) for row in cells)
        pieces.append(f"<table><thead><tr>{head}</tr></thead>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>")
    return "".join(pieces)


def _axis(plot: etree._Element) -> str:
    """The title of the axis of categories."""
    return next((_rich(child(one, "title")) for kind in ("catAx", "dateAx") for one in plot.iter(f"{{*}}{kind}")), "")


def _names(series: list[etree._Element]) -> dict[int, str]:
    """The names of the categories; those of several levels joined."""
    for one in series:
        held = child(one, "cat")
        held = child(one, "xVal") if held is None else held
        levels = [] if held is None else list(held.iter("{*}lvl"))
        found = [_points(level) for level in levels] if levels else [_points(held)]
        if any(found):
            places = {place for level in found for place in level}
            return {place: " ".join(level[place] for level in reversed(found) if place in level) for place in places}
    return {}


def _points(*parents: etree._Element | None) -> dict[int, str]:
    parent = next((one for one in parents if one is not None), None)
    if parent is None:
        return {}
    form = next((one.text or "" for one in parent.iter("{*}formatCode")), "General")
    found: dict[int, str] = {}
    for point in parent.iter("{*}pt"):
        value = child(point, "v")
        if value is not None and value.text and len(found) < MOST_POINTS:
            found[number(attribute(point, "idx"))] = _value(value.text, attribute(point, "formatCode") or form)
    return found


def _value(text: str, form: str) -> str:
    try:
        return shown(float(text), form)
    except ValueError:
        return " ".join(text.split())


def _rich(element: etree._Element | None) -> str:
    """The words of a title or a name: as typed, else as they were last taken from the sheet."""
    if element is None:
        return ""
    typed = "".join(one.text or "" for one in element.iter("{*}t"))
    cached = next((one.text or "" for one in element.iter("{*}v")), "")
    return " ".join((typed or cached).split())
