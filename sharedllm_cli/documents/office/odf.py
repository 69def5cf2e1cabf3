"""Texts, sheets and slides of OpenDocument (odt, ods, odp; also their templates), by the same writers as Office files.

Inserted text is text, deleted text is struck out; hidden text, sheets and rows are left out and said. Notes and
comments stand below the paragraph that holds them; slides are pages, sheets are parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lxml import etree

from sharedllm_cli.documents import metadata
from sharedllm_cli.documents.metadata import Metadata
from sharedllm_cli.documents.office import extracted, xlsx
from sharedllm_cli.documents.office.odf_places import box_of, in_order
from sharedllm_cli.documents.office.odf_styles import Styles
from sharedllm_cli.documents.office.odf_text import TextWriter
from sharedllm_cli.documents.office.package import MissingMemberError, Package, attribute, child, local, number
from sharedllm_cli.documents.office.reading_order import Box
from sharedllm_cli.documents.office.sheets import MOST_CELLS, Sheet, cell_text
from sharedllm_cli.documents.pages import Extraction
from sharedllm_cli.errors import DocumentError

MOST_REPEATED = 1_000
"""Times that a row or a cell with something in it may be repeated."""
MOST_ROWS, MOST_COLUMNS = 1_048_576, 16_384


def extract(data: bytes, name: str, kind: str) -> Extraction:
    """Everything readable in a file of the kind `odt`, `ods` or `odp`. Raises DocumentError for what can't be read."""
    package = Package(data, name)
    manifest = package.optional("META-INF/manifest.xml")
    if manifest is not None and next(manifest.iter("{*}encryption-data"), None) is not None:
        raise DocumentError(
            f"{name} is encrypted, so it can't be read", hint="open it with its password and save it without one"
        )
    try:
        root = package.xml("content.xml")
    except MissingMemberError as failure:
        raise package.damaged("content.xml") from failure
    program = package.optional("styles.xml")
    styles = Styles(program, root)
    body = child(root, "body")
    held = None if body is None else next(iter(body), None)
    if held is None:
        raise package.damaged("content.xml")
    facts = _facts(package.optional("meta.xml"))
    if kind == "ods":
        return _sheets(package, held, styles, facts)
    if kind == "odp":
        return _slides(package, held, styles, facts)
    writer = TextWriter(package, styles, held)
    writer.blocks(held)
    writer.end(program)
    found = extracted.of_html(package, "".join(writer.out), warnings=writer.warnings())
    return replace(found, metadata=facts)


def _facts(root: etree._Element | None) -> Metadata:
    meta = child(root, "meta")
    held = {local(one): (one.text or "").strip() for one in ([] if meta is None else meta)}
    author = held.get("initial-creator") or held.get("creator", "")
    return metadata.of_properties(held.get("title", ""), author, held.get("creation-date", ""))


# -- sheets ---------------------------------------------------------------------------------------------------------


def _sheets(package: Package, held: etree._Element, styles: Styles, facts: Metadata) -> Extraction:
    sheets: list[Sheet] = []
    left = MOST_CELLS
    for table in held:
        if local(table) != "table":
            continue
        sheet = Sheet(cell_text(attribute(table, "name")) or f"Sheet {len(sheets) + 1}")
        style = attribute(table, "style-name")
        sheet.hidden = styles.property("table", style, "table-properties", "display") == "false"
        if not sheet.hidden:
            left -= _fill(package, sheet, table, styles, left)
        sheets.append(sheet)
    return replace(xlsx.of_sheets(package, sheets), metadata=facts)


def _fill(package: Package, sheet: Sheet, table: etree._Element, styles: Styles, left: int) -> int:
    """Read the rows of a sheet; returns how many cells have something in them."""
    hidden = _hidden_columns(table)
    row = 1
    count = 0
    for element in _named(table, "table-row"):
        times = number(attribute(element, "number-rows-repeated", "1"), 1)
        unseen = attribute(element, "visibility") in ("collapse", "filter")
        cells = list(_cells(package, element, styles, sheet, row))
        filled = any(text for _, text in cells)
        if unseen:
            sheet.hidden_rows += min(times, MOST_REPEATED) if filled else 0
        elif filled:
            for again in range(min(times, MOST_REPEATED)):
                shown = {column: text for column, text in cells if text and column not in hidden}
                if shown and row + again <= MOST_ROWS:
                    sheet.cells[row + again] = dict(shown)
                    count += len(shown)
            if any(text and column in hidden for column, text in cells):
                sheet.hidden_columns = len(hidden)
        row += times
        if count >= left:
            sheet.cut_at = row - 1
            break
    return count


def _hidden_columns(table: etree._Element) -> set[int]:
    found: set[int] = set()
    column = 1
    for element in _named(table, "table-column"):
        times = min(number(attribute(element, "number-columns-repeated", "1"), 1), MOST_COLUMNS)
        if attribute(element, "visibility") in ("collapse", "filter"):
            found.update(range(column, column + times))
        column += times
    return found


def _cells(
    package: Package, row: etree._Element, styles: Styles, sheet: Sheet, place: int
) -> Iterator[tuple[int, str]]:
    """The cells of a row with their columns; what is merged, and the notes, go to the sheet."""
    column = 1
    for element in row:
        if local(element) not in ("table-cell", "covered-table-cell"):
            continue
        times = number(attribute(element, "number-columns-repeated", "1"), 1)
        text = _cell(package, element, styles, sheet) if len(element) else ""
        across, down = (number(attribute(element, f"number-{one}-spanned", "1"), 1) for one in ("columns", "rows"))
        if text and (across > 1 or down > 1):
            sheet.merged.append((place, column, place + down - 1, column + across - 1))
        if text and local(element) == "table-cell":
            for again in range(min(times, MOST_REPEATED)):
                if column + again <= MOST_COLUMNS:
                    yield column + again, text
        column += times


def _cell(package: Package, element: etree._Element, styles: Styles, sheet: Sheet) -> str:
    """A cell's text as it is shown, its note apart."""
    writer = TextWriter(package, styles, element)
    lines = [writer.words(one) for one in element if local(one) == "p"]
    sheet.beside += [extracted.text_of(html).text for html in writer.take_after()]
    for note in element:
        if local(note) == "annotation" and (words := writer.note_words(note)):
            sheet.beside.append(f"[comment: {words}]")
    line = " ".join(lines)
    return cell_text(extracted.text_of(line).text if "<" in line or "&" in line else line)


def _named(parent: etree._Element, name: str) -> Iterator[etree._Element]:
    """The rows or columns of a table, those in groups among them."""
    for one in parent:
        if local(one) == name:
            yield one
        elif local(one).startswith("table-") and local(one) not in ("table-row", "table-column", "table-cell"):
            yield from _named(one, name)


# -- slides ---------------------------------------------------------------------------------------------------------


def _slides(package: Package, held: etree._Element, styles: Styles, facts: Metadata) -> Extraction:
    pages: list[str] = []
    titles: list[str | None] = []
    hidden: list[int] = []
    left_out = 0
    for slide in (one for one in held if local(one) == "page"):
        style = attribute(slide, "style-name")
        if styles.property("drawing-page", style, "drawing-page-properties", "visibility") == "hidden":
            hidden.append(len(pages) + 1)
        writer = TextWriter(package, styles, slide, slides=True)
        titles.append(_shapes(writer, slide))
        notes = TextWriter(package, styles, slide, slides=True)
        for one in slide:
            if local(one) == "notes":
                _shapes(notes, one)
        if notes.out:
            writer.out += ["<p>Speaker notes:</p>", *notes.out]
        pages.append("".join(writer.out))
        left_out += writer.hidden
    told = (
        *extracted.on_slides(package.name, hidden, "hidden in the show, and read"),
        *extracted.hidden_words(package.name, left_out),
    )
    return extracted.of_pages(package, pages, titles, warnings=told, facts=facts)


def _shapes(writer: TextWriter, slide: etree._Element) -> str | None:
    """Write the shapes of a slide in the order of reading; returns its title."""
    title: str | None = None
    written: list[tuple[Box | None, list[str]]] = []
    first: list[str] = []
    for place, element in enumerate(slide):
        kind = attribute(element, "class")
        if local(element) in ("notes", "forms") or kind in ("header", "footer", "date-time", "page-number", "page"):
            continue
        inner = writer.shape(element, heading=kind == "title")
        if kind == "title" and inner:
            found = extracted.text_of("".join(inner)).text
            title = title or " ".join(found.split()) or None
            first += inner
        elif inner:
            written.append((box_of(element, place), inner))
    writer.out += [*first, *(html for inner in in_order(written) for html in inner)]
    return title
