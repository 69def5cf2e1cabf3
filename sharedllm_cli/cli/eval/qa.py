"""`sharedllm eval qa`: what answers are worth by what the model could read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sharedllm_cli.cli.eval.options import (
    ANSWER_SETTINGS,
    DATA,
    KEPT,
    MODEL_SETTINGS,
    OUT_HELP,
    Arms,
    DataFiles,
    Joins,
    Lasts,
    Limit,
    NoAdapter,
    Resume,
    Seed,
    SkipBadLines,
    Trees,
    names,
    numbers,
    share,
)
from sharedllm_cli.cli.options import TREE, with_settings
from sharedllm_cli.cli.session import Call, calm_libraries
from sharedllm_cli.cli.terminal.tables import show_table


@with_settings(*MODEL_SETTINGS, *ANSWER_SETTINGS, *TREE.names)
def qa(
    call: Call,
    data: DataFiles,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help=OUT_HELP, rich_help_panel="Run", show_default=False)
    ],
    arms: Arms = "closed,truncate,bm25,tree,tree-wrong,sharedllm,full",
    no_adapter: NoAdapter = False,
    limit: Limit = 200,
    seed: Seed = 0,
    join: Joins = "1",
    last: Lasts = None,
    misplaced: Annotated[
        int,
        typer.Option(
            "--misplaced",
            metavar="N",
            help="So many more questions, each asked of a document that does not answer it.",
            rich_help_panel=DATA,
            min=0,
        ),
    ] = 0,
    skip_bad_lines: SkipBadLines = False,
    trees: Trees = None,
    resume: Resume = False,
) -> None:
    """Measure answers by what the model could read: each arm reads the document in another way, all else is the same.

    An arm that can't be measured (a tree that no gate reads) is left out with a warning. Answers are greedy.
    """
    calm_libraries(verbose=call.console.verbose)
    from sharedllm_cli.lab.evaluation.answers import Request
    from sharedllm_cli.lab.evaluation.answers import answers as measure
    from sharedllm_cli.lab.training.records import DataFile

    call.console.kept = KEPT
    request = Request(
        tuple(DataFile(Path(file)) for file in data),
        out,
        arms=names(arms),
        limit=limit,
        seed=seed,
        joins=numbers("--join", join),
        lasts=tuple(one or None for one in numbers("--last", last)),
        misplaced=misplaced,
        adapter=not no_adapter,
        trees=trees,
        resume=resume,
        skip_bad_lines=skip_bad_lines,
    )
    found = measure(request, call.settings, home=call.home, reporter=call.console)
    if call.json:
        call.console.json(found)
        return
    headings = ("Arm", "Questions", "F1", "EM", "ROUGE-L", "NLL", "First token", "Refused", "Unanswerable refused")
    show_table(call.console, headings, [_arm_row(*of) for of in found["arms"].items()], right="Questions,First token")
    call.console.say(f"\n{out}: predictions, metrics, configuration, and the differences between arms", style="dim")


def _arm_row(name: str, of: dict[str, Any]) -> tuple[str, ...]:
    if "left_out" in of:
        return (name, "0", *["–"] * 7)
    seconds = "–" if of["first_token_s"] is None else f"{of['first_token_s']:.2f} s"
    measured = (share(of, metric) for metric in ("f1", "em", "rouge_l", "answer_nll"))
    return (name, str(of["n"]), *measured, seconds, _percent(of["refused"]), _percent(of["unanswerable"]["refused"]))


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
