"""`sharedllm bench`: speed and memory against the length of a document, against the other ways of reading."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from sharedllm_cli.cli.call import Call, calm_libraries
from sharedllm_cli.cli.options import names, numbers, option, with_settings
from sharedllm_cli.cli.terminal.tables import duration, show_facts, show_table, size
from sharedllm_cli.config import LayerSpan, parse_layer_span
from sharedllm_cli.errors import UsageError

WHAT, RUN = "What is read", "Run"
HEADINGS = ("Tokens", "Arm", "Cold", "Of floor", "Indexed", "Token/s", "Peak", "Index built")


def layer_spans(text: str, flag: str) -> tuple[LayerSpan, ...]:
    """Numbers M, which are the bottom M layers, and ranges A-B joined by commas; UsageError for anything else."""
    found = []
    for part in names(text):
        try:
            found.append((0, int(part)) if part.isdecimal() else parse_layer_span(part))
        except UsageError:
            raise UsageError(
                f"{flag} must be numbers and ranges joined by commas, like 4,8,10-25, got {part!r}",
                hint="10-25 are the layers 10 to 24, counted from 0, so that M = 25",
            ) from None
    return tuple(found)


@with_settings(
    *("model", "device", "quantize", "dtype", "attention", "offline"),
    *("policy", "preset", "chunk_tokens", "tree_height", "ratios", "encoding", "stored_dtype", "injection"),
)
def bench(
    call: Call,
    lengths: Annotated[
        str, option("--lengths N,N,…", "Lengths of the document, in tokens.", WHAT)
    ] = "8192,32768,131072",
    arms: Annotated[
        str, option("--arms A,A,…", "Ways of reading: sharedllm, streaming, encoder-decoder, full.", WHAT)
    ] = "sharedllm,streaming,encoder-decoder,full",
    layers: Annotated[
        str,
        option(
            "--lower-layers M,A-B,…",
            "Layers that read the tree, an arm each: the bottom M, or from A up to but not B, counted from 0, so"
            " that M = B; else those of the model's adapter, or the preset's.",
            WHAT,
        ),
    ] = "",
    shape: Annotated[
        str | None,
        option(
            "--random-weights SHAPE",
            "Time a model's shape without its weights: llama-3.1-8b, llama-2-7b, smollm2-135m, tiny, or"
            " LAYERSxHIDDENxHEADSxKVxMLPxVOCAB.",
            WHAT,
        ),
    ] = None,
    text: Annotated[
        Path | None, option("--text FILE", "Text to read, repeated if it is too short; by default made-up words.", WHAT)
    ] = None,
    running_tokens: Annotated[int, option("--running-tokens", "Plain tokens after the document.", WHAT, min=1)] = 1280,
    new_tokens: Annotated[int, option("--new-tokens", "Tokens to generate after the first.", WHAT, min=1)] = 32,
    window: Annotated[int, option("--window", "Window of the arm streaming, in tokens.", WHAT, min=1)] = 2048,
    block: Annotated[
        int | None,
        option("--block N", "Tokens that the arm streaming reads at once; by default the fastest size.", WHAT, min=1),
    ] = None,
    encoders: Annotated[
        str,
        option(
            "--encoder E,E,…",
            "Encoders of the arm encoder-decoder: cepe, base (as large as the model), or LAYERSxHIDDENxHEADSxMLP.",
            WHAT,
        ),
    ] = "cepe",
    repeats: Annotated[int, option("--repeats", "Number of timed runs.", RUN, min=1)] = 3,
    max_seconds: Annotated[
        float, option("--max-seconds", "Skip an arm that would take longer than X seconds.", RUN)
    ] = 600.0,
    memory: Annotated[
        bool, option("--memory/--no-memory", "On a CPU, measure each arm's peak memory in a process of its own.", RUN)
    ] = True,
    counted: Annotated[
        bool, option("--count", "Only count the operations of each arm; load and run nothing.", RUN)
    ] = False,
    out: Annotated[Path | None, option("--out FILE", "Also write the JSON to this file.", RUN)] = None,
) -> None:
    """Time reading and answering by the length of a document: this method against the other ways of reading.

    The table compares each time with its floor, the least that operations and bytes allow on this machine. See
    docs/results.md.
    """
    calm_libraries(verbose=call.console.verbose)
    from sharedllm_cli.lab.bench.benchmark import bench as measure
    from sharedllm_cli.lab.bench.benchmark import write
    from sharedllm_cli.lab.bench.request import Request, count

    request = Request(
        numbers("--lengths", lengths),
        names(arms),
        shape=shape,
        text=text,
        layers=layer_spans(layers, "--lower-layers"),
        running_tokens=running_tokens,
        new_tokens=new_tokens,
        repeats=repeats,
        window=window,
        block=block,
        encoders=names(encoders),
        max_seconds=math.inf if max_seconds <= 0 else max_seconds,
        memory=memory,
    )
    found = (
        count(request, call.settings, home=call.home)
        if counted
        else measure(request, call.settings, home=call.home, reporter=call.console)
    )
    if out is not None:
        write(found, out)
    if call.json:
        call.console.json(found)
    elif counted:
        show_counts(call, found)
    else:
        show(call, found)


def show(call: Call, found: dict[str, Any]) -> None:
    """The measurements, the ratios below them, and what they were made with."""
    right = ",".join(heading for heading in HEADINGS if heading != "Arm")
    show_table(call.console, HEADINGS, list(_rows(found)), right=right)
    ratios = list(_ratios(found))
    if ratios:
        headings = ("Tokens", "Arm", "Against", "Measured", "Predicted", "Share")
        call.console.result("")
        show_table(call.console, headings, ratios, right="Tokens,Measured,Predicted,Share")
    model, machine = found["model"], found["machine"]
    products, copies = machine["operations_per_s"] / 1e9, machine["bytes_per_s"] / 1e9
    call.console.result("")
    show_facts(
        call.console,
        [
            (
                "Model",
                f"{model['name']}, {model['dtype']}, quantize {model['quantize']}, {size(model['memory_bytes'])}",
            ),
            ("Device", f"{model['device']} ({model['device_name']})"),
            ("Floors from", f"matrix products at {products:,.0f} GFLOP/s, copies at {copies:,.1f} GB/s"),
            ("Tree", _tree(found["tree"])),
            ("Text", found["text"]),
        ],
    )


def _tree(tree: dict[str, Any]) -> str:
    """What the trees that were read are, in words."""
    from sharedllm_cli.index.manifest import ENCODING_WORDS, ENCODINGS

    ratios = ",".join(map(str, tree["ratios"]))
    return f"chunks of {tree['chunk_tokens']:,} tokens, ratios {ratios}, {ENCODING_WORDS[ENCODINGS[tree['encoding']]]}"


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for length, of in found["lengths"].items():
        for arm, told in of["arms"].items():
            if "left_out" in told:
                yield f"{int(length):,}", f"{arm}: {told['left_out']}", *["–"] * (len(HEADINGS) - 2)
                continue
            cold, indexed, index = told["cold"], told.get("indexed"), told.get("index")
            yield (
                f"{int(length):,}",
                arm,
                seconds(cold["seconds"]),
                f"{cold['share_of_floor']:.0%}",
                seconds(indexed["seconds"]) if indexed else "–",
                f"{told['token']['tokens_per_s']:.1f}",
                size(cold["peak_bytes"]) if cold["peak_bytes"] else "–",
                seconds(index["seconds"]) if index else "–",
            )


def _ratios(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for length, of in found["lengths"].items():
        for arm, told in of["arms"].items():
            for other, ratio in told.get("against", {}).items():
                shown = (f"{ratio['measured']:.2f}×", f"{ratio['predicted']:.2f}×", f"{ratio['share']:.0%}")
                yield f"{int(length):,}", arm, other, *shown


def seconds(value: float) -> str:
    """Seconds with the digits that a comparison needs."""
    return f"{value:.3f} s" if value < 10 else duration(value)


def show_counts(call: Call, found: dict[str, Any]) -> None:
    """Operations of every arm, and how many times those of this method the others' are."""
    headings = ("Tokens", "Arm", "Cold", "Index", "Token", "Against")
    rows = [
        (
            f"{int(length):,}",
            arm,
            operations(told["cold"]),
            operations(told["index"]) if "index" in told else "–",
            operations(told["token"]),
            ", ".join(f"{other} {ratio:.2f}×" for other, ratio in told.get("against", {}).items()) or "–",
        )
        for length, of in found["lengths"].items()
        for arm, told in of["arms"].items()
    ]
    show_table(call.console, headings, rows, right="Tokens,Cold,Index,Token")
    call.console.result("")
    show_facts(call.console, [("Tree", _tree(found["tree"]))])


def operations(number: float) -> str:
    """Operations as people say them: `17.2 TFLOP`."""
    for unit, scale in (("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if number >= scale:
            return f"{number / scale:,.1f} {unit}"
    return f"{number / 1e6:,.1f} MFLOP"
