"""What the commands of `sharedllm eval` have in common: their options, and how a measured number is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from sharedllm_cli.cli.call import Call
from sharedllm_cli.cli.options import option
from sharedllm_cli.errors import UsageError

if TYPE_CHECKING:
    from sharedllm_cli.lab.training.records import DataFile

DATA = "Data"
MODEL_SETTINGS = ("model", "adapter", "device", "quantize", "dtype", "attention", "offline")
"""What every measurement of a model takes; `--cuda-graphs` is for answers alone."""
ANSWER_SETTINGS = ("policy", "evidence_tokens", "tree", "refuse_from", "candidates", "max_new_tokens", "system")

DataFiles = Annotated[
    list[str],
    option("--data FILE", "JSON Lines with documents and questions (.jsonl, .gz, .xz); may be repeated.", DATA),
]
Arms = Annotated[
    str,
    option("--arms A,A,…", "Of closed, truncate, bm25, tree, tree-wrong, plain, fine, fine-wrong, sharedllm, full."),
]
NoAdapter = Annotated[bool, option("--no-adapter", "Use the base model alone, without an adapter.")]
Limit = Annotated[int, option("--limit N", "Number of questions to draw.", DATA, min=1)]
Seed = Annotated[int, option("--seed N", "Seed of the draw.", DATA, min=0)]
Joins = Annotated[
    str,
    option(
        "--join K[,K…]",
        "Join every K documents into one; questions then name their title. One number, or one per data file.",
        DATA,
    ),
]
NoTitles = Annotated[bool, option("--no-titles", "With --join: questions don't name their title.", DATA)]
Last = Annotated[
    int | None,
    option(
        "--last N",
        "Only the last N documents of each file: those that `train --hold-back N` never looks at.",
        DATA,
        min=1,
    ),
]
Lasts = Annotated[
    str | None,
    option(
        "--last N[,N…]",
        "Only the last N documents of each file (0: all), those that `train --hold-back N` never looks at."
        " One number, or one a data file.",
        DATA,
    ),
]
SkipBadLines = Annotated[bool, option("--skip-bad-lines", "Report bad lines and skip them.", DATA)]
Resume = Annotated[bool, option("--resume", "Continue the run in the folder of --out.", "Run")]
OUT_HELP = "New folder for predictions, metrics and configuration."
Trees = Annotated[
    Path | None,
    option("--trees FOLDER", "Folder of trees, which runs can share; by default in the folder of --out.", "Run"),
]


def data_files(named: Sequence[str]) -> tuple[DataFile, ...]:
    """The data files that `--data` or `--text` name."""
    from sharedllm_cli.lab.training.records import DataFile

    return tuple(DataFile(Path(file)) for file in named)


def measured(call: Call, measure: Callable[..., dict[str, Any]], request: Any) -> dict[str, Any]:
    """Measure what is asked, and print it where JSON is wanted; with `request.out` it can be resumed."""
    if request.out is not None:
        call.console.kept = "continue with --resume"
    found = measure(request, call.settings, home=call.home, reporter=call.console)
    if call.json:
        call.console.json(found)
    return found


def per_file(flag: str, text: str | None) -> tuple[int, ...]:
    """Whole numbers, one or one a data file, (0,) for none; UsageError for anything else."""
    if text is None:
        return (0,)
    try:
        found = tuple(int(one) for one in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 0:
        raise UsageError(f"{flag} must be whole numbers joined by commas, got {text!r}")
    return found


def share(of: dict[str, Any], name: str) -> str:
    """A number and its 95 % interval, as a table shows them."""
    if of[name] is None:
        return "–"
    low, high = of[f"{name}_interval"]
    return f"{of[name]:.3f} ({low:.3f} to {high:.3f})"
