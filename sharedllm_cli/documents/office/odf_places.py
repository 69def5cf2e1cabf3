"""Where the shapes of an OpenDocument slide stand, in centimetres, and their order of reading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from lxml import etree

from sharedllm_cli.documents.office.package import attribute, local
from sharedllm_cli.documents.office.reading_order import Box, ordered

_PER_UNIT = {"cm": 1.0, "mm": 0.1, "in": 2.54, "pt": 2.54 / 72, "pc": 2.54 / 6, "px": 2.54 / 96}
_Written = TypeVar("_Written")


def in_order(written: Sequence[tuple[Box | None, _Written]]) -> list[_Written]:
    """What was written for shapes, by their places; as the file has it where one has no place."""
    placed = [box._replace(number=place) for place, (box, _) in enumerate(written) if box is not None]
    if len(placed) < len(written):
        return [one for _, one in written]
    return [written[place][1] for place in ordered(placed)]


def box_of(element: etree._Element, place: int) -> Box | None:
    """The place of a shape, of a group that of all in it; None for one without."""
    inner = [element] if local(element) != "g" else [one for one in element.iter() if attribute(one, "width")]
    boxes = []
    for one in inner:
        edges = [_length(attribute(one, name)) for name in ("x", "y", "width", "height")]
        if all(edge is not None for edge in edges):
            left, top, width, height = (edge or 0.0 for edge in edges)
            boxes.append((left, top, left + width, top + height))
    if not boxes:
        return None
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return Box(min(lefts), min(tops), max(rights), max(bottoms), place)


def _length(text: str) -> float | None:
    for unit, size in _PER_UNIT.items():
        if text.endswith(unit):
            try:
                return float(text.removesuffix(unit)) * size
            except ValueError:
                return None
    return None
