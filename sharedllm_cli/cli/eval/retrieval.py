"""`sharedllm eval retrieval`: how often a policy finds the leaf that holds the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sharedllm_cli.cli.eval.options import (
    KEPT,
    OUT_HELP,
    DataFiles,
    Joins,
    Lasts,
    Limit,
    Resume,
    Seed,
    SkipBadLines,
    names,
    numbers,
    share,
)
from sharedllm_cli.cli.options import with_settings
from sharedllm_cli.cli.session import Call, calm_libraries
from sharedllm_cli.cli.terminal.tables import show_table


@with_settings(
    "model", "adapter", "device", "quantize", "dtype", "offline", "preset", "chunk_tokens", "tree_height", "ratios"
)
def retrieval(
    call: Call,
    data: DataFiles,
    policies: Annotated[
        str, typer.Option("--policies", metavar="P,P,…", help="Policies: hybrid, bm25, late, paper-cosine, right.")
    ] = "hybrid,bm25",
    limit: Limit = 200,
    seed: Seed = 0,
    join: Joins = "1",
    last: Lasts = None,
    skip_bad_lines: SkipBadLines = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help=OUT_HELP, rich_help_panel="Run", show_default=False),
    ] = None,
    resume: Resume = False,
) -> None:
    """Measure how often a policy ranks the leaf that holds the answer's words first, or among the best eight.

    Asked are questions whose answer occurs exactly once in its document, or that name their evidence. No index is
    written.
    """
    calm_libraries(verbose=call.console.verbose)
    from sharedllm_cli.lab.evaluation.retrieval import Request
    from sharedllm_cli.lab.evaluation.retrieval import retrieval as measure
    from sharedllm_cli.lab.training.records import DataFile

    if out is not None:
        call.console.kept = KEPT
    request = Request(
        tuple(DataFile(Path(file)) for file in data),
        policies=names(policies),
        limit=limit,
        seed=seed,
        joins=numbers("--join", join),
        lasts=tuple(one or None for one in numbers("--last", last)),
        out=out,
        resume=resume,
        skip_bad_lines=skip_bad_lines,
    )
    found = measure(request, call.settings, home=call.home, reporter=call.console)
    if call.json:
        call.console.json(found)
        return
    rows = [
        (name, str(of["n"]), share(of, "recall_at_1"), share(of, "recall_at_8"))
        for name, of in found["policies"].items()
    ]
    show_table(call.console, ("Policy", "Questions", "R@1", "R@8"), rows, right="Questions")
