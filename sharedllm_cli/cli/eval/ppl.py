"""`sharedllm eval ppl`: perplexity at the end of long texts, by how what came before is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sharedllm_cli.cli.eval.options import (
    DATA,
    KEPT,
    MODEL_SETTINGS,
    OUT_HELP,
    Last,
    NoAdapter,
    Resume,
    Seed,
    SkipBadLines,
    names,
)
from sharedllm_cli.cli.options import TREE, with_settings
from sharedllm_cli.cli.session import Call, calm_libraries
from sharedllm_cli.cli.terminal.tables import show_table
from sharedllm_cli.errors import UsageError

ARMS = "window,streaming,sharedllm,tree-wrong,full"
TREES_HELP = "Where trees are kept, to share them between runs; by default the nodes that are read are computed anew."


@with_settings(*MODEL_SETTINGS, *TREE.names)
def ppl(
    call: Call,
    text: Annotated[
        list[str],
        typer.Option(
            "--text",
            metavar="FILE",
            help="A text: JSON Lines (.jsonl, .gz, .xz; each document is one) or a document; can be given several"
            " times.",
            show_default=False,
            rich_help_panel=DATA,
        ),
    ],
    lengths: Annotated[
        str, typer.Option("--lengths", metavar="N,N,…", help="Tokens of a stretch, the scored ones included.")
    ] = "4096,16384,32768,131072",
    arms: Annotated[str, typer.Option("--arms", metavar="A,A,…", help=f"Arms: {ARMS.replace(',', ', ')}.")] = ARMS,
    no_adapter: NoAdapter = False,
    recent: Annotated[
        int, typer.Option("--recent", metavar="N", help="Tokens that every arm reads as plain text.", min=1)
    ] = 2048,
    scored: Annotated[
        int, typer.Option("--scored", metavar="N", help="Tokens that are scored, at a stretch's end.", min=1)
    ] = 512,
    streaming_window: Annotated[
        int | None,
        typer.Option(
            "--streaming-window",
            metavar="N",
            help="Tokens that streaming sees beside its 4 sinks; by default those of --recent and --scored together.",
            show_default=False,
            min=1,
        ),
    ] = None,
    ends: Annotated[
        int,
        typer.Option(
            "--ends", metavar="N", help="Places in each text at which stretches end.", rich_help_panel=DATA, min=1
        ),
    ] = 3,
    seed: Seed = 0,
    last: Last = None,
    skip_bad_lines: SkipBadLines = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help=OUT_HELP, rich_help_panel="Run", show_default=False),
    ] = None,
    trees: Annotated[
        Path | None,
        typer.Option("--trees", metavar="FOLDER", help=TREES_HELP, rich_help_panel="Run", show_default=False),
    ] = None,
    resume: Resume = False,
) -> None:
    """Measure how well the last tokens of long stretches of text are predicted: each arm reads what came before in
    another way, all else is the same.

    An arm that can't be measured (a tree that no gate reads, a stretch longer than the window) is left out with a
    warning, and so is a length that a text is too short for.
    """
    calm_libraries(verbose=call.console.verbose)
    from sharedllm_cli.lab.evaluation.perplexity import Request
    from sharedllm_cli.lab.evaluation.perplexity import perplexity as measure
    from sharedllm_cli.lab.evaluation.perplexity_stretches import Sizes
    from sharedllm_cli.lab.training.records import DataFile

    if out is not None:
        call.console.kept = KEPT
    request = Request(
        tuple(DataFile(Path(file)) for file in text),
        lengths=_numbers(lengths),
        arms=names(arms),
        ends=ends,
        sizes=Sizes(recent, scored),
        streaming_window=streaming_window,
        seed=seed,
        last=last,
        adapter=not no_adapter,
        out=out,
        trees=trees,
        resume=resume,
        skip_bad_lines=skip_bad_lines,
    )
    found = measure(request, call.settings, home=call.home, reporter=call.console)
    if call.json:
        call.console.json(found)
        return
    _show(call, found, request.arms)
    if out is not None:
        call.console.say(f"\n{out}: predictions, metrics, configuration, and the differences between arms", style="dim")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(name) for name in names(text))
    except ValueError:
        raise UsageError(f"--lengths must be whole numbers joined by commas, got {text!r}") from None


def _show(call: Call, found: dict[str, Any], arms: tuple[str, ...]) -> None:
    """A line for each length and arm: perplexity, and how far its loss lies from streaming's."""
    rows = []
    for length, of in found["lengths"].items():
        against = {one["arm"]: one for one in of["differences"] if one["against"] == "streaming"}
        flipped = {one["against"]: one for one in of["differences"] if one["arm"] == "streaming"}
        for arm in arms:
            if of[arm] is None:
                continue
            apart = _apart(against.get(arm), 1) or _apart(flipped.get(arm), -1) or "–"
            nll = of["nll"][arm]["mean"]
            rows.append((f"{int(length):,}", arm, f"{of['n_tokens']:,}", f"{of[arm]:.2f}", f"{nll:.4f}", apart))
    headings = ("Tokens", "Arm", "Scored", "Perplexity", "Nats a token", "Against streaming")
    show_table(call.console, headings, rows, right="Tokens,Scored,Perplexity,Nats a token")


def _apart(difference: dict[str, Any] | None, sign: int) -> str:
    """A difference in nats a token with its 95 % interval, where there is one."""
    if difference is None:
        return ""
    told = f"{sign * difference['mean']:+.4f}"
    if difference["interval"] is None:
        return told
    low, high = sorted(sign * edge for edge in difference["interval"])
    return f"{told} ({low:+.4f} to {high:+.4f})"
