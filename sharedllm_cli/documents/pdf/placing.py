"""Where words that lie beside a page's text belong in it: field values at their labels, notes and figures in place.

Geometry finds the characters to go behind or before; the place in the text is then found by these characters, so that
any extraction of the page can take the words, in whatever order it has the lines. Knows no file format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in points; upwards and to the right is more."""
Kind = Literal["value", "typed", "tick", "block", "end"]
"""A field's value, words typed on the page, a box to tick, a figure's words in place, and a note at the page's end."""

MOST_COMPARED = 5_000_000
"""Items times glyphs of a page that are compared at most; the items of a page with more stand at its end."""
NEAR_LABEL = 40.0
"""Points between a label and the field to its right within which no other label is looked for."""
FAR_LABEL = 400.0
"""Points at most between a label and the field to its right."""
TICK_LABEL = 120.0
"""Points at most between a box to tick and its label."""
_CONTEXTS = (60, 30, 15, 8, 4)
"""Characters before a place by which it is found in another extraction of the page, the most that are the same."""
_FILL = frozenset("_.…·‧-–—")
_CLOSING = frozenset(",.;:)!?")
_LABEL_ENDS = (":", "?", "!", ".", ",", ";", "=", "(", "：", "？", "€", "$", "£", "#")


@dataclass(frozen=True)
class Glyph:
    """A character that can be seen, and its box."""

    text: str
    box: Box

    @property
    def middle(self) -> tuple[float, float]:
        left, bottom, right, top = self.box
        return (left + right) / 2, (bottom + top) / 2


@dataclass(frozen=True)
class Item:
    """Words to place, where they are shown, and the label to give them where the page has none."""

    text: str
    box: Box
    kind: Kind
    name: str = ""


@dataclass(frozen=True)
class _Spot:
    """A place between the glyphs: behind glyph `glyph` (before it where `before`), and what separates the words there.

    `lead` stands before the words; `line`: they end the line. `chain`: the item whose words they follow.
    """

    glyph: int
    before: bool = False
    lead: str = " "
    line: bool = False
    chain: int | None = None


@dataclass
class _Insert:
    position: int
    order: tuple[float, float, int]
    text: str
    lead: str
    line: bool
    before: bool
    chained: list[str] = field(default_factory=list)


def place(raw: str, glyphs: Sequence[Glyph], items: Sequence[Item]) -> str:
    """The page's text with the items' words at their places; what has none stands at its end, a line each.

    `glyphs` are those of the page's text in an order of their own, without white space.
    """
    finder = _Finder(raw, glyphs)
    spots = _Spots(glyphs, items)
    apart = len(items) * len(glyphs) > MOST_COMPARED
    inserts: dict[int, _Insert] = {}
    last: list[str] = []
    for number in sorted(range(len(items)), key=lambda one: _reading(items[one].box)):
        item = items[number]
        spot = None if item.kind == "end" or apart else spots.of(number)
        if spot is not None and spot.chain is not None and spot.chain in inserts:
            inserts[spot.chain].chained.append(item.text)
            inserts[number] = inserts[spot.chain]
            continue
        position = None if spot is None or spot.chain is not None else finder.position(spot.glyph, before=spot.before)
        if spot is None or position is None:
            last.append(_at_the_end(item))
            continue
        if item.kind == "block":
            position = _line_end(raw, position)
        inserts[number] = _Insert(position, (*_reading(item.box), number), item.text, spot.lead, spot.line, spot.before)
    text = _inserted(raw, list({id(one): one for one in inserts.values()}.values()))
    if not last:
        return text
    return "\n".join([*([text.rstrip()] if text.strip() else []), *last])


def _reading(box: Box) -> tuple[float, float]:
    """From top to bottom, then from left to right; boxes whose tops nearly agree are of one line."""
    return -round(box[3] / 4), box[0]


def _at_the_end(item: Item) -> str:
    name = " ".join(item.name.split())
    if item.kind == "tick":
        return f"{item.text} {name}".rstrip()
    return f"{name.rstrip(':')}: {item.text}" if name and item.kind == "value" else item.text


def _line_end(raw: str, position: int) -> int:
    end = raw.find("\n", position)
    end = len(raw) if end < 0 else end
    return end - 1 if raw[end - 1 : end] == "\r" else end


def _inserted(raw: str, inserts: Sequence[_Insert]) -> str:
    pieces, done = [], 0
    for one in sorted(inserts, key=lambda one: (one.position, one.order)):
        pieces.append(raw[done : one.position])
        done = one.position
        words = " ".join([one.text, *one.chained])
        if one.before:
            if pieces[-1].endswith("  "):  # the gap was the field's
                pieces[-1] = pieces[-1].rstrip(" ") + " "
            pieces.append(f"{words}\n" if one.line else f"{words} ")
            continue
        joined = "".join(pieces[-1:])
        lead = one.lead.lstrip() if one.lead == " " and joined[-1:].isspace() else one.lead
        rest = raw[done:].split("\n", 1)[0]
        goes_on = rest.strip()
        tail = ""
        if goes_on and one.line:
            tail = "\n"
            done += len(rest) - len(rest.lstrip())
        elif goes_on and goes_on[0] in _CLOSING:
            done += len(rest) - len(rest.lstrip())
        elif goes_on and not rest[0].isspace():
            tail = " "
        pieces.append(f"{lead}{words}{tail}")
    return "".join([*pieces, raw[done:]])


class _Finder:
    """Finds the place of a glyph in a text of the page."""

    def __init__(self, raw: str, glyphs: Sequence[Glyph]) -> None:
        self._places = [place for place, character in enumerate(raw) if not character.isspace()]
        self._raw = "".join(raw[place] for place in self._places)
        self._drawn = "".join(glyph.text for glyph in glyphs)
        self._end = len(raw)

    def position(self, glyph: int, *, before: bool = False) -> int | None:
        """The offset in the text behind a glyph (before it); None where its surroundings are not in the text."""
        if glyph < 0:
            return 0
        if before:
            found = self._find(glyph, lambda size: (glyph, glyph + size))
            return None if found is None else self._places[found]
        found = self._find(glyph, lambda size: (glyph + 1 - size, glyph + 1))
        return None if found is None else self._places[found] + 1

    def _find(self, glyph: int, window: Callable[[int], tuple[int, int]]) -> int | None:
        for size in _CONTEXTS:
            start, end = max(0, window(size)[0]), window(size)[1]
            words = self._drawn[start:end]
            places = _occurrences(self._raw, words)
            if words and places:
                nth = sum(place < start for place in _occurrences(self._drawn, words))
                return places[min(nth, len(places) - 1)] + glyph - start
        return None


def _occurrences(text: str, words: str) -> list[int]:
    places, place = [], text.find(words) if words else -1
    while place >= 0:
        places.append(place)
        place = text.find(words, place + 1)
    return places


class _Spots:
    """Finds for each item of a page the glyph that its words go behind or before."""

    def __init__(self, glyphs: Sequence[Glyph], items: Sequence[Item]) -> None:
        self._glyphs = glyphs
        self._items = items

    def of(self, number: int) -> _Spot | None:
        item = self._items[number]
        if item.kind == "block":
            return self._under(item.box)
        if item.kind == "tick":
            return self._ticked(item.box)
        return self._field(number)

    def _field(self, number: int) -> _Spot | None:
        item = self._items[number]
        inside = self._inside(item.box)
        if inside is not None:
            return self._labelled(inside, item.box)
        left, chain = self._left(item.box), self._field_on_the_left(number)
        if left is not None and chain is not None and self._items[chain].box[2] > self._glyphs[left].box[2]:
            left = None
        gap = FAR_LABEL if left is None else item.box[0] - self._glyphs[left].box[2]
        if item.kind == "typed":
            sure = left is not None and (gap <= NEAR_LABEL or self._glyphs[left].text in (":", "_", "."))
            return self._beside(left, item.box) if left is not None and sure else self._under(item.box)
        above = None if gap <= NEAR_LABEL else self._above(item.box)
        if above is not None:
            return self._labelled(above, item.box)
        if left is not None and gap < FAR_LABEL:
            return self._beside(left, item.box)
        if chain is not None:
            return _Spot(-1, chain=chain)
        below = self._below(item.box)
        return None if below is None else self._labelled(below, item.box)

    def _beside(self, glyph: int, box: Box) -> _Spot:
        """Behind the label on the left; a colon makes clear that it is one where no sentence goes on."""
        goes_on = self._right(box)
        inline = goes_on is not None and self._glyphs[goes_on].box[0] - box[2] < NEAR_LABEL
        closed = self._glyphs[glyph].text in _LABEL_ENDS or not self._glyphs[glyph].text.isalnum()
        return _Spot(glyph, lead=" " if closed or inline else ": ")

    def _labelled(self, glyph: int, box: Box) -> _Spot:
        return _Spot(glyph, lead=" " if self._glyphs[glyph].text in _LABEL_ENDS else ": ", line=True)

    def _ticked(self, box: Box) -> _Spot | None:
        left, right = self._left(box, tick=True), self._right(box)
        gaps = (
            FAR_LABEL if left is None else box[0] - self._glyphs[left].box[2],
            FAR_LABEL if right is None else self._glyphs[right].box[0] - box[2],
        )
        if right is not None and gaps[1] <= gaps[0] and gaps[1] <= TICK_LABEL:
            return _Spot(right, before=True)
        if left is not None and gaps[0] <= TICK_LABEL:
            return _Spot(left)
        return None

    def _on_line(self, box: Box) -> Iterator[int]:
        """The glyphs level with a box; of a tall one those level with its top."""
        bottom, top = box[1], box[3]
        bottom = max(bottom, top - 18)
        for number, glyph in enumerate(self._glyphs):
            low, high = glyph.box[1], glyph.box[3]
            level = bottom - 2 <= glyph.middle[1] <= top + 2 or low <= (bottom + top) / 2 <= high
            if level and glyph.text not in _FILL:
                yield number

    def _left(self, box: Box, *, tick: bool = False) -> int | None:
        edge = box[0] + (1 if tick else 3)
        found = [number for number in self._on_line(box) if self._glyphs[number].middle[0] < edge]
        return max(found, key=lambda number: self._glyphs[number].box[2], default=None)

    def _right(self, box: Box) -> int | None:
        found = [number for number in self._on_line(box) if self._glyphs[number].middle[0] > box[2] - 1]
        return min(found, key=lambda number: self._glyphs[number].box[0], default=None)

    def _field_on_the_left(self, number: int) -> int | None:
        """The nearest other field with a value to the left on the same line."""
        box = self._items[number].box
        found = [
            other
            for other, item in enumerate(self._items)
            if other != number and item.kind in ("value", "typed") and item.box[2] <= box[0] + 2
            if _level(item.box, box)
        ]
        return max(found, key=lambda other: self._items[other].box[2], default=None)

    def _inside(self, box: Box) -> int | None:
        """The last glyph of a caption that is printed within the field."""
        inside = [
            number
            for number, glyph in enumerate(self._glyphs)
            if box[0] < glyph.middle[0] < box[2] and box[1] < glyph.middle[1] < box[3] and glyph.text not in _FILL
        ]
        return self._end_of_label(inside, box) if len(inside) > 1 else None

    def _above(self, box: Box) -> int | None:
        return self._near(box, lambda glyph: -2 <= glyph.box[1] - box[3] <= 1.3 * max(8, glyph.box[3] - glyph.box[1]))

    def _below(self, box: Box) -> int | None:
        return self._near(box, lambda glyph: -2 <= box[1] - glyph.box[3] <= 1.3 * max(8, glyph.box[3] - glyph.box[1]))

    def _near(self, box: Box, wanted: Callable[[Glyph], bool]) -> int | None:
        near = [
            number
            for number, glyph in enumerate(self._glyphs)
            if wanted(glyph) and box[0] - 4 <= glyph.middle[0] <= box[2] and glyph.text not in _FILL
        ]
        return self._end_of_label(near, box)

    def _end_of_label(self, near: Sequence[int], box: Box) -> int | None:
        """The last glyph of the label that begins at the left edge of a box, among glyphs near it."""
        if not near:
            return None
        lowest = min(near, key=lambda number: abs(self._glyphs[number].box[1] - box[3]))
        level = self._glyphs[lowest].middle[1]
        line = sorted(
            (number for number, glyph in enumerate(self._glyphs) if abs(glyph.middle[1] - level) < 4),
            key=lambda number: self._glyphs[number].box[0],
        )
        line = line[line.index(min(near, key=lambda number: (number not in line, self._glyphs[number].box[0]))) :]
        height = max(6, self._glyphs[lowest].box[3] - self._glyphs[lowest].box[1])
        for one, after in pairwise(line):
            if self._glyphs[after].box[0] - self._glyphs[one].box[2] > 1.2 * height:
                return one
        return line[-1]

    def _under(self, box: Box) -> _Spot:
        """Behind the nearest line above a box that stands over it; the page's beginning where there is none."""
        middle = (box[1] + box[3]) / 2
        above = [
            number
            for number, glyph in enumerate(self._glyphs)
            if glyph.middle[1] > middle and glyph.middle[1] > box[3] - 4
        ]
        over = [number for number in above if box[0] - 20 <= self._glyphs[number].middle[0] <= box[2] + 20] or above
        if not over:
            return _Spot(-1, before=True, line=True)
        lowest = min(self._glyphs[number].middle[1] for number in over)
        line = [number for number in over if self._glyphs[number].middle[1] < lowest + 4]
        last = max(line, key=lambda number: self._glyphs[number].box[2])
        return _Spot(last, lead="\n", line=True)


def _level(one: Box, other: Box) -> bool:
    return min(one[3], other[3]) - max(one[1], other[1]) > 0.5 * min(one[3] - one[1], other[3] - other[1])
