"""`sharedllm eval needle`: whether a fact planted in a long text is answered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from sharedllm_cli.cli.eval.heat_map import show_heat_map
from sharedllm_cli.cli.eval.options import (
    ANSWER_SETTINGS,
    DATA,
    KEPT,
    MODEL_SETTINGS,
    OUT_HELP,
    Arms,
    NoAdapter,
    Resume,
    names,
)
from sharedllm_cli.cli.options import TREE, with_settings
from sharedllm_cli.cli.session import Call, calm_libraries
from sharedllm_cli.errors import UsageError

Number = TypeVar("Number", int, float)

TREES_HELP = "Where trees are kept, to share them between runs; by default each goes after its document's questions."


@with_settings(*MODEL_SETTINGS, *ANSWER_SETTINGS, *TREE.names)
def needle(
    call: Call,
    text: Annotated[
        list[str],
        typer.Option(
            "--text",
            metavar="FILE",
            help="Text to plant facts in: JSON Lines (.jsonl, .gz, .xz) or a document; can be given several times.",
            show_default=False,
            rich_help_panel=DATA,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help=OUT_HELP, rich_help_panel="Run", show_default=False)
    ],
    lengths: Annotated[
        str, typer.Option("--lengths", metavar="N,N,…", help="Lengths of the document, in tokens.")
    ] = "2048,8192,32768,131072",
    depths: Annotated[
        str, typer.Option("--depths", metavar="P,P,…", help="Where the fact stands, in percent of the document.")
    ] = "0,25,50,75,100",
    arms: Arms = "sharedllm,tree,tree-wrong,bm25,closed",
    no_adapter: NoAdapter = False,
    trials: Annotated[
        int,
        typer.Option("--trials", metavar="N", help="Facts for each length and depth.", rich_help_panel=DATA, min=1),
    ] = 5,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Seed of facts and stretches.", rich_help_panel=DATA, min=0)
    ] = 0,
    trees: Annotated[
        Path | None,
        typer.Option("--trees", metavar="FOLDER", help=TREES_HELP, rich_help_panel="Run", show_default=False),
    ] = None,
    resume: Resume = False,
) -> None:
    """Plant an invented fact in a long text and ask for it, at every length and depth; draw the answers as heat maps.

    Each fact is planted in a stretch of the text of its own. `tree-wrong` reads the stretch without the fact.
    """
    calm_libraries(verbose=call.console.verbose)
    from sharedllm_cli.lab.evaluation.needle import Request
    from sharedllm_cli.lab.evaluation.needle import needle as measure

    call.console.kept = KEPT
    request = Request(
        tuple(Path(file) for file in text),
        out,
        lengths=_numbers("--lengths", lengths, int),
        depths=_numbers("--depths", depths, float),
        trials=trials,
        arms=names(arms),
        seed=seed,
        adapter=not no_adapter,
        trees=trees,
        resume=resume,
    )
    found = measure(request, call.settings, home=call.home, reporter=call.console)
    if call.json:
        call.console.json(found)
        return
    for name, of in found["arms"].items():
        _show_arm(call, name, of, found["lengths"], found["depths"])
    call.console.say(f"{out}: heat maps, predictions, metrics and configuration", style="dim")


def _numbers(option: str, text: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    try:
        return tuple(kind(name) for name in names(text))
    except ValueError:
        raise UsageError(f"{option} must be numbers joined by commas, got {text!r}") from None


def _show_arm(call: Call, name: str, of: dict[str, Any], lengths: list[int], depths: list[float]) -> None:
    if "left_out" in of:
        return
    call.console.line(f"{name}: {_told(of)}")
    cells = {(cell["length"], cell["depth"]): cell for cell in of["cells"]}
    show_heat_map(
        call.console,
        "depth",
        [f"{depth:g} %" for depth in depths],
        [f"{length:,}" for length in lengths],
        [[_cell(cells[length, depth]) for length in lengths] for depth in depths],
        [[cells[length, depth]["answered"] for length in lengths] for depth in depths],
    )
    call.console.line("")


def _told(of: dict[str, Any]) -> str:
    """An arm in words: the same figures as in its cells, over all of them."""
    if not of["n"]:
        return "no document fits"
    low, high = of["answered_interval"]
    words = [f"{_count(of, 'answered')} of {of['n']} answered ({low:.0%} to {high:.0%})"]
    if of["held"] is not None:
        words.append(f"held {_count(of, 'held')}: the passages hold the planted sentence")
    if of["did_not_fit"]:
        words.append(f"{of['did_not_fit']} did not fit")
    return ", ".join(words)


def _cell(of: dict[str, Any]) -> str:
    if not of["n"]:
        return "–"
    answered = f"{_count(of, 'answered')}/{of['n']}"
    return answered if of["held"] is None else f"{answered}, held {_count(of, 'held')}"


def _count(of: dict[str, Any], name: str) -> int:
    return round(float(of[name]) * int(of["n"]))
