"""From an Office file's HTML, and from what it says of itself, to what `readers.py` takes: pages, outline, metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from sharedllm_cli.documents import metadata
from sharedllm_cli.documents.attachments import MOST_BYTES, MOST_FILES
from sharedllm_cli.documents.markup import html_reader
from sharedllm_cli.documents.markup.html_reader import MarkupText
from sharedllm_cli.documents.metadata import Metadata
from sharedllm_cli.documents.office.package import MissingMemberError, Package, local
from sharedllm_cli.documents.pages import AttachedFile, ExtractedPage, Extraction
from sharedllm_cli.documents.sources import SUFFIXES
from sharedllm_cli.durable import sha256_of_bytes
from sharedllm_cli.errors import DocumentError

_AFTER_STRUCK = re.compile(r"(?<=</del>)(?=\w)|(?<=\w)(?=<del>)")
"""Where a new word replaces one that is struck out, without a space between them."""
DEEPEST_LIST = 30
"""Levels of lists that follow each other which are read as one list."""


def main_member(package: Package, usual: str) -> str:
    """The member that holds the document, as the package says, else where it usually is."""
    named = [member for kind, member in package.relations("").values() if kind == "officeDocument"]
    return next((member for member in named if package.has(member)), usual)


def text_of(html: str) -> MarkupText:
    """The text of HTML that a reader of this room has written."""
    for _ in range(DEEPEST_LIST):
        if "</ul><ul>" not in html:
            break
        html = html.replace("</ul><ul>", "")
    html = _AFTER_STRUCK.sub(" ", html)
    return html_reader.from_html(f"<html><body>{html}</body></html>")


def of_html(
    package: Package, html: str, *, warnings: Sequence[str] = (), attachments: Sequence[AttachedFile] = ()
) -> Extraction:
    """A document without pages."""
    found = text_of(html)
    return Extraction(
        (ExtractedPage(found.text),),
        False,
        reflow=False,
        layout=True,
        outline=found.outline,
        warnings=tuple(warnings),
        metadata=core_properties(package),
        attachments=tuple(attachments),
    )


def of_pages(
    package: Package,
    pages: Sequence[str],
    titles: Sequence[str | None],
    *,
    warnings: Sequence[str] = (),
    attachments: Sequence[AttachedFile] = (),
    facts: Metadata | None = None,
) -> Extraction:
    """A document of slides: one page each, whose title is its heading."""
    found = [text_of(html) for html in pages]
    outline = [
        replace(entry, page=number, level=1 if entry.title == title else max(entry.level, 2))
        for number, (text, title) in enumerate(zip(found, titles, strict=True), 1)
        for entry in text.outline
    ]
    return Extraction(
        tuple(ExtractedPage(text.text) for text in found),
        True,
        reflow=False,
        layout=True,
        outline=tuple(outline),
        warnings=tuple(warnings),
        metadata=core_properties(package) if facts is None else facts,
        attachments=tuple(attachments),
    )


def core_properties(package: Package) -> Metadata:
    """Title, author and day of an Office file."""
    members = [member for kind, member in package.relations("").values() if kind == "core-properties"]
    root = next((one for one in map(package.optional, [*members, "docProps/core.xml"]) if one is not None), None)
    held = {} if root is None else {local(one): (one.text or "").strip() for one in root}
    return metadata.of_properties(held.get("title", ""), held.get("creator", ""), held.get("created", ""))


def embedded(package: Package, members: Iterable[str]) -> list[AttachedFile]:
    """The files of kinds that can be read which these members embed, each once."""
    found: dict[str, AttachedFile] = {}
    size = 0
    for member in members:
        for kind, target in package.relations(member).values():
            name = PurePosixPath(target).name
            if kind != "package" or PurePosixPath(name).suffix.lower() not in SUFFIXES or len(found) >= MOST_FILES:
                continue
            try:
                data = package.read(target)
            except (MissingMemberError, DocumentError):
                continue
            size += len(data)
            if size <= MOST_BYTES:
                key = sha256_of_bytes(data)
                found.setdefault(key, AttachedFile(name, key, data))
    return list(found.values())


def on_slides(name: str, places: Sequence[int], what: str) -> tuple[str, ...]:
    """A sentence on some slides, if there are any."""
    if not places:
        return ()
    shown = ", ".join(map(str, places[:8])) + (", …" if len(places) > 8 else "")
    return (f"{name}: slides {shown} are {what}" if len(places) > 1 else f"{name}: slide {shown} is {what}",)


def hidden_words(name: str, count: int) -> tuple[str, ...]:
    """A sentence on hidden words, if there are any."""
    return (f"{name}: {count} hidden word{'s are' if count > 1 else ' is'} left out",) if count else ()
