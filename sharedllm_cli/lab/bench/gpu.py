"""Everything that only a GPU can show, in under nine minutes: `python -m sharedllm_cli.lab.bench.gpu --out gpu.json`.

One part after another, each in a process of its own with a budget of seconds, so that one that fails, hangs or takes
the device's context with it is reported and the rest goes on. Ends with tables on standard output, JSON in `--out`, and
exit code 0 if every part finished and every check passed, else 1. `--device cpu --dry-run` runs the same parts over
miniatures, which is how this script is tested where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from sharedllm_cli.config import DEFAULT_MODEL
from sharedllm_cli.errors import SharedLLMError, UsageError, exit_with
from sharedllm_cli.lab.bench.gpu_parts import BUDGET, PARTS, Asked

_GRACE = 20.0
"""Seconds beyond its budget after which a part is ended from outside."""


@dataclass(frozen=True)
class Told:
    """What became of a part: what it found, or why there is nothing."""

    name: str
    seconds: float
    found: dict[str, Any] | None
    failure: str | None = None

    @property
    def passed(self) -> bool:
        """Whether it finished and found nothing wrong."""
        return self.failure is None and (self.found or {}).get("passed", True)


def run_parts(asked: Asked, names: Sequence[str], *, isolated: bool) -> list[Told]:
    """Run parts one after another within the budget; a part's share grows by what those before it left."""
    ends = perf_counter() + asked.seconds
    told: list[Told] = []
    for place, name in enumerate(names):
        weights = [PARTS[rest].weight for rest in names[place:]]
        left = ends - perf_counter()
        seconds = max(1.0, left * weights[0] / sum(weights))
        started = perf_counter()
        print(f"{name}: at most {seconds:.0f} s …", file=sys.stderr, flush=True)
        run = _isolated if isolated else _here
        found, failure = run(asked, name, seconds)
        told.append(Told(name, perf_counter() - started, found, failure))
        print(f"{name}: {failure or 'done'} after {told[-1].seconds:.0f} s", file=sys.stderr, flush=True)
    return told


def _here(asked: Asked, name: str, seconds: float) -> tuple[dict[str, Any] | None, str | None]:
    """A part in this process: its result, or the failure's last line."""
    try:
        return PARTS[name].run(asked, perf_counter() + seconds), None
    except SharedLLMError as problem:
        return None, problem.message
    except Exception as problem:
        traceback.print_exc()
        return None, f"{type(problem).__name__}: {problem}"


def _isolated(asked: Asked, name: str, seconds: float) -> tuple[dict[str, Any] | None, str | None]:
    """A part in a process of its own."""
    with TemporaryDirectory(prefix="sharedllm-part-") as folder:
        result = Path(folder) / "result.json"
        line = [sys.executable, "-m", __name__ if __name__ != "__main__" else "sharedllm_cli.lab.bench.gpu"]
        line += ["--part", name, "--asked", json.dumps(asdict(asked)), "--seconds", str(seconds), "--out", str(result)]
        try:
            done = subprocess.run(line, timeout=seconds + _GRACE, stdout=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return None, f"ended after {seconds + _GRACE:.0f} s"
        if not result.is_file():
            return None, f"ended with exit code {done.returncode}"
        told: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return told["found"], told["failure"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    options = _parser().parse_args(arguments)
    if options.part:
        asked = Asked(**json.loads(options.asked))
        found, failure = _here(asked, options.part, options.seconds)
        Path(options.out).write_text(json.dumps({"found": found, "failure": failure}), encoding="utf-8")
        return 0
    names = [name.strip() for name in options.parts.split(",") if name.strip()]
    if strange := [name for name in names if name not in PARTS]:
        raise UsageError(f"there is no part {strange[0]!r}", hint=f"choose among {', '.join(PARTS)}")
    asked = Asked(
        device=options.device, model=options.model, home=options.home, dry=options.dry_run, seconds=options.seconds
    )
    told = run_parts(asked, names, isolated=not options.same_process)
    result = {"asked": asdict(asked), "parts": {part.name: asdict(part) for part in told}}
    if options.out:
        Path(options.out).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(tables(result))
    return 0 if all(part.passed for part in told) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sharedllm_cli.lab.bench.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu with --dry-run")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a real checkpoint for the end-to-end part")
    parser.add_argument("--home", default=None, help="where models were pulled to (default: SHAREDLLM_HOME)")
    parser.add_argument("--out", default=None, help="write the JSON here")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--seconds", type=float, default=BUDGET, help="for all parts together")
    parser.add_argument("--dry-run", action="store_true", help="miniatures instead of 7B and 8B shapes")
    parser.add_argument("--same-process", action="store_true", help="all parts in this process (for a debugger)")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--asked", help=argparse.SUPPRESS)
    return parser


def tables(result: dict[str, Any]) -> str:
    """All parts of a result, in its order; a part that failed is a line that says why."""
    lines: list[str] = []
    for name, part in result["parts"].items():
        found = part["found"] or {}
        verdict = "failed" if part["failure"] or not found.get("passed", True) else "passed"
        lines += [f"## {name}: {verdict}, {part['seconds']:.0f} s", ""]
        if part["failure"]:
            lines += [part["failure"], ""]
        elif "lengths" in found:
            lines += _timed(found)
        elif name == "machine":
            lines += _machine(found)
        elif name == "memory":
            lines += _memory(found)
        else:
            lines += _findings(found["rows"])
    return "\n".join([*lines, *_targets(result["parts"])])


def _targets(parts: dict[str, Any]) -> list[str]:
    """What is aimed at, beside what was found; nothing where no shape was timed."""
    timed = [part["found"] for part in parts.values() if part["found"] and "lengths" in part["found"]]
    if not timed:
        return []
    ratios = [(row, of) for found in timed for row in _arms(found) for of in row[2].get("against", {}).items()]
    lowest = min((of["share"] for _, (_, of) in ratios), default=None)
    rows = [("share of the ratio that operations predict, lowest", "80%", "–" if lowest is None else f"{lowest:.0%}")]
    for other, wanted in (("streaming", "2× (goal 4×)"), ("encoder-decoder", "3× (goal 6×)")):
        found = [
            f"{of['measured']:.2f}× ({name})"
            for (length, arm, _), (name, of) in ratios
            if length == "131,072" and arm == "sharedllm M=4" and name.startswith(other)
        ]
        rows.append((f"M = 4 at 128K tokens, cold, against {other}", wanted, ", ".join(found) or "–"))
    beside = [row["bytes"] - row["own_bytes"] for found in timed for row in found.get("asking", [])]
    most = f"{max(beside) / 1e6:,.0f} MB" if beside else "–"
    rows.append(("asking, beside model and all keys and values it reads, most", "200 MB", most))
    return ["## targets", "", *markdown(("", "wanted", "found"), rows)]


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [_line(headings), _line(["---"] * len(headings)), *(_line(row) for row in rows), ""]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"


def _findings(rows: Sequence[dict[str, Any]]) -> list[str]:
    headings = ("check", "error", "bound", "", "")
    shown = (
        (row["name"], f"{row['error']:.1e}", f"{row['bound']:.0e}", "ok" if row["passed"] else "WRONG", row["note"])
        for row in rows
    )
    return markdown(headings, shown)


def _machine(found: dict[str, Any]) -> list[str]:
    memory = _gigabytes(found["memory_bytes"])
    return [
        f"{found['name']}, {memory}; torch {found['torch']}, CUDA {found['cuda']}; {found['dtype']} products at"
        f" {found['operations_per_s'] / 1e12:,.1f} TFLOP/s, copies at {found['bytes_per_s'] / 1e9:,.0f} GB/s.",
        "",
    ]


def _memory(found: dict[str, Any]) -> list[str]:
    rows = ((f"{row['tokens']:,}", f"{row['seconds']:.1f} s", _gigabytes(row["peak_bytes"])) for row in found["rows"])
    growth = found["growth_bytes"]
    grown = "not measured on a processor" if growth is None else f"{growth / 1e6:,.1f} MB"
    return [
        *markdown(("tokens", "all levels encoded in", "peak"), rows),
        f"Model {_gigabytes(found['model_bytes'])}; growth {grown}.",
        "",
    ]


def _timed(found: dict[str, Any]) -> list[str]:
    model = found["model"]
    lines = [
        f"{model['name']}, {model['dtype']}, quantize {model['quantize']}, {_gigabytes(model['memory_bytes'])}.",
        "",
    ]
    headings = ("tokens", "arm", "cold", "spread", "of floor", "indexed", "tokens/s", "of floor", "peak", "index built")
    lines += markdown(headings, (_arm(*row) for row in _arms(found)))
    ratio_headings = ("tokens", "arm", "against", "measured", "predicted", "share")
    compared = (
        (length, arm, other, f"{of['measured']:.2f}×", f"{of['predicted']:.2f}×", f"{of['share']:.0%}")
        for length, arm, told in _arms(found)
        for other, of in told.get("against", {}).items()
    )
    lines += markdown(ratio_headings, compared)
    asking = (
        (
            f"{row['tokens']:,}",
            row["arm"],
            *(f"{row[name] / 1e6:,.0f} MB" for name in ("bytes", "own_bytes")),
            "yes" if row["within"] else "no",
        )
        for row in found.get("asking", [])
    )
    columns = (
        "tokens",
        "arm",
        "asking beside model and selected keys",
        "of it the prompt's",
        "rest within 200 MB",
    )
    lines += markdown(columns, asking)
    lines += _decoding(found["decoding"]) if found.get("decoding") else []
    return lines + (_findings(found["products"]["rows"]) if found.get("products") else [])


def _decoding(found: dict[str, Any]) -> list[str]:
    recorded = f"recorded in {found['recording_s']:.2f} s" if found["recorded"] else found["why_not"]
    if found["fixed_tokens_per_s"] is None:
        return [f"A step of decoding without a tree: {found['tokens_per_s']:.1f} tokens/s; {recorded}.", ""]
    tokens = "the same tokens" if found["agree"] else "other tokens"
    return [
        f"A step of decoding without a tree: {found['tokens_per_s']:.1f} tokens/s; at fixed addresses"
        f" {found['fixed_tokens_per_s']:.1f} ({recorded}; {tokens}).",
        "",
    ]


def _arms(found: dict[str, Any]) -> Iterable[tuple[str, str, dict[str, Any]]]:
    for length, of in found["lengths"].items():
        for arm, told in of["arms"].items():
            yield f"{int(length):,}", arm, told


def _arm(length: str, arm: str, told: dict[str, Any]) -> tuple[str, ...]:
    if "left_out" in told:
        return (length, arm, told["left_out"], *["–"] * 7)
    cold, token, indexed, index = told["cold"], told["token"], told.get("indexed"), told.get("index")
    return (
        length,
        arm,
        f"{cold['seconds']:.3f} s",
        f"{cold['spread']:.0%}",
        f"{cold['share_of_floor']:.0%}",
        f"{indexed['seconds']:.3f} s" if indexed else "–",
        f"{token['tokens_per_s']:.1f}",
        f"{token['share_of_floor']:.0%}",
        _gigabytes(cold["peak_bytes"]),
        f"{index['seconds']:.2f} s" if index else "–",
    )


def _gigabytes(number: float | None) -> str:
    return "–" if number is None else f"{number / 1e9:,.2f} GB"


if __name__ == "__main__":
    exit_with(main)
