"""What is known at once is reported at once: a document that can't be read, a folder that can't be written.

The engine would find the same, in the same words, but only after its libraries have loaded for seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sharedllm_cli.cli.session import Call
from sharedllm_cli.documents.sources import SourceFile, expand
from sharedllm_cli.errors import DocumentError, UsageError
from sharedllm_cli.home import HOME_ELSEWHERE, INDEX_ELSEWHERE, obstacle

if TYPE_CHECKING:
    from sharedllm_cli.documents.readers import Probe


def refuse_unwritable(call: Call) -> None:
    """UsageError where the folder of indexes is not there and can't be made; one that is there may serve as it is."""
    chosen = call.settings.index_dir
    folder = call.index_folder if chosen else call.home
    if not folder.is_dir() and (why := obstacle(folder)):
        what, elsewhere = ("folder of indexes", INDEX_ELSEWHERE) if chosen else ("home folder", HOME_ELSEWHERE)
        raise UsageError(f"the {what} {folder} can't be used: {why}", hint=elsewhere)


def probe_first(call: Call, documents: Sequence[str], *, reindex: bool = False) -> Probe | None:
    """The first document that can be read, as far as one look shows: the engine goes on from it.

    None for standard input and pipes, which the engine reads. Raises the first document's DocumentError where none can
    be read; otherwise the engine reports each that can't.
    """
    missing: list[tuple[str, DocumentError]] = []
    sources = expand(documents, missing)
    problems = [problem for _, problem in missing]
    for source in sources:
        try:
            return _probe(call, source, reindex)
        except DocumentError as problem:
            problems.append(problem)
    if problems:
        raise problems[0]
    return None


def _probe(call: Call, source: SourceFile, reindex: bool) -> Probe | None:
    from sharedllm_cli.index.store import IndexStore

    if source.path is None or source.path.is_fifo():
        return None
    store = IndexStore(call.index_folder)
    probe = store.probe(source, call.settings.password)
    if not reindex and store.folder(probe.content_hash) is not None:
        probe.forget()  # its index serves: the file need not even open any more
    else:
        probe.open()
    return probe
