"""A notebook (ipynb): its cells in order, text as Markdown, code and the text that it printed as such; no pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

from sharedllm_cli.documents import metadata
from sharedllm_cli.documents.markup import html_reader, markdown
from sharedllm_cli.documents.pages import ExtractedPage, Extraction, OutlineEntry
from sharedllm_cli.errors import DocumentError

MOST_CELLS = 20_000
LONGEST_OUTPUT = 100_000
"""Characters of a cell's output that are read."""
LONGEST_MARKUP = 10 * LONGEST_OUTPUT
"""Characters of a table or a page in an output from which these are made."""
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def extract(text: str, name: str, warnings: list[str]) -> Extraction:
    """The cells of a notebook. Raises DocumentError for a file that is none."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as failure:
        raise DocumentError(f"{name} is a damaged notebook", hint="open it in Jupyter and save it anew") from failure
    cells = _cells(whole)
    if cells is None:
        raise DocumentError(f"{name} is no notebook: it lists no cells")
    if len(cells) > MOST_CELLS:
        warnings = [*warnings, f"{name}: the first {MOST_CELLS:,} of {len(cells):,} cells are read"]
    blocks: list[str] = []
    outline: list[OutlineEntry] = []
    pictures = cut = 0
    for cell in cells[:MOST_CELLS]:
        if not isinstance(cell, dict):
            continue
        source = _joined(cell.get("source", cell.get("input", "")))
        kind = cell.get("cell_type")
        if kind in ("markdown", "heading"):
            level = min(max(cell.get("level", 1), 1), 6) if isinstance(cell.get("level", 1), int) else 1
            found = markdown.from_markdown(f"{'#' * level} {source}" if kind == "heading" else source)
            blocks.append(found.text)
            outline += found.outline
            continue
        blocks.append(source.strip("\n"))
        for output, is_picture, is_whole in _outputs(cell.get("outputs")):
            pictures += is_picture
            cut += len(output) > LONGEST_OUTPUT or not is_whole
            blocks.append(output[:LONGEST_OUTPUT].strip("\n"))
    if pictures:
        warnings = [*warnings, f"{name}: {pictures} picture{'s' if pictures > 1 else ''} among the outputs not read"]
    if cut:
        warnings = [*warnings, f"{name}: {cut} output{'s' if cut > 1 else ''} cut at {LONGEST_OUTPUT:,} characters"]
    return Extraction(
        (ExtractedPage("\n\n".join(filter(str.strip, blocks)).replace("\f", "\n")),),
        False,
        reflow=False,
        layout=True,
        outline=tuple(outline),
        warnings=tuple(warnings),
        metadata=_facts(whole),
    )


def _cells(whole: Any) -> list[Any] | None:
    """The cells, those of the oldest form (version 3) too; None where there is no list of them."""
    if not isinstance(whole, dict):
        return None
    if isinstance(sheets := whole.get("worksheets"), list):
        lists = [sheet.get("cells") for sheet in sheets if isinstance(sheet, dict)]
        named = [cells for cells in lists if isinstance(cells, list)]
        return [cell for cells in named for cell in cells] if named else None
    cells = whole.get("cells")
    return cells if isinstance(cells, list) else None


def _outputs(outputs: Any) -> Iterator[tuple[str, bool, bool]]:
    """The text of each output: the plain form, else the table or the page in it. Whether it is a picture, and whole."""
    for output in outputs if isinstance(outputs, list) else []:
        if not isinstance(output, dict):
            continue
        if output.get("output_type") in ("error", "pyerr"):
            yield f"{output.get('ename', '')}: {output.get('evalue', '')}".strip(": "), False, True
            continue
        data = output.get("data")
        held: dict[str, Any] = data if isinstance(data, dict) else output
        page = _joined(held.get("text/html", held.get("html", "")))
        html = page[:LONGEST_MARKUP]
        plain = _joined(held.get("text/plain", held.get("text", "")))
        if "<table" in html:
            yield html_reader.from_html(html).text, False, html == page
        elif markup := _joined(held.get("text/markdown", "")):
            yield markdown.from_markdown(markup[:LONGEST_OUTPUT]).text, False, len(markup) <= LONGEST_OUTPUT
        elif any(key.startswith("image/") or key in ("png", "jpeg", "svg") for key in held):
            yield "", True, True
        elif plain or html:
            shown = _COLOURS.sub("", plain) if plain else unescape(html_reader.from_html(html).text)
            yield shown, False, bool(plain) or html == page


def _joined(value: Any) -> str:
    if isinstance(value, list):
        return "".join(piece for piece in value if isinstance(piece, str))
    return value if isinstance(value, str) else ""


def _facts(whole: dict[str, Any]) -> metadata.Metadata:
    held = whole.get("metadata")
    if not isinstance(held, dict):
        return ()
    authors = held.get("authors")
    names = [one.get("name", "") for one in authors if isinstance(one, dict)] if isinstance(authors, list) else []
    return metadata.of_fields([("title", _joined(held.get("title", ""))), *(("author", str(name)) for name in names)])
