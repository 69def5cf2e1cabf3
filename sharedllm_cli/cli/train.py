"""`sharedllm train`: train an adapter for a base model."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sharedllm_cli.cli.options import takes
from sharedllm_cli.cli.quantities import duration
from sharedllm_cli.cli.session import Call, calm_libraries

if TYPE_CHECKING:
    from sharedllm_cli.training.run import Outcome, Request

INTERRUPTED = 130
DATA, COURSE = "Data", "Course"

DataFiles = Annotated[
    list[str],
    typer.Option(
        "--data",
        metavar="FILE[=WEIGHT]",
        help="JSON Lines with documents and questions (.jsonl, .gz, .xz); give it several times, with weights.",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
Out = Annotated[
    Path, typer.Option("--out", metavar="FOLDER", help="Folder of the run: its adapter, checkpoints and metrics.")
]


@takes("model", "device", "dtype", "quantize", "offline", "preset", "lower_layers", "chunk_tokens", "encoding")
def train(
    call: Call,
    data: DataFiles,
    out: Out,
    objective: Annotated[
        str, typer.Option("--objective", metavar="qa", help="What is learned; qa: to answer from passages.")
    ] = "qa",
    hold_back: Annotated[
        int,
        typer.Option("--hold-back", help="Last documents of each file, never looked at.", rich_help_panel=DATA, min=0),
    ] = 5,
    validation: Annotated[
        int,
        typer.Option(
            "--validation",
            help="Documents before those, whose loss is followed and never learned from.",
            rich_help_panel=DATA,
            min=0,
        ),
    ] = 5,
    skip_bad_lines: Annotated[
        bool, typer.Option("--skip-bad-lines", help="Name bad lines and go on without them.", rich_help_panel=DATA)
    ] = False,
    steps: Annotated[int, typer.Option("--steps", help="Steps in all.", rich_help_panel=COURSE, min=1)] = 400,
    samples: Annotated[int, typer.Option("--samples", help="Samples a step.", rich_help_panel=COURSE, min=1)] = 4,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", help="Highest learning rate.", rich_help_panel=COURSE)
    ] = 5e-4,
    rank: Annotated[int, typer.Option("--rank", help="Rank of the low-rank weights.", rich_help_panel=COURSE)] = 16,
    batch_tokens: Annotated[
        int,
        typer.Option(
            "--batch-tokens", help="Samples stand side by side up to this many tokens.", rich_help_panel=COURSE
        ),
    ] = 1,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FOLDER",
            help="Adapter to go on from; its rank and layers stay.",
            show_default=False,
            rich_help_panel=COURSE,
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of weights and samples.", rich_help_panel=COURSE)] = 0,
    max_minutes: Annotated[
        float | None,
        typer.Option("--max-minutes", help="Stop cleanly after this much work.", rich_help_panel=COURSE),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the folder's newest checkpoint.", rich_help_panel=COURSE)
    ] = False,
) -> int:
    """Train an adapter for a base model, to answer in the document's own words.

    The run can be interrupted and resumed; resumed, it does exactly what it would have done. On several GPUs:
    `accelerate launch -m sharedllm_cli train …`.
    """
    calm_libraries(verbose=call.console.verbose)
    from sharedllm_cli.training.records import DataFile
    from sharedllm_cli.training.run import Request, is_main_process, run
    from sharedllm_cli.training.trainer import Pace, Schedule

    call.console.kept = "go on with --resume"
    request = Request(
        tuple(DataFile.parse(file) for file in data),
        out,
        objective=objective,
        start=start,
        rank=rank,
        hold_back=hold_back,
        validation=validation,
        skip_bad_lines=skip_bad_lines,
        schedule=Schedule(
            steps=steps, samples=samples, learning_rate=learning_rate, batch_tokens=batch_tokens, seed=seed
        ),
        pace=Pace(max_seconds=math.inf if max_minutes is None else max_minutes * 60),
        resume=resume,
    )
    outcome = run(request, call.settings, home=call.home, reporter=call.console)
    return _tell(call, request, outcome) if is_main_process() else 0


def _tell(call: Call, request: Request, outcome: Outcome) -> int:
    if outcome.ending == "interrupted":
        call.console.interrupted()
        return INTERRUPTED
    if call.json:
        call.console.json(
            {key: str(value) if isinstance(value, Path) else value for key, value in asdict(outcome).items()}
        )
        return 0
    rate = outcome.tokens / max(outcome.seconds, 1e-9)
    done = f"{outcome.steps} of {request.schedule.steps} steps in {duration(outcome.seconds)}, {rate:,.0f} tokens/s"
    call.console.line(f"{outcome.adapter}: {done}")
    return 0
