"""What a file says of itself: author, title, date, publisher; as its format has it, in words.

Kinds of facts, in the order in which they are told: title, author, editor, translator, published, written, publisher,
edition (its ISBN) and, of a PDF alone, when the file was made. Values that name no one and nothing are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml import etree

Metadata = tuple[tuple[str, str], ...]
"""Pairs of a kind of fact and its value."""

LONGEST_VALUE = 300
MOST_NAMES = 20
HEAD_CHARACTERS = 500_000
"""An HTML page's head is looked for in so many characters."""
_ORDER = ("title", "author", "editor", "translator", "published", "publisher", "ISBN", "file made")
_NOTHING = re.compile(
    r"(?:\(?(?:untitled|anonymous|unknown|unspecified|author|admin(?:istrator)?|user|owner|none|null|title|n/?a|default"
    r"|openpyxl|python-docx|xlsxwriter|microsoft office user)\)?"
    r"|untitled[ -]?(?:document)?(?:[ -]?\d+)?|document\d*|microsoft word|\W*)(?:\.\w{1,5})?",
    re.IGNORECASE,
)
_PROGRAM = re.compile(r"(?:microsoft (?:word|powerpoint|excel)|word document|powerpoint presentation)\s*-\s*", re.I)
_YEAR = "January February March April May June July August September October November December"
_MONTHS = tuple(_YEAR.split())
_DATE = re.compile(r"(?:D:)?(\d{4})(?:[-/.]?(\d{1,2}))?(?:[-/.]?(\d{1,2}))?")
_ISBN = re.compile(r"(?:urn:)?isbn:?\s*([\dXx-]{10,17})", re.IGNORECASE)
_BARE_ISBN = re.compile(r"97[89][\d-]{10,14}")
_HTML_NAMES = {
    "author": "author",
    "article:author": "author",
    "book:author": "author",
    "dc.creator": "author",
    "dcterms.creator": "author",
    "citation_author": "author",
    "parsely-author": "author",
    "sailthru.author": "author",
    "article:published_time": "published",
    "dc.date": "published",
    "dc.date.issued": "published",
    "dcterms.issued": "published",
    "dcterms.created": "published",
    "dcterms.date": "published",
    "citation_publication_date": "published",
    "citation_date": "published",
    "date": "published",
    "pubdate": "published",
    "datepublished": "published",
    "book:release_date": "published",
    "dc.publisher": "publisher",
    "dcterms.publisher": "publisher",
    "citation_publisher": "publisher",
    "article:publisher": "publisher",
    "publisher": "publisher",
    "dc.title": "title",
    "dcterms.title": "title",
    "citation_title": "title",
    "og:title": "title",
    "citation_isbn": "ISBN",
    "book:isbn": "ISBN",
}
_FIELD_NAMES = {
    **_HTML_NAMES,
    "title": "title",
    **dict.fromkeys(("authors", "creator", "creators", "by", "byline"), "author"),
    **dict.fromkeys(("editor", "editors"), "editor"),
    **dict.fromkeys(("translator", "translators"), "translator"),
    **dict.fromkeys(("published", "publishdate", "publish_date", "published_at", "issued"), "published"),
    "isbn": "ISBN",
}


def words(metadata: Metadata) -> str:
    """All of it as one line: `title Nineteen Pans; author Maren Oldcastle; published 8 September 2016`."""
    return "; ".join(f"{kind} {value}" for kind, value in metadata)


def sentences(metadata: Metadata, noun: str) -> str:
    """The same in whole sentences, which a small model answers from; `noun` is what the document is called."""
    told = [_sentence(kind, value, noun) for kind, value in metadata]
    return " ".join(["From the file's metadata:", *told])


def _sentence(kind: str, value: str, noun: str) -> str:
    value = value.rstrip(".")
    date = f"{'on' if value[:1].isdigit() and ' ' in value else 'in'} {value}"
    return {
        "title": f"The title of this {noun} is {value}.",
        "author": f"The author is {value}; it was written by {value}.",
        "editor": f"It was edited by {value}.",
        "translator": f"It was translated by {value}.",
        "published": f"It was published {date}.",
        "publisher": f"The publisher is {value}.",
        "file made": f"The file was made {date}.",
    }.get(kind, f"Its {kind} is {value}.")


def of_pdf(entries: dict[str, str]) -> Metadata:
    """The facts of a PDF's dictionary of information."""
    return _facts(
        [
            ("title", entries.get("Title", "")),
            ("author", entries.get("Author", "")),
            ("file made", _day(entries.get("CreationDate", ""))),
        ]
    )


def of_properties(title: str, author: str, made: str) -> Metadata:
    """The facts of an Office file's properties; `made` is a date as ISO 8601 writes it."""
    authors = [("author", name) for name in author.split(";")]
    return _facts([("title", title), *authors, ("file made", _day(made))])


def of_package(root: etree._Element) -> Metadata:
    """The facts of an epub's package document: Dublin Core, as EPUB 2 and 3 write it."""
    roles = {
        str(meta.get("refines", "")).lstrip("#"): "".join(meta.itertext()).strip()
        for meta in root.iter("{*}meta")
        if meta.get("property") == "role"
    }
    found: list[tuple[str, str]] = []
    dates: list[tuple[int, str]] = []
    for element in root.iter("{http://purl.org/dc/elements/1.1/}*"):
        name = str(element.tag).rpartition("}")[2]
        value = " ".join("".join(element.itertext()).split())
        attributes = {str(key).rpartition("}")[2]: str(held) for key, held in element.attrib.items()}
        if name in ("creator", "contributor"):
            role = attributes.get("role") or roles.get(attributes.get("id", ""), "aut" if name == "creator" else "")
            kind = {"aut": "author", "edt": "editor", "trl": "translator"}.get(role)
            if kind:
                found.append((kind, value))
        elif name == "date":
            event = attributes.get("event", "")
            dates.append(({"publication": 0, "": 1, "creation": 2}.get(event, 9), _day(value)))
        elif name in ("title", "publisher"):
            found.append((name, value))
        elif name == "identifier":
            scheme = attributes.get("scheme", "").casefold() == "isbn"
            match = _ISBN.match(value)
            if match or scheme or _BARE_ISBN.fullmatch(value):
                found.append(("ISBN", match[1] if match else value))
    best = [day for rank, day in sorted(dates, key=lambda one: one[0]) if rank < 9 and day]
    return _facts([*found, *(("published", day) for day in best[:1])])


def of_html(text: str) -> Metadata:
    """The facts in the head of a web page: its `meta` elements and its title."""
    from lxml import etree, html

    end = re.search(r"</head\s*>|<body[\s>]", text[:HEAD_CHARACTERS], re.IGNORECASE)
    head = text[: end.start()] if end else text[:HEAD_CHARACTERS]
    if "<meta" not in head.lower() and "<title" not in head.lower():
        return ()
    try:
        root = html.document_fromstring(re.sub(r"\A\s*<\?xml[^>]*\?>", "", head))
    except (etree.LxmlError, ValueError):
        return ()
    found: list[tuple[str, str]] = []
    for meta in root.iter("meta"):
        name = (meta.get("name") or meta.get("property") or meta.get("itemprop") or "").strip().casefold()
        kind, value = _HTML_NAMES.get(name), (meta.get("content") or "").strip()
        if kind and not re.match(r"https?://|@", value):
            found.append((kind, _day(value) if kind == "published" else value))
    if not any(kind == "title" and value for kind, value in found):
        found += [("title", "".join(title.itertext())) for title in root.iter("title")]
    return _facts(found)


def of_fields(found: Iterable[tuple[str, str]]) -> Metadata:
    """The facts among the named fields that stand at the head of a text file, such as front matter of Markdown."""
    facts: list[tuple[str, str]] = []
    for name, value in found:
        kind = _FIELD_NAMES.get(name.strip().casefold())
        if kind and not re.match(r"https?://|@", value):
            facts.append((kind, _day(value) if kind == "published" else value))
    return _facts(facts)


def _facts(found: Iterable[tuple[str, str]]) -> Metadata:
    """One pair a kind, in their order; of names all, of anything else the first."""
    values: dict[str, list[str]] = {}
    for kind, value in found:
        value = _PROGRAM.sub("", " ".join(str(value).split()))[:LONGEST_VALUE].strip()
        if value and not _NOTHING.fullmatch(value) and value not in values.setdefault(kind, []):
            values[kind].append(value)
    return tuple((kind, _joined(kind, values[kind])) for kind in _ORDER if values.get(kind))


def _joined(kind: str, values: Sequence[str]) -> str:
    return ", ".join(values[:MOST_NAMES]) if kind in ("author", "editor", "translator") else values[0]


def _day(text: str) -> str:
    """A date in words, as far as it is given: `8 September 2016`, `September 2016`, `2016`; as it is where unknown."""
    text = text.strip()
    match = _DATE.match(text)
    if match is None:
        return text if re.search(r"\d{4}", text) else ""
    year, month, day = (int(match[place] or 0) for place in (1, 2, 3))
    if year < 1000:
        return ""
    if not 1 <= month <= 12:
        return str(year)
    named = f"{_MONTHS[month - 1]} {year}"
    return f"{day} {named}" if 1 <= day <= 31 else named
