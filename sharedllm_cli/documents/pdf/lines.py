"""Pieces of a PDF's page to segments: what stands on one baseline without a gap as wide as between columns.

Raised and lowered figures go into the line that they stand in (their form: superscripts.py).
"""

from __future__ import annotations

import math
import re
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from operator import attrgetter

from sharedllm_cli.documents.pdf.accents import composed
from sharedllm_cli.documents.pdf.leftward import right_to_left
from sharedllm_cli.documents.pdf.page_pieces import Piece
from sharedllm_cli.documents.pdf.superscripts import Part, linear

CELL_GAP = 0.9
"""A gap of more than this share of the size ends a segment."""
WORD_GAP = 0.15
"""A gap of more than this share of the size is a space between words, whether a space is drawn or not."""
LONGEST_SCRIPT = 15
"""Characters of a raised or lowered part; a longer one is a line of its own."""

ITEM = re.compile(r"[^\w\s]|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})[.)]|\d{1,2}(?:\.\d{1,2}){1,3}\.?|\[\w{1,4}\]")
"""What begins an item of a list, a note or a numbered heading: the gap behind it parts no columns."""


_LEVEL = 0.08
"""A piece that is raised or lowered by less than this share of the size stands on the line."""
_HIGHEST, _LOWEST = 0.85, 0.6
"""A piece is raised or lowered by no more than these shares of the size."""
_WIDE_GAP = 0.5
"""Gaps of at least this share of the size may part the cells of a table, where other rows do so."""
_UNCOUNTED = frozenset(" \x02\x03")
_MOST_INITIALS = 20  # of a page
_NOTE = re.compile(r"[\[(]?(\d{1,2})[\])]?(?:\.?\s|$)")


HEIGHT, LEFT, _RIGHT, _SIZE, _ORDER = (attrgetter(name) for name in ("y", "x0", "x1", "size", "order"))

Gap = tuple[int, float, float]
"""A wide gap between words: the characters before it without spaces, where it begins and where it ends."""


@dataclass(slots=True, eq=False)
class Segment:
    """Part of a line. The frame is that of its pieces (page_pieces.py); `order` is the place in the drawing."""

    text: str
    x0: float
    x1: float
    y: float
    size: float
    order: int
    marked: bool = False
    """Begins with a raised mark, as the notes of a page do."""
    shown: bool = True
    words: int = 0
    upright: bool = False
    """Of a script that is set in columns."""
    table: int = 0
    """The number of the table on the page that the segment is a row of; 0 for one that is none."""
    run: Sequence[Piece] = ()
    """The pieces that it is made of, where none is raised."""
    known: Sequence[Gap] | None = None
    drop: float = 0.0
    """Points from the baseline to that of the last line of a row's cells."""

    @property
    def gaps(self) -> Sequence[Gap]:
        """The wide gaps between its words."""
        if self.known is None:
            self.known = _wide_gaps(self.run, _WIDE_GAP * self.size)
        return self.known

    def parts(self, least: float) -> list[tuple[float, float]]:
        """Where its words stand, with gaps of at least so many points between them."""
        bounds = [self.x0]
        for _, begin, end in self.gaps:
            if end - begin >= least:
                bounds += [begin, end]
        bounds.append(self.x1)
        return list(zip(bounds[::2], bounds[1::2], strict=True))

    def cut(self, place: float) -> list[Segment]:
        """The segment in two, parted at the gap around a place; whole where there is none."""
        for number, (count, begin, end) in enumerate(self.gaps):
            if begin <= place <= end:
                letters = [offset for offset, letter in enumerate(self.text) if letter not in _UNCOUNTED]
                if not 0 < count < len(letters):
                    return [self]
                left, right = self.text[: letters[count]].rstrip(), self.text[letters[count] :]
                rest = [(more - count, start, stop) for more, start, stop in self.gaps[number + 1 :]]
                return [
                    replace(self, text=left, x1=begin, words=left.count(" ") + 1, known=self.gaps[:number]),
                    replace(self, text=right, x0=end, words=right.count(" ") + 1, known=rest, marked=False),
                ]
        return [self]

    @property
    def top(self) -> float:
        return self.y + 0.75 * self.size

    @property
    def bottom(self) -> float:
        return self.y - self.drop - 0.25 * self.size


@dataclass(slots=True, eq=False)
class _Script:
    """A raised or lowered piece and what it belongs to."""

    piece: Piece
    base: Piece
    rise: float


@dataclass(slots=True, eq=False)
class _Row:
    y: float
    size: float
    pieces: list[Piece] = field(default_factory=list)


def segments(pieces: Sequence[Piece]) -> list[Segment]:
    """The segments of pieces of one direction, in no particular order."""
    pieces = _with_initials(_opened(composed(pieces)))
    scripts = _scripts(pieces)
    rows = _rows([piece for piece in pieces if piece not in scripts] if scripts else pieces)
    if scripts:
        row_of = {piece: row for row in rows for piece in row.pieces}
        for piece, script in scripts.items():
            row = row_of.get(script.base)
            if row is not None:
                row.pieces.append(piece)
    notes = _marks_of_notes(rows, scripts)
    found: list[Segment] = []
    for row in rows:
        members = row.pieces
        if len(members) == 1:
            found.append(_segment(members, scripts, notes))
            continue
        members.sort(key=lambda piece: (piece.x0, piece in scripts, piece.order))
        for run in _runs(members, scripts):
            found.append(_segment(run, scripts, notes))
    return [segment for segment in found if segment.text]


def _with_initials(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """The pieces with large initials, which reach down over several lines, joined to the first of these."""
    body = statistics.median_low([piece.size for piece in pieces]) if pieces else 0.0
    initials = [piece for piece in pieces if len(piece.text) <= 2 and piece.size > 1.8 * body and piece.text.isalpha()]
    kept = list(pieces)
    for initial in initials[:_MOST_INITIALS]:
        top = initial.y + 0.8 * initial.size
        beside = [
            piece
            for piece in kept
            if piece.size < 0.6 * initial.size
            and -0.3 * piece.size <= piece.x0 - initial.x1 <= 1.2 * piece.size
            and initial.y - 0.2 * piece.size <= piece.y <= top
        ]
        if len(beside) >= 2:
            first = max(beside, key=lambda piece: piece.y)
            first.text, first.x0 = initial.text + first.text, initial.x0
            first.lefts = first.rights = ()
            kept.remove(initial)
    return kept


def _opened(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """The pieces, cut in two where a raised or lowered one is drawn into a gap between their words."""
    sizes = list(map(_SIZE, pieces))
    largest = max(sizes, default=0.0)
    if min(sizes, default=0.0) > 0.87 * largest:
        return pieces
    by_height = sorted(pieces, key=HEIGHT)
    heights = [piece.y for piece in by_height]
    cuts: dict[Piece, list[int]] = {}
    for piece in pieces:
        if piece.size > 0.87 * largest or len(piece.text) > LONGEST_SCRIPT or not piece.shown:
            continue
        reach = min(2 * piece.size, 0.61 * largest)
        for base in by_height[bisect_left(heights, piece.y - reach) : bisect_right(heights, piece.y + reach)]:
            inside = base.x0 < piece.x0 and piece.x1 < base.x1 and piece.size <= 0.87 * base.size and base.lefts
            if inside and 0.08 <= abs(piece.y - base.y) / base.size <= 0.6:
                place = bisect_left(base.lefts, (piece.x0 + piece.x1) / 2)
                slack = 0.35 * base.size
                if (
                    0 < place < len(base.lefts)
                    and base.rights[place - 1] <= piece.x0 + slack
                    and base.lefts[place] >= piece.x1 - slack
                ):
                    cuts.setdefault(base, []).append(place)
    if not cuts:
        return pieces
    return [part for piece in pieces for part in (_cut(piece, cuts[piece]) if piece in cuts else [piece])]


def _cut(piece: Piece, places: Sequence[int]) -> list[Piece]:
    """A piece in several, cut before the letters at these places (spaces are not counted)."""
    letters = [place for place, letter in enumerate(piece.text) if letter != " "] + [len(piece.text)]
    if len(letters) != len(piece.lefts) + 1:
        return [piece]
    bounds = [0, *sorted({place for place in places if piece.text[letters[place] - 1] == " "}), len(piece.lefts)]
    return [
        replace(
            piece,
            text=piece.text[letters[first] : letters[last]].strip(" "),
            x0=piece.lefts[first],
            x1=piece.rights[last - 1],
            lefts=piece.lefts[first:last],
            rights=piece.rights[first:last],
        )
        for first, last in pairwise(bounds)
    ]


def _scripts(pieces: Sequence[Piece]) -> dict[Piece, _Script]:
    """The pieces that are raised or lowered figures of others."""
    found: dict[Piece, _Script] = {}
    full = 0.87 * max(map(_SIZE, pieces), default=0.0)
    short = [piece for piece in pieces if len(piece.text) <= LONGEST_SCRIPT and piece.shown and not piece.upright]
    short = [piece for piece in short if piece.size <= full or (len(piece.text) <= 4 and not piece.text.isalpha())]
    if not short:
        return found
    by_height = sorted(pieces, key=HEIGHT)
    heights = [piece.y for piece in by_height]
    ends: dict[Piece, float] = {}
    highest, lowest = (1.01 * share * max(map(_SIZE, pieces)) for share in (_HIGHEST, _LOWEST))
    for piece in sorted(short, key=LEFT):
        reach, y, x0, x1 = 2.0 * piece.size, piece.y, piece.x0, piece.x1
        low, high = bisect_left(heights, y - min(reach, highest)), bisect_right(heights, y + min(reach, lowest))
        best: tuple[float, Piece] | None = None
        for base in by_height[low:high]:
            if x0 - base.x1 > reach or base.x0 - x1 > reach or abs(y - base.y) < _LEVEL * base.size:
                continue
            distance = _distance(piece, base, ends.get(base, base.x1)) if base not in found else None
            if distance is not None and (best is None or distance < best[0]):
                best = distance, base
        if best is not None:
            base = best[1]
            found[piece] = _Script(piece, base, (piece.y - base.y) / base.size)
            if piece.x0 >= base.x0 + 0.5 * (base.x1 - base.x0):
                ends[base] = max(ends.get(base, base.x1), piece.x1)
    return found


def _distance(piece: Piece, base: Piece, end: float) -> float | None:
    """How far a raised or lowered piece is from what it may belong to; None where it can't belong to it."""
    rise = (piece.y - base.y) / base.size
    if base is piece or not base.shown or not abs(rise) >= _LEVEL or not -_LOWEST <= rise <= _HIGHEST:
        return None
    small = piece.size <= 0.87 * base.size
    if not small and not (
        piece.size <= 1.03 * base.size
        and 0.2 <= abs(rise) <= 0.6
        and len(piece.text) <= 4
        and len(base.text) > len(piece.text)
        and not piece.text.isalpha()
    ):
        return None
    behind = piece.x0 - max(base.x1, end)
    if piece.x0 >= base.x1 - 0.2 * base.size and behind <= (0.6 if small and rise > 0.2 else 0.3) * base.size:
        return abs(max(behind, 0.0)) + 0.1 * abs(rise)
    before = base.x0 - piece.x1
    if (small or rise > 0) and -0.15 * base.size <= before <= 0.6 * base.size:
        return base.size * 0.5 + before
    return None


def _rows(pieces: Sequence[Piece]) -> list[_Row]:
    rows: list[_Row] = []
    for piece in sorted(pieces, key=lambda piece: (-piece.y, piece.x0)):
        y, size = piece.y, piece.size
        best = None
        for row in reversed(rows):
            apart = row.y - y
            if apart > 0.4 * (size if size > row.size else row.size):
                break
            if _same_line(row, piece) and (best is None or apart < abs(best.y - y)):
                best = row
        if best is None:
            rows.append(_Row(y, size, [piece]))
        else:
            best.pieces.append(piece)
            if size > best.size and len(piece.text) > 3:
                best.size = size
    return rows


def _same_line(row: _Row, piece: Piece) -> bool:
    apart = abs(row.y - piece.y)
    smaller, larger = (row.size, piece.size) if row.size < piece.size else (piece.size, row.size)
    if apart <= 0.12 * smaller:
        return True
    if apart > 0.35 * smaller or smaller < 0.75 * larger:
        return False
    return all(min(other.x1, piece.x1) - max(other.x0, piece.x0) <= 0.3 * smaller for other in row.pieces)


def _marks_of_notes(rows: Sequence[_Row], scripts: dict[Piece, _Script]) -> frozenset[str]:
    """The marks that begin notes: raised ones at the beginning of a row, and numbers there in the page's last third."""
    if not scripts:
        return frozenset()
    low = min(row.y for row in rows) + (max(row.y for row in rows) - min(row.y for row in rows)) / 3
    found: set[str] = set()
    for row in rows:
        first = min(row.pieces, key=lambda piece: piece.x0)
        if first in scripts:
            found.add(first.text.strip())
        elif row.y <= low and (number := _NOTE.match(first.text)):
            found.add(number[1])
    return frozenset(found)


def _runs(members: Sequence[Piece], scripts: dict[Piece, _Script]) -> Iterable[list[Piece]]:
    """The pieces of a row, cut where a gap is as wide as between columns."""
    run: list[Piece] = []
    end = size = 0.0
    started = False
    for piece in members:
        x1 = piece.x1
        if run:
            larger = size if size > piece.size else piece.size
            if piece.x0 - end > CELL_GAP * larger:
                attached = piece in scripts and scripts[piece].base in run
                if not started and piece.x0 - end < 5 * larger and piece.text[:1].isalpha():
                    attached = attached or ITEM.fullmatch("".join(part.text for part in run)) is not None
                if not attached:
                    yield run
                    run, end, size, started = [], 0.0, 0.0, True
        end = x1 if not run or x1 > end else end
        size = piece.size if piece not in scripts else size or scripts[piece].base.size
        run.append(piece)
    if run:
        yield run


def _segment(run: Sequence[Piece], scripts: dict[Piece, _Script], notes: frozenset[str]) -> Segment:
    if len(run) == 1 and run[0] not in scripts and not run[0].leftward:
        return _alone(run[0])
    level = not scripts or not any(piece in scripts for piece in run)
    bases = run if level else [piece for piece in run if piece not in scripts] or list(run)
    size = max(bases, key=lambda piece: len(piece.text)).size
    if any(piece.leftward for piece in run):
        text = right_to_left(run)
        level = False
    else:
        text = _letter_by_letter(run) or (_on_one_level(run) if level else linear(_parts(run, scripts, size), notes))
    return Segment(
        text,
        min(map(LEFT, run)),
        max(map(_RIGHT, run)),
        statistics.median_low(map(HEIGHT, bases)),
        size,
        min(map(_ORDER, run)),
        marked=run[0] in scripts and scripts[run[0]].rise > 0,
        shown=run[0].shown,
        words=text.count(" ") + 1,
        upright=run[0].upright,
        run=run if level else (),
    )


def _alone(piece: Piece) -> Segment:
    """The segment of one piece, which most lines of prose are."""
    place, words = (piece.x0, piece.x1, piece.y, piece.size, piece.order), piece.text.count(" ") + 1
    return Segment(piece.text, *place, shown=piece.shown, words=words, upright=piece.upright, run=(piece,))


def _wide_gaps(run: Sequence[Piece], least: float) -> Sequence[Gap]:
    """The gaps of at least so many points between the letters of a run."""
    if not all(piece.lefts for piece in run):
        return ()
    gaps: list[Gap] = []
    count = 0
    end = math.inf
    for piece in run:
        if piece.x0 - end >= least:
            gaps.append((count, end, piece.x0))
        for number, (right, left) in enumerate(zip(piece.rights, piece.lefts[1:], strict=False), count + 1):
            if left - right >= least:
                gaps.append((number, right, left))
        count += len(piece.lefts)
        end = piece.x1
    return gaps


def _letter_by_letter(run: Sequence[Piece]) -> str | None:
    """The text of letters that are set one by one at an even distance; None of anything else."""
    if len(run) < 5 or len(run[0].text) > 1 or any(len(piece.text) > 1 for piece in run):
        return None
    steps = [after.x0 - before.x0 for before, after in pairwise(run)]
    pitch = statistics.median_low(steps)
    if sum(abs(step - pitch) < 0.05 * pitch for step in steps) < 0.6 * len(steps):
        return None
    letters = zip(run[1:], steps, strict=True)
    return run[0].text + "".join(f" {piece.text}" if step > 1.4 * pitch else piece.text for piece, step in letters)


def _on_one_level(run: Sequence[Piece]) -> str:
    """The text of pieces that stand on the line, with no raised or lowered one among them."""
    text = run[0].text
    for before, piece in pairwise(run):
        over = piece.x0 < before.x0 + 0.5 * (before.x1 - before.x0)
        space = not over and text and not text.endswith(" ") and _space_between(before, piece, level=True)
        text += f" {piece.text}" if space else piece.text
    return text


def _parts(run: Sequence[Piece], scripts: dict[Piece, _Script], size: float) -> list[Part]:
    parts: list[Part] = []
    before: Piece | None = None
    for piece in run:
        script = scripts.get(piece)
        rise = 0.0 if script is None else script.rise
        over = before is not None and piece.x0 < before.x0 + 0.5 * (before.x1 - before.x0)
        level = script is None and before not in scripts
        space = before is not None and not over and _space_between(before, piece, level)
        last = parts[-1] if parts else None
        if last is not None and before is not None and rise and abs(last.rise - rise) < 0.06 and not over:
            text = last.text + (" " if space else "") + piece.text
            parts[-1] = Part(text, last.rise, last.space, last.small, last.over)
        else:
            parts.append(Part(piece.text, rise, space, piece.size < 0.87 * size, over))
        before = piece
    return parts


def _space_between(before: Piece, after: Piece, level: bool) -> bool:
    gap = after.x0 - before.x1
    if not level:
        return gap > 0.2 * max(before.size, after.size)
    size = min(before.size, after.size)
    if gap > WORD_GAP * size:
        return not (_is_wide(before.text[-1]) and _is_wide(after.text[0]) and gap < 0.5 * after.size)
    # A space that is drawn may be set very narrow.
    drawn = abs(before.order - after.order) == 1 and (before.space_after or after.space_before)
    return drawn and gap > 0.05 * size


def _is_wide(letter: str) -> bool:
    """Whether the character is of a script without spaces between words."""
    return "\u3000" <= letter <= "\u9fff" or "\uf900" <= letter <= "\uff60"
