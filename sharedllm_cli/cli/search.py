"""`sharedllm search`: the best passages of documents for some words, without an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

from sharedllm_cli.answer import SearchResult, Source
from sharedllm_cli.cli.call import Call, calm_libraries
from sharedllm_cli.cli.options import (
    MODEL,
    OUTPUT,
    READ_LIMITS,
    READING,
    SERVED,
    Pages,
    Reindex,
    argument,
    option,
    with_settings,
)
from sharedllm_cli.cli.preflight import (
    announce_stdin,
    exit_code,
    failure_text,
    named_collections,
    open_documents,
    page_range,
    probe_first,
    refuse_unwritable,
    report_failures,
    split_question,
)
from sharedllm_cli.cli.terminal.answers import INDENT, excerpt, place_text
from sharedllm_cli.cli.terminal.console import harmless, one_line
from sharedllm_cli.config import MAX_SOURCES
from sharedllm_cli.documents.sources import FORMATS
from sharedllm_cli.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from sharedllm_cli.documents.readers import Probe
    from sharedllm_cli.reading.library import Library
    from sharedllm_cli.reading.searching import WordSearcher
    from sharedllm_cli.serving.shell_client import WarmLibrary

WORDS, POLICIES = "bm25", ("bm25", "hybrid", "hybrid-words", "meaning", "late")
SHOWN_WORDS = 60
"""Words of a passage shown at a terminal, in whole sentences; elsewhere and with --verbose all of them."""


@with_settings(*MODEL.names, *SERVED.names, "password", "index_dir", *READ_LIMITS)
def search(
    call: Call,
    arguments: Annotated[
        list[str],
        argument(
            "DOC... QUERY",
            f"Files ({FORMATS}), folders, globs, @collections, or -; then the words.",
        ),
    ],
    policy: Annotated[
        str,
        option(
            "--policy",
            "How passages are scored: bm25 by words, at once; the others load the model.",
            READING.title,
            metavar="|".join(POLICIES),
        ),
    ] = WORDS,
    pages: Pages = None,
    reindex: Reindex = False,
    limit: Annotated[int, option("--limit -n N", "Show at most N passages.", OUTPUT)] = MAX_SOURCES,
    min_score: Annotated[
        float | None, option("--min-score X", "Leave out passages with a lower score.", OUTPUT)
    ] = None,
    files: Annotated[
        bool, option("--files", "Print only the paths of the documents found, best first.", OUTPUT)
    ] = False,
) -> int:
    """Find the best passages for some words, with page, heading and exact text.

    It asks no model, and shares the index of `ask`: a document is read once.
    """
    documents, query = split_question(arguments, of="search")
    if policy not in POLICIES:
        raise UsageError(f"--policy must be one of {', '.join(POLICIES)}, got {policy!r}")
    if files and call.json:
        raise UsageError("--files and --json exclude each other")
    wanted = page_range(pages)
    announce_stdin(call, documents)
    call = replace(call, resolved=replace(call.resolved, settings=replace(call.settings, policy=policy)))
    # What is read anew, comes through a pipe or has to be opened for its path is looked for here.
    warm = None if reindex or files or "-" in documents else call.warm_engine(documents)
    if warm is not None and (there := warm.search(documents, query, limit=limit, min_score=min_score, pages=wanted)):
        report_failures(call, there[0].failures)
        show(call, *there, files=False)
        return exit_code(there[0].failures)
    from sharedllm_cli.reading.searching import Search, WordSearcher

    asked = Search(query, limit, min_score)
    if policy == WORDS:
        refuse_unwritable(call)
        probe = probe_first(call, documents, reindex=reindex)
        calm_libraries(verbose=call.console.verbose)
        words = WordSearcher(call.settings, home=call.home, reporter=call.console)
        library = _opened(words, documents, reindex=reindex, probe=probe)
        library = library.narrowed(query)
        report_failures(call, library.failures)
        found = words.search(library, asked, pages=wanted)
    else:
        engine, library = open_documents(call, documents, reindex=reindex)
        library = library.narrowed(query)
        found = engine.search(library, asked, pages=wanted)
    show(call, library, found, files=files)
    return exit_code(library.failures)


def _opened(words: WordSearcher, documents: Sequence[str], *, reindex: bool, probe: Probe | None) -> Library:
    """The documents open, to be searched by words; without loading a model, be they named or of collections."""
    if not named_collections(documents):
        return words.open(documents, reindex=reindex, probe=probe)
    from sharedllm_cli.collections.opening import open_words

    return open_words(words, documents, reindex=reindex, probe=probe)


def show(call: Call, library: Library | WarmLibrary, found: SearchResult, *, files: bool) -> None:
    """Print the passages, or the object of `--json`, or with `files` the paths of their documents."""
    console = call.console
    if call.json:
        shown = found.to_json()
        shown["warnings"] += [failure_text(name, error) for name, error in library.failures]
        shown["not_read"] = [asdict(file) for file in library.not_read]
        console.json(shown)
        return
    console.warn_all(found.warnings)
    if files:
        paths = {opened.name: opened.path or opened.name for opened in library.documents}
        for name in dict.fromkeys(source.document for source in found.passages):
            console.line(paths[name])
        return
    for number, source in enumerate(found.passages, 1):
        for line in _passage(number, source, found, several=library.several, whole=console.verbose):
            console.result(line)
    if not found.passages:
        console.note(_nothing(found))
    elif found.missing:
        console.note(f"words that the documents do not contain: {', '.join(map(one_line, found.missing))}")


def _passage(
    number: int, source: Source, found: SearchResult, *, several: bool, whole: bool
) -> Sequence[RenderableType]:
    from rich.text import Text

    from sharedllm_cli.cli.terminal.screen import Hanging

    head = Text.assemble(*place_text(source, several=several))
    head.append(f"  {source.score:.2f}", style="dim")
    shown = excerpt(harmless(source.quote), found.query, whole=whole, most=SHOWN_WORDS)
    words = Text("… " if shown.cut_before else "")
    for place, (word, wanted) in enumerate(zip(shown.words, shown.wanted, strict=True)):
        words.append(" " if place else "")
        words.append(word, style="bold" if wanted else "")
    words.append(" …" if shown.cut_after else "")
    return [Hanging(head, Text(f"{number:3}  ", style="bold cyan")), Hanging(words, Text(INDENT))]


def _nothing(found: SearchResult) -> str:
    if found.missing and not found.matched:
        return f"the documents contain none of these words: {', '.join(map(one_line, found.missing))}"
    return "no passage was found"
