"""Running heads and feet, each kept once: `Head of pages 1 to 5: Revision 7 · approved by Ilse Marlow`.

What stands at the edge of many pages is taken out of their text (running_heads.py), for it would cut sentences and fill
every passage. It may be all that says a document's number, its date or that it is a draft, so one copy stays, in the
first of its pages, without the pages' own numbers. Words that stand as lines of their own in the text are there
already. Knows lines of text and page indices, nothing else.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sharedllm_cli.documents.running_heads import Body

BETWEEN = " · "
"""Stands between words that stand apart on the page."""
_KEPT = re.compile(
    r"((?:Head|Foot) of (?:page \d+|(?:\d+ of )?(?:every other page, |pages )\d+ to \d+)): (.+)", re.DOTALL
)
_NUMBER = re.compile(r"(?<![^\W_])(?:\d{1,6}|[ivxlc]{1,7}|[IVXLC]{1,7})(?![^\W_])")
_DIGITS = re.compile(r"\d+")
_COUNTER = re.compile(
    r"[\s\-–—|·/\[(]*(?:\b(?:page|p|pg|pp|seite|s|página|pagina|pág|blatt|стр)\b\.?\s*)?"
    r"(?:\d{1,6}|(?<![^\W_])[ivxlc]{1,7}(?![^\W_]))"
    r"(?:\s*(?:/|of|von|de|di|sur|van)\s*\d+)?[\s\-–—|·/\])]*",
    re.IGNORECASE,
)
_EDGES = " \t-–—|·/,;:[]()"
_NUMBERED = re.compile(
    r"\W*(?:chapter|section|part|appendix|kapitel|abschnitt|teil|chapitre|partie|capítulo|capitolo|hoofdstuk)?\W*"
    r"(?:\d+(?:\.\d+)*|[ivxlc]+\b)?\W*",
    re.IGNORECASE,
)
_NO_LETTERS = re.compile(r"[^\w\n]+")
_COUNT = re.compile(r"\s*\d+(?:\.\d+)*\.?\s+(?=[^\W\d])")
_SENTENCE_ENDS = re.compile(r"[.!?][\"'”’»)]*\s+(?=\S)")
LINES_OF_A_HEADING = 3
"""A heading in the text may be broken into this many lines."""


@dataclass(frozen=True)
class Kept:
    """One line to keep, and the pages (indices) that it stands on."""

    text: str
    pages: tuple[int, ...]


def kept(pages: Sequence[Sequence[str]], bodies: Sequence[Body]) -> list[Kept]:
    """What was taken from the pages' edges and stands nowhere else, in the order of its first pages."""
    told: set[str] | None = None
    seen: dict[tuple[str, str], list[int]] = {}
    for edge, lines in (("Head", _heads(pages, bodies)), ("Foot", _feet(pages, bodies))):
        varying = _varying(lines)
        for index, own in enumerate(lines):
            for line in own:
                for words in _without_counter(line, bodies[index].printed_number, varying):
                    told = _lines_of_text(pages, bodies) if told is None else told
                    if not _is_told(words, told):
                        seen.setdefault((edge, words), []).append(index)
    together: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for (edge, words), indices in seen.items():
        together.setdefault((edge, tuple(sorted(set(indices)))), []).append(words)
    found = [
        Kept(f"{edge} of {_pages(indices)}: {BETWEEN.join(words)}", indices)
        for (edge, indices), words in together.items()
    ]
    return sorted(found, key=lambda one: one.pages[0])


def parsed(text: str) -> tuple[str, str] | None:
    """A kept line's place and its words: `head of pages 1 to 5`, `Revision 7`; None for any other text."""
    match = _KEPT.fullmatch(text)
    return None if match is None else (match[1][0].lower() + match[1][1:], match[2])


def _heads(pages: Sequence[Sequence[str]], bodies: Sequence[Body]) -> list[list[str]]:
    return [[line for line in lines[: body.first] if line.strip()] for lines, body in zip(pages, bodies, strict=True)]


def _feet(pages: Sequence[Sequence[str]], bodies: Sequence[Body]) -> list[list[str]]:
    return [[line for line in lines[body.last :] if line.strip()] for lines, body in zip(pages, bodies, strict=True)]


def _masked(line: str) -> str:
    # Numbers first: `1 2` has one more than `12`.
    return "".join(_DIGITS.sub("#", line).split()).casefold()


def _varying(lines: Sequence[Sequence[str]]) -> dict[str, set[int] | None]:
    """Which numbers of a line change from page to page, by the line with its numbers masked; None of a line alone."""
    values: dict[str, list[list[str]]] = defaultdict(list)
    for own in lines:
        for line in own:
            values[_masked(line)].append(_DIGITS.findall(line))
    return {
        masked: {place for place, seen in enumerate(zip(*numbers, strict=True)) if len(set(seen)) > 1}
        if len(numbers) > 1
        else None
        for masked, numbers in values.items()
    }


def _without_counter(line: str, printed: str | None, varying: dict[str, set[int] | None]) -> Iterator[str]:
    """The words of a head without its page's number, in as many pieces as are left around it."""
    changing = varying.get(_masked(line))
    numbers = list(_NUMBER.finditer(line))
    if changing is None:
        # A line that stands on one page alone has its number at an edge.
        spans = [match.span() for match in numbers[:1] + numbers[1:][-1:] if match[0] == printed]
    else:
        spans = [match.span() for place, match in enumerate(_DIGITS.finditer(line)) if place in changing]
        spans += [match.span() for match in numbers if match[0] == printed and not match[0].isdigit()]
    pieces, done = [], 0
    for start, end in sorted(spans):
        match = _around(line, start, end)
        if match[0] >= done:
            pieces.append(line[done : match[0]])
            done = match[1]
    for piece in [*pieces, line[done:]]:
        words = " ".join(piece.split()).strip(_EDGES)
        if sum(character.isalnum() for character in words) >= 3:
            yield words


def _around(line: str, start: int, end: int) -> tuple[int, int]:
    """The span of a page's number with what belongs to it: `- page 3 of 12 -`."""
    for match in _COUNTER.finditer(line):
        if match.start() <= start and end <= match.end():
            return match.span()
    return start, end


def _letters(text: str) -> str:
    return _NO_LETTERS.sub("", text.casefold().replace("_", " "))


def _lines_of_text(pages: Sequence[Sequence[str]], bodies: Sequence[Body]) -> set[str]:
    """The lines that stay, alone and a few in a row, in letters and digits alone; headings without numbers, too."""
    told: set[str] = set()
    for lines, body in zip(pages, bodies, strict=True):
        own = _letters("\n".join(filter(str.strip, lines[body.first : body.last]))).split("\n")
        for count in range(1, LINES_OF_A_HEADING + 1):
            told.update("".join(own[place : place + count]) for place in range(len(own) - count + 1))
        told.update(
            _letters(line[match.end() :]) for line in lines[body.first : body.last] if (match := _COUNT.match(line))
        )
    return told


def _is_told(words: str, told: Set[str]) -> bool:
    bare = _letters(words[_NUMBERED.match(words).end() :])  # type: ignore[union-attr]
    if _letters(words) in told or (bare and bare in told):
        return True
    return any(f"{number}{bare}" in told for number in _NUMBER.findall(words)[:1] if bare)


def _pages(indices: Sequence[int]) -> str:
    """The pages in words, as counted."""
    first, last = indices[0] + 1, indices[-1] + 1
    if first == last:
        return f"page {first}"
    if len(indices) == last - first + 1:
        return f"pages {first} to {last}"
    if len(indices) > 2 and all(index % 2 == indices[0] % 2 for index in indices) and 2 * len(indices) > last - first:
        return f"every other page, {first} to {last}"
    return f"{len(indices)} of pages {first} to {last}"


def insert(texts: list[str], found: Sequence[Kept]) -> list[tuple[int, int, int]]:
    """Put the kept lines into the pages' texts, where no paragraph is cut; returns page, start and end of each there.

    A page that is all within one sentence gives its place to the next one that has the line.
    """
    wanted: dict[int, list[str]] = defaultdict(list)
    for one in found:
        filled = [index for index in one.pages if texts[index].strip()] or list(one.pages)
        wanted[next((index for index in filled if _gap(texts, index) is not None), filled[0])].append(one.text)
    places: list[tuple[int, int, int]] = []
    for index, lines in sorted(wanted.items()):
        text = texts[index]
        gap = _gap(texts, index)
        cut = len(text.rstrip("\n")) if gap is None else gap
        before, after = text[:cut].rstrip(), text[cut:].lstrip("\n")
        later = any(other.strip() for other in texts[index + 1 :])
        block = "\n\n" if before else ""
        start = len(before) + len(block)
        for line in lines:
            places.append((index, start, start + len(line)))
            start += len(line) + 1
        block += "\n".join(lines)
        texts[index] = before + block + ("\n\n" if after or later else "") + after
    return places


def _gap(texts: Sequence[str], index: int) -> int | None:
    """Where in a page's text a line can stand by itself; None where all of it is within one sentence."""
    text = texts[index]
    bare = text.rstrip("\n")
    if len(bare) < len(text) or not any(other.strip() for other in texts[index + 1 :]):
        return len(bare)
    for mark in ("\n\n", "\n"):
        if (place := bare.rfind(mark)) > 0:
            return place
    before = "".join(texts[:index])
    if not before or before.endswith("\n"):
        return 0
    sentences = list(_SENTENCE_ENDS.finditer(bare))
    return sentences[-1].end() if sentences else None
