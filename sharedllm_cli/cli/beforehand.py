"""What is known at once is told at once: a document that is missing or can't be read, a folder that can't be written.

The engine finds the same and says it in the same words, but only after the seconds that its libraries take to load.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sharedllm_cli.cli.session import Call
from sharedllm_cli.documents.sources import SourceFile, expand
from sharedllm_cli.errors import DocumentError, UsageError
from sharedllm_cli.home import HOME_ELSEWHERE, INDEX_ELSEWHERE, obstacle
from sharedllm_cli.progress import Silent, Task

HEAD_BYTES = 65536
"""So much of a file tells its kind."""


def refuse_unwritable(call: Call) -> None:
    """UsageError where the folder of indexes is not there and can't be made; one that is there may serve as it is."""
    chosen = call.settings.index_dir
    folder = call.index_folder if chosen else call.home
    if not folder.is_dir() and (why := obstacle(folder)):
        what, elsewhere = ("folder of indexes", INDEX_ELSEWHERE) if chosen else ("home folder", HOME_ELSEWHERE)
        raise UsageError(f"the {what} {folder} can't be used: {why}", hint=elsewhere)


def refuse_unreadable(call: Call, documents: Sequence[str], *, reindex: bool = False) -> None:
    """The first document's DocumentError where none of them can be read; else the engine tells of each.

    Looks at names, at the beginnings of files, and whether a PDF opens: what it lets pass may still not be readable.
    """
    missing: list[tuple[str, DocumentError]] = []
    sources = expand(documents, missing)
    problems = [problem for _, problem in missing]
    for source in sources:
        try:
            _look(call, source, reindex)
        except DocumentError as problem:
            problems.append(problem)
        else:
            return
    if problems:
        raise problems[0]


def _look(call: Call, source: SourceFile, reindex: bool) -> None:
    from sharedllm_cli.documents import formats, readers

    if source.path is None or not source.path.is_file():  # standard input and pipes can be read only once
        return
    try:
        with source.path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        readers.content_hash(source)  # which says why
        return
    if not head.strip() and len(head) < HEAD_BYTES:
        raise DocumentError(f"{source.name} is empty")
    whole = source.path.read_bytes() if head.startswith(b"PK") else head  # an archive's list of files stands at its end
    if formats.sniff(whole, source.name) == "pdf" and (reindex or not _indexed(call, source)):
        _open_pdf(call, source)


def _indexed(call: Call, source: SourceFile) -> bool:
    """Whether a document has an index already, so that its file need not open any more."""
    from sharedllm_cli.documents import readers
    from sharedllm_cli.index.store import IndexStore

    content_hash, _ = readers.content_hash(source)
    return IndexStore(call.index_folder).folder(content_hash) is not None


def _open_pdf(call: Call, source: SourceFile) -> None:
    from sharedllm_cli.documents import readers

    try:
        readers.read(source, password=call.settings.password, reporter=_UntilPages())
    except _OpenedError:
        return


class _OpenedError(Exception):
    """The document has opened, and its pages would be read next."""


class _UntilPages(Silent):
    """Ends the reading of a document where its pages begin: reading them takes as long as it is long."""

    @contextmanager
    def task(self, description: str, total: int, unit: str) -> Iterator[Task]:
        yield from self._stop()

    def _stop(self) -> Iterator[Task]:
        raise _OpenedError
