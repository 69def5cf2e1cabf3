"""`sharedllm collections`: named sets of documents, which `@NAME` stands for wherever a document does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sharedllm_cli.cli.call import Call
from sharedllm_cli.cli.help import Command, Group
from sharedllm_cli.cli.options import (
    ClusterOption,
    FailuresFile,
    Workers,
    Yes,
    argument,
    complete_collections,
    option,
    with_settings,
)
from sharedllm_cli.cli.preflight import agreed, write_failures
from sharedllm_cli.cli.terminal.tables import number_of, plain, show_facts, show_table, size
from sharedllm_cli.documents.sources import told
from sharedllm_cli.errors import DocumentError, UsageError

if TYPE_CHECKING:
    from sharedllm_cli.collections.catalogue import DocumentRow, FileRow
    from sharedllm_cli.collections.names import Collection
    from sharedllm_cli.collections.pool import Setup
    from sharedllm_cli.collections.updating import Reading, UpdateOutcome

app = typer.Typer(help="Manage named sets of documents: @NAME names one.", cls=Group)

UPDATING = "Updating"
SHOWN_FILES = 5
"""An update names so many files of each kind; --verbose names all."""
READING_SETTINGS = (
    "model",
    "adapter",
    "offline",
    "password",
    "ocr",
    "index_dir",
    "chunk_tokens",
    "tree_height",
    "ratios",
)

Name = Annotated[
    str, argument("NAME", "The collection's name, with or without @.", autocompletion=complete_collections)
]
Names = Annotated[
    list[str] | None,
    argument("[NAME...]", "Collections; all where none is named.", autocompletion=complete_collections),
]
Rebuild = Annotated[
    bool, option("--rebuild", "Make the catalogue anew from the files; what was read is not read again.", UPDATING)
]
Retry = Annotated[bool, option("--retry", "Try again to read files that could not be read.", UPDATING)]
TreesFor = Annotated[
    str,
    option(
        "--trees", "Build trees: none, or hot for the documents that answers rested on.", UPDATING, metavar="none|hot"
    ),
]
Budget = Annotated[
    str,
    option("--trees-budget SIZE", "Disk for these trees (500MB, 20GB); those asked longest ago go first.", UPDATING),
]
WORDS = {
    "new": "new",
    "changed": "changed",
    "moved": "moved",
    "copy": "copies",
    "gone": "gone",
    "failed": "could not be read",
}


@app.command(cls=Command)
@with_settings(*READING_SETTINGS)
def add(
    call: Call,
    name: Name,
    paths: Annotated[
        list[str], argument("PATH...", "Files, folders or globs, which every update looks through again.")
    ],
    workers: Workers = None,
    cluster: ClusterOption = None,
    failures_file: FailuresFile = None,
) -> int:
    """Make a collection of documents, or add to one, and read them.

    An interrupted run goes on where it stopped. A file .sharedllmignore in a folder leaves files out, as .gitignore.
    """
    from sharedllm_cli.collections.names import checked_name, made, split
    from sharedllm_cli.documents.sources import expand

    checked_name(name)
    if "-" in paths:
        raise UsageError("a collection is made of files and folders, not of standard input")
    if others := split(paths)[0]:
        raise UsageError(f"a collection can't hold another one: @{others[0]}", hint="`ask @a @b` asks several")
    missing: list[tuple[str, DocumentError]] = []
    expand(paths, missing)
    if missing:
        raise missing[0][1]
    return _updated(call, [made(call.home, name, paths)], workers, cluster, failures_file)


@app.command(cls=Command)
@with_settings(*READING_SETTINGS, "device", "quantize")
def update(
    call: Call,
    names: Names = None,
    workers: Workers = None,
    cluster: ClusterOption = None,
    failures_file: FailuresFile = None,
    rebuild: Rebuild = False,
    retry: Retry = False,
    trees: TreesFor = "none",
    trees_budget: Budget = "10GB",
) -> int:
    """Read what is new or has changed in collections, and forget what is gone.

    What moved keeps its index; nothing is read twice. A question reads a few changed files by itself.
    """
    from sharedllm_cli.collections.names import existing, find

    if trees not in ("none", "hot"):
        raise UsageError(f"--trees must be one of none, hot, got {trees!r}")
    budget = bytes_of(trees_budget)
    chosen = [find(call.home, name) for name in names] if names else existing(call.home)
    if not chosen:
        raise UsageError("there is no collection", hint="make one with: sharedllm collections add NAME PATH...")
    quiet = trees == "hot" and call.json
    code = _updated(call, chosen, workers, cluster, failures_file, rebuild=rebuild, retry=retry, quiet_json=quiet)
    if trees == "hot":
        _build_hot(call, chosen, budget)
    return code


def _build_hot(call: Call, chosen: Sequence[Collection], budget: int) -> None:
    from sharedllm_cli.collections.hot_trees import keep_hot

    found = [keep_hot(collection, call.engine(), budget) for collection in chosen]
    if call.json:
        call.console.json({"collections": [plain(one) for one in found]})
        return
    for one in found:
        trees = f"trees of {number_of(one.kept, 'document')}, {size(one.bytes)}"
        call.console.line(f"@{one.name}: {trees}; built {one.built}, deleted {one.deleted}")


def _updated(
    call: Call,
    chosen: Sequence[Collection],
    workers: int | None,
    cluster: str | None,
    failures_file: Path | None,
    *,
    rebuild: bool = False,
    retry: bool = False,
    quiet_json: bool = False,
) -> int:
    """Update collections one by one and say what was found; the exit code."""
    from sharedllm_cli.collections.opening import setup_for
    from sharedllm_cli.collections.updating import update as bring_up

    call.console.kept = "what was read is kept; run the same command again to continue"
    setup = setup_for(call.settings, call.home, call.console)
    outcomes = []
    with _reader(call, cluster, setup, workers) as read:
        for collection in chosen:
            outcome = bring_up(
                collection, setup, call.console, workers=workers, rebuild=rebuild, retry=retry, read=read
            )
            outcomes.append(outcome)
            if not call.json:
                tell(call, outcome)
    if failures_file is not None:
        write_failures(failures_file, [one for outcome in outcomes for one in outcome_json(outcome)["failures"]])
    if call.json and not quiet_json:
        call.console.json({"collections": [outcome_json(outcome) for outcome in outcomes]})
    return DocumentError.exit_code if any(outcome.failed or outcome.problems for outcome in outcomes) else 0


@contextmanager
def _reader(call: Call, cluster: str | None, setup: Setup, workers: int | None) -> Iterator[Reading | None]:
    """What reads files on a cluster of Ray; None where no cluster was asked for."""
    if cluster is None:
        yield None
        return
    from sharedllm_cli.cluster.reading import ClusterReader
    from sharedllm_cli.cluster.running import running

    with running(cluster) as found:
        yield ClusterReader(found, setup, workers, call.console)


def tell(call: Call, outcome: UpdateOutcome) -> None:
    """Say what an update found: a line for every file that differs, and one for the whole."""
    console = call.console
    for problem in outcome.problems:
        console.warn(problem)
    if outcome.not_read:
        console.warn(told(f"@{outcome.name}", outcome.not_read))
    for what in WORDS:
        files = [file for file in outcome.files if file.what == what]
        shown = files if console.verbose or what == "failed" else files[:SHOWN_FILES]
        for file in shown:
            if what == "failed":
                console.problem(DocumentError(file.error or "can't be read", hint=file.hint), about=file.name)
            elif not call.console.quiet:
                before = {"moved": f" (was {file.before})", "copy": f" (as {file.before})"}.get(what, "")
                console.note(f"{'copy' if what == 'copy' else what}: {file.path}{before}")
        if len(files) > len(shown):
            console.note(f"{what}: {len(files) - len(shown):,} more")
    counts = [f"{outcome.count(what):,} {word}" for what, word in WORDS.items() if outcome.count(what)]
    same = outcome.unchanged + outcome.count("unchanged")
    counts += [f"{same:,} unchanged"] if same else []
    console.line(f"@{outcome.name}: {number_of(outcome.documents, 'document')}; {', '.join(counts) or 'nothing found'}")
    known = {file.path for file in outcome.files}
    still = [row.name for row in outcome.failed if row.path not in known]
    if still:
        names = ", ".join(still[:6]) + (", …" if len(still) > 6 else "")
        console.warn(f"{number_of(len(still), 'file')} could not be read before (--retry tries again): {names}")


def outcome_json(outcome: UpdateOutcome) -> dict[str, Any]:
    """The object of `collections add --json` and `update --json` for one collection."""
    return {
        "name": outcome.name,
        "documents": outcome.documents,
        "counts": {what: outcome.count(what) for what in WORDS} | {"unchanged": outcome.unchanged},
        "files": [asdict(file) for file in outcome.files],
        "failures": [{"path": row.path, "error": row.error, "hint": row.hint} for row in outcome.failed],
        "not_read": [asdict(file) for file in outcome.not_read],
        "warnings": outcome.problems,
        "seconds": round(outcome.seconds, 3),
    }


@app.command(cls=Command)
@with_settings(*READING_SETTINGS)
def watch(call: Call, names: Names = None, workers: Workers = None) -> int:
    """Update collections whenever their files change, until Ctrl-C."""
    from sharedllm_cli.collections.names import existing, find
    from sharedllm_cli.collections.opening import setup_for
    from sharedllm_cli.collections.updating import update as bring_up
    from sharedllm_cli.collections.watching import changes

    chosen = [find(call.home, name) for name in names] if names else existing(call.home)
    if not chosen:
        raise UsageError("there is no collection", hint="make one with: sharedllm collections add NAME PATH...")
    call.console.kept = "what was read is kept"
    setup = setup_for(call.settings, call.home, call.console)
    for collection, first in changes(chosen):
        outcome = bring_up(collection, setup, call.console, workers=workers)
        if call.json:
            call.console.json(outcome_json(outcome), one_line=True)
        elif first or outcome.files:
            tell(call, outcome)
    return 0


@app.command("list", cls=Command)
@with_settings()
def list_collections(call: Call) -> int:
    """List the collections."""
    from sharedllm_cli.collections.catalogue import FAILED
    from sharedllm_cli.collections.names import collections_folder, existing

    found: list[dict[str, Any]] = []
    for collection in existing(call.home):
        documents, files, problem = contents(collection)
        found.append(
            {
                "name": collection.name,
                "roots": list(collection.roots),
                "documents": len(documents),
                "pages": sum(row.pages for row in documents),
                "tokens": sum(row.tokens for row in documents),
                "failed": sum(row.state == FAILED for row in files),
                "bytes": _bytes(collection),
                "problem": problem,
            }
        )
    if call.json:
        call.console.json({"folder": str(collections_folder(call.home)), "collections": found})
    elif not found:
        call.console.note("there is no collection; make one with: sharedllm collections add NAME PATH...")
    else:
        headings = ("Collection", "Documents", "Pages", "Tokens", "Failed", "Catalogue", "Of")
        rows = [
            (
                f"@{one['name']}",
                *(f"{one[key]:,}" for key in ("documents", "pages", "tokens", "failed")),
                size(one["bytes"]),
                one["problem"] or ", ".join(one["roots"]),
            )
            for one in found
        ]
        show_table(call.console, headings, rows, right="Documents,Pages,Tokens,Failed,Catalogue", spare="Of,Pages")
    return 5 if any(one["problem"] for one in found) else 0


def contents(collection: Collection) -> tuple[list[DocumentRow], list[FileRow], str | None]:
    """The documents and files of a collection; where its catalogue can't be read, none, and why."""
    from sharedllm_cli.collections.catalogue import Catalogue
    from sharedllm_cli.errors import SharedLLMError

    try:
        catalogue = Catalogue(collection.catalogue)
        found = catalogue.documents(), catalogue.files(), None
        catalogue.close()
    except SharedLLMError as error:
        return [], [], f"{error.message}; {error.hint}"
    return found


def _bytes(collection: Collection) -> int:
    return sum(path.stat().st_size for path in collection.folder.iterdir() if path.is_file())


@app.command(cls=Command)
@with_settings()
def show(call: Call, name: Name) -> int:
    """Show one collection: what was added, and the state of every file."""
    from sharedllm_cli.collections.catalogue import Catalogue
    from sharedllm_cli.collections.names import find

    collection = find(call.home, name)
    catalogue = Catalogue(collection.catalogue)
    catalogue.check()
    documents = {row.content_hash: row for row in catalogue.documents()}
    files = catalogue.files()
    attached = catalogue.attached()
    asked = dict(catalogue.asked())
    catalogue.close()
    carried = {row.path: _carried(row, documents, attached) for row in files}
    if call.json:
        states = [
            _file_json(row, _own(row, documents), asked) | {"attached": [one.name for one in carried[row.path]]}
            for row in files
        ]
        counts = {"documents": len(documents), "failed": sum(row.state == "failed" for row in files)}
        call.console.json({"name": collection.name, "roots": list(collection.roots), **counts, "files": states})
        return 0
    spread = f"{len(documents):,} in {number_of(len(files), 'file')}"
    facts = [*(("Of", root) for root in collection.roots), ("Documents", spread)]
    facts.append(("Catalogue", f"{collection.catalogue}, {size(_bytes(collection))}"))
    show_facts(call.console, facts, title=collection.label)
    call.console.result("")
    rows = [
        shown
        for row in files
        for shown in (
            _file_row(row, _own(row, documents)),
            *(_attached_row(row, inner) for inner in carried[row.path]),
        )
    ]
    show_table(call.console, ("File", "State", "Pages", "Tokens", "Path"), rows, right="Pages,Tokens", spare="Path")
    return 0


def _own(row: FileRow, documents: Mapping[str, DocumentRow]) -> DocumentRow | None:
    """The document of a file itself; None where only what it carries could be read."""
    return documents.get(row.content_hash or "") if row.error is None else None


def _carried(
    row: FileRow, documents: Mapping[str, DocumentRow], attached: Mapping[str, Sequence[str]]
) -> list[DocumentRow]:
    """The documents that a file carries, by name. A file that could not be read itself goes by the first of them."""
    content = row.content_hash or ""
    inner = {*attached.get(content, ()), *([content] if row.error is not None else [])}
    return sorted((documents[one] for one in inner if one in documents), key=lambda one: one.name)


def _attached_row(row: FileRow, document: DocumentRow) -> tuple[str, ...]:
    name = f"{row.name} › {document.name.rpartition(' › ')[2]}"
    return name, "attached", f"{document.pages:,}" if document.pages else "–", f"{document.tokens:,}", row.path


def _file_row(row: FileRow, document: DocumentRow | None) -> tuple[str, ...]:
    state = row.state if row.error is None else f"{row.state}: {row.error}"
    pages = f"{document.pages:,}" if document and document.pages else "–"
    return row.name, state, pages, f"{document.tokens:,}" if document else "–", row.path


def _file_json(row: FileRow, document: DocumentRow | None, asked: dict[str, float]) -> dict[str, Any]:
    when = asked.get(row.content_hash or "")
    return {
        "name": row.name,
        "path": row.path,
        "state": row.state,
        "content_hash": row.content_hash,
        "pages": document.pages if document else None,
        "tokens": document.tokens if document else None,
        "language": document.language if document else None,
        "asked": None if when is None else datetime.fromtimestamp(when).astimezone().isoformat(timespec="seconds"),
        "error": row.error,
        "hint": row.hint,
    }


@app.command(cls=Command)
@with_settings()
def rm(call: Call, names: Annotated[list[str], argument("NAME...", "Collections.")], yes: Yes = False) -> int:
    """Delete collections; the documents themselves and their indexes stay."""
    from sharedllm_cli.collections.names import find, removed

    chosen = [find(call.home, name) for name in names]
    if not agreed(call, f"Delete {', '.join(one.label for one in chosen)}?", yes):
        return 0
    for collection in chosen:
        removed(collection)
        if not call.json:
            call.console.line(f"deleted {collection.label}; `sharedllm indexes prune` deletes indexes of no use")
    if call.json:
        call.console.json({"deleted": [one.name for one in chosen]})
    return 0


def bytes_of(text: str) -> int:
    """A size as people write it (`500MB`, `20 GB`, `1.5g`), in bytes; UsageError for anything else."""
    units = {"": 1, "b": 1, "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9, "tb": 10**12}
    bare = text.strip().lower()
    number = bare.rstrip("bkmgt ")
    unit = bare[len(number) :].strip()
    try:
        value = float(number) * units[unit]
    except (KeyError, ValueError):
        value = -1.0
    if not 0 <= value < 1e18:
        raise UsageError(f"--trees-budget must be a size like 500MB or 20GB, got {text!r}")
    return int(value)
