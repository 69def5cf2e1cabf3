"""`sharedllm train`: its options, and an adapter trained for a base model."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sharedllm_cli.cli.call import Call, calm_libraries
from sharedllm_cli.cli.options import with_settings
from sharedllm_cli.cli.terminal.tables import duration
from sharedllm_cli.errors import UsageError

if TYPE_CHECKING:
    from sharedllm_cli.lab.training.run import Outcome, Request


DATA, COURSE, TREE = "Data", "Course", "Reading the tree"

DataFiles = Annotated[
    list[str],
    typer.Option(
        "--data",
        metavar="FILE[=WEIGHT]",
        help="JSON Lines with documents and questions, or plain text for recite and lm (.jsonl, .txt; .gz, .xz);"
        " repeat it for several files, with weights.",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
Out = Annotated[
    Path, typer.Option("--out", metavar="FOLDER", help="Folder of the run: its adapter, checkpoints and metrics.")
]
Objective = Annotated[
    str,
    typer.Option(
        "--objective",
        metavar="qa|recite|lm|distill",
        help="What to train: answering from passages and tree, reciting a tree's words, continuing its text, or"
        " predicting from the tree as the base model does from the text.",
    ),
]
HoldBack = Annotated[
    int,
    typer.Option(
        "--hold-back", help="Number of last documents of each file that are never used.", rich_help_panel=DATA, min=0
    ),
]
Validation = Annotated[
    int,
    typer.Option(
        "--validation",
        help="Number of documents before those for the validation loss, never trained on.",
        rich_help_panel=DATA,
        min=0,
    ),
]
Documents = Annotated[
    int | None,
    typer.Option(
        "--documents",
        metavar="N",
        help="Train on N documents of each file, spread over it; each needs its trees. By default all.",
        show_default=False,
        rich_help_panel=DATA,
        min=1,
    ),
]
ValidationSamples = Annotated[
    int, typer.Option("--validation-samples", help="Samples of the validation loss.", rich_help_panel=DATA, min=1)
]
SkipBadLines = Annotated[
    bool, typer.Option("--skip-bad-lines", help="Report bad lines and skip them.", rich_help_panel=DATA)
]
Steps = Annotated[int, typer.Option("--steps", help="Number of steps.", rich_help_panel=COURSE, min=1)]
Samples = Annotated[int, typer.Option("--samples", help="Samples per step.", rich_help_panel=COURSE, min=1)]
LearningRate = Annotated[float, typer.Option("--learning-rate", help="Highest learning rate.", rich_help_panel=COURSE)]
Rank = Annotated[int, typer.Option("--rank", help="Rank of the low-rank weights.", rich_help_panel=COURSE)]
BatchTokens = Annotated[
    int,
    typer.Option("--batch-tokens", help="Batch samples up to this many tokens.", rich_help_panel=COURSE),
]
GradientCheckpointing = Annotated[
    bool,
    typer.Option(
        "--gradient-checkpointing",
        help="Recompute activations in the backward pass: more work, far less memory.",
        rich_help_panel=COURSE,
    ),
]
Start = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="FOLDER",
        help="Adapter to continue from; keeps its rank, layers and injection.",
        show_default=False,
        rich_help_panel=COURSE,
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of weights and samples.", rich_help_panel=COURSE)]
MaxMinutes = Annotated[
    float | None,
    typer.Option("--max-minutes", help="Stop cleanly after N minutes.", rich_help_panel=COURSE),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue from the folder's newest checkpoint.", rich_help_panel=COURSE)
]
TreeShare = Annotated[
    float,
    typer.Option(
        "--tree-share",
        metavar="X",
        help="Share of samples that read a tree beside their passages; opens a new adapter's gates.",
        rich_help_panel=TREE,
        min=0.0,
        max=1.0,
    ),
]
TreeOnlyShare = Annotated[
    float,
    typer.Option(
        "--tree-only-share",
        metavar="X",
        help="Share of samples that read a tree and no passage; opens a new adapter's gates.",
        rich_help_panel=TREE,
        min=0.0,
        max=1.0,
    ),
]
TextShare = Annotated[
    float,
    typer.Option(
        "--text-share",
        metavar="X",
        help="Share of samples of qa that continue a text after its tree, as lm does; opens a new adapter's gates.",
        rich_help_panel=TREE,
        min=0.0,
        max=1.0,
    ),
]
TextTokens = Annotated[
    str,
    typer.Option(
        "--text-tokens",
        metavar="A-B",
        help="Plain tokens after the tree in a sample of lm or --text-share, drawn from A to B.",
        rich_help_panel=TREE,
    ),
]
TextPieces = Annotated[
    int | None,
    typer.Option(
        "--text-pieces",
        metavar="N",
        help="For lm, recite and --text-share: train on N pieces of each file, spread over it; a piece has some 11,000"
        " tokens. All by default.",
        show_default=False,
        rich_help_panel=DATA,
        min=1,
    ),
]
TreeTokens = Annotated[
    str,
    typer.Option(
        "--tree-tokens",
        metavar="A-B",
        help="Join a file's documents until a tree has A to B tokens.",
        rich_help_panel=TREE,
    ),
]
PassageTokens = Annotated[
    str,
    typer.Option(
        "--passage-tokens",
        metavar="A-B",
        help="Tokens of verbatim passages in a sample of qa, drawn from A to B.",
        rich_help_panel=DATA,
    ),
]
TreesFolder = Annotated[
    Path | None,
    typer.Option(
        "--trees",
        metavar="FOLDER",
        help="Folder of the samples' trees, which runs can share. By default the run's folder.",
        show_default=False,
        rich_help_panel=TREE,
    ),
]
FirstLayer = Annotated[
    int,
    typer.Option("--first-layer", metavar="N", help="Lowest layer that reads the tree.", rich_help_panel=TREE, min=0),
]


INTERRUPTED = 130


@with_settings(
    "model",
    "device",
    "dtype",
    "quantize",
    "offline",
    "policy",
    "preset",
    "lower_layers",
    "chunk_tokens",
    "tree_height",
    "ratios",
    "encoding",
    "injection",
    without=("paper-cosine",),
    advanced=(
        *("passage_tokens", "batch_tokens", "gradient_checkpointing", "tree_share", "tree_only_share", "text_share"),
        *("text_tokens", "text_pieces", "tree_tokens", "trees", "first_layer"),
    ),
)
def train(
    call: Call,
    data: DataFiles,
    out: Out,
    objective: Objective = "qa",
    hold_back: HoldBack = 5,
    validation: Validation = 5,
    validation_samples: ValidationSamples = 8,
    documents: Documents = None,
    passage_tokens: PassageTokens = "256-1024",
    skip_bad_lines: SkipBadLines = False,
    steps: Steps = 400,
    samples: Samples = 4,
    learning_rate: LearningRate = 5e-4,
    rank: Rank = 16,
    batch_tokens: BatchTokens = 1,
    gradient_checkpointing: GradientCheckpointing = False,
    start: Start = None,
    seed: Seed = 0,
    max_minutes: MaxMinutes = None,
    resume: Resume = False,
    tree_share: TreeShare = 0.0,
    tree_only_share: TreeOnlyShare = 0.0,
    text_share: TextShare = 0.0,
    text_tokens: TextTokens = "512-512",
    text_pieces: TextPieces = None,
    tree_tokens: TreeTokens = "1024-8192",
    trees: TreesFolder = None,
    first_layer: FirstLayer = 0,
) -> int:
    """Train an adapter for a base model, to answer in the document's own words.

    The run can be interrupted and resumed; resumed, it does exactly what it would have done. On several GPUs:
    `accelerate launch -m sharedllm_cli train …`.
    """
    calm_libraries(verbose=call.console.verbose)
    from sharedllm_cli.lab.training.question_samples import Mixture
    from sharedllm_cli.lab.training.records import DataFile
    from sharedllm_cli.lab.training.run import Request, is_main_process, run
    from sharedllm_cli.lab.training.text_samples import Lengths
    from sharedllm_cli.lab.training.trainer import Pace, Schedule

    call.console.kept = "continue with --resume"
    least_tree, most_tree = _bounds("--tree-tokens", tree_tokens)
    least_text, most_text = _bounds("--text-tokens", text_tokens)
    least_evidence, most_evidence = _bounds("--passage-tokens", passage_tokens)
    mixture = Mixture(
        least_evidence=least_evidence,
        most_evidence=most_evidence,
        tree=tree_share,
        tree_only=tree_only_share,
        text=text_share,
        least_tree=least_tree,
        most_tree=most_tree,
    )
    request = Request(
        tuple(DataFile.parse(file) for file in data),
        out,
        objective=objective,
        start=start,
        first_layer=first_layer if objective != "qa" or mixture.reads_trees else None,
        trees=trees,
        mixture=mixture,
        lengths=Lengths(least_text=least_text, most_text=most_text),
        text_pieces=text_pieces,
        rank=rank,
        hold_back=hold_back,
        validation=validation,
        validation_samples=validation_samples,
        documents=documents,
        skip_bad_lines=skip_bad_lines,
        schedule=Schedule(
            steps=steps, samples=samples, learning_rate=learning_rate, batch_tokens=batch_tokens, seed=seed
        ),
        pace=Pace(max_seconds=math.inf if max_minutes is None else max_minutes * 60),
        gradient_checkpointing=gradient_checkpointing,
        resume=resume,
    )
    outcome = run(request, call.settings, home=call.home, reporter=call.console)
    return _tell(call, request, outcome) if is_main_process() else 0


def _bounds(option: str, text: str) -> tuple[int, int]:
    """`1024-8192` as two numbers."""
    least, dash, most = text.partition("-")
    if not (dash and least.isdigit() and most.isdigit() and 0 < int(least) <= int(most)):
        raise UsageError(f"{option} must be two numbers like 1024-8192, got {text!r}")
    return int(least), int(most)


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
