"""An Excel workbook (xlsx, xlsm): each sheet a part, each row a line, numbers and dates as the sheet shows them.

A formula's value is the one that the file holds: nothing is computed. Hidden sheets, rows and columns are left
out and said. Rows come as a stream, so that a declared size costs nothing.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lxml import etree

from sharedllm_cli.documents.office import drawings, extracted, number_formats
from sharedllm_cli.documents.office.package import MissingMemberError, Package, attribute, child, local, number
from sharedllm_cli.documents.office.sheets import MOST_CELLS, Sheet, cell_text, told
from sharedllm_cli.documents.pages import ExtractedPage, Extraction, OutlineEntry

LARGEST_SHEET = 1 << 30
"""Bytes that a sheet's XML may unpack to; what is behind them is not read."""
MOST_SHEETS = 1_000
MOST_ROWS, MOST_COLUMNS = 1_048_576, 16_384
_PLACE = re.compile(r"\$?([A-Za-z]{1,3})\$?(\d{1,7})")
_LETTERS = re.compile(r"[A-Za-z]{1,3}")
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:T[\d:.]+Z?)?")


@dataclass
class _Book:
    """What all sheets of a workbook share."""

    package: Package
    strings: list[str] = field(default_factory=list)
    formats: list[str] = field(default_factory=list)
    from_1904: bool = False
    cells: int = 0


def extract(data: bytes, name: str) -> Extraction:
    """Everything readable in a workbook. Raises DocumentError for one that is damaged or too large."""
    package = Package(data, name)
    main = extracted.main_member(package, "xl/workbook.xml")
    try:
        root = package.xml(main)
    except MissingMemberError as failure:
        raise package.damaged(main) from failure
    relations = package.relations(main)
    by_kind = dict(relations.values())
    book = _Book(package, from_1904=attribute(child(root, "workbookPr"), "date1904") in ("1", "true"))
    book.strings = _strings(package, by_kind.get("sharedStrings", "xl/sharedStrings.xml"))
    book.formats = _formats(package.optional(by_kind.get("styles", "xl/styles.xml")))
    sheets: list[Sheet] = []
    warnings: list[str] = []
    for entry in list(root.iter("{*}sheet"))[:MOST_SHEETS]:
        kind, member = relations.get(attribute(entry, "id"), ("", ""))
        sheet = Sheet(cell_text(attribute(entry, "name")) or f"Sheet {len(sheets) + 1}")
        sheet.hidden = attribute(entry, "state", "visible") != "visible"
        try:
            if kind != "chartsheet" and not sheet.hidden:
                _read(book, member, sheet)
        except (MissingMemberError, etree.LxmlError, OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile):
            warnings.append(f"{name}, sheet {sheet.name}: missing or damaged")
        if not sheet.hidden:
            _beside(package, member, sheet)
        sheets.append(sheet)
    return of_sheets(package, sheets, warnings)


def of_sheets(package: Package, sheets: Sequence[Sheet], warnings: Sequence[str] = ()) -> Extraction:
    """Sheets as the parts of a document; those without anything in them have no text."""
    pages = tuple(
        ExtractedPage(sheet.text() if sheet.cells or sheet.beside else "", part=place, part_title=f"sheet {sheet.name}")
        for place, sheet in enumerate(sheets, 1)
    )
    outline = tuple(
        OutlineEntry(sheet.name, 1, place) for place, sheet in enumerate(sheets, 1) if sheet.cells or sheet.beside
    )
    return Extraction(
        pages,
        True,
        reflow=False,
        layout=True,
        outline=outline,
        warnings=(*warnings, *told(package.name, sheets)),
        metadata=extracted.core_properties(package),
    )


def _strings(package: Package, member: str) -> list[str]:
    root = package.optional(member)
    found = [] if root is None else [one for one in root if local(one) == "si"]
    return [cell_text(_rich(one)) for one in found]


def _rich(element: etree._Element) -> str:
    """The text of a string, the readings of East Asian words in it left out; what is struck out says so."""
    pieces: list[str] = []
    for one in element:
        if local(one) == "t":
            pieces.append(one.text or "")
        elif local(one) == "r":
            text = "".join(part.text or "" for part in one if local(part) == "t")
            struck = child(one, "rPr", "strike")
            is_struck = struck is not None and attribute(struck, "val", "1") not in ("0", "false")
            pieces.append(f"[struck out: {text.strip()}] " if is_struck and text.strip() else text)
    return "".join(pieces)


def _formats(root: etree._Element | None) -> list[str]:
    """The format of numbers that each style of cells has."""
    if root is None:
        return []
    own = {number(attribute(one, "numFmtId")): attribute(one, "formatCode") for one in root.iter("{*}numFmt")}
    styles = child(root, "cellXfs")
    keys = [] if styles is None else [number(attribute(one, "numFmtId")) for one in styles]
    return [own.get(key) or number_formats.BUILT_IN.get(key, "General") for key in keys]


def _read(book: _Book, member: str, sheet: Sheet) -> None:
    with book.package.stream(member) as stream:
        bounded = _Bounded(stream.read)
        events = etree.iterparse(
            bounded,
            events=("start", "end"),
            tag=[f"{{*}}{name}" for name in ("row", "col", "mergeCell", "c")],
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=False,
            recover=True,
            remove_comments=True,
        )
        hidden_columns: set[int] = set()
        rows = 0
        row = column = 0
        is_hidden = False
        for event, element in events:
            name = local(element)
            if event == "start":
                if name == "row":
                    row = number(attribute(element, "r"), row + 1)
                    column = 0
                    is_hidden = attribute(element, "hidden") in ("1", "true")
                    sheet.hidden_rows += is_hidden
                continue
            if name == "col" and attribute(element, "hidden") in ("1", "true"):
                last = min(number(attribute(element, "max")), MOST_COLUMNS)
                hidden_columns.update(range(number(attribute(element, "min"), 1), last + 1))
            elif name == "mergeCell" and (area := _area(attribute(element, "ref"))):
                sheet.merged.append(area)
            elif name == "c":
                row, column = _placed(element, row, column + 1)
                text = "" if is_hidden or column in hidden_columns else _shown(book, element)
                if column in hidden_columns and child(element, "v") is not None:
                    sheet.hidden_columns = len(hidden_columns)
                if text and 0 < row <= MOST_ROWS and column <= MOST_COLUMNS:
                    sheet.cells.setdefault(row, {})[column] = text
                    book.cells += 1
            elif name == "row":
                rows += 1
                element.clear()
                while element.getprevious() is not None:
                    del element.getparent()[0]
            if book.cells >= MOST_CELLS or bounded.exceeded:
                sheet.cut_at = row
                return


class _Bounded:
    """A stream that ends after so many bytes, and says so."""

    def __init__(self, read: object) -> None:
        self._read = read
        self._left = LARGEST_SHEET
        self.exceeded = False

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._read(min(size, 1 << 20) if size > 0 else 1 << 20)  # type: ignore[operator]
        self._left -= len(data)
        self.exceeded = self._left < 0
        return b"" if self.exceeded else data


def _placed(element: etree._Element, row: int, column: int) -> tuple[int, int]:
    """The row and column of a cell: as it says, else behind the one before it."""
    match = _PLACE.fullmatch(str(element.get("r", "")))
    return (int(match[2]), column_number(match[1])) if match else (row, column)


def column_number(letters: str) -> int:
    """A column's number, from 1: A is 1, AA 27."""
    value = 0
    for letter in letters.upper():
        value = value * 26 + ord(letter) - 64
    return value


def _area(reference: str) -> tuple[int, int, int, int] | None:
    corners = [_PLACE.fullmatch(corner) for corner in reference.split(":")]
    if len(corners) != 2 or corners[0] is None or corners[1] is None:
        return None
    first, last = ((int(corner[2]), column_number(corner[1])) for corner in corners if corner)
    return (*first, *last)


def _shown(book: _Book, element: etree._Element) -> str:
    """A cell's text as the sheet shows it; empty for one without a value."""
    kind = str(element.get("t", "n"))
    if kind == "inlineStr":
        held = child(element, "is")
        return "" if held is None else cell_text(_rich(held))
    value = child(element, "v")
    text = "" if value is None else value.text or ""
    if not text:
        return ""
    if kind == "s":
        place = number(text, -1)
        return book.strings[place] if 0 <= place < len(book.strings) else ""
    if kind == "b":
        return "TRUE" if text.strip() in ("1", "true") else "FALSE"
    if kind == "d" and _ISO.fullmatch(text.strip()):
        return text.strip().replace("T", " ").removesuffix("Z")
    if kind in ("str", "e", "d"):
        return cell_text(text)
    style = number(str(element.get("s", "0")))
    form = book.formats[style] if style < len(book.formats) else "General"
    try:
        return cell_text(number_formats.shown(float(text), form, from_1904=book.from_1904))
    except (ValueError, OverflowError):
        return cell_text(text)


def _beside(package: Package, member: str, sheet: Sheet) -> None:
    """Notes on cells, and the charts and text boxes of a sheet."""
    for kind, target in package.relations(member).values():
        if kind in ("comments", "threadedComment"):
            sheet.beside += _notes(package.optional(target), threaded=kind == "threadedComment")
        elif kind == "drawing" and (root := package.optional(target)) is not None:
            sheet.beside += _drawn(package, target, root)


def _notes(root: etree._Element | None, *, threaded: bool) -> Iterator[str]:
    """Notes with their cells. Of a thread the file keeps a copy as a note for old programs, which is passed over."""
    for one in () if root is None else root.iter("{*}threadedComment" if threaded else "{*}comment"):
        parts = one.iter("{*}text") if threaded else one.iter("{*}t")
        text = " ".join("".join(part.text or "" for part in parts).split())
        if text and (threaded or not text.startswith("[Threaded comment]")):
            yield f"[comment on {attribute(one, 'ref')}: {text}]"


def _drawn(package: Package, member: str, root: etree._Element) -> Iterator[str]:
    relations = package.relations(member)
    for held in root.iter("{*}chart"):
        if target := relations.get(attribute(held, "id"), ("", ""))[1]:
            yield extracted.text_of(drawings.chart(package, target)).text
    for shape in root.iter("{*}sp"):
        paragraphs = ("".join(one.text or "" for one in part.iter("{*}t")) for part in shape.iter("{*}p"))
        if text := "\n".join(filter(str.strip, paragraphs)):
            yield text
    for properties in root.iter("{*}cNvPr"):
        if words := drawings.alternative(properties):
            yield extracted.text_of(words).text
