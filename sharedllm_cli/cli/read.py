"""`sharedllm read`: the text of a document as the tool reads it, or its headings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from sharedllm_cli.cli.call import Call
from sharedllm_cli.cli.options import OUTPUT, Pages, Section, argument, option, with_settings
from sharedllm_cli.cli.preflight import announce_stdin, page_range
from sharedllm_cli.cli.terminal.console import one_line
from sharedllm_cli.documents.pages import Document, Page, resolve
from sharedllm_cli.documents.sources import expand
from sharedllm_cli.errors import DocumentError, UsageError

if TYPE_CHECKING:
    from sharedllm_cli.retrieval.sections import Heading, Titled


@with_settings("password", "index_dir")
def read(
    call: Call,
    document: Annotated[str, argument("DOC", "A file (PDF, txt, md, rst, html, epub), or - for standard input.")],
    pages: Pages = None,
    section: Section = None,
    outline: Annotated[
        bool, option("--outline", "Print the headings with their pages instead of the text.", OUTPUT)
    ] = False,
) -> int:
    """Print the text of a document as questions read it: pages in order, running heads once, lines joined.

    It asks no model and stores nothing; an indexed document is read from its index.
    """
    wanted = page_range(pages)
    announce_stdin(call, [document])
    found = opened(call, document)
    numbers = _numbers(call, found, wanted)
    spans = [(0, len(found.text))] if section is None else _spans(found, section)
    chosen = [piece for first, end in spans for piece in found.page_spans(first, end) if piece[0].number in numbers]
    titles = [
        (heading, found.page_at(heading.start))
        for heading in _headings(found)
        if any(first <= heading.start < end for first, end in spans)
    ]
    titles = [(heading, page) for heading, page in titles if page.number in numbers]
    if section is not None and not chosen:
        raise UsageError(f"--section {section}: nothing of it is on these pages")
    if found.attachments:
        names = ", ".join(attachment.name for attachment in found.attachments)
        call.console.warn(f"{found.name} carries documents of its own, which are not printed: {names}")
    if call.json:
        call.console.json(as_json(found, chosen, titles, outline=outline))
    elif outline:
        for heading, page in titles:
            place = f"  page {page.label or page.counted}" if found.paged or page.label else ""
            call.console.line_as_is(f"{'  ' * (heading.level - 1)}{one_line(heading.title)}{place}")
        if not titles:
            call.console.note("no headings were found")
    else:
        for page, first, end in chosen:
            if found.paged or page.part is not None:
                call.console.line_as_is(f"[{_mark(page)}]")
            call.console.write(found.text[first:end].strip("\n") + "\n\n")
    return 0


def opened(call: Call, argument: str) -> Document:
    """The document that an argument names: from its index where there is one, else from its file."""
    from sharedllm_cli.documents.readers import named
    from sharedllm_cli.index.store import IndexStore

    missing: list[tuple[str, DocumentError]] = []
    sources = expand([argument], missing)
    if missing and not sources:
        raise missing[0][1]
    if len(sources) > 1:
        raise UsageError(f"{argument} is {len(sources)} documents; read them one by one")
    store = IndexStore(call.index_folder)
    probe = store.probe(sources[0], call.settings.password)
    stored = store.read_text(probe.content_hash)
    if stored is None:
        return probe.read(call.console)
    found = named(stored, sources[0])
    call.console.warn_all(found.warnings)
    return found


def _numbers(call: Call, document: Document, wanted: Any) -> frozenset[int]:
    if wanted is None:
        return frozenset(page.number for page in document.pages)
    found = resolve(wanted, document)
    if found.remark:
        call.console.note(found.remark)
    return frozenset(number for first, last in found.spans for number in range(first, last + 1))


def _titled(document: Document) -> Titled:
    from sharedllm_cli.retrieval.sections import Titled

    starts = {page.counted: page.start for page in reversed(document.pages)}
    outline = [(entry.title, entry.level, starts.get(entry.page, 0)) for entry in document.outline]
    return Titled(document.name, document.text, outline)


def _headings(document: Document) -> list[Heading]:
    from sharedllm_cli.retrieval.sections import headings

    return list(headings(_titled(document)))


def _spans(document: Document, section: str) -> list[tuple[int, int]]:
    """The characters of the sections that a name or a number means; UsageError where none is like it."""
    from sharedllm_cli.retrieval import numbered

    if not section.strip():
        raise UsageError("--section needs a heading or its number", hint='for example: --section "4.2"')
    titled = _titled(document)
    found = numbered.find(section, titled)
    if not found:
        near = numbered.near_names(section, [titled])
        hint = f"nearest are: {'; '.join(near)}" if near else "the document has no headings that can be told"
        raise UsageError(f"--section: no heading is like {section.strip()!r:.80}", hint=hint)
    return [(part.start, part.end) for part in found]


def _mark(page: Page) -> str:
    if page.part is not None:
        part = f"part {page.part}" + (f", {one_line(page.part_title)}" if page.part_title else "")
        return f"page {page.label}, {part}" if page.label else part
    label = one_line(page.label or "")
    return f"page {page.number}" if label in ("", str(page.number)) else f"page {label} ({page.number})"


def as_json(
    document: Document, pages: list[tuple[Page, int, int]], titles: list[tuple[Heading, Page]], *, outline: bool
) -> dict[str, Any]:
    """The object of `read --json`: pages with their text, or with `outline` the headings alone."""
    found: dict[str, Any] = {"document": document.name, "kind": document.kind, "page_count": document.page_count}
    found["outline"] = [
        {"title": heading.title, "level": heading.level, "page": page.counted, "page_label": page.label}
        for heading, page in titles
    ]
    if not outline:
        found["pages"] = [
            {
                "page": page.counted,
                "page_label": page.label,
                "part": page.part,
                "part_title": page.part_title,
                "text": document.text[first:end].strip("\n"),
            }
            for page, first, end in pages
        ]
    found["warnings"] = list(document.warnings)
    return found
