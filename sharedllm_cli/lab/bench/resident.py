"""The memory peak of one arm on a processor: a process of its own reads once, and tells the most that it held.

Peaks of one process would mix: what an arm has taken, the allocator may keep. Loading the model is not part of the
peak where the system can forget a peak (Linux); elsewhere a peak below that of loading can't be seen.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sharedllm_cli.config import Settings
from sharedllm_cli.errors import SharedLLMError
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.bench.request import Request, make_arms
from sharedllm_cli.lab.bench.subject import make_reading, open_subject
from sharedllm_cli.lab.bench.timed_arms import label
from sharedllm_cli.lab.bench.timing import Clock
from sharedllm_cli.lab.bench.tree_arm import SharedLLM
from sharedllm_cli.memory import peak_bytes
from sharedllm_cli.progress import Silent


@dataclass(frozen=True)
class Job:
    """One length of a run; `indexes` is the folder in which the run keeps its indexes."""

    request: Request
    settings: Settings
    home: Path
    indexes: Path
    length: int


def resident_peak(job: Job, arm: str, phase: str) -> int | None:
    """Bytes that a process reading with one arm (`cold` or `indexed`) held at most; None where it did not finish."""
    told = {**asdict(job), "arm": arm, "phase": phase}
    done = subprocess.run(
        [sys.executable, "-m", __name__], input=json.dumps(told, default=str), capture_output=True, text=True
    )
    lines = done.stdout.split()
    return int(lines[-1]) if done.returncode == 0 and lines else None


def main() -> None:
    """Read the job on standard input, do it, and print the peak."""
    told: dict[str, Any] = json.load(sys.stdin)
    asked = told["request"]
    for name in ("lengths", "arms", "layers", "encoders"):
        asked[name] = tuple(tuple(one) if isinstance(one, list) else one for one in asked[name])
    asked["text"] = None if asked["text"] is None else Path(asked["text"])
    request, settings = Request(**asked), Settings(**told["settings"])
    subject = open_subject(request.shape, settings, Path(told["home"]), Silent())
    store = IndexStore(Path(told["indexes"]), Silent())
    arm = next(arm for arm in make_arms(subject, request, settings, store) if label(arm) == told["arm"])
    text = make_reading(subject, told["length"], request.running_tokens, request.text)
    clock = Clock(subject.synchronise)
    with arm.installed():
        _forget_peak()
        if told["phase"] == "indexed":
            assert isinstance(arm, SharedLLM)
            arm.indexed(text, clock)
        else:
            arm.cold(text, clock)
    print(_peak())


def _forget_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak() -> int:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return peak_bytes()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else peak_bytes()


if __name__ == "__main__":
    try:
        main()
    except SharedLLMError as problem:
        sys.exit(problem.message)
