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
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from sharedllm_cli.config import DEFAULT_MODEL
from sharedllm_cli.errors import SharedLLMError, UsageError
from sharedllm_cli.lab.bench import gpu_tables
from sharedllm_cli.lab.bench.gpu_parts import PARTS
from sharedllm_cli.lab.bench.gpu_request import BUDGET, Asked

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
    print(gpu_tables.tables(result))
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


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SharedLLMError as problem:
        hint = f"\nhint: {problem.hint}" if problem.hint else ""
        print(f"error: {problem.message}{hint}", file=sys.stderr)
        sys.exit(problem.exit_code)
