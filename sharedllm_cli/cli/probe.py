"""`sharedllm models probe`: which layers should read a tree, and how finely, before an adapter is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from sharedllm_cli.cli.call import INTERRUPTED, Call, calm_libraries
from sharedllm_cli.cli.eval.options import (
    DATA,
    DataFiles,
    Last,
    Limit,
    Resume,
    Seed,
    SkipBadLines,
    data_files,
    measured,
    share,
)
from sharedllm_cli.cli.options import names, option, with_settings
from sharedllm_cli.cli.terminal.tables import show_table
from sharedllm_cli.config import parse_layer_span

PROBED = "What is probed"

Layers = Annotated[
    str | None,
    option(
        "--layers A-B,…",
        "Layers that read, from A up to but not B, counted from 0, so that M = B; by default a set that fits"
        " the model.",
        PROBED,
    ),
]
Ratios = Annotated[
    str, option("--ratios R,R,…", "One key kept of every R tokens; tree is the real tree with all its ratios.", PROBED)
]


@with_settings("model", "device", "quantize", "dtype", "attention", "offline", "policy", "preset", "chunk_tokens")
def probe(
    call: Call,
    data: DataFiles,
    layers: Layers = None,
    ratios: Ratios = "1,2,4,8,16,tree",
    at_ratio: Annotated[str, option("--at-ratio R", "The ratio of --layers.", PROBED)] = "4",
    at_layers: Annotated[
        str | None, option("--at-layers A-B", "The layers of --ratios; by default all.", PROBED)
    ] = None,
    adapter: Annotated[
        Path | None,
        option("--adapter FOLDER", "A trained adapter, probed with its own gates in its own layers.", PROBED),
    ] = None,
    limit: Limit = 48,
    per_document: Annotated[int, option("--per-document N", "Most questions per document.", DATA, min=1)] = 2,
    tokens: Annotated[int, option("--tokens N", "Cut documents to N tokens.", DATA, min=64)] = 2048,
    seed: Seed = 0,
    last: Last = None,
    skip_bad_lines: SkipBadLines = False,
    out: Annotated[
        Path | None, option("--out FOLDER", "New folder for losses, metrics, configuration and plots.", "Run")
    ] = None,
    resume: Resume = False,
) -> int:
    """Measure what a tree is worth without training, by the layers that read it and by its compression.

    The gap: what an answer's token costs more, in nats, with another document's tree than with its own. Positive where
    the document is read. Interrupted, it shows what it measured.
    """
    calm_libraries(verbose=call.console.verbose)
    from sharedllm_cli.lab.evaluation.probe import Request
    from sharedllm_cli.lab.evaluation.probe import probe as measure
    from sharedllm_cli.lab.evaluation.probe_results import parse_ratio

    request = Request(
        data_files(data),
        None if layers is None else tuple(map(parse_layer_span, names(layers))),
        ratios=tuple(map(parse_ratio, names(ratios))),
        at_ratio=parse_ratio(at_ratio),
        at_layers=None if at_layers is None else parse_layer_span(at_layers),
        adapter=adapter,
        limit=limit,
        per_document=per_document,
        tokens=tokens,
        seed=seed,
        last=last,
        out=out,
        resume=resume,
        skip_bad_lines=skip_bad_lines,
    )
    found = measured(call, measure, request)
    if not call.json:
        _show(call, found)
    if found["interrupted"]:
        call.console.interrupted()
    return INTERRUPTED if found["interrupted"] else 0


def _show(call: Call, found: dict[str, Any]) -> None:
    """Both tables, and what they were measured on."""
    questions, documents = found["questions"], found["documents"]
    cut = f", {documents['cut']} of them cut" if documents["cut"] else ""
    call.console.note(
        f"{questions['asked']} questions ({questions['answer_tokens']} answer tokens) of {documents['asked']} documents"
        f" with {documents['tokens']:,.0f} tokens on average{cut}"
    )
    tables = [rows for rows in (found["layers"], found["ratios"]) if rows]
    for number, rows in enumerate(tables):
        if number:
            call.console.result("")
        _table(call, rows, found["closed"])


def _table(call: Call, rows: Sequence[dict[str, Any]], closed: float) -> None:
    headings = ("Layers", "M", "Ratio", "Right", "Wrong", "Closed", "Gap", "Gain over closed")
    shown = [
        (
            row["layers"],
            str(row["lower_layers"]),
            str(row["ratio"]),
            f"{row['right']:.2f}",
            f"{row['wrong']:.2f}",
            f"{closed:.2f}",
            share(row, "gap"),
            share(row, "gain"),
        )
        for row in rows
    ]
    show_table(call.console, headings, shown, right="M,Ratio,Right,Wrong,Closed")
