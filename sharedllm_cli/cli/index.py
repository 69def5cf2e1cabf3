"""`sharedllm index`: read documents and compute their trees before any question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sharedllm_cli.answer import NotRead
from sharedllm_cli.cli.arguments import Documents, Failures, Reindex, announce_stdin, exit_code, report_failures
from sharedllm_cli.cli.beforehand import refuse_unreadable, refuse_unwritable
from sharedllm_cli.cli.options import MODEL, READING, TREE, with_settings
from sharedllm_cli.cli.session import Call
from sharedllm_cli.cli.terminal.quantities import duration, number_of, size
from sharedllm_cli.documents.sources import not_read

if TYPE_CHECKING:
    from sharedllm_cli.engine import Engine, IndexOutcome

SHAPING = tuple(name for name in TREE.names if name != "injection")
"""Settings that shape the stored trees; the injection's form reads the same trees either way."""


@with_settings(*MODEL.names, "index_dir", "password", *SHAPING)
def index(
    call: Call,
    documents: Documents,
    reindex: Reindex = False,
    late_states: Annotated[
        bool,
        typer.Option(
            "--late-states",
            help="Store what `--policy late` compares, so that it need not be computed for each question.",
            rich_help_panel=READING.title,
            show_default=False,
        ),
    ] = False,
) -> int:
    """Read documents and compute their trees, ahead of the questions that read them.

    What is indexed already is skipped; an interrupted run goes on where it stopped. Whether questions read the trees is
    the adapter's choice, or yours with --tree; those that don't need no `index`, since `ask` reads the document itself.
    """
    announce_stdin(call, documents)
    call.console.kept = "finished chunks are kept; run the same command again to go on"
    refuse_unwritable(call)
    refuse_unreadable(call, documents, reindex=reindex)
    engine = call.engine()
    outcomes, failures = engine.index(documents, reindex=reindex, late_states=late_states)
    report_failures(call, failures)
    if call.json:
        call.console.json(as_json(outcomes, failures, not_read(documents)))
    else:
        for outcome in outcomes:
            call.console.line(describe(outcome))
        if remark := unread(engine):
            call.console.note(remark)
    return exit_code(failures)


def unread(engine: Engine) -> str | None:
    """One sentence where questions, asked as these settings say, would not read the trees; None where they do."""
    if engine.reads_tree:
        return None
    if engine.facts().reads_tree:
        return "questions answer from passages and read these trees only with --tree"
    return "the adapter reads no tree: questions answer from passages alone"


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
