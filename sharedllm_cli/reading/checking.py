"""Quotes held against a second extraction of their pages, once an answer is there and only for the pages it shows.

A PDF is read by one library; the other one's text of the same page is a witness that no mistake of the first can bend.
Other formats have one text alone, and what is cut from it can't but stand in it. Knows opened documents and their
files; no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from sharedllm_cli.answer import SECOND_EXTRACTION, Source
from sharedllm_cli.documents import quotes
from sharedllm_cli.documents.furniture import BETWEEN
from sharedllm_cli.documents.pdf import witness
from sharedllm_cli.durable import sha256_of_bytes
from sharedllm_cli.errors import ResourceError, UsageError
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.reading.library import OpenDocument


def checked(
    sources: Sequence[Source], documents: Sequence[OpenDocument], store: IndexStore, password: str | None
) -> list[Source]:
    """The sources, each held against the second extraction of its page where the document has one.

    The file must still hold the bytes that were read; a page that was checked before is found in the index.
    """
    end = perf_counter() + witness.SECONDS
    pages: dict[tuple[str, int], str | None] = {}
    raws: dict[tuple[str, int], str] = {}
    for opened in documents:
        # What a file says of itself is on no page.
        numbers = sorted({source.page for source in sources if source.document == opened.name and source.page})
        if opened.document.kind == "pdf" and numbers:
            texts = _second_pages(opened, numbers, store, password, end - perf_counter())
            pages |= {(opened.name, number): text for number, text in texts.items()}
            raws |= {(opened.name, number): opened.document.pages[number - 1].raw for number in numbers}
    found = []
    for source in sources:
        text = pages.get((source.document, source.page))
        if text is not None:
            raw = raws[source.document, source.page]
            pieces = source.quote.split(BETWEEN) if source.place else [source.quote]
            held = all(quotes.verify_by(piece, text, raw) for piece in pieces)
            source = replace(source, verified=held, checked=SECOND_EXTRACTION)
        found.append(source)
    return found


def _second_pages(
    opened: OpenDocument, numbers: Sequence[int], store: IndexStore, password: str | None, seconds: float
) -> dict[int, str | None]:
    made_by = witness.libraries()
    known = store.read_second(opened.content_hash, made_by)
    missing = [number for number in numbers if number not in known]
    if missing and seconds > 0 and (data := _bytes(opened)) is not None:
        raws = {number: opened.document.pages[number - 1].raw for number in missing}
        new = witness.extract(data, raws, password=password, seconds=seconds)
        with suppress(OSError, ResourceError, UsageError):  # an index that can't be written is read all the same
            store.write_second(opened.content_hash, new, made_by)
        known |= new
    return known


def _bytes(opened: OpenDocument) -> bytes | None:
    """The file's bytes as long as they are those that were read."""
    if opened.data is not None:
        return opened.data
    path = None if opened.path is None else Path(opened.path)
    with suppress(OSError):
        if path is not None and path.is_file():
            data = path.read_bytes()
            return data if sha256_of_bytes(data) == opened.content_hash else None
    return None
