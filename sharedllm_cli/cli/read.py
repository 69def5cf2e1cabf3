"""`sharedllm read`: the text of a document as the tool reads it, or its headings."""

from __future__ import annotations

from typing import Annotated

from sharedllm_cli.cli.call import Call
from sharedllm_cli.cli.options import OUTPUT, READ_LIMITS, Pages, Section, argument, option, with_settings
from sharedllm_cli.cli.preflight import announce_stdin, named_collections, page_range
from sharedllm_cli.cli.terminal.console import one_line
from sharedllm_cli.documents.pages import Page
from sharedllm_cli.documents.sources import FORMATS


@with_settings("password", "index_dir", *READ_LIMITS)
def read(
    call: Call,
    document: Annotated[str, argument("DOC", f"A file ({FORMATS}), a @collection of one document, or -.")],
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
    from sharedllm_cli.index.store import IndexStore
    from sharedllm_cli.reading import document_text

    paths = None
    if named_collections([document]):
        from sharedllm_cli.collections.opening import paths_of

        paths = paths_of([document], call.home)
    found = document_text.opened(IndexStore(call.index_folder), document, call.settings, call.console, paths=paths)
    chosen = document_text.chosen(found, wanted, section)
    if chosen.remark:
        call.console.note(chosen.remark)
    if carried := document_text.carried(found):
        call.console.warn(carried)
    if call.json:
        call.console.json(document_text.as_json(found, chosen, outline=outline))
    elif outline:
        for heading, page in chosen.titles:
            place = f"  page {page.label or page.counted}" if found.page_count or page.label else ""
            if page.part is not None and not page.label:
                place = f"  part {page.part}"
            call.console.line_as_is(f"{'  ' * (heading.level - 1)}{one_line(heading.title)}{place}")
        if not chosen.titles:
            call.console.note("no headings were found")
    else:
        for page, first, end in chosen.pages:
            if found.paged or page.part is not None:
                call.console.line_as_is(f"[{_mark(page)}]")
            call.console.write(found.text[first:end].strip("\n") + "\n\n")
    return 0


def _mark(page: Page) -> str:
    if page.part is not None:
        part = f"part {page.part}" + (f", {one_line(page.part_title)}" if page.part_title else "")
        return f"page {page.label}, {part}" if page.label else part
    label = one_line(page.label or "")
    return f"page {page.number}" if label in ("", str(page.number)) else f"page {label} ({page.number})"
