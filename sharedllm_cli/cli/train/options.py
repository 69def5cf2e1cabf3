"""The options of `sharedllm train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DATA, COURSE, TREE = "Data", "Course", "Reading the tree"

DataFiles = Annotated[
    list[str],
    typer.Option(
        "--data",
        metavar="FILE[=WEIGHT]",
        help="JSON Lines with documents and questions, or plain text for recite and lm (.jsonl, .txt; .gz, .xz);"
        " give it several times, with weights.",
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
        help="What is learned: to answer from passages and tree, to recite a tree's words, to go on with its text, or"
        " to say with the tree what the base model says with the text.",
    ),
]
HoldBack = Annotated[
    int, typer.Option("--hold-back", help="Last documents of each file, never looked at.", rich_help_panel=DATA, min=0)
]
Validation = Annotated[
    int,
    typer.Option(
        "--validation",
        help="Documents before those, whose loss is followed and never learned from.",
        rich_help_panel=DATA,
        min=0,
    ),
]
Documents = Annotated[
    int | None,
    typer.Option(
        "--documents",
        metavar="N",
        help="Learn from so many documents of each file, spread over it: each needs its trees. All unless said.",
        show_default=False,
        rich_help_panel=DATA,
        min=1,
    ),
]
ValidationSamples = Annotated[
    int, typer.Option("--validation-samples", help="Samples of the validation loss.", rich_help_panel=DATA, min=1)
]
SkipBadLines = Annotated[
    bool, typer.Option("--skip-bad-lines", help="Name bad lines and go on without them.", rich_help_panel=DATA)
]
Steps = Annotated[int, typer.Option("--steps", help="Steps in all.", rich_help_panel=COURSE, min=1)]
Samples = Annotated[int, typer.Option("--samples", help="Samples a step.", rich_help_panel=COURSE, min=1)]
LearningRate = Annotated[float, typer.Option("--learning-rate", help="Highest learning rate.", rich_help_panel=COURSE)]
Rank = Annotated[int, typer.Option("--rank", help="Rank of the low-rank weights.", rich_help_panel=COURSE)]
BatchTokens = Annotated[
    int,
    typer.Option("--batch-tokens", help="Samples stand side by side up to this many tokens.", rich_help_panel=COURSE),
]
GradientCheckpointing = Annotated[
    bool,
    typer.Option(
        "--gradient-checkpointing",
        help="Keep a layer's states at its entrance alone, and compute the rest again: more work, far less memory.",
        rich_help_panel=COURSE,
    ),
]
Start = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="FOLDER",
        help="Adapter to go on from; its rank, layers and injection stay.",
        show_default=False,
        rich_help_panel=COURSE,
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of weights and samples.", rich_help_panel=COURSE)]
MaxMinutes = Annotated[
    float | None,
    typer.Option("--max-minutes", help="Stop cleanly after this much work.", rich_help_panel=COURSE),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from the folder's newest checkpoint.", rich_help_panel=COURSE)
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
        help="Share of samples of qa that go on with a text after its tree, as lm does; opens a new adapter's gates.",
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
        help="Plain tokens that follow the tree in a sample of lm or --text-share, drawn between these.",
        rich_help_panel=TREE,
    ),
]
TextPieces = Annotated[
    int | None,
    typer.Option(
        "--text-pieces",
        metavar="N",
        help="For lm, recite and --text-share, long texts are cut into pieces of some 11,000 tokens; learn from"
        " so many of each file, spread over it: each needs its trees. All unless said.",
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
        help="Documents of a file join until a tree holds so many tokens.",
        rich_help_panel=TREE,
    ),
]
PassageTokens = Annotated[
    str,
    typer.Option(
        "--passage-tokens",
        metavar="A-B",
        help="Tokens of verbatim passages in a sample of qa, drawn between these.",
        rich_help_panel=DATA,
    ),
]
TreesFolder = Annotated[
    Path | None,
    typer.Option(
        "--trees",
        metavar="FOLDER",
        help="Where the samples' trees are kept; several runs can share it. By default the run's folder.",
        show_default=False,
        rich_help_panel=TREE,
    ),
]
FirstLayer = Annotated[
    int,
    typer.Option("--first-layer", metavar="N", help="Lowest layer that reads the tree.", rich_help_panel=TREE, min=0),
]
