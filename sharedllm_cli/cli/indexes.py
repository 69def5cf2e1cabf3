"""`sharedllm indexes`: what has been read and stored on disk."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sharedllm_cli.cli.call import Call
from sharedllm_cli.cli.help import Command, Group
from sharedllm_cli.cli.options import DELETING, Yes, argument, complete_indexes, option, with_settings
from sharedllm_cli.cli.preflight import agreed
from sharedllm_cli.cli.terminal.tables import plain, show_facts, show_table, size
from sharedllm_cli.errors import StoredIndexError, UsageError

if TYPE_CHECKING:
    from sharedllm_cli.index.catalog import Entry, PartEntry, Prunable

app = typer.Typer(help="Manage the indexes on disk.", cls=Group)

WHICH = "An indexed document: its name, file, folder, or the first letters of its hash."
Which = Annotated[str, argument("INDEX", WHICH, autocompletion=complete_indexes)]
Several = Annotated[list[str] | None, argument("[INDEX...]", WHICH, autocompletion=complete_indexes)]


@app.command("list", cls=Command)
@with_settings("index_dir")
def list_indexes(call: Call) -> None:
    """List the indexed documents."""
    from sharedllm_cli.index.catalog import entries

    root = call.index_folder
    found = entries(root)
    if call.json:
        call.console.json({"folder": str(root), "indexes": [entry_json(entry) for entry in found]})
    elif not found:
        call.console.note(f"no document is indexed in {root}")
    else:
        headings = ("Document", "Pages", "Tokens", "Size", "Trees of", "Last used", "Folder")
        rows = [_row(entry) for entry in found]
        show_table(call.console, headings, rows, right="Pages,Tokens,Size", spare="Folder,Last used,Trees of")
        call.console.say(f"\n{len(found):,} in {root}, {size(sum(entry.bytes for entry in found))}", style="dim")


def _row(entry: Entry) -> tuple[str, ...]:
    models = sorted({part.model for part in entry.parts if part.kind == "trees" and part.model and part.complete})
    state = "" if entry.complete else " (not whole)"
    return (
        entry.name,
        number(entry.pages or None),
        number(entry.tokens),
        size(entry.bytes),
        (", ".join(models) or "–") + state,
        day(entry.used),
        entry.folder.name,
    )


def number(value: int | None) -> str:
    """A count in a table, a dash where it is not known or there is nothing to count."""
    return "–" if value is None else f"{value:,}"


def day(stamp: str | None) -> str:
    """An ISO 8601 time as local date and time, to the minute."""
    return "–" if stamp is None else f"{datetime.fromisoformat(stamp).astimezone():%Y-%m-%d %H:%M}"


def entry_json(entry: Entry) -> dict[str, Any]:
    """An index as `--json` tells it."""
    return {**plain(entry), "complete": entry.complete}


@app.command(cls=Command)
@with_settings("index_dir")
def show(call: Call, which: Which) -> None:
    """Show one index: its document, and each part with what it was made for."""
    from sharedllm_cli.index.catalog import find

    entry = find(call.index_folder, which)
    if call.json:
        call.console.json(entry_json(entry))
        return
    facts = [
        ("Document", entry.source or "standard input, or unknown"),
        ("Hash", entry.content_hash or "–"),
        ("Pages", number(entry.pages or None)),
        ("Tokens", number(entry.tokens)),
        ("Size", size(entry.bytes)),
        ("Made", day(entry.made)),
        ("Last used", day(entry.used)),
        ("Folder", str(entry.folder)),
    ]
    show_facts(call.console, facts, title=entry.name)
    call.console.result("")
    show_table(call.console, ("Part", "Size", "Made", "Of"), [_part_row(part) for part in entry.parts], right="Size")


def _part_row(part: PartEntry) -> tuple[str, ...]:
    from sharedllm_cli.index.manifest import ENCODING_WORDS

    if part.problem or not part.complete:
        return part.name, size(part.bytes), day(part.made), part.problem or "not finished"
    told = {**part.facts, **part.key}
    named = (
        ("base_name", "{}"),
        ("lower_layers", "M = {}"),
        ("first_layer", "from layer {}"),
        ("layers", "after layer {}"),
        ("chunk_tokens", "chunks of {} tokens"),
        ("height", "{} levels"),
        ("ratios", "ratios {}"),
        ("encoding", "{}"),
        ("stored_dtype", "stored as {}"),
        ("quantize", "weights {}"),
    )
    present = [(form, told[name]) for name, form in named if told.get(name) not in (None, "none")]
    words = [form.format(_value(value, ENCODING_WORDS)) for form, value in present]
    return part.name, size(part.bytes), day(part.made), ", ".join(words) or "the document's text"


def _value(value: Any, words: Mapping[str, str]) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else words.get(str(value), str(value))


@app.command(cls=Command)
@with_settings("index_dir")
def verify(call: Call, which: Several = None) -> int:
    """Read every byte of indexes (all of them, or those named) and hold it against the checksums.

    The exit code is 5 where something is wrong.
    """
    from sharedllm_cli.index.catalog import verify as check

    results = [(entry, check(entry, call.console)) for entry in chosen(call, which)]
    if call.json:
        told = [{"name": entry.name, "folder": str(entry.folder), "problems": plain(found)} for entry, found in results]
        call.console.json({"indexes": told})
    else:
        for entry, found in results:
            call.console.line(f"{entry.name}: {'whole' if not found else 'not whole'}")
            for problem in found:
                call.console.line_indented(f"{problem.file} {problem.what}")
    damaged = [entry for entry, found in results if found]
    if not damaged:
        return 0
    unfinished = all(problem.unfinished for _, found in results for problem in found)
    sources = shlex.join(entry.source or entry.name for entry in damaged)
    hint = f"sharedllm index {sources}" if unfinished else f"sharedllm index --reindex {sources}"
    call.console.problem(StoredIndexError(f"{len(damaged)} of {len(results)} indexes incomplete or damaged", hint=hint))
    return StoredIndexError.exit_code


def chosen(call: Call, which: Sequence[str] | None) -> list[Entry]:
    """The indexes named, or all."""
    from sharedllm_cli.index.catalog import entries, find

    root = call.index_folder
    if not which and not entries(root):
        call.console.note(f"no document is indexed in {root}")
    return [find(root, text) for text in which] if which else entries(root)


@app.command(cls=Command)
@with_settings("index_dir")
def rm(call: Call, which: Several = None, yes: Yes = False) -> int:
    """Delete indexes; the documents themselves stay."""
    from sharedllm_cli.index.catalog import carried, remove

    if not which:
        raise UsageError(
            "no index named",
            hint="`sharedllm indexes list` shows them; `prune` deletes those that are no longer useful",
        )
    named = chosen(call, which)
    inside = [one for entry in named for one in carried(call.index_folder, entry)]
    found = list({one.folder: one for one in [*named, *inside]}.values())
    total = size(sum(entry.bytes for entry in found))
    if not agreed(call, f"Delete the index of {', '.join(entry.name for entry in found)} ({total})?", yes):
        return 0
    for entry in found:
        remove(entry)
        if not call.json:
            call.console.line(f"deleted the index of {entry.name}, {size(entry.bytes)}")
    if call.json:
        call.console.json({"deleted": [entry_json(entry) for entry in found]})
    return 0


@app.command(cls=Command)
@with_settings("index_dir")
def prune(
    call: Call,
    older_than: Annotated[
        float | None, option("--older-than DAYS", "Also delete indexes that were not used for N days.", DELETING, min=0)
    ] = None,
    dry_run: Annotated[bool, option("--dry-run", "Only print what would be deleted.", DELETING)] = False,
    yes: Yes = False,
) -> int:
    """Delete what is of no use: interrupted builds, older formats, documents that are gone or have changed."""
    from sharedllm_cli.index import catalog

    items = catalog.prunable(call.index_folder, older_than)
    total = size(sum(item.bytes for item in items))
    if not call.json:
        for item in items:
            call.console.line(f"{_what(item)}: {item.why} ({size(item.bytes)})")
    if not items:
        call.console.note("nothing to delete")
    going = bool(items) and not dry_run and agreed(call, f"Delete all of this ({total})?", yes)
    if going:
        catalog.prune(items)
        call.console.note(f"deleted {total}")
    if call.json:
        told = [
            {
                "name": item.entry.name,
                "folder": str(item.entry.folder),
                "part": item.part,
                "why": item.why,
                "bytes": item.bytes,
            }
            for item in items
        ]
        call.console.json({"deleted": going, "items": told})
    return 0


def _what(item: Prunable) -> str:
    return item.entry.name if item.part is None else f"{item.entry.name}, {item.part}"
