"""From passages, given in tokens, to the words and pages of the documents: the evidence and the sources.

Quotes are held against a second extraction of their pages (`checked`), once an answer is there and only for the pages
it shows. A PDF is read by one library; the other one's text of the same page is a witness that no mistake of the first
can bend. Other formats have one text alone, and what is cut from it can't but stand in it. What was recognised in an
image can be held against nothing.
A file is read again only if its bytes are still those that were read (`original`).
Knows opened documents, their files and numbers; no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from sharedllm_cli.answer import FILE_METADATA, IMAGE, OWN_TEXT, SECOND_EXTRACTION, Source, part_words
from sharedllm_cli.config import MAX_SOURCES
from sharedllm_cli.documents import furniture, quotes
from sharedllm_cli.documents.furniture import BETWEEN
from sharedllm_cli.documents.pages import Document, PageRange, Spans, resolve
from sharedllm_cli.documents.readers import Probe
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.durable import sha256_of_bytes
from sharedllm_cli.errors import DocumentError, ResourceError, UsageError
from sharedllm_cli.generation.grounding import Nearness
from sharedllm_cli.generation.prompt import PassageText
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.retrieval.boundaries import TokenText
from sharedllm_cli.retrieval.passages import Passage
from sharedllm_cli.retrieval.tables import heading_above, written_out

_PAGE_NUMBER = re.compile(r"[\divxlc]+", re.IGNORECASE)
"""All that a quote has on the other side of a page break, where it is no more than the page's number."""

_NOUNS = {"epub": "book", "html": "page"}
UNQUOTED_SUPPORT = 2
"""An answer in other words than the document's rests on the best passages, this many of them."""
TokenRanges = list[tuple[int, int]]
"""Stretches of a document's tokens, `[first, end)` each."""


def token_text(opened: OpenDocument) -> TokenText:
    """A document as evidence selection sees it: characters, tokens and leaves."""
    leaves = opened.leaves
    return TokenText(opened.document.text, leaves.tokens.starts, leaves.tokens.ends, leaves.leaf_spans)


def characters(opened: OpenDocument, first_token: int, end_token: int) -> tuple[int, int]:
    """The span of some tokens in the document's text, without white space at either end."""
    tokens, text = opened.leaves.tokens, opened.document.text
    start, end = int(tokens.starts[first_token]), int(tokens.ends[end_token - 1])
    words = text[start:end]
    start += len(words) - len(words.lstrip())
    return start, start + len(words.strip())


def passage_at(opened: OpenDocument, document: int, start: int, end: int) -> Passage:
    """The passage of some characters of a document, `document` its place in the question; at least one token."""
    leaves = opened.leaves
    first = min(int(np.searchsorted(leaves.tokens.ends, start, side="right")), leaves.token_count - 1)
    stop = int(np.searchsorted(leaves.tokens.starts, end))
    leaf = int(np.searchsorted(leaves.leaf_spans[:, 0], first, side="right")) - 1
    return Passage(document, first, max(stop, first + 1), 0.0, max(leaf, 0))


def page_tokens(opened: OpenDocument, spans: Spans) -> TokenRanges:
    """The tokens on some pages; no range where they hold no text."""
    pages, starts = opened.document.pages, opened.leaves.tokens.starts
    ranges = []
    for first, last in spans:
        begin, end = np.searchsorted(starts, [pages[first - 1].start, pages[last - 1].end])
        if begin < end:
            ranges.append((int(begin), int(end)))
    return ranges


def allowed_tokens(
    documents: Sequence[OpenDocument], pages: PageRange | str | tuple[int, int] | None
) -> tuple[list[TokenRanges | None], list[str]]:
    """The tokens of each document that may be read (None: all), and what must be told of how the pages were meant.

    `pages` as a user writes them, or the first and the last as counted. UsageError where no document has such pages, or
    none of them holds text.
    """
    if pages is None:
        return [None] * len(documents), []
    wanted = PageRange.of(pages)
    allowed: list[TokenRanges | None] = []
    told: list[str] = []
    problems: list[UsageError] = []
    for opened in documents:
        try:
            found = resolve(wanted, opened.document)
        except UsageError as problem:
            problems.append(problem)
            allowed.append([])
            told.append(f"{problem.message}: nothing of it is read")
            continue
        allowed.append(page_tokens(opened, found.spans))
        told += [found.remark] if found.remark else []
    if len(problems) == len(documents):
        raise problems[0]
    if not any(allowed):
        verb = "hold" if wanted.words.startswith("pages") else "holds"
        raise UsageError(f"--pages: {wanted.words} {verb} no text", hint="if they are scanned: --ocr")
    return allowed, told


def supporting_first(found: Sequence[Source], question: str, answer: str) -> list[Source]:
    """The sources with those first that the answer rests on, marked as such.

    These hold the answer word for word, the one among most of the question's words first; where none does, they are
    the best that were read. The others keep their order behind them.
    """
    near = Nearness(question, [source.quote for source in found]).shares(answer)
    worth = [-1.0 if share is None or not source.read else share for source, share in zip(found, near, strict=True)]
    order = sorted(range(len(found)), key=lambda place: -worth[place])
    best = max(worth, default=-1.0)
    if best >= 0:
        supporting = {place for place in order if worth[place] >= best / 2}
    else:
        supporting = set([place for place in order if found[place].read][:UNQUOTED_SUPPORT])
    return [replace(found[place], supports=place in supporting) for place in order]


def answering_first(found: Sequence[Source], answer: str) -> list[Source]:
    """The sources with those first that hold the answer as it is written; the others keep their order behind them."""
    said = answer.strip().rstrip(".").casefold()
    return sorted(found, key=lambda source: said not in source.quote.casefold()) if said else list(found)


def passage_text(opened: OpenDocument, passage: Passage, sought: Sequence[int] = ()) -> list[PassageText]:
    """A passage as it stands in the prompt: one piece a page, so that every word knows its page.

    Rows of a table have its heading before them. `sought` are the characters at which words of the question stand: the
    rows with most of them name their columns.
    """
    start, end = characters(opened, passage.first_token, passage.end_token)
    pieces = []
    for page, first, last in opened.document.page_spans(start, end):
        text = written_out(opened.document.text, first, last, sought).strip()
        number = page.number if opened.paged and page.part is None else None
        if text:
            part = None if page.part is None else part_words(page.part, page.part_title)
            pieces.append(PassageText(opened.name, number, page.label, text, passage.score, part))
    return pieces


def metadata_source(opened: OpenDocument, score: float) -> Source:
    """What a document's file says of itself, as a source."""
    from sharedllm_cli.documents import metadata

    return Source(
        document=opened.name,
        page=0,
        page_label=None,
        quote=metadata.words(opened.document.metadata),
        verified=True,
        score=round(score, 4),
        chunk=0,
        level=0,
        node=0,
        paged=opened.paged,
        pages=opened.pages,
        place=FILE_METADATA,
    )


def metadata_piece(opened: OpenDocument, score: float) -> PassageText:
    """The same as it stands in the prompt."""
    from sharedllm_cli.documents import metadata

    noun = _NOUNS.get(opened.document.kind, "document")
    return PassageText(opened.name, None, None, metadata.sentences(opened.document.metadata, noun), score)


def sources(
    documents: Sequence[OpenDocument],
    ranked: Sequence[Passage],
    *,
    read: bool = True,
    supports: bool = False,
    limit: int = MAX_SOURCES,
) -> list[Source]:
    """The quotes as sources, best first, at most `limit`; one that crosses a page break is one source a page.

    Of a quote that crosses one, a page number alone is left out. `read`: the model has read them; `supports`: the
    answer rests on them.

    A quote is verified against the page's own extraction, until a second one is at hand (`checked`).
    """
    found: list[Source] = []
    for passage in ranked:
        opened = documents[passage.document]
        node = opened.leaves.leaf_node(passage.best_leaf)
        start, end = characters(opened, passage.first_token, passage.end_token)
        spans = opened.document.page_spans(start, end)
        quotes_of = [
            (page, *piece) for page, first, last in spans for piece in _told_apart(opened.document, first, last)
        ]
        alone = len(quotes_of) == 1
        for page, first, text, place in quotes_of:
            quote = text.strip()
            if not quote or (not alone and _PAGE_NUMBER.fullmatch(quote)) or len(found) == limit:
                continue
            found.append(
                Source(
                    document=opened.name,
                    page=page.counted,
                    page_label=page.label,
                    quote=quote,
                    verified=not page.recognised and _stands_in(quote, page.raw, place),
                    checked=IMAGE if page.recognised else OWN_TEXT,
                    score=round(passage.score, 4),
                    chunk=node.chunk,
                    level=node.level,
                    node=node.index,
                    read=read,
                    paged=opened.paged,
                    supports=supports,
                    heading=opened.heading_over(first, first + len(text)),
                    part=page.part,
                    part_title=page.part_title,
                    pages=opened.pages,
                    place=place,
                    columns=heading_above(opened.document.text, first),
                )
            )
    return found


def _stands_in(quote: str, raw: str, place: str | None) -> bool:
    return quotes.verify_apart(quote, raw, BETWEEN) if place else quotes.verify(quote, raw)


def _told_apart(document: Document, start: int, end: int) -> Iterator[tuple[int, str, str | None]]:
    """A stretch of a page as text, and as the heads and feet that are kept in it: start, words, and these' places.

    A head is quoted whole, without the words that say where it stands.
    """
    for first, last in document.furniture:
        if last <= start or end <= first:
            continue
        if start < first:
            yield start, document.text[start:first], None
        place, words = furniture.parsed(document.text[first:last]) or (None, document.text[first:last])
        yield first, words, place
        start = last
    if start < end:
        yield start, document.text[start:end], None


def checked(
    sources: Sequence[Source], documents: Sequence[OpenDocument], store: IndexStore, password: str | None
) -> list[Source]:
    """The sources, each held against the second extraction of its page where the document has one.

    The file must still hold the bytes that were read; a page that was checked before is found in the index.
    """
    started = perf_counter()
    pages: dict[tuple[str, int], str | None] = {}
    raws: dict[tuple[str, int], str] = {}
    for opened in documents:
        # What a file says of itself is on no page.
        own = [source for source in sources if source.document == opened.name and source.checked != IMAGE]
        numbers = sorted({source.page for source in own if source.page})
        if opened.document.kind == "pdf" and numbers:
            texts = _second_pages(opened, numbers, store, documents, password, perf_counter() - started)
            pages |= {(opened.name, number): text for number, text in texts.items()}
            raws |= {(opened.name, number): opened.document.pages[number - 1].raw for number in numbers}
    found = []
    for source in sources:
        text = pages.get((source.document, source.page)) if source.checked != IMAGE else None
        if text is not None:
            raw = raws[source.document, source.page]
            pieces = source.quote.split(BETWEEN) if source.place else [source.quote]
            held = all(quotes.verify_by(piece, text, raw) for piece in pieces)
            source = replace(source, verified=held, checked=SECOND_EXTRACTION)
        found.append(source)
    return found


def _second_pages(
    opened: OpenDocument,
    numbers: Sequence[int],
    store: IndexStore,
    documents: Sequence[OpenDocument],
    password: str | None,
    spent: float,
) -> dict[int, str | None]:
    """The second texts of some pages; `spent` are the seconds that other documents' pages took."""
    from sharedllm_cli.documents.pdf import witness

    seconds = witness.SECONDS - spent
    made_by = witness.libraries()
    known = store.read_second(opened.content_hash, made_by)
    missing = [number for number in numbers if number not in known]
    if missing and seconds > 0 and (data := original(opened, documents, password).data) is not None:
        raws = {number: opened.document.pages[number - 1].raw for number in missing}
        new = witness.extract(data, raws, password=password, seconds=seconds)
        with suppress(OSError, ResourceError, UsageError):  # an index that can't be written is read all the same
            store.write_second(opened.content_hash, new, made_by)
        known |= new
    return known


@dataclass(frozen=True)
class Original:
    """A document's bytes, or why they can't be had, as a sentence."""

    data: bytes | None
    reason: str = ""


def original(opened: OpenDocument, documents: Sequence[OpenDocument] = (), password: str | None = None) -> Original:
    """The document's bytes. `documents` are all that are open: an attachment's bytes lie in the one that carries it."""
    if opened.data is not None:
        return Original(opened.data)
    if opened.attached:
        return _inside(opened, documents, password)
    if opened.path is None:
        return Original(None, f"{opened.name} was not kept")
    path = Path(opened.path)
    try:
        if not path.is_file():
            return Original(None, f"{opened.name} is no longer there")
        data = path.read_bytes()
    except OSError as failure:
        return Original(None, f"{opened.name} can't be read ({(failure.strerror or 'unknown').lower()})")
    if sha256_of_bytes(data) != opened.content_hash:
        return Original(None, f"{opened.name} has changed since it was read")
    return Original(data)


def _inside(opened: OpenDocument, documents: Sequence[OpenDocument], password: str | None) -> Original:
    """The bytes of an attachment, taken out of the file that carries it."""
    for outer in documents:
        if outer.attached or not any(file.content_hash == opened.content_hash for file in outer.document.attachments):
            continue
        carrier = original(outer, (), password)
        if carrier.data is None:
            return Original(None, carrier.reason)
        source = SourceFile(outer.name, None)
        try:
            data = Probe(source, password=password, data=carrier.data).attached().get(opened.content_hash)
        except DocumentError as failure:
            return Original(None, failure.message)
        if data is not None:
            return Original(data)
    return Original(None, f"{opened.name} can't be taken out of the file that carries it")
