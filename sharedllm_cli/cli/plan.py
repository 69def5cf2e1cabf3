"""`sharedllm plan`: what a document would take on this machine, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from sharedllm_cli.cli.arguments import Documents, announce_stdin, exit_code, report_failures
from sharedllm_cli.cli.beforehand import refuse_unreadable
from sharedllm_cli.cli.index import SHAPING, failures_json
from sharedllm_cli.cli.options import MODEL, with_settings
from sharedllm_cli.cli.session import Call
from sharedllm_cli.cli.terminal.quantities import duration, size
from sharedllm_cli.cli.terminal.tables import plain, show_facts, show_table
from sharedllm_cli.documents.sources import not_read

if TYPE_CHECKING:
    from sharedllm_cli.planning import PlanRow

HEADINGS = ("Document", "Pages", "Tokens", "Chunks", "Index", "To index", "To answer")


@with_settings(*MODEL.names, "index_dir", "password", *SHAPING)
def plan(call: Call, documents: Documents) -> int:
    """Tell what documents would take on this machine: tokens, disk, memory, minutes.

    The documents are read for it; nothing is computed and nothing is written.
    """
    announce_stdin(call, documents)
    refuse_unreadable(call, documents)
    rows, failures = call.engine().plan(documents)
    report_failures(call, failures)
    if call.json:
        passed_over = [asdict(file) for file in not_read(documents)]
        found = {"documents": plain(list(rows)), "failures": failures_json(failures), "not_read": passed_over}
        call.console.json(found)
    elif rows:
        show(call, rows)
    return exit_code(failures)


def show(call: Call, rows: Sequence[PlanRow]) -> None:
    """The plan as a table, the machine's share below it."""
    show_table(
        call.console, HEADINGS, [_row(row) for row in rows], right="Pages,Tokens,Chunks,Index,To index,To answer"
    )
    weights, memory = max(row.weights_bytes for row in rows), max(row.memory_bytes for row in rows)
    largest = max(rows, key=lambda row: row.memory_bytes)
    facts = [("Model", call.settings.model), ("Weights", size(weights)), ("Memory at most", size(memory))]
    beside = (
        f"{size(largest.batch_bytes)} for a batch while indexing; {size(largest.tree_bytes)} of tree and"
        f" {size(largest.cache_bytes)} of running text for a question"
    )
    facts.append(("Beside weights", beside))
    if largest.where:
        facts.append(("Fits" if largest.fits else "Does not fit", largest.where))
    if len(rows) > 1:
        left = sum(row.index_seconds for row in rows if not row.indexed)
        facts.append(("All together", f"{sum(row.tokens for row in rows):,} tokens, {duration(left)} to index"))
    bases = dict.fromkeys(row.basis for row in rows if row.basis)
    call.console.result("")
    show_facts(call.console, [*facts, *(("Times from", basis) for basis in bases)])


def _row(row: PlanRow) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.pages:,}" if row.pages else "–",
        f"{row.tokens:,}",
        f"{row.chunks:,}",
        size(row.index_bytes),
        "indexed" if row.indexed else duration(row.index_seconds),
        duration(row.question_seconds),
    )
