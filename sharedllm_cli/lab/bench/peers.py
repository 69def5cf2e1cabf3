"""Our reading and writing beside llama.cpp's: `python -m sharedllm_cli.lab.bench.peers --llama-bench PATH --model F`.

Both take the same GGUF file, number of threads, prompt and answer (random tokens), in turn, so that a machine that
changes its speed changes it for both. Our model stays loaded while the other runs and waits without computing. An
answer is written behind the prompt (`llama-bench -d`). Prints the median and the fastest run of each, tokens/s.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

from sharedllm_cli import __version__
from sharedllm_cli.config import Settings
from sharedllm_cli.errors import UsageError, exit_with
from sharedllm_cli.home import home_folder
from sharedllm_cli.model.shared import SharedModel, load_shared
from sharedllm_cli.progress import Silent

_LIBRARIES = ("torch", "transformers", "onnxruntime")


@dataclass
class Rates:
    """Tokens/s of one side, a number a run."""

    name: str
    prompt: list[float] = field(default_factory=list)
    answer: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Task:
    """Tokens of the prompt and of the answer, and threads."""

    prompt: int
    answer: int
    threads: int


def compare(
    task: Task, repeats: int, llama: Callable[[Task, Rates], None], ours: Callable[[Task, Rates], None]
) -> tuple[Rates, Rates]:
    """Both sides in turn, so many times."""
    found = (Rates("llama.cpp"), Rates("sharedllm"))
    for _ in range(repeats):
        llama(task, found[0])
        ours(task, found[1])
    return found


def llama_run(program: Path, model: Path, task: Task, rates: Rates) -> None:
    """One run of `llama-bench`, after the one that it does to warm up; UsageError where it fails."""
    parts = (
        (rates.prompt, ["-p", str(task.prompt), "-n", "0"]),
        (rates.answer, ["-p", "0", "-n", str(task.answer), "-d", str(task.prompt)]),
    )
    for rate, arguments in parts:
        (row,) = _llama(program, ["-m", str(model), "-t", str(task.threads), "-r", "1", *arguments])
        rate.append(float(row["avg_ts"]))
        rates.name = f"llama.cpp {row.get('build_number')} ({row.get('build_commit')})"


def _llama(program: Path, arguments: Sequence[str]) -> list[dict[str, Any]]:
    try:
        done = subprocess.run([program, *arguments, "-o", "json"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            rows: list[dict[str, Any]] = json.loads(done.stdout)
            return rows
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    except (OSError, ValueError) as error:
        reason = str(error)
    raise UsageError(f"{program} did not run: {reason}", hint="give llama.cpp's llama-bench with --llama-bench")


def our_run(shared: SharedModel, task: Task, rates: Rates) -> None:
    """A prompt read and an answer written behind it, token by token."""
    upper = shared.upper
    ids = torch.randint(shared.base.facts.vocabulary_size, (task.prompt,), generator=torch.Generator().manual_seed(1))
    started = perf_counter()
    logits, cache = upper.prefill(ids, None)
    rates.prompt.append(task.prompt / (perf_counter() - started))
    started = perf_counter()
    for _ in range(task.answer):
        logits = upper.decode_step(logits.argmax()[None], None, cache)
    rates.answer.append(task.answer / (perf_counter() - started))


def table(found: Sequence[Rates]) -> str:
    """Markdown: a row a side, then our share of the other's."""
    lines = ["| | prompt, median | fastest | answer, median | fastest |", "| --- | --- | --- | --- | --- |"]
    numbers = [[f(rate) for rate in (one.prompt, one.answer) for f in (median, max)] for one in found]
    for one, row in zip(found, numbers, strict=True):
        lines.append(f"| {one.name} | " + " | ".join(f"{number:,.1f}" for number in row) + " |")
    shares = [ours / theirs for theirs, ours in zip(*numbers, strict=True)]
    lines.append("| times as fast | " + " | ".join(f"{share:.2f}" for share in shares) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sharedllm_cli.lab.bench.peers", description=__doc__)
    parser.add_argument("--llama-bench", type=Path, required=True, help="llama.cpp's program of that name")
    parser.add_argument("--model", type=Path, required=True, help="the GGUF file that both read")
    parser.add_argument("--ours", help="the model to load instead of the file, e.g. with its adapter, by name")
    parser.add_argument("--prompt", type=int, default=1024, help="tokens of the prompt")
    parser.add_argument("--answer", type=int, default=32, help="tokens of the answer")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each, in turn")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of both")
    parser.add_argument("--out", type=Path, help="JSON with every run")
    asked = parser.parse_args(arguments)
    if min(asked.prompt, asked.answer, asked.repeats, asked.threads) < 1:
        raise UsageError("--prompt, --answer, --repeats and --threads are at least 1")
    torch.set_num_threads(asked.threads)
    task = Task(asked.prompt, asked.answer, asked.threads)
    shared = load_shared(
        Settings(model=asked.ours or str(asked.model), device="cpu"), home_folder(os.environ), Silent()
    )
    our_run(shared, task, Rates("warm-up"))
    found = compare(
        task,
        asked.repeats,
        lambda task, rates: llama_run(asked.llama_bench, asked.model, task, rates),
        lambda task, rates: our_run(shared, task, rates),
    )
    kind = str(shared.base.dtype).removeprefix("torch.")
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    print(table(found))
    print(
        f"\n{asked.model.name}, {asked.prompt} + {asked.answer} tokens, {asked.threads} threads, {platform.machine()}"
    )
    print(f"sharedllm {__version__}: {kind}, quantize {shared.base.quantize}; {libraries}")
    if asked.out:
        asked.out.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    exit_with(main)
