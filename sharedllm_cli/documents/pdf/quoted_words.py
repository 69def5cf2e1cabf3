"""Which characters of a page a quote's words are: the quote is normalised text, the page is as it was drawn.

Letters and digits alone are compared, in their plain forms: white space, hyphens at line ends, ligatures, accents and
raised figures do not part them. A quote that is drawn in another order (columns, rows of a table) is found in pieces,
the longest first, and each shorter one nearest to its neighbours. Knows characters and their middles; no library.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sharedllm_cli.documents.characters import clean

LONGEST_QUOTE = 20_000
"""Characters of a quote that are looked for."""
MOST_CHARACTERS = 400_000
"""Characters of a page that are looked at."""
MOST_PLACES = 400
"""Places of one piece that are compared with its neighbours'."""
MOST_ANSWERED = 12
"""Words of an answer that are looked for in a quote: a longer one is told, not quoted."""
MOST_WHOLE = 50
"""Places of a whole quote that are compared."""
SHORT_PIECE = 8
"""A piece with fewer letters that stands at several places is taken near its neighbours alone."""
NEAR = 60.0
"""Points from a neighbour within which a short piece is taken."""
_HYPHENS = frozenset("-\u2010\u2011\u00ad\ufffe\x02")
_WIDE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7af]")
_DOWN = 4.0
"""A point up or down counts as so many along the line."""

Middle = tuple[float, float]


@dataclass(frozen=True)
class Found:
    """The stretches of a page's characters, [first, last] each, that a quote's words are, and how many words are whole.

    `words` counts those that have a letter or digit.
    """

    stretches: list[tuple[int, int]]
    words: int
    boxed: int


@dataclass
class _Plain:
    """Letters and digits of a text in plain forms, and for each the character (or word) that it comes from.

    `cuts` are the numbers of letters that have a mark of the same word before them.
    """

    text: str
    origin: list[int]
    cuts: frozenset[int] = frozenset()


@dataclass
class _Piece:
    """Letters [start, end) of the quote, where they stand on the page (`place`), or may stand (`places`)."""

    start: int
    end: int
    places: list[int]
    place: int | None = None


@dataclass
class _Page:
    """A page's letters with their middles; `edges` are the numbers of letters at which a word begins or has ended."""

    plain: _Plain
    middles: Sequence[Middle]
    edges: frozenset[int]
    broken: list[int] = field(default_factory=list)
    """Letters behind a hyphen."""

    def middle(self, letter: int) -> Middle:
        return self.middles[self.plain.origin[letter]]


def find(quote: str, characters: Sequence[str], middles: Sequence[Middle]) -> Found:
    """The quote's words among a page's characters, as the page draws them; `middles` are in points.

    Words that are not on the page are left out, never guessed.
    """
    words = clean(quote[:LONGEST_QUOTE]).split()
    wanted = _plain(words)
    page = _page(characters[:MOST_CHARACTERS], middles)
    counted = len(set(wanted.origin))
    if not wanted.text or not page.plain.text:
        return Found([], counted, 0)
    whole = _whole(wanted, page)
    pieces = [_Piece(0, len(wanted.text), [whole], whole)] if whole >= 0 else _settled(_pieces(wanted, page), page)
    letters: list[tuple[int, int]] = []
    placed = [False] * len(wanted.text)
    for piece in pieces:
        if piece.place is not None:
            placed[piece.start : piece.end] = [True] * (piece.end - piece.start)
            letters.append((piece.place, piece.place + piece.end - piece.start - 1))
    missing = {word for word, here in zip(wanted.origin, placed, strict=True) if not here}
    return Found(_stretches(letters, page, characters), counted, counted - len(missing))


def within(words: str, found: Found, characters: Sequence[str], middles: Sequence[Middle]) -> list[tuple[int, int]]:
    """The stretches of a few words (an answer's) among those of a quote; none where one of them is not there."""
    if len(words.split()) > MOST_ANSWERED:
        return []
    numbers: list[int] = []
    for first, last in found.stretches:
        numbers += [*range(first, last + 1), -1]  # what stands apart is parted by a blank
    texts = [characters[number] if number >= 0 else " " for number in numbers]
    inside = find(words, texts, [middles[number] if number >= 0 else (0.0, 0.0) for number in numbers])
    if not inside.words or inside.boxed < inside.words:
        return []
    return [
        (numbers[first], numbers[last])
        for first, last in inside.stretches
        if numbers[first] >= 0 and numbers[last] >= numbers[first]
    ]


def _plain(parts: Sequence[str]) -> _Plain:
    """The letters and digits of words, or of single characters, in plain forms."""
    letters: list[str] = []
    origin: list[int] = []
    cuts: set[int] = set()
    for number, part in enumerate(parts):
        for letter in part.lower() if part.isascii() else unicodedata.normalize("NFKD", part).casefold():
            if _counts(letter):
                letters.append(letter)
                origin.append(number)
            elif not unicodedata.combining(letter):
                cuts.add(len(letters))
    return _Plain("".join(letters), origin, frozenset(cuts))


def _counts(letter: str) -> bool:
    """Whether it is a letter or digit; accents that stand alone are none."""
    return letter.isalnum() and (letter.isascii() or unicodedata.category(letter) != "Lm")


def _page(characters: Sequence[str], middles: Sequence[Middle]) -> _Page:
    plain = _plain(characters)
    edges: set[int] = {0, len(plain.text)}
    broken: list[int] = []
    before = -1
    for letter, number in enumerate(plain.origin):
        if number > before + 1 or _changes(characters[before] if before >= 0 else " ", characters[number]):
            edges.add(letter)
            if any(sign in _HYPHENS for sign in characters[before + 1 : min(number, before + 5)]):
                broken.append(letter)
        before = number
    return _Page(plain, middles, frozenset(edges), broken)


def _changes(one: str, other: str) -> bool:
    """Whether a new atom begins: digits behind letters, letters behind digits, a sign of a script without spaces."""
    return one.isdigit() != other.isdigit() or _WIDE.match(other) is not None or _WIDE.match(one) is not None


def _atoms(wanted: _Plain) -> list[int]:
    """Where in the quote's letters pieces may begin, and their end: at words, between letters and digits."""
    starts = [
        place
        for place, word in enumerate(wanted.origin)
        if place in wanted.cuts
        or word != wanted.origin[max(place - 1, 0)]
        or _changes(wanted.text[place - 1], wanted.text[place])
    ]
    return sorted({0, *starts, len(wanted.text)})


def _occurrences(text: str, page: _Page, most: int) -> list[int]:
    """Where letters stand on the page, at the edges of words; elsewhere only where they stand at none."""
    found: list[int] = []
    inside: list[int] = []
    start = page.plain.text.find(text)
    while start >= 0 and len(found) < most and len(inside) < 10 * MOST_PLACES:
        at_edges = start in page.edges and start + len(text) in page.edges
        (found if at_edges else inside).append(start)
        start = page.plain.text.find(text, start + 1)
    return found or (inside[:most] if len(text) > 3 else [])


def _whole(wanted: _Plain, page: _Page) -> int:
    """Where the quote stands in one piece, -1 for nowhere: at the first of the places with the most of its words."""
    places = _occurrences(wanted.text, page, MOST_WHOLE)
    if len(places) < 2:
        return places[0] if places else -1
    bounds, length = set(_atoms(wanted)), len(wanted.text)

    def alike(place: int) -> int:
        return sum((at in bounds) == (place + at in page.edges) for at in range(length))

    return max(places, key=lambda place: (alike(place), -place))


def _pieces(wanted: _Plain, page: _Page) -> list[_Piece]:
    """The quote cut into the longest stretches that stand on the page, from its beginning on."""
    bounds = _atoms(wanted)
    pieces: list[_Piece] = []
    first = 0
    while first < len(bounds) - 1:
        start, end, place = bounds[first], bounds[first], 0
        last = first
        while last + 1 < len(bounds):
            place = page.plain.text.find(wanted.text[start : bounds[last + 1]], place)
            if place < 0:
                break
            last += 1
        # A shorter piece whose ends are ends of words is better than one that ends within a word.
        stop = last
        places: list[int] = []
        while stop > first and not places:
            end = bounds[stop]
            places = _occurrences(wanted.text[start:end], page, MOST_PLACES)
            stop -= not places
        if places:
            pieces.append(_Piece(start, end, places))
            first = stop
        else:
            pieces += _broken(wanted.text, start, bounds[first + 1], page)
            first += 1
    return pieces


def _broken(text: str, start: int, end: int, page: _Page) -> Iterator[_Piece]:
    """The halves of a word that the page breaks at a hyphen, where other things stand between them."""
    for behind in page.broken:
        for cut in range(start + 2, end - 1):
            head, tail = text[start:cut], text[cut:end]
            if behind >= len(head) and page.plain.text.startswith(head, behind - len(head)):
                tails = _occurrences(tail, page, MOST_PLACES)
                if tails and behind - len(head) in page.edges:
                    yield _Piece(start, cut, [behind - len(head)])
                    yield _Piece(cut, end, tails)
                    return


def _settled(pieces: list[_Piece], page: _Page) -> list[_Piece]:
    """The pieces with a place for each: those with one first, the others nearest to their neighbours."""
    taken: list[tuple[int, int]] = []
    order = sorted(range(len(pieces)), key=lambda number: (len(pieces[number].places) > 1, -_length(pieces[number])))
    for number in order:
        piece = pieces[number]
        before = next((one for one in reversed(pieces[:number]) if one.place is not None), None)
        behind = next((one for one in pieces[number + 1 :] if one.place is not None), None)
        free = [place for place in piece.places if not _overlaps(taken, place, place + _length(piece))]
        free = free or piece.places  # the heading of two columns is written at both, and printed once
        cost, place = min((_cost(piece, place, before, behind, page), place) for place in free)
        lone = before is None and behind is None
        if len(piece.places) > 1 and _length(piece) < SHORT_PIECE and not lone and cost > NEAR * _DOWN:
            continue
        piece.place = place
        taken.insert(bisect_left(taken, (place, 0)), (place, place + _length(piece)))
    return pieces


def _length(piece: _Piece) -> int:
    return piece.end - piece.start


def _overlaps(taken: list[tuple[int, int]], start: int, end: int) -> bool:
    number = bisect_right(taken, (start, 1 << 60))
    inside = number < len(taken) and taken[number][0] < end
    return inside or (number > 0 and taken[number - 1][1] > start)


def _cost(piece: _Piece, place: int, before: _Piece | None, behind: _Piece | None, page: _Page) -> float:
    """How far a place is from where the quote goes on: in points, those up and down counting more."""
    costs = []
    if before is not None and before.place is not None:
        last = before.place + _length(before) - 1
        costs.append(_apart(page.middle(last), page.middle(place)) + 1e-3 * abs(place - last))
    if behind is not None and behind.place is not None:
        end = place + _length(piece) - 1
        costs.append(_apart(page.middle(end), page.middle(behind.place)) + 1e-3 * abs(behind.place - end))
    return min(costs, default=0.0)


def _apart(one: Middle, other: Middle) -> float:
    return abs(one[0] - other[0]) + _DOWN * abs(one[1] - other[1])


def _stretches(letters: list[tuple[int, int]], page: _Page, characters: Sequence[str]) -> list[tuple[int, int]]:
    """Stretches of letters as stretches of characters, with the marks at their ends; neighbours are joined."""
    found: list[tuple[int, int]] = []
    for first, last in sorted((page.plain.origin[first], page.plain.origin[last]) for first, last in letters):
        while last + 1 < len(characters) and _is_mark(characters[last + 1]):
            last += 1
        while first > 0 and _is_mark(characters[first - 1]) and (not found or first - 1 > found[-1][1]):
            first -= 1
        if found and first <= found[-1][1] + 1 + _blanks(characters, found[-1][1] + 1):
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return found


def _blanks(characters: Sequence[str], start: int) -> int:
    """How many characters from `start` on are blank."""
    count = 0
    while start + count < len(characters) and characters[start + count].isspace():
        count += 1
    return count


def _is_mark(character: str) -> bool:
    """A mark that belongs to the word beside it, and whose own place is not looked for."""
    return unicodedata.category(character[:1] or " ")[0] in "PM" and character not in _HYPHENS
