"""Where a document lists what stands elsewhere in it: its contents, its figures, its index.

Such lists repeat the words of headings, closer together than any section has them, and answer nothing themselves. They
are known by their shape: a heading that says so with entries below it, rows of dots that lead to a number, entries in
the order of the alphabet with numbers behind them. Plain functions over text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sharedllm_cli.retrieval.boundaries import TokenText

LEAST_ENTRIES = 3
"""Entries below a heading that make it the heading of a list."""
LEAST_LED = 4
"""Lines in a row with dots that lead to a number, without a heading."""
LEAST_INDEXED = 8
"""Entries of an index in a row, without a heading."""
LONGEST_ENTRY = 160
LONGEST_HEADING = 60
MOST_STRAY = 2
"""Short lines in a row within a list that are no entries: the second line of one, a letter of the alphabet."""
LEAST_OUTSIDE = 0.5
"""Lists yield where some other leaf has this share of their best one's matches with the question."""

_HEADINGS = """
contents|table of contents|brief contents|detailed contents|contents of (?:this|the) \\w+|toc
|figures|tables|illustrations
|(?:list|table|index) of (?:the )?(?:figures|tables|illustrations|plates|maps|photographs|boxes|listings|examples)
(?:,? and (?:figures|tables|illustrations))?
|(?:general |subject |name |author )?index(?: of (?:names|subjects|persons|places|terms|authors))?
|inhalt|inhalts(?:verzeichnis|übersicht|angabe)|(?:abbildungs|tabellen|bilder|stichwort|sach|namens|personen|orts)
(?:verzeichnis|register)|register
|sommaire|table des (?:matières|figures|illustrations|tableaux)
|(?:liste|index) des (?:figures|illustrations|tableaux|noms)
|índice(?: general| alfabético| analítico| de (?:contenidos?|figuras|tablas|nombres|materias))?|contenidos?
|tabla de contenidos?|lista de (?:figuras|tablas|ilustraciones|tabelas|ilustrações)
|indice(?: generale| analitico| dei nomi| delle (?:figure|tabelle|illustrazioni))?
|sommario|elenco delle (?:figure|tabelle)
|inhoud(?:sopgave)?|(?:lijst|overzicht) van (?:figuren|tabellen|afbeeldingen)|(?:trefwoorden|zaken|namen)register
|sumário|conteúdo|índice remissivo
"""
_HEADING = re.compile(rf"\W*(?:{''.join(_HEADINGS.splitlines())})\W*", re.IGNORECASE)
_PLACE = r"(?:\d{1,4}|[A-Z]-?\d{1,3}|[ivxlcdm]{1,7})"
_LED = re.compile(rf"\S.*?(?:\.{{3,}}|…|(?:[.·] ){{2,}}[.·]?|_{{3,}})\s*{_PLACE}")
_ENDS_IN_NUMBER = re.compile(rf"(?=.*[^\W\d_]{{2}}).*\S[\s,]+{_PLACE}(?:[-–,]\s?\d{{1,4}}f{{0,2}})*")
_LEADERS = ("...", "…", ". .", "· ·", "___")
_ENDS = frozenset("0123456789f")
_INDEXED = re.compile(r"[^\W\d_].*?,\s*\d{1,4}f{0,2}(?:[-–]\d{1,4})?(?:,\s*\d{1,4}f{0,2}(?:[-–]\d{1,4})?)*")
_CAPTION = re.compile(
    r"(?:figure|fig\.|table|plate|map|illustration|photo|box|listing|abbildung|abb\.|tabelle|tab\.|bild|tableau|figura|"
    r"tabla|tabella|tabela|figuur|tabel|afbeelding)\s*[\dA-Z][\w.-]*[.:]?\s+\S.*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?…;][\"'”’»)\]]*$")
_BULLET = re.compile(r"[-*•–+]\s+|\W*(?:\d+(?:\.\d+)*\.?|[IVXLC]+\.)\s+")


_OF_CONTENTS = re.compile(
    r"\b(?:table of contents|contents|index|outline|chapters|sections|appendices|headings|figures|illustrations|"
    r"(?:on|at) (?:which|what) pages?|(?:which|what) pages? (?:is|are|does|do|has|have)|page numbers?|"
    r"kapitel|abschnitte|inhalt\w*|abbildungen|auf welche[rn] seiten?|chapitres|sommaire|table des matières|"
    r"(?:à|sur) quelles? pages?|capítulos|índice|en qué páginas?|capitoli|sommario|a (?:quale|che) pagina|hoofdstukken|"
    r"inhoud\w*|op welke (?:pagina|bladzijde)|em que página)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Line:
    text: str
    start: int
    end: int


def listings(text: str) -> list[tuple[int, int]]:
    """The spans of the lists of contents, lists of figures and indexes of a text, in order."""
    lines = [_Line(match.group().strip(), match.start(), match.end()) for match in re.finditer(r"[^\n]+", text)]
    lines = [line for line in lines if line.text]
    last_of: dict[str, int] = {}
    if any(_is_heading(line.text) for line in lines):
        last_of = {_bare(line.text): place for place, line in enumerate(lines)}
    found: list[tuple[int, int]] = []
    place = 0
    while place < len(lines):
        end = _headed(lines, place, last_of) or _led(lines, place) or _indexed(lines, place)
        if end:
            found.append((lines[place].start, lines[end - 1].end))
        place = end or place + 1
    return found


def asks_for_a_list_of_contents(question: str) -> bool:
    """Whether a question asks for what a list of contents, a list of figures or an index holds: chapters, pages."""
    return _OF_CONTENTS.search(question) is not None


def yield_to_sections(
    scores: Sequence[np.ndarray],
    lexical: Sequence[np.ndarray],
    documents: Sequence[TokenText],
    spans: Sequence[Sequence[tuple[int, int]]],
) -> list[np.ndarray]:
    """The leaves' scores [leaves] of each document, those of leaves in lists as low as the lowest.

    The lists stay as they are where the documents have hardly anything else to match the question: then they may be all
    that answers it. `spans` are each document's lists, in characters.
    """
    inside = [_leaves_within(document, own) for document, own in zip(documents, spans, strict=True)]
    if not any(held.any() for held in inside):
        return list(scores)
    listed = max(
        (float(values[held].max(initial=0.0)) for values, held in zip(lexical, inside, strict=True)), default=0.0
    )
    others = max(
        (float(values[~held].max(initial=0.0)) for values, held in zip(lexical, inside, strict=True)), default=0.0
    )
    if others <= 0 or others < LEAST_OUTSIDE * listed:
        return list(scores)
    lowest = min(float(values.min(initial=np.inf)) for values in scores)
    return [np.where(held, lowest, values) for values, held in zip(scores, inside, strict=True)]


def raise_lists(
    scores: Sequence[np.ndarray], documents: Sequence[TokenText], spans: Sequence[Sequence[tuple[int, int]]]
) -> list[np.ndarray]:
    """The leaves' scores, those of leaves in lists above all others and in their order."""
    highest = max((float(values.max(initial=0.0)) for values in scores), default=0.0)
    raised = []
    for values, document, own in zip(scores, documents, spans, strict=True):
        held = _leaves_within(document, own)
        raised.append(np.where(held, highest + 1 - np.arange(len(values)) / max(len(values), 1), values))
    return raised


def _leaves_within(document: TokenText, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """Which leaves of a document lie in lists by at least half of their characters."""
    within = np.zeros(len(document.leaves), dtype=bool)
    if not spans or not len(document.leaves):
        return within
    starts = document.starts[document.leaves[:, 0]]
    ends = document.ends[document.leaves[:, 1] - 1]
    covered = np.zeros(len(starts), dtype=np.int64)
    for first, end in spans:
        covered += np.clip(np.minimum(ends, end) - np.maximum(starts, first), 0, None)
    half: np.ndarray = 2 * covered >= np.maximum(ends - starts, 1)
    return half


def _is_heading(text: str) -> bool:
    return len(text) <= LONGEST_HEADING and _HEADING.fullmatch(text) is not None


def _is_led(text: str) -> bool:
    """Whether dots or the like lead to a number at the line's end."""
    return len(text) <= LONGEST_ENTRY and any(mark in text for mark in _LEADERS) and _LED.fullmatch(text) is not None


def _is_indexed(text: str) -> bool:
    """Whether numbers of pages stand behind some words and a comma."""
    return len(text) <= LONGEST_ENTRY and text[-1] in _ENDS and "," in text and _INDEXED.fullmatch(text) is not None


def _bare(text: str) -> str:
    """A heading as its words alone: without bullet, number and case."""
    return " ".join(_BULLET.sub("", text, count=1).casefold().split()).strip(" .:")


def _is_entry(lines: Sequence[_Line], place: int, last_of: dict[str, int]) -> bool:
    text = lines[place].text
    if len(text) > LONGEST_ENTRY:
        return False
    if _is_led(text) or _is_indexed(text) or _CAPTION.fullmatch(text):
        return True
    if _SENTENCE_END.search(text):
        return False
    # A title that comes again below is an entry; the heading itself comes no more.
    return bool(_ENDS_IN_NUMBER.fullmatch(text)) or last_of.get(_bare(text), place) > place


def _headed(lines: Sequence[_Line], place: int, last_of: dict[str, int]) -> int | None:
    """The end of the list below a heading, as a line's place; None where the line heads none."""
    if not _is_heading(lines[place].text):
        return None
    entries, end, stray = 0, place + 1, 0
    for below in range(place + 1, len(lines)):
        if _is_heading(lines[below].text):
            break
        if _is_entry(lines, below, last_of):
            entries, end, stray = entries + 1, below + 1, 0
        elif stray < MOST_STRAY and _is_stray(lines[below].text):
            stray += 1
        else:
            break
    return end if entries >= LEAST_ENTRIES else None


def _is_stray(text: str) -> bool:
    return len(text) <= 60 and not _SENTENCE_END.search(text)


def _led(lines: Sequence[_Line], place: int) -> int | None:
    """The end of a run of lines with leading dots."""
    return _run(lines, place, _is_led, LEAST_LED)


def _indexed(lines: Sequence[_Line], place: int) -> int | None:
    """The end of a run of an index's entries, in the order of the alphabet."""
    end = _run(lines, place, _is_indexed, LEAST_INDEXED)
    if end is None:
        return None
    words = [line.text.casefold() for line in lines[place:end]]
    sorted_pairs = sum(one <= other for one, other in pairwise(words))
    return end if sorted_pairs >= 0.75 * (len(words) - 1) else None


def _run(lines: Sequence[_Line], place: int, entry: Callable[[str], bool], least: int) -> int | None:
    count, end, stray = 0, place, 0
    while end + stray < len(lines):
        text = lines[end + stray].text
        if entry(text):
            count, end, stray = count + 1, end + stray + 1, 0
        elif count and stray < 1 and _is_stray(text):
            stray += 1
        else:
            break
    return end if count >= least else None
