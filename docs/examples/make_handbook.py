"""Lay out handbook.md as skerrow-light.pdf: the example document that the README asks a question of.

    python docs/examples/make_handbook.py [OUT.pdf]

Needs reportlab (the `test` extra). The page is that of an ordinary printed book, with what makes one hard to quote
from: roman-numbered front matter and page labels, running heads and page numbers, justified lines with hyphenated
ends, tables, cross references, an outline. Dates and identifiers are fixed, so equal input gives equal bytes.

The markup of handbook.md: `% key: value` for the front matter, `# Chapter {#id}`, `## Section {#id}`, `*italic*`,
`**bold**`, `{@id}` for "section 2.3 on page 7", `{#id}` inside a table for "2.3", and `Table: caption {#id}` before
the rows of a table.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reportlab.lib.enums import TA_CENTER, TA_JUSTIFY
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, PageBreak, PageTemplate, Paragraph, Spacer, Table

HERE = Path(__file__).parent
SOURCE = HERE / "handbook.md"
OUTPUT = HERE / "skerrow-light.pdf"

PAGE = (160 * mm, 230 * mm)
MARGIN = 20 * mm
WIDTH = PAGE[0] - 2 * MARGIN
FRONT_PAGES = 4
"""Pages numbered i, ii, … before the page that is printed as 1."""

HEADING = re.compile(r"(#+) (.+) \{#([\w-]+)\}")
VOWELS = "aeiouy"
KEPT_TOGETHER = re.compile("[cgpstw]h|ck|gn|ng|nk|s[cpkt]|kn|tw|[tpbcdfg]r|[bcfgp]l")
SUFFIX = re.compile("(tion|sion|ment|ness|less|ward)s?|land|light|house|boat|able|ly")
INFLECTION = re.compile("ed|ers?|ing|est")


def hyphenations(word: str) -> Iterator[tuple[str, str]]:
    """Ways to divide a word at a line's end, longest head first: before a suffix, or between two consonants.

    The consonants must stand between vowels and be sounded apart, and must not end a stem (pain-ted is wrong).
    """
    if not word.isalpha() or word[0].isupper():
        return
    for place in range(len(word) - 2, 2, -1):
        head, tail = word[:place], word[place:]
        before, left, right, after = (word + " ")[place - 2 : place + 2]
        between_vowels = before in VOWELS and left not in VOWELS and right not in VOWELS and after in VOWELS
        kept_together = KEPT_TOGETHER.fullmatch(left + right)
        ends_a_stem = left != right and INFLECTION.fullmatch(tail[1:])
        if SUFFIX.fullmatch(tail) or (between_vowels and not kept_together and not ends_a_stem):
            yield head, tail


def _style(name: str, size: float, **changes: Any) -> ParagraphStyle:
    return ParagraphStyle(name, **({"fontName": "Times-Roman", "fontSize": size, "leading": size * 1.28} | changes))


TITLE = _style("title", 30, alignment=TA_CENTER, spaceAfter=8 * mm)
SUBTITLE = _style("subtitle", 15, alignment=TA_CENTER, fontName="Times-Italic", spaceAfter=62 * mm)
IMPRINT = _style("imprint", 10.5, alignment=TA_CENTER)
CHAPTER = _style("chapter", 19, spaceBefore=14 * mm, spaceAfter=7 * mm)
SECTION = _style("section", 12, fontName="Times-Bold", spaceBefore=4 * mm, spaceAfter=1.6 * mm, keepWithNext=1)
FRONT = _style("front", 14, spaceAfter=4 * mm)
CAPTION = _style("caption", 9.5, fontName="Times-Italic", spaceBefore=3 * mm, spaceAfter=1.5 * mm, keepWithNext=1)
CELL = _style("cell", 9.5)
CELL_HEAD = _style("cell head", 9.5, fontName="Times-Bold")
BODY = _style(
    "body",
    10.5,
    alignment=TA_JUSTIFY,
    spaceAfter=1.9 * mm,
    hyphenationLang=hyphenations,
    allowWidows=0,
    allowOrphans=0,
)


@dataclass
class Entry:
    """A chapter, section or table that can be referred to, and the page on which it was last laid out."""

    identifier: str
    number: str
    title: str
    page: int = 0


@dataclass
class Book:
    """handbook.md read: its front matter and its blocks, with every heading numbered."""

    front: dict[str, list[str]] = field(default_factory=dict)
    blocks: list[tuple[str, Any]] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)

    def front_text(self, key: str) -> str:
        return self.front[key][0]

    def enter(self, identifier: str, number: str, title: str) -> Entry:
        entry = self.entries[identifier] = Entry(identifier, number, title)
        return entry


def read_book(text: str) -> Book:
    """Parse the markup described at the top of this file."""
    book = Book()
    chapter = section = tables = 0
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.split("\n")
        if block.startswith("% "):
            for line in lines:
                key, _, value = line[2:].partition(": ")
                book.front.setdefault(key, []).append(value)
        elif heading := HEADING.fullmatch(block):
            marks, title, identifier = heading.groups()
            if marks == "#":
                chapter, section = chapter + 1, 0
                book.blocks.append(("chapter", book.enter(identifier, str(chapter), title)))
            else:
                section += 1
                book.blocks.append(("section", book.enter(identifier, f"{chapter}.{section}", title)))
        elif block.startswith("Table: "):
            tables += 1
            caption = re.fullmatch(r"Table: (.+) \{#([\w-]+)\}", lines[0])
            assert caption, lines[0]
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]
            book.blocks.append(("table", (book.enter(caption[2], str(tables), caption[1]), rows)))
        else:
            book.blocks.append(("paragraph", " ".join(lines)))
    return book


def _typeset(text: str, book: Book) -> str:
    """Markup of a paragraph as reportlab's: references resolved, quotation marks curled, italic and bold."""
    text = re.sub(
        r"\{@([\w-]+)\}", lambda m: f"section {book.entries[m[1]].number} on page {book.entries[m[1]].page}", text
    )
    text = re.sub(r"\{#([\w-]+)\}", lambda m: book.entries[m[1]].number, text)
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    text = re.sub(r'(^|[\s(])"', "\\1\N{LEFT DOUBLE QUOTATION MARK}", text).replace(
        '"', "\N{RIGHT DOUBLE QUOTATION MARK}"
    )
    text = text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text)
    return re.sub(r"\*(.+?)\*", r"<i>\1</i>", text)


class Anchor(Flowable):
    """Takes no room; notes the page of an entry and puts it into the outline."""

    def __init__(self, entry: Entry, level: int | None, chapter: bool = False) -> None:
        super().__init__()
        self.entry, self.level, self.chapter = entry, level, chapter
        self.keepWithNext = 1

    def wrap(self, *_: float) -> tuple[float, float]:
        return 0, 0

    def draw(self) -> None:
        self.entry.page = self.canv.getPageNumber() - FRONT_PAGES
        if self.level is not None:
            self.canv.bookmarkPage(self.entry.identifier)
            self.canv.addOutlineEntry(f"{self.entry.number} {self.entry.title}", self.entry.identifier, self.level)
        if self.chapter:
            self.canv.chapter = (self.entry.title, self.canv.getPageNumber())


class ContentsLine(Flowable):
    """One line of the contents: number, title, dots, page."""

    def __init__(self, entry: Entry, chapter: bool) -> None:
        super().__init__()
        self.entry, self.chapter = entry, chapter

    def wrap(self, *_: float) -> tuple[float, float]:
        return WIDTH, 17 if self.chapter else 11.4

    def draw(self) -> None:
        font, size, indent = ("Times-Bold", 10, 0) if self.chapter else ("Times-Roman", 9.5, 14)
        title = self.entry.title.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")
        self.canv.setFont(font, size)
        self.canv.drawString(indent, 0, f"{self.entry.number}  {title}")
        self.canv.drawRightString(WIDTH, 0, str(self.entry.page))
        if not self.chapter:
            start = indent + stringWidth(f"{self.entry.number}  {title}", font, size) + 6
            dots = int((WIDTH - 18 - start) / stringWidth(" .", font, size))
            self.canv.drawRightString(WIDTH - 16, 0, " ." * dots)


def _roman(number: int) -> str:
    return ["", "i", "ii", "iii", "iv", "v", "vi"][number]


def _page_furniture(canvas: Any, document: BaseDocTemplate) -> None:
    """Running head (left pages the book, right pages the chapter) and page number; neither on the title page."""
    page = canvas.getPageNumber()
    middle = PAGE[0] / 2
    if page == 1:
        return
    canvas.setFont("Times-Roman", 9)
    if page <= FRONT_PAGES:
        canvas.drawCentredString(middle, 11 * mm, _roman(page))
        return
    canvas.drawCentredString(middle, 11 * mm, str(page - FRONT_PAGES))
    title, first_page = canvas.chapter
    if page != first_page:
        canvas.setFont("Times-Italic", 9)
        head = title if page % 2 else f"{document.title}: {document.subject}"
        canvas.drawCentredString(middle, PAGE[1] - 13 * mm, head.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}"))


def _front_matter(book: Book) -> Iterator[Flowable]:
    yield Spacer(1, 55 * mm)
    yield Paragraph(book.front_text("title"), TITLE)
    yield Paragraph(book.front_text("subtitle"), SUBTITLE)
    yield Paragraph(book.front_text("edition"), IMPRINT)
    yield Paragraph(book.front_text("publisher"), IMPRINT)
    yield PageBreak()
    yield Paragraph("To the reader", FRONT)
    for text in book.front["reader"]:
        yield Paragraph(_typeset(text, book), BODY)
    yield Spacer(1, 14 * mm)
    yield Paragraph(_typeset(book.front_text("dedication"), book), BODY)
    yield PageBreak()
    yield Paragraph("Contents", FRONT)
    for kind, content in book.blocks:
        if kind in ("chapter", "section"):
            yield ContentsLine(content, chapter=kind == "chapter")


def _table(entry: Entry, rows: list[list[str]], book: Book) -> Iterator[Flowable]:
    cells = [
        [Paragraph(_typeset(cell, book), CELL if number else CELL_HEAD) for cell in row]
        for number, row in enumerate(rows)
    ]
    shares = [0.46, 0.34, 0.20] if len(rows[0]) == 3 else [0.46, 0.14, 0.22, 0.18]
    yield Anchor(entry, None)
    yield Paragraph(_typeset(f"Table {entry.number}. {entry.title}", book), CAPTION)
    table = Table(cells, [share * WIDTH for share in shares], repeatRows=1)
    table.setStyle(
        [
            ("LINEABOVE", (0, 0), (-1, 0), 0.8, "black"),
            ("LINEBELOW", (0, 0), (-1, 0), 0.4, "black"),
            ("LINEBELOW", (0, -1), (-1, -1), 0.8, "black"),
            ("TOPPADDING", (0, 0), (-1, -1), 1.5),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ]
    )
    yield table
    yield Spacer(1, 3 * mm)


def _story(book: Book) -> Iterator[Flowable]:
    yield from _front_matter(book)
    for kind, content in book.blocks:
        if kind == "chapter":
            yield PageBreak()
            yield Anchor(content, 0, chapter=True)
            yield Paragraph(_typeset(f"{content.number}  {content.title}", book), CHAPTER)
        elif kind == "section":
            yield Anchor(content, 1)
            yield Paragraph(_typeset(f"{content.number}  {content.title}", book), SECTION)
        elif kind == "table":
            yield from _table(*content, book)
        else:
            yield Paragraph(_typeset(content, book), BODY)


def _lay_out(book: Book, output: Path) -> None:
    document = BaseDocTemplate(
        str(output),
        pagesize=PAGE,
        title=book.front_text("title"),
        subject=book.front_text("subtitle"),
        author=book.front_text("publisher"),
        creator="docs/examples/make_handbook.py",
        invariant=1,
    )
    frame = Frame(MARGIN, 18 * mm, WIDTH, PAGE[1] - 36 * mm, leftPadding=0, rightPadding=0, topPadding=0)
    document.addPageTemplates(PageTemplate("page", [frame], onPageEnd=_page_furniture))

    def label_pages(canvas: Any) -> None:
        canvas.addPageLabel(0, style="ROMAN_LOWER", start=1)
        canvas.addPageLabel(FRONT_PAGES, style="ARABIC", start=1)

    document.beforeDocument = lambda: label_pages(document.canv)
    document.build(list(_story(book)))


def make(output: Path) -> None:
    """Write the handbook; laid out until every page number in contents and references is the one it refers to."""
    book = read_book(SOURCE.read_text(encoding="utf-8"))
    for _ in range(4):
        before = {entry.identifier: entry.page for entry in book.entries.values()}
        _lay_out(book, output)
        if before == {entry.identifier: entry.page for entry in book.entries.values()}:
            return
    raise RuntimeError("the page numbers do not settle")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT)
