"""`sharedllm train`: train an adapter for a base model."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sharedllm_cli.cli.options import with_settings
from sharedllm_cli.cli.session import Call, calm_libraries
from sharedllm_cli.cli.terminal.quantities import duration
from sharedllm_cli.cli.train import options
from sharedllm_cli.errors import UsageError

if TYPE_CHECKING:
    from sharedllm_cli.lab.training.run import Outcome, Request

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
)
def train(
    call: Call,
    data: options.DataFiles,
    out: options.Out,
    objective: options.Objective = "qa",
    hold_back: options.HoldBack = 5,
    validation: options.Validation = 5,
    validation_samples: options.ValidationSamples = 8,
    documents: options.Documents = None,
    passage_tokens: options.PassageTokens = "256-1024",
    skip_bad_lines: options.SkipBadLines = False,
    steps: options.Steps = 400,
    samples: options.Samples = 4,
    learning_rate: options.LearningRate = 5e-4,
    rank: options.Rank = 16,
    batch_tokens: options.BatchTokens = 1,
    gradient_checkpointing: options.GradientCheckpointing = False,
    start: options.Start = None,
    seed: options.Seed = 0,
    max_minutes: options.MaxMinutes = None,
    resume: options.Resume = False,
    tree_share: options.TreeShare = 0.0,
    tree_only_share: options.TreeOnlyShare = 0.0,
    text_share: options.TextShare = 0.0,
    recite_share: options.ReciteShare = 0.0,
    text_tokens: options.TextTokens = "512-512",
    text_pieces: options.TextPieces = None,
    tree_tokens: options.TreeTokens = "1024-8192",
    trees: options.TreesFolder = None,
    jitter: options.Jitter = 0.0,
    jitter_variants: options.JitterVariants = 0,
    gate_start: options.GateStart = 0.0,
    gates: options.Gates = "head",
    first_layer: options.FirstLayer = 0,
    low_rank_from: options.LowRankFrom = 0,
    length_bias: options.LengthBias = 0.0,
) -> int:
    """Train an adapter for a base model, to answer in the document's own words.

    The run can be interrupted and resumed; resumed, it does exactly what it would have done. On several GPUs:
    `accelerate launch -m sharedllm_cli train …`.
    """
    calm_libraries(verbose=call.console.verbose)
    from sharedllm_cli.lab.training.dataset import Mixture
    from sharedllm_cli.lab.training.records import DataFile
    from sharedllm_cli.lab.training.run import Request, is_main_process, run
    from sharedllm_cli.lab.training.starting import Reading
    from sharedllm_cli.lab.training.text import Lengths
    from sharedllm_cli.lab.training.trainer import Pace, Schedule

    call.console.kept = "go on with --resume"
    least_tree, most_tree = _bounds("--tree-tokens", tree_tokens)
    least_text, most_text = _bounds("--text-tokens", text_tokens)
    least_evidence, most_evidence = _bounds("--passage-tokens", passage_tokens)
    reading = Reading(gate_start, gates, first_layer, low_rank_from, length_bias)  # type: ignore[arg-type]
    mixture = Mixture(
        least_evidence=least_evidence,
        most_evidence=most_evidence,
        tree=tree_share,
        tree_only=tree_only_share,
        text=text_share,
        recite=recite_share,
        least_tree=least_tree,
        most_tree=most_tree,
        jitter=jitter,
        jitter_variants=jitter_variants,
    )
    request = Request(
        tuple(DataFile.parse(file) for file in data),
        out,
        objective=objective,
        start=start,
        reading=reading if objective not in ("qa", "risk") or mixture.reads_trees else None,
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
