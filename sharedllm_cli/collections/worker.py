"""A process that reads documents: one line of JSON in, the document's text and leaves into the store, one line out.

It is started by `pool.py`. It ends when its input does, so that it never outlives the process that started it. What
libraries print goes to standard error; a document that takes too much memory is refused, not the rest.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from sharedllm_cli.config import TreeConfig
from sharedllm_cli.durable import is_settled, stamp_of
from sharedllm_cli.errors import SharedLLMError
from sharedllm_cli.memory import is_out_of_memory

if __name__ == "__main__":  # before the libraries below load: each process computes on one core
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_name, "1")

from sharedllm_cli.documents.readers import Limits
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Silent
from sharedllm_cli.reading.library import Library, OpenDocument, Shelf
from sharedllm_cli.retrieval.sections import headings

MOST_HEADINGS = 2000
LONGEST_HEADING = 200


def facts_of(opened: OpenDocument) -> dict[str, Any]:
    """What the catalogue keeps of an opened document."""
    document = opened.document
    guessed = not document.outline
    titles: list[list[Any]] = []
    for heading in headings(opened.titled):
        if len(titles) < MOST_HEADINGS:
            page = document.page_at(heading.start).counted
            titles.append([heading.title[:LONGEST_HEADING], heading.level, page, guessed])
    return {
        "content_hash": opened.content_hash,
        "name": opened.name,
        "kind": document.kind,
        "language": opened.leaves.lexical.language,
        "pages": opened.pages,
        "paged": opened.paged,
        "tokens": opened.tokens,
        "chunks": opened.chunks,
        "leaves": opened.leaves.leaf_count,
        "headings": titles,
        "attached": opened.attached,
    }


def read_one(shelf: Shelf, name: str, path: str) -> dict[str, Any]:
    """Read one file into the store; what is known of it then, or why it can't be read."""
    told: dict[str, Any] = {"path": path, "stamp": [], "documents": [], "error": None, "hint": None}
    library = Library([])
    try:
        before = stamp_of(Path(path))
        told["stamp"] = before if is_settled(before) else []
        shelf.open_into(library, [SourceFile(name, Path(path))])
        told["documents"] = [facts_of(opened) for opened in library.documents]
        if library.failures:
            failure = library.failures[0][1]
            told["error"], told["hint"] = failure.message, failure.hint
    except SharedLLMError as failure:
        told["error"], told["hint"] = failure.message, failure.hint
    except OSError as failure:
        told["error"] = f"{name} can't be read ({(failure.strerror or type(failure).__name__).lower()})"
    except Exception as failure:
        if is_out_of_memory(failure):
            told["error"] = f"{name} needs more memory than one of several readers has"
            told["hint"] = "read it by itself, with --workers 1"
        else:
            told["error"] = f"{name} can't be read: internal error: {type(failure).__name__}: {failure}"
            told["hint"] = "this is a bug in sharedllm: report it, if you can with the file"
    if told["error"] is not None:
        told["documents"] = [one for one in told["documents"] if one["attached"]]
    return told


def shelf_of(setup: dict[str, Any]) -> Shelf:
    """The shelf that a line of setup describes; its tokenizer is loaded when a document is new."""
    tree = setup["tree"]
    config = TreeConfig(tree["chunk_tokens"], tree["height"], tuple(tree["ratios"]), tree["encoding"])
    loaded: list[Any] = []

    def tokenizer() -> Any:
        if not loaded:
            from sharedllm_cli.weights.tokenizer_files import read_tokenizer

            loaded.append(read_tokenizer(Path(setup["tokenizer"]))[0])
        return loaded[0]

    reporter = Silent()
    store = IndexStore(setup["store"], reporter)
    return Shelf(
        store,
        tokenizer,
        setup["tokenizer_hash"],
        config,
        reporter,
        password=setup["password"],
        limits=Limits(**setup["limits"]),
        keep=False,
    )


def _limit_memory(most: int) -> None:
    """Let the system refuse this process more memory than its share, where it can."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        if sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def main(lines: TextIO, out: TextIO) -> None:
    """Answer each line until there are no more."""
    setup = json.loads(lines.readline())
    _limit_memory(setup["memory"])
    shelf = shelf_of(setup)
    for line in lines:
        task = json.loads(line)
        out.write(json.dumps(read_one(shelf, task["name"], task["path"])) + "\n")
        out.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then closes the input
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with suppress(BrokenPipeError):
        main(sys.stdin, answers)
