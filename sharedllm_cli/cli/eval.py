"""`sharedllm eval`: what retrieval and answers are worth, measured on data with known answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sharedllm_cli.cli.help import Command, Group
from sharedllm_cli.cli.options import takes
from sharedllm_cli.cli.session import Call, calm_libraries
from sharedllm_cli.cli.tables import show_table

app = typer.Typer(help="Measure retrieval and answers on data with known answers.", cls=Group)
DATA = "Data"
KEPT = "go on with --resume"

DataFiles = Annotated[
    list[str],
    typer.Option(
        "--data",
        metavar="FILE",
        help="JSON Lines with documents and questions (.jsonl, .gz, .xz); can be given several times.",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
Limit = Annotated[
    int, typer.Option("--limit", metavar="N", help="Questions, drawn from all.", rich_help_panel=DATA, min=1)
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of the drawing.", rich_help_panel=DATA, min=0)]
Join = Annotated[
    int,
    typer.Option(
        "--join",
        metavar="K",
        help="Join every K documents into one; questions then name their title.",
        rich_help_panel=DATA,
        min=1,
    ),
]
Last = Annotated[
    int | None,
    typer.Option(
        "--last",
        metavar="N",
        help="Only the last N documents of each file: those that `train --hold-back N` never looks at.",
        show_default=False,
        rich_help_panel=DATA,
        min=1,
    ),
]
SkipBadLines = Annotated[
    bool, typer.Option("--skip-bad-lines", help="Name bad lines and go on without them.", rich_help_panel=DATA)
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in the folder of --out.", rich_help_panel="Run")
]
OUT_HELP = "A fresh folder for predictions, metrics and configuration."


def names(text: str) -> tuple[str, ...]:
    """Names joined by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


@app.command(cls=Command)
@takes("model", "adapter", "device", "quantize", "dtype", "offline", "preset", "chunk_tokens", "tree_height", "ratios")
def retrieval(
    call: Call,
    data: DataFiles,
    policies: Annotated[
        str, typer.Option("--policies", metavar="P,P,…", help="Policies: hybrid, bm25, late, paper-cosine, right.")
    ] = "hybrid,bm25",
    limit: Limit = 200,
    seed: Seed = 0,
    join: Join = 1,
    last: Last = None,
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
    from sharedllm_cli.evaluation.retrieval import Request
    from sharedllm_cli.evaluation.retrieval import retrieval as measure
    from sharedllm_cli.training.records import DataFile

    if out is not None:
        call.console.kept = KEPT
    request = Request(
        tuple(DataFile(Path(file)) for file in data),
        policies=names(policies),
        limit=limit,
        seed=seed,
        join=join,
        last=last,
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


@app.command(cls=Command)
@takes(
    *("model", "adapter", "device", "quantize", "dtype", "attention", "offline"),
    *("policy", "evidence_tokens", "tree", "max_new_tokens", "system"),
    *("preset", "lower_layers", "chunk_tokens", "tree_height", "ratios", "stored_dtype", "injection"),
)
def qa(
    call: Call,
    data: DataFiles,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help=OUT_HELP, rich_help_panel="Run", show_default=False)
    ],
    arms: Annotated[
        str,
        typer.Option(
            "--arms", metavar="A,A,…", help="Arms: closed, truncate, bm25, tree, tree-wrong, sharedllm, full."
        ),
    ] = "closed,truncate,bm25,tree,tree-wrong,sharedllm,full",
    no_adapter: Annotated[
        bool, typer.Option("--no-adapter", help="The base model alone: no adapter in any arm.")
    ] = False,
    limit: Limit = 200,
    seed: Seed = 0,
    join: Join = 1,
    last: Last = None,
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
    trees: Annotated[
        Path | None,
        typer.Option(
            "--trees",
            metavar="FOLDER",
            help="Where trees are kept, to share them between runs; by default in the folder of --out.",
            rich_help_panel="Run",
            show_default=False,
        ),
    ] = None,
    resume: Resume = False,
) -> None:
    """Measure answers by what the model could read: each arm reads the document in another way, all else is the same.

    An arm that can't be measured (a tree that no gate reads) is left out with a warning. Answers are greedy.
    """
    calm_libraries(verbose=call.console.verbose)
    from sharedllm_cli.evaluation.answers import Request
    from sharedllm_cli.evaluation.answers import answers as measure
    from sharedllm_cli.training.records import DataFile

    call.console.kept = KEPT
    request = Request(
        tuple(DataFile(Path(file)) for file in data),
        out,
        arms=names(arms),
        limit=limit,
        seed=seed,
        join=join,
        last=last,
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


def share(of: dict[str, Any], name: str) -> str:
    """A number and its 95 % interval, as a table shows them."""
    if of[name] is None:
        return "–"
    low, high = of[f"{name}_interval"]
    return f"{of[name]:.3f} ({low:.3f} to {high:.3f})"
