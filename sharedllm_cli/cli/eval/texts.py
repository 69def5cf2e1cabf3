"""`sharedllm eval needle` and `ppl`: measures on long texts: facts planted in them, and how well they are predicted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from sharedllm_cli.cli.call import Call, calm_libraries
from sharedllm_cli.cli.eval.options import (
    ANSWER_SETTINGS,
    DATA,
    MODEL_SETTINGS,
    OUT_HELP,
    Arms,
    Last,
    NoAdapter,
    Resume,
    Seed,
    SkipBadLines,
    data_files,
    measured,
)
from sharedllm_cli.cli.options import TREE, names, numbers, option, with_settings
from sharedllm_cli.cli.terminal.console import Console, one_line
from sharedllm_cli.cli.terminal.tables import show_table

TREES_HELP = "Folder of trees, which runs can share; by default"
_COLOURS = (
    ("white", "#00224e"),
    ("white", "#35456c"),
    ("white", "#666970"),
    ("black", "#948e77"),
    ("black", "#c8b866"),
    ("black", "#fee838"),
)
"""Letters and ground from the lowest share to the highest: the map cividis, as in the plots."""
ARMS = "window,streaming,sharedllm,tree-wrong,full"


@with_settings(*MODEL_SETTINGS, *ANSWER_SETTINGS, *TREE.names)
def needle(
    call: Call,
    text: Annotated[
        list[str],
        option(
            "--text FILE", "Text to plant facts in: JSON Lines (.jsonl, .gz, .xz) or a document; may be repeated.", DATA
        ),
    ],
    out: Annotated[Path, option("--out FOLDER", OUT_HELP, "Run")],
    lengths: Annotated[
        str, option("--lengths N,N,…", "Lengths of the document, in tokens.")
    ] = "2048,8192,32768,131072",
    depths: Annotated[
        str, option("--depths P,P,…", "Position of the fact, in percent of the document.")
    ] = "0,25,50,75,100",
    arms: Arms = "sharedllm,tree,tree-wrong,bm25,closed",
    no_adapter: NoAdapter = False,
    trials: Annotated[int, option("--trials N", "Number of facts per length and depth.", DATA, min=1)] = 5,
    seed: Annotated[int, option("--seed N", "Seed of facts and stretches.", DATA, min=0)] = 0,
    trees: Annotated[
        Path | None, option("--trees FOLDER", f"{TREES_HELP} each is deleted after its document's questions.", "Run")
    ] = None,
    resume: Resume = False,
) -> None:
    """Plant an invented fact in a long text and ask for it, at every length and depth; draw the answers as heat maps.

    Each fact is planted in a stretch of the text of its own. `tree-wrong` reads the stretch without the fact.
    """
    calm_libraries(verbose=call.console.verbose)
    from sharedllm_cli.lab.evaluation.needle import Request
    from sharedllm_cli.lab.evaluation.needle import needle as measure

    request = Request(
        tuple(Path(file) for file in text),
        out,
        lengths=numbers("--lengths", lengths),
        depths=numbers("--depths", depths, float),
        trials=trials,
        arms=names(arms),
        seed=seed,
        adapter=not no_adapter,
        trees=trees,
        resume=resume,
    )
    found = measured(call, measure, request)
    if call.json:
        return
    for name, of in found["arms"].items():
        _show_arm(call, name, of, found["lengths"], found["depths"])
    call.console.say(f"{out}: heat maps, predictions, metrics and configuration", style="dim")


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


def show_heat_map(
    console: Console,
    corner: str,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    shares: Sequence[Sequence[float | None]],
) -> None:
    """Cells [rows][columns] of plain text, coloured by their shares from 0 to 1 (None: no colour)."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold", show_edge=False)
    grid.add_column(corner, justify="right", no_wrap=True)
    for column in columns:
        grid.add_column(column, justify="center", no_wrap=True)
    for name, line, values in zip(rows, cells, shares, strict=True):
        coloured = [Text(f" {one_line(text)} ", style(share)) for text, share in zip(line, values, strict=True)]
        grid.add_row(Text(name), *coloured)
    console.result(grid)


def style(share: float | None) -> str:
    """The colours of a cell by its share."""
    if share is None:
        return ""
    letters, ground = _COLOURS[min(int(share * len(_COLOURS)), len(_COLOURS) - 1)]
    return f"{letters} on {ground}"


@with_settings(*MODEL_SETTINGS, *TREE.names)
def ppl(
    call: Call,
    text: Annotated[
        list[str],
        option(
            "--text FILE",
            "A text: JSON Lines (.jsonl, .gz, .xz; each document is one) or a document; can be given several times.",
            DATA,
        ),
    ],
    lengths: Annotated[
        str, option("--lengths N,N,…", "Tokens of a stretch, the scored ones included.")
    ] = "4096,16384,32768,131072",
    arms: Annotated[str, option("--arms A,A,…", f"Arms: {ARMS.replace(',', ', ')}.")] = ARMS,
    no_adapter: NoAdapter = False,
    recent: Annotated[int, option("--recent N", "Tokens that every arm reads as plain text.", min=1)] = 2048,
    scored: Annotated[int, option("--scored N", "Tokens to score at the end of a stretch.", min=1)] = 512,
    streaming_window: Annotated[
        int | None,
        option(
            "--streaming-window N",
            "Tokens that streaming sees beside its 4 sinks; by default those of --recent and --scored together.",
            min=1,
        ),
    ] = None,
    ends: Annotated[int, option("--ends N", "Number of stretches per text.", DATA, min=1)] = 3,
    seed: Seed = 0,
    last: Last = None,
    skip_bad_lines: SkipBadLines = False,
    out: Annotated[Path | None, option("--out FOLDER", OUT_HELP, "Run")] = None,
    trees: Annotated[
        Path | None, option("--trees FOLDER", f"{TREES_HELP} the nodes are computed as they are read.", "Run")
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

    request = Request(
        data_files(text),
        lengths=numbers("--lengths", lengths),
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
    found = measured(call, measure, request)
    if call.json:
        return
    _show(call, found, request.arms)
    if out is not None:
        call.console.say(f"\n{out}: predictions, metrics, configuration, and the differences between arms", style="dim")


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
