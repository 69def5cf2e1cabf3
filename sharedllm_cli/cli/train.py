"""`sharedllm train`: its options, and an adapter trained for a base model."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from sharedllm_cli.cli.call import INTERRUPTED, Call, calm_libraries
from sharedllm_cli.cli.options import option, with_settings
from sharedllm_cli.cli.terminal.tables import duration
from sharedllm_cli.config import MOST_SEED
from sharedllm_cli.errors import UsageError

if TYPE_CHECKING:
    from sharedllm_cli.lab.training.run import Outcome, Request


DATA, COURSE, TREE = "Data", "Course", "Reading the tree"


@with_settings(
    *("model", "device", "dtype", "quantize", "offline", "policy", "preset", "lower_layers", "chunk_tokens"),
    *("tree_height", "ratios", "encoding", "injection"),
    without=("paper-cosine",),
    advanced=(
        *("passage_tokens", "batch_tokens", "gradient_checkpointing", "tree_only_share", "text_share"),
        *("tree_tokens", "trees", "first_layer"),
    ),
)
def train(
    call: Call,
    data: Annotated[
        list[str],
        option(
            "--data FILE[=WEIGHT]",
            "JSON Lines with documents and questions, or plain text for lm (.jsonl, .txt; .gz, .xz);"
            " repeat it for several files, with weights.",
            DATA,
        ),
    ],
    out: Annotated[Path, option("--out FOLDER", "Folder of the run: its adapter, checkpoints and metrics.")],
    objective: Annotated[
        str,
        option("--objective qa|lm", "What to train: answering from passages or a tree, or continuing a tree's text."),
    ] = "qa",
    hold_back: Annotated[
        int, option("--hold-back", "Number of last documents of each file that are never used.", DATA, min=0)
    ] = 5,
    validation: Annotated[
        int,
        option(
            "--validation", "Number of documents before those for the validation loss, never trained on.", DATA, min=0
        ),
    ] = 5,
    validation_samples: Annotated[
        int, option("--validation-samples", "Samples of the validation loss.", DATA, min=1)
    ] = 8,
    documents: Annotated[
        int | None,
        option(
            "--documents N",
            "Train on N documents of each file (for lm and --text-share also N pieces of some 11,000 tokens), spread"
            " over it; each needs its trees. By default all.",
            DATA,
            min=1,
        ),
    ] = None,
    passage_tokens: Annotated[
        str, option("--passage-tokens A-B", "Tokens of verbatim passages in a sample of qa, drawn from A to B.", DATA)
    ] = "256-1024",
    skip_bad_lines: Annotated[bool, option("--skip-bad-lines", "Report bad lines and skip them.", DATA)] = False,
    steps: Annotated[int, option("--steps", "Number of steps.", COURSE, min=1)] = 400,
    samples: Annotated[int, option("--samples", "Samples per step.", COURSE, min=1)] = 4,
    learning_rate: Annotated[float, option("--learning-rate", "Highest learning rate.", COURSE)] = 5e-4,
    rank: Annotated[int, option("--rank", "Rank of the low-rank weights.", COURSE)] = 16,
    batch_tokens: Annotated[int, option("--batch-tokens", "Batch samples up to this many tokens.", COURSE)] = 1,
    gradient_checkpointing: Annotated[
        bool,
        option(
            "--gradient-checkpointing",
            "Recompute activations in the backward pass: more work, far less memory.",
            COURSE,
        ),
    ] = False,
    start: Annotated[
        Path | None, option("--from FOLDER", "Adapter to continue from; keeps its rank, layers and injection.", COURSE)
    ] = None,
    seed: Annotated[int, option("--seed", "Seed of weights and samples.", COURSE, min=0, max=MOST_SEED)] = 0,
    max_minutes: Annotated[float | None, option("--max-minutes", "Stop cleanly after N minutes.", COURSE)] = None,
    resume: Annotated[bool, option("--resume", "Continue from the folder's newest checkpoint.", COURSE)] = False,
    tree_only_share: Annotated[
        float,
        option(
            "--tree-only-share X",
            "Share of samples that read a tree and no passage; opens a new adapter's gates.",
            TREE,
            min=0.0,
            max=1.0,
        ),
    ] = 0.0,
    text_share: Annotated[
        float,
        option(
            "--text-share X",
            "Share of samples of qa that continue a text after its tree, as lm does; opens a new adapter's gates.",
            TREE,
            min=0.0,
            max=1.0,
        ),
    ] = 0.0,
    tree_tokens: Annotated[
        str, option("--tree-tokens A-B", "Join a file's documents until a tree has A to B tokens.", TREE)
    ] = "1024-8192",
    trees: Annotated[
        Path | None,
        option(
            "--trees FOLDER", "Folder of the samples' trees, which runs can share. By default the run's folder.", TREE
        ),
    ] = None,
    first_layer: Annotated[int, option("--first-layer N", "Lowest layer that reads the tree.", TREE, min=0)] = 0,
) -> int:
    """Train an adapter for a base model, to answer in the document's own words.

    The run can be interrupted and resumed; resumed, it does exactly what it would have done. On several GPUs:
    `accelerate launch -m sharedllm_cli train …`.
    """
    calm_libraries(verbose=call.console.verbose)
    from sharedllm_cli.lab.training.question_samples import Mixture
    from sharedllm_cli.lab.training.records import DataFile
    from sharedllm_cli.lab.training.run import Request, is_main_process, run
    from sharedllm_cli.lab.training.trainer import Pace, Schedule

    call.console.kept = "continue with --resume"
    least_tree, most_tree = _bounds("--tree-tokens", tree_tokens)
    least_evidence, most_evidence = _bounds("--passage-tokens", passage_tokens)
    mixture = Mixture(
        least_evidence=least_evidence,
        most_evidence=most_evidence,
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
