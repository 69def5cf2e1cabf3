"""Questions that name a place of the document: `chapter 3`, `page 9`, `on which page is the glossary?`.

What a question's wording asks of a place, found in the outline, the numbered headings and the page numbers. Where a
place is named beside a question, that place alone is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sharedllm_cli.documents.pages import Page, PageRange, resolve
from sharedllm_cli.errors import UsageError
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.sources import TokenRanges, page_tokens
from sharedllm_cli.retrieval import numbered
from sharedllm_cli.retrieval.boundaries import split_sentences
from sharedllm_cli.retrieval.numbered import Part


class Asked(StrEnum):
    """What is asked of a place."""

    PAGE = "page"
    """The page on which it is."""
    TITLE = "title"
    """Its title."""
    NUMBER = "number"
    """How many chapters, parts or appendices there are."""
    CONTENT = "content"
    """What stands there, and nothing in particular of it."""
    WITHIN = "within"
    """Something else, to be answered from that place alone."""


@dataclass(frozen=True)
class Place:
    """A place that a question names, as found.

    `ranges[d]`: its tokens in document d. `text`: the answer to a question for its page, title or content. `start`: the
    document and the characters that the answer rests on. `question`: what else is asked. `remark` tells how it was
    meant.
    """

    asked: Asked
    ranges: tuple[TokenRanges, ...]
    text: str
    document: int
    start: int
    end: int
    question: str
    remark: str | None


LEAST_COUNTED = 2
"""Fewer numbered chapters are no proof that the document numbers them."""
LONGEST_CONTENT = 400
"""Characters of the beginning of a place that are quoted where its content is asked for."""
_PAGES = (
    r"(?:page|pages|seite|seiten|página|páginas|pagina|pagine|p\.|pp\.)\s+"
    r"(?P<range>[\dA-Za-z.–-]{1,12}(?:\s+(?:to|bis|-)\s+\d+)?)"
)
_PLACE = rf"(?P<place>{numbered.ADDRESS}|{_PAGES})"
_NAME = r"(?P<name>.{1,80}?)"
# `where is Paris?` asks for no page, whatever has that heading.
_PART_NAME = (
    rf"(?P<name>{numbered.ADDRESS}|(?:the )?(?:\S+ ){{0,6}}(?:chapter|section|appendix|part)|(?:the |an? )?(?:glossary|"
    r"index|bibliography|references|(?:table of )?contents|introduction|preface|foreword|conclusions?|summary|abstract|"
    r"acknowledge?ments|afterword))"
)
_LOCATE = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"(?:(?:on|at) )?(?:what|which) pages? (?:is|are|does|do|can i find|will i find|has|holds?|contains?) {_NAME}"
        r"(?: (?:on|starts?|begins?|found|located|printed))*",
        rf"(?:(?:on|at) )?(?:what|which) pages? {_NAME} (?:is|are|starts?|begins?)(?: on)?",
        rf"where (?:is|are|does|do|can i find) {_PART_NAME}(?: (?:start|begin|located|found))?",
        rf"auf welcher seite (?:ist|steht|beginnt|findet sich|finde ich) {_NAME}",
        rf"(?:à|sur) quelle page (?:est|se trouve|commence) {_NAME}",
        rf"en qu[ée] página (?:está|empieza|comienza) {_NAME}",
        rf"a che pagina (?:è|si trova|inizia|comincia) {_NAME}",
        rf"op welke (?:pagina|bladzijde) (?:is|staat|begint) {_NAME}",
    )
)
_ENTITLED = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"(?:(?:what|which) (?:is|'s)|what's|give me|tell me) the (?:title|name|heading) of {_PLACE}",
        rf"(?:what|how) is {_PLACE} (?:called|titled|entitled|named)",
        rf"(?:the )?title of {_PLACE}",
        rf"wie (?:heißt|lautet der titel von) {_PLACE}",
        rf"(?:quel est le titre|comment s['’]appelle) (?:du |de la |de l['’]|le |la )?{_PLACE}",
    )
)
_CONTENT = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"what(?: is|'s| stands| can be found)?(?: there)? (?:on|in) {_PLACE}",
        rf"what (?:does|do) {_PLACE} (?:say|contain|cover|describe|show|hold|deal with|talk about|tell(?: us| me)?)",
        rf"what (?:is|are) {_PLACE} about",
        rf"(?:(?:please )?(?:summari[sz]e|read|show(?: me)?|quote|give me)|tell me about|what about) {_PLACE}",
        rf"(?:the )?(?:contents?|text|summary) of {_PLACE}",
        rf"was steht (?:auf|in) {_PLACE}",
        rf"qu['’]y a-t-il (?:à la |dans le |dans la |au )?{_PLACE}",
    )
)
_HERE = r"(?:the |this )?(?:book|document|text|report|novel|manual|thesis|guide|work|file|paper)"
_COUNTED = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"how many (?P<kind>chapters|parts|appendices) (?:are there(?: in {_HERE})?|are in {_HERE}|"
        rf"(?:does|do|did) {_HERE} (?:have|contain))",
        rf"(?:what is )?the number of (?P<kind>chapters|parts|appendices)(?: (?:in|of) {_HERE})?",
        r"wie ?viele (?P<kind>kapitel|teile) (?:gibt es|hat (?:das|dieses) (?:buch|dokument))",
    )
)
_SINGULAR = {"chapters": "chapter", "parts": "part", "appendices": "appendix", "kapitel": "kapitel", "teile": "teil"}
_ORDINAL_FIRST = re.compile(rf"\b({numbered.ORDINAL}) ({numbered.KIND})\b", re.IGNORECASE)
_KIND_LAST = re.compile(rf"\s+{numbered.KIND}\Z", re.IGNORECASE)
_LEADING = re.compile(r"\A(?:(?:and|so|please|ok|according to the document),?\s+)+", re.IGNORECASE)
_TIED = re.compile(
    r"(?:\b(?:in|on|at|from|of|within|under|according to|per|auf|im|in|dans|en)\s+)?(?:\bthe\s+)?\Z", re.IGNORECASE
)
_NAMES_PAGE = re.compile(_PAGES, re.IGNORECASE)
_CONTEXT = re.compile(
    r"\b(?:in|on|at|from|within|under|does|do|did|according to|per|auf|im|dans|en|of)\s+(?:the\s+)?\Z", re.IGNORECASE
)


def place_of(question: str, documents: Sequence[OpenDocument]) -> Place | None:
    """The place that a question names or asks for; None where it names none that the documents have."""
    asked = _LEADING.sub("", " ".join(question.split()).strip("¿¡ ").rstrip("?!. "), count=1)
    asked = _ORDINAL_FIRST.sub(r"\2 \1", asked)
    for pattern in _ENTITLED:
        if match := pattern.fullmatch(asked):
            return _part_place(Asked.TITLE, match["place"], documents, "")
    for pattern in _COUNTED:
        if match := pattern.fullmatch(asked):
            return _number_of(match["kind"], documents)
    for pattern in _LOCATE:
        if match := pattern.fullmatch(asked):
            return _part_place(Asked.PAGE, _KIND_LAST.sub("", match["name"].strip(" \"“”'")), documents, "")
    for pattern in _CONTENT:
        if match := pattern.fullmatch(asked):
            return _named_place(Asked.CONTENT, match["place"], match["range"], documents, "")
    return _within(asked, documents)


def _within(asked: str, documents: Sequence[OpenDocument]) -> Place | None:
    """A place named beside a question (`what does chapter 3 say about visitors`); what is left is asked."""
    page = _NAMES_PAGE.search(asked)
    found = page or numbered.address_in(asked)
    if found is None or not (found.start() == 0 or _CONTEXT.search(asked[: found.start()])):
        return None
    rest = f"{_TIED.sub('', asked[: found.start()])} {asked[found.end() :].lstrip(' ,:')}"
    return _named_place(Asked.WITHIN, found[0], page["range"] if page else None, documents, " ".join(rest.split()))


def _named_place(
    asked: Asked, name: str, pages: str | None, documents: Sequence[OpenDocument], rest: str
) -> Place | None:
    if pages is None:
        return _part_place(asked, name, documents, rest)
    return _page_place(asked, re.sub(r"\s+(?:to|bis)\s+", "-", pages.strip()), documents, rest)


def _part_place(asked: Asked, name: str, documents: Sequence[OpenDocument], rest: str) -> Place | None:
    """A part by its number or name; where only its page is asked for, its name must be a whole heading's."""
    found = [numbered.find(name, opened.titled, exact=True)[:1] for opened in documents]
    if not any(found):
        return None
    ranges = tuple(part_tokens(opened, own) for opened, own in zip(documents, found, strict=True))
    place = next(number for number, own in enumerate(found) if own)
    opened, part = documents[place], found[place][0]
    page = opened.document.page_at(part.start)
    end = part.start + len(part.title)
    where = f", {_page_words(page, opened)}" if opened.paged else ""
    if asked is Asked.PAGE:
        if not opened.paged:
            return None
        return Place(asked, ranges, _page_words(page, opened), place, part.start, end, rest, None)
    if asked is Asked.TITLE:
        title = numbered.title_of(part, opened.document.text)
        return Place(asked, ranges, title, place, part.start, end, rest, None)
    remark = f"only “{part.title}”{where} is read for this question"
    return _opening(asked, ranges, place, part.start, part.end, documents, rest, remark)


def _number_of(kind: str, documents: Sequence[OpenDocument]) -> Place | None:
    """How many chapters a document has, and what stands beside them without a number; None where none are numbered."""
    if len(documents) != 1:
        return None
    (opened,) = documents
    found, beside = numbered.counted(_SINGULAR[kind.casefold()], opened.titled)
    if len(found) < LEAST_COUNTED:
        return None
    names = ", ".join(heading.title.strip() for heading in beside)
    text = f"{len(found)} {kind.casefold()}" + (f" (and without a number: {names})" if names else "")
    first = min(found, key=lambda heading: heading.start)
    whole = Part(first.title, first.start, len(opened.document.text))
    place = first.start, first.start + len(first.title)
    return Place(Asked.NUMBER, (part_tokens(opened, [whole]),), text, 0, *place, "", None)


def _page_place(asked: Asked, pages: str, documents: Sequence[OpenDocument], rest: str) -> Place | None:
    found: list[TokenRanges] = []
    first: tuple[int, int, int] | None = None
    remarks: list[str] = []
    for number, opened in enumerate(documents):
        try:
            resolved = resolve(PageRange.parse(pages), opened.document)
        except UsageError:
            found.append([])
            continue
        found.append(page_tokens(opened, resolved.spans))
        if first is None and found[-1]:
            low, high = resolved.spans[0]
            first = number, opened.document.pages[low - 1].start, opened.document.pages[high - 1].end
            remarks += [resolved.remark.removeprefix(f"--pages {pages}: ")] if resolved.remark else []
    if first is None:
        return None
    remark = "; ".join([f"only {PageRange.parse(pages).words} is read for this question", *remarks])
    remark = remark.replace(" is read", " are read", 1) if remark.startswith("only pages") else remark
    return _opening(asked, tuple(found), *first, documents, rest, remark)


def _opening(
    asked: Asked,
    ranges: tuple[TokenRanges, ...],
    place: int,
    start: int,
    end: int,
    documents: Sequence[OpenDocument],
    rest: str,
    remark: str,
) -> Place:
    """A place with the sentences that it begins with."""
    text = documents[place].document.text
    sentences = split_sentences(text[start : min(end, start + 4 * LONGEST_CONTENT)])
    shown = ""
    for sentence in sentences:
        if shown and len(shown) + len(sentence) > LONGEST_CONTENT:
            break
        shown = f"{shown} {' '.join(sentence.split())}".strip()
    last = text.find(sentences[0], start) if sentences else start
    for sentence in sentences:
        at = text.find(sentence, last)
        if at < 0 or at - start > LONGEST_CONTENT:
            break
        last = at + len(sentence)
    return Place(asked, ranges, shown, place, start, min(max(last, start + 1), end), rest, remark)


def part_tokens(opened: OpenDocument, found: Sequence[Part]) -> TokenRanges:
    """The tokens of some parts of a document, joined where they follow each other or one lies within another."""
    starts = opened.leaves.tokens.starts
    joined: TokenRanges = []
    for part in sorted(found, key=lambda one: one.start):
        first, end = (int(place) for place in starts.searchsorted([part.start, part.end]))
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif first < end:
            joined.append((first, end))
    return joined


def section_tokens(wanted: str, documents: Sequence[OpenDocument]) -> list[TokenRanges | None]:
    """The tokens of the sections that `--section` names, in each document.

    UsageError where no document has a heading like it; it names the nearest.
    """
    if not wanted.strip():
        raise UsageError("--section needs a heading or its number", hint='for example: --section "4.2"')
    found = [numbered.find(wanted, opened.titled) for opened in documents]
    if not any(found):
        near = numbered.near_names(wanted, [opened.titled for opened in documents])
        hint = f"nearest are: {'; '.join(near)}" if near else "the document has no headings that can be told"
        raise UsageError(f"--section: no heading is like {wanted.strip()!r:.80}", hint=hint)
    return [part_tokens(opened, own) for opened, own in zip(documents, found, strict=True)]


def section_remarks(wanted: str, documents: Sequence[OpenDocument]) -> list[str]:
    """Which sections `--section` means, where more than one matches or the name is not the heading itself."""
    titles = [part.title.strip() for opened in documents for part in numbered.find(wanted, opened.titled)]
    if len(titles) == 1 and titles[0].casefold() == wanted.strip().casefold():
        return []
    shown = "; ".join(f"“{title}”" for title in dict.fromkeys(titles[:5]))
    verb = "and others are" if len(titles) > 5 else "are" if len(titles) > 1 else "is"
    return [f"--section {wanted.strip()}: {shown} {verb} read"] if titles else []


def _page_words(page: Page, opened: OpenDocument) -> str:
    """A page as printed and as counted: `page 11 (13 of 13)`; of a book in parts its part."""
    label = (page.label or "").strip()
    if page.part is not None:
        return f"page {label}" if label else f"part {page.part}"
    counted = str(page.number)
    return f"page {counted}" if label in ("", counted) else f"page {label} ({counted} of {len(opened.document.pages)})"
