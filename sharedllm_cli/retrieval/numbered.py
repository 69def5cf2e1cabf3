"""Parts of a document by number or by name: `chapter 3`, `section 4.2`, `appendix B`, `Glossary`.

Headings are those of the outline, and lines of the text that begin with a number or with `Chapter`, `Appendix` and the
like. Knows text and headings, no model and no tokens.
"""

from __future__ import annotations

import difflib
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sharedllm_cli.retrieval.listings import listings
from sharedllm_cli.retrieval.sections import LONGEST_HEADING, Heading, Titled, headings

_KINDS = {
    "chapter": "chapter chapters ch chap kapitel kap chapitre capítulo capitulo capitolo hoofdstuk",
    "section": "section sections sec abschnitt sección seccion sezione seção sectie paragraaf",
    "part": "part teil partie parte deel",
    "appendix": "appendix app annex anhang anlage annexe appendice anexo apéndice allegato bijlage",
    "article": "article art artikel artículo articulo articolo artigo",
    "clause": "clause klausel cláusula clausola",
    "paragraph": "paragraph para § absatz párrafo paragrafo",
    "lesson": "lesson unit exercise lektion leçon lección",
}
_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words.split()}
KIND = rf"(?:{'|'.join(sorted(map(re.escape, _KIND_OF), key=len, reverse=True))})"
_ONES = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    + ("eighteen nineteen twenty")
)
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
_NUMBER_WORDS = {word: str(number) for words in (_ONES, _ORDINALS) for number, word in enumerate(words.split(), 1)}
ORDINAL = rf"(?:{'|'.join(_ORDINALS.split())})"
LABEL = rf"(?:\d{{1,4}}(?:\.\d{{1,4}})*|[ivxlc]{{1,7}}\b|[a-z](?:\.\d{{1,3}})*\b|(?:{'|'.join(_NUMBER_WORDS)})\b)"
_GAP = r"(?:\.\s*|\s+|(?<=§)|(?=\d))"
ADDRESS = rf"(?:the\s+)?(?:{KIND}){_GAP}(?:{LABEL})"
_ADDRESS = re.compile(rf"(?:the\s+)?({KIND}){_GAP}({LABEL})", re.IGNORECASE)
_BEGINS = re.compile(
    rf"\W*(?:({KIND})\b\.?\s*)?({LABEL})(?P<after>[.:)\s–—-]*)(?P<title>.*)", re.IGNORECASE | re.DOTALL
)
_BEGINS_NUMBERED = r"(?-i:\d{1,3}(?:\.\d{1,3}){0,5}\.?[ \t]+[^\W\d_a-z])"
_NUMBERED_LINE = re.compile(
    rf"^[#* \t]{{0,8}}(?:{KIND}[ \t]+{LABEL}|{_BEGINS_NUMBERED})[^\n]{{0,{LONGEST_HEADING}}}$",
    re.IGNORECASE | re.MULTILINE,
)
_NO_HEADING = re.compile(r"(?:\.\.\.|…|\s\.\s).*\d\s*$|[,;]\s*$|[^.]{60,}\.\s*$| \| ")
_ENDS_IN_PAGE = re.compile(r"\s(?:\d{1,4}|[ivxlc]{1,6})$", re.IGNORECASE)
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}
LONGEST_OPENING = 1000
"""Characters of a part's beginning in which its title may stand."""
_BESIDE_CHAPTERS = re.compile(
    r"(?:introduction|prologue|preface|foreword|preamble|epilogue|afterword|postscript|conclusions?|conclusion|coda|"
    r"einleitung|einführung|vorwort|nachwort|prolog|epilog|schluss|avant-propos|préface|prologue|épilogue|"
    r"introducción|prólogo|epílogo|introduzione|prefazione|epilogo|inleiding|voorwoord|nawoord)\b.{0,80}"
)
"""Titles of what readers name beside the chapters."""
UNNUMBERED = 9
"""Levels by which lines that look like headings lie below the numbered ones."""
MOST_COMPARED, MOST_WORDS = 500, 12
"""Titles, and words of each, that a name is compared with."""
MOST_NEAR = 5
"""Names of parts that are offered where none matches."""


@dataclass(frozen=True)
class Part:
    """A part of a document: its heading's title and its characters `[start, end)`."""

    title: str
    start: int
    end: int
    heads: tuple[str, ...] = ()
    """Lines that name it, too: its title below its number, and running heads that are still in the text."""

    @property
    def name(self) -> str:
        """The title without its number; the whole title where that is all."""
        match = _BEGINS.fullmatch(self.title.strip())
        numbered = match is not None and (match[1] or _is_number(match))
        return (match["title"].strip() if match and numbered else "") or self.title.strip()


def parts(document: Titled) -> list[Part]:
    """All parts of a document, in order: each ends where the next of its level or a higher one begins.

    A running head that is still in the text is no heading; an outline tells all of them.
    """
    guessed = not document.outline
    found: list[Heading] = []
    heads: list[list[str]] = []
    ends: list[int] = []
    open_places: list[int] = []
    for heading in sorted(_all_headings(document), key=lambda one: one.start):
        last = len(found) - 1
        if guessed:
            place = last if found and _stands_below(heading, found[last], document.text) else None
            for other in reversed(open_places if place is None else ()):
                names = (found[other].title, *heads[other][:1])
                if any(_repeats(heading.title, name, other == last) for name in names):
                    place = other
                    break
            if place is not None:
                heads[place].append(heading.title)
                continue
        while open_places and found[open_places[-1]].level >= heading.level:
            ends[open_places.pop()] = heading.start
        open_places.append(len(found))
        found.append(heading)
        heads.append([])
        ends.append(len(document.text))
    return [
        Part(heading.title, heading.start, end, tuple(dict.fromkeys(own)))
        for heading, end, own in zip(found, ends, heads, strict=True)
    ]


def _stands_below(heading: Heading, above: Heading, text: str) -> bool:
    """Whether a line without a number is the title of a heading right above it that is a number alone."""
    if _number_alone(above.title, alone=True) is None or heading.level <= UNNUMBERED:
        return False
    return not text[above.start + len(above.title) : heading.start].strip()


def _repeats(heading: str, title: str, last: bool) -> bool:
    """Whether a line repeats an open title as running heads do: whole, or if it has no number its first words.

    Of the title right before it (`last`) any words in a row.
    """
    whole, words = _plain(title), _plain(heading)
    if not words or words == whole:
        return bool(words)
    begins = _BEGINS.fullmatch(heading)
    if begins is not None and (begins[1] or _is_number(begins)):
        return False
    name = _plain(Part(title, 0, 0).name)
    return f"{name} ".startswith(f"{words} ") or (last and f" {words} " in f" {whole} ")


def find(wanted: str, document: Titled, *, exact: bool = False) -> list[Part]:
    """The parts that a name or a number means; of several ways to match the nearest alone. Empty where there is none.

    By number (`chapter 3`, `4.2`), by the whole title, by the title without its number, and, unless `exact`, by all of
    its words.
    """
    every = parts(document)
    if by_number := _by_number(wanted, every):
        return by_number
    name = _plain(wanted)
    if not name or _ADDRESS.fullmatch(wanted.strip()):
        return []
    whole = [part for part in every if name in (_plain(part.title), _plain(part.name), *map(_plain, part.heads))]
    if whole or exact:
        return whole
    words = set(name.split())
    return [part for part in every if any(words <= set(_plain(name).split()) for name in (part.title, *part.heads))]


def counted(kind: str, document: Titled) -> tuple[list[Heading], list[Heading]]:
    """A document's headings of a kind that are numbered, and those of their level beside them that are not.

    The second are an introduction or an epilogue, no contents, index or bibliography. Where there is an outline it
    alone tells, and numbers without a kind on its first level are chapters. The first list is empty where the numbers
    do not follow each other.
    """
    wanted = _KIND_OF[kind.casefold()]
    every = list(headings(document) if document.outline else _all_headings(document))
    bare: dict[str, Heading] = {}
    named: dict[str, Heading] = {}
    top = min((heading.level for heading in every), default=1)
    for heading in every:
        begins = _BEGINS.fullmatch(heading.title.strip())
        if begins is not None and begins[1] and _KIND_OF[begins[1].casefold()] == wanted:
            named.setdefault(_value(begins[2]), heading)
        elif begins is not None and not begins[1] and _is_number(begins) and heading.level == top and document.outline:
            bare.setdefault(_value(begins[2]), heading)
    found = named or (bare if wanted == "chapter" else {})
    values = sorted(int(value) for value in found if value.isdecimal())
    if values and (values[0] > 1 or len(values) != len(found) or values[-1] - values[0] + 1 != len(values)):
        return [], []
    levels = {heading.level for heading in found.values()} if document.outline and wanted == "chapter" else set()
    beside = [one for one in every if one.level in levels and _BESIDE_CHAPTERS.fullmatch(_plain(one.title))]
    return list(found.values()), beside


def title_of(part: Part, text: str) -> str:
    """A part's title without its number: that of its heading, else the line below it (`CHAPTER IV`, `The weir`)."""
    begins = _BEGINS.fullmatch(part.title.strip())
    if begins is None or begins["title"].strip() or not (begins[1] or _is_number(begins)):
        return part.name
    lines = [" ".join(line.split()) for line in text[part.start : part.end][:LONGEST_OPENING].split("\n")]
    place = next((number for number, line in enumerate(lines) if _is_same_number(line, begins)), len(lines))
    place = next((number for number in range(place + 1, len(lines)) if lines[number]), len(lines))
    if place == len(lines) or not _may_be_title(lines[place]):
        return part.name
    title, after = lines[place], lines[place + 1 : place + 3]
    goes_on = len(after) == 2 and after[0] and not after[1] and _may_be_title(after[0]) and after[0][:1].islower()
    return f"{title} {after[0]}" if goes_on else title


def _is_same_number(line: str, title: re.Match[str]) -> bool:
    """Whether a line has the number of a title, in figures or in letters, and nothing else."""
    own = _BEGINS.fullmatch(line)
    kind = _KIND_OF.get((title[1] or "").casefold())
    if own is None or own["title"].strip() or _KIND_OF.get((own[1] or "").casefold()) not in (kind, None):
        return False
    return _value(own[2]) == _value(title[2])


def _may_be_title(line: str) -> bool:
    return len(line) <= LONGEST_HEADING and not line.endswith((".", ",", ";", ":")) and any(map(str.isalpha, line))


def near_names(wanted: str, documents: Sequence[Titled]) -> list[str]:
    """The titles nearest to a name that no part has, else the first ones."""
    every = [part for document in documents for part in parts(document)]
    titles = dict.fromkeys(name.strip() for part in every for name in (part.title, *part.heads))
    sought = _plain(wanted)

    def likeness(title: str) -> float:
        plain = _plain(title)
        return max(difflib.SequenceMatcher(None, sought, word).ratio() for word in (plain, *plain.split()[:MOST_WORDS]))

    return sorted(list(titles)[:MOST_COMPARED], key=lambda title: -likeness(title))[:MOST_NEAR]


def address_in(text: str) -> re.Match[str] | None:
    """The first part that a text names by kind and number (`chapter 3`, `appendix B`)."""
    return next((found for found in _ADDRESS.finditer(text) if _starts_word(text, found)), None)


def _starts_word(text: str, found: re.Match[str]) -> bool:
    before, after = text[: found.start()][-1:], text[found.end() :][:1]
    ends = not after.isalnum() or text[found.end() - 1] == "."
    article = found[2] in ("a", "i") and found[1].casefold() not in ("appendix", "annex")
    return not before.isalnum() and ends and not article


def _all_headings(document: Titled) -> Iterator[Heading]:
    """The outline's headings and the numbered lines; without either the lines that look like headings.

    A numbered line within a list of contents is no heading, but names one. Below an outline without numbers it is an
    item of a list within the part that it stands in, and ends none.
    """
    outlined = list(headings(document)) if document.outline else []
    yield from outlined
    known = {_plain(heading.title) for heading in outlined}
    numbers = {_number_alone(heading.title) for heading in outlined} - {None}
    counted = any((begins := _BEGINS.fullmatch(one.title.strip())) and _is_number(begins) for one in outlined)
    starts = [] if counted else [one.start for one in outlined]
    begun: set[int] = set()
    listed = listings(document.text)

    def is_listed(title: str, start: int) -> bool:
        return _ENDS_IN_PAGE.search(title) is not None and any(first <= start < end for first, end in listed)

    for match in _NUMBERED_LINE.finditer(document.text):
        title = match[0].strip(" #*\t")
        if _NO_HEADING.search(title) or _plain(title) in known:
            continue
        if is_listed(title, match.start()) or (numbers and _number_alone(title, alone=True) in numbers):
            continue
        begins = _BEGINS.fullmatch(title)
        if begins is None:
            continue
        begun.add(match.start())
        above = bisect_right(starts, match.start()) - 1
        depth = begins[2].count(".") + 1 + (outlined[above].level if above >= 0 else 0)
        yield Heading(title, depth, match.start())
    if not outlined:
        # A line that stands alone may be a heading, and ends no numbered part.
        lone = (one for one in headings(document) if one.start not in begun and not is_listed(one.title, one.start))
        yield from (one._replace(level=one.level + UNNUMBERED) if begun else one for one in lone)


def _number_alone(title: str, *, alone: bool = False) -> tuple[str, str] | None:
    """A title's kind and number; None where it has not both, or (`alone`) has words of its own."""
    begins = _BEGINS.fullmatch(title.strip())
    if begins is None or not begins[1] or (alone and begins["title"].strip()):
        return None
    return _KIND_OF[begins[1].casefold()], _value(begins[2])


def _by_number(wanted: str, every: Sequence[Part]) -> list[Part]:
    match = _ADDRESS.fullmatch(wanted.strip())
    kind, label = (_KIND_OF[match[1].casefold()], match[2]) if match else (None, wanted.strip().rstrip("."))
    if match is None and not re.fullmatch(r"\d{1,4}(?:\.\d{1,4})*", label):
        return []
    value = _value(label)
    same: list[Part] = []
    bare: list[Part] = []
    for part in every:
        begins = _BEGINS.fullmatch(part.title.strip())
        if begins is None or value != _value(begins[2]):
            continue
        own = _KIND_OF.get((begins[1] or "").casefold())
        if own is not None and (own == kind or kind is None):
            same.append(part)
        elif own is None and _is_number(begins):
            bare.append(part)
    return same[:1] or bare[:1]


def _is_number(begins: re.Match[str]) -> bool:
    """Whether a title that names no kind begins with a number, and not with a word like `I` or `A`."""
    label = begins[2]
    if label[0].isdigit():
        return True
    return begins["after"][:1] in (".", ":", ")") and label.casefold() not in _NUMBER_WORDS


def _value(label: str) -> str:
    """A number in one form: digits for Roman numerals and words, letters as they are."""
    label = label.casefold().strip(".")
    if label in _NUMBER_WORDS:
        return _NUMBER_WORDS[label]
    if len(label) > 1 or label in ("i", "v", "x"):
        values = [_ROMAN.get(letter, 0) for letter in label]
        if all(values):
            after = [*values[1:], 0]
            return str(sum(-here if here < then else here for here, then in zip(values, after, strict=True)))
    return label


def _plain(text: str) -> str:
    """A title in small letters without marks and articles, for comparing."""
    words = re.findall(r"[\w.]+", text.casefold())
    return " ".join(word.strip(".") for word in words if word not in ("the", "a", "an") and word.strip("."))
