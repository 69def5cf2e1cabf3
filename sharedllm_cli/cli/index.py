"""`sharedllm index` and `sharedllm plan`: read documents ahead of the questions, or say what that would take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from sharedllm_cli.answer import NotRead
from sharedllm_cli.cli.call import Call
from sharedllm_cli.cli.options import (
    MODEL,
    READ_LIMITS,
    READING,
    TREE,
    ClusterOption,
    Documents,
    FailuresFile,
    Reindex,
    Workers,
    option,
    with_settings,
)
from sharedllm_cli.cli.preflight import (
    Failures,
    announce_stdin,
    exit_code,
    named_collections,
    probe_first,
    refuse_unwritable,
    report_failures,
    write_failures,
)
from sharedllm_cli.cli.terminal.tables import duration, number_of, plain, show_facts, show_table, size
from sharedllm_cli.documents.sources import not_read

if TYPE_CHECKING:
    from sharedllm_cli.engine import Engine, IndexOutcome
    from sharedllm_cli.planning import PlanRow


SHAPING = tuple(name for name in TREE.names if name != "injection")
"""Settings that shape the stored trees; the injection's form reads the same trees either way."""
HEADINGS = ("Document", "Pages", "Tokens", "Chunks", "Index", "To index", "To answer")


@with_settings(*MODEL.names, "index_dir", "password", *READ_LIMITS, "grains", *SHAPING, advanced=("late_states",))
def index(
    call: Call,
    documents: Documents,
    reindex: Reindex = False,
    late_states: Annotated[
        bool,
        option(
            "--late-states",
            "Store the states that `--policy late` compares, instead of computing them for each question.",
            READING.title,
        ),
    ] = False,
    workers: Workers = None,
    cluster: ClusterOption = None,
    failures_file: FailuresFile = None,
) -> int:
    """Read documents and compute their trees before any question.

    Indexed documents are skipped; an interrupted run continues where it stopped. Whether questions read the trees is
    the adapter's choice, or yours with --tree; those that don't need no `index`, since `ask` reads the document itself.
    """
    announce_stdin(call, documents)
    call.console.kept = "finished chunks are kept; run the same command again to continue"
    refuse_unwritable(call)
    engine = None
    if cluster is not None:
        outcomes, failures = _index_on(call, cluster, documents, workers, reindex, late_states)
    else:
        probe = probe_first(call, documents, reindex=reindex)
        engine = call.engine()
        if len(documents) > 1 or not Path(documents[0]).is_file():
            _read_ahead(call, documents, workers, reindex=reindex)
        outcomes, failures = engine.index(documents, reindex=reindex, late_states=late_states, probe=probe)
    report_failures(call, failures)
    if failures_file is not None:
        write_failures(failures_file, failures_json(failures))
    if call.json:
        plain_documents = [one for one in documents if one not in named_collections(documents)]
        call.console.json(as_json(outcomes, failures, not_read(plain_documents)))
    else:
        for outcome in outcomes:
            call.console.line(describe(outcome))
        if engine is not None and (remark := unread(engine)):
            call.console.note(remark)
    return exit_code(failures)


def _index_on(
    call: Call, where: str, documents: Sequence[str], workers: int | None, reindex: bool, late_states: bool
) -> tuple[list[IndexOutcome], Failures]:
    """Index on a cluster of Ray."""
    from sharedllm_cli.cluster.indexing import index_on
    from sharedllm_cli.cluster.running import running
    from sharedllm_cli.collections.opening import paths_of, setup_for

    setup = setup_for(call.settings, call.home, call.console)
    paths = paths_of(documents, call.home)
    with running(where) as cluster:
        return index_on(
            *(cluster, paths, call.settings, call.home, setup, call.console),
            workers=workers,
            reindex=reindex,
            late_states=late_states,
        )


def _read_ahead(call: Call, documents: Sequence[str], workers: int | None, *, reindex: bool) -> None:
    """Let several processes read what is not read yet; with --reindex each document is read when its turn comes."""
    plain = [one for one in documents if one != "-" and one not in named_collections(documents)]
    if reindex or not plain or workers == 1:
        return
    from sharedllm_cli.collections.opening import read_ahead, setup_for

    read_ahead(plain, setup_for(call.settings, call.home, call.console), call.console, workers)


def unread(engine: Engine) -> str | None:
    """One sentence where questions, asked as these settings say, would not read the trees; None where they do."""
    if engine.reads_tree:
        return None
    if engine.facts().reads_tree:
        return "answers are based on passages, and read these trees only with --tree"
    return "the adapter reads no tree: answers are based on passages alone"


def as_json(
    outcomes: Sequence[IndexOutcome], failures: Failures, passed_over: Sequence[NotRead] = ()
) -> dict[str, Any]:
    """The object of `index --json`."""
    return {
        "documents": [{key: _plain(value) for key, value in asdict(outcome).items()} for outcome in outcomes],
        "failures": failures_json(failures),
        "not_read": [asdict(file) for file in passed_over],
    }


def failures_json(failures: Failures) -> list[dict[str, Any]]:
    """Documents that could not be read, as `--json` tells them."""
    return [{"name": name, "error": error.message, "hint": error.hint} for name, error in failures]


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str | list) else str(value)


def describe(outcome: IndexOutcome) -> str:
    """One line about one indexed document."""
    extent = f"{number_of(outcome.tokens, 'token')} in {number_of(outcome.chunks, 'chunk')}, {size(outcome.bytes)}"
    if outcome.skipped:
        return f"{outcome.name}: {outcome.reason or 'already indexed'} ({extent})"
    why = f" ({outcome.reason})" if outcome.reason else ""
    return f"{outcome.name}: indexed{why}, {extent}, {duration(outcome.seconds)}, {outcome.tokens_per_s:,.0f} tokens/s"


@with_settings(*MODEL.names, "index_dir", "password", *READ_LIMITS, "grains", *SHAPING)
def plan(call: Call, documents: Documents) -> int:
    """Estimate what documents would take on this machine: tokens, disk, memory, minutes.

    It reads the documents, and computes and writes nothing.
    """
    announce_stdin(call, documents)
    probe = probe_first(call, documents)
    rows, failures = call.engine().plan(documents, probe=probe)
    report_failures(call, failures)
    if call.json:
        named = named_collections(documents)
        passed_over = [asdict(file) for file in not_read([one for one in documents if one not in named])]
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
        f"{size(largest.batch_bytes)} for a batch while indexing; {size(largest.tree_bytes)} for the tree and"
        f" {size(largest.cache_bytes)} for the prompt of a question"
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
