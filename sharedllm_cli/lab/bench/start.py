"""From the start of `ask` to the first word of its answer: cold, and through a process that is loaded already.

    python -m sharedllm_cli.lab.bench.start book.pdf "Who wrote the letter?" --repeats 10
    python -m sharedllm_cli.lab.bench.start book.pdf "Who wrote the letter?" --against ../before --json

`--against` names other checkouts, which are asked in turn with this one: on a busy machine only such numbers compare.
Every checkout has a folder of its own for indexes, and the models of the user's home. Its text is stored first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import sharedllm_cli
from sharedllm_cli.errors import exit_with
from sharedllm_cli.home import HOME_VARIABLE, home_folder, models_folder

KEPT = "10m"
PIPES: Mapping[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
THIS = Path(sharedllm_cli.__file__).resolve().parents[1]


@dataclass
class Timed:
    """The runs of one kind: seconds to the first word, and CPU seconds of the command's own process (`cpu`)."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, seconds: float, cpu: float) -> None:
        """One run more."""
        self.seconds.append(seconds)
        self.cpu.append(cpu)

    def told(self) -> dict[str, float | int]:
        """The fastest run, the median, and the least CPU seconds."""
        return {
            "runs": len(self.seconds),
            "fastest_s": min(self.seconds),
            "median_s": median(self.seconds),
            "cpu_s": min(self.cpu),
        }


@dataclass
class Checkout:
    """A checkout that is measured; `first` is the first question after the text is stored, `cold` and `warm` follow."""

    folder: Path
    home: Path
    first: Timed = field(default_factory=Timed)
    cold: Timed = field(default_factory=Timed)
    warm: Timed = field(default_factory=Timed)

    def command(self, *arguments: str) -> list[str]:
        """The command line of this checkout."""
        return [sys.executable, "-P", "-m", "sharedllm_cli", *arguments]

    @property
    def environment(self) -> Mapping[str, str]:
        """Where this checkout's command looks for code and models."""
        return {**os.environ, "PYTHONPATH": str(self.folder), HOME_VARIABLE: str(self.home)}

    def ask(self, into: Timed, *arguments: str) -> None:
        """Ask once and add what it took; CalledProcessError where it is not answered."""
        command = self.command("ask", "--quiet", *arguments)
        started = perf_counter()
        with subprocess.Popen(command, **PIPES, env=self.environment) as ask:
            assert ask.stdout is not None
            first = os.read(ask.stdout.fileno(), 1)
            seconds = perf_counter() - started
            ask.stdout.read()
            _, status, used = os.wait4(ask.pid, 0)
            ask.returncode = os.waitstatus_to_exitcode(status)
        if ask.returncode or not first:
            raise subprocess.CalledProcessError(ask.returncode, command)
        into.add(seconds, used.ru_utime + used.ru_stime)

    def run(self, *arguments: str) -> None:
        """Run another command to its end, without its words."""
        subprocess.run(
            self.command(*arguments),
            env=self.environment,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def told(self) -> dict[str, object]:
        """What was measured."""
        kinds = {"first": self.first, "cold": self.cold, "warm": self.warm}
        return {"folder": str(self.folder), **{name: timed.told() for name, timed in kinds.items()}}


@dataclass(frozen=True)
class Request:
    """What is asked, of which document, with which model, how often; by this checkout and by others (`against`)."""

    document: str
    question: str
    model: str | None = None
    repeats: int = 10
    against: tuple[Path, ...] = ()


def measure(request: Request, models: Path) -> list[Checkout]:
    """Ask in turns; `models` is the folder of fetched models. CalledProcessError where a command fails."""
    chosen = () if request.model is None else ("--model", request.model)
    asked = (*chosen, request.document, request.question)
    with TemporaryDirectory(prefix="sharedllm-start-") as temporary:
        checkouts = [
            Checkout(folder, _home(Path(temporary) / str(place), models))
            for place, folder in enumerate((*request.against, THIS))
        ]
        for checkout in checkouts:
            checkout.run("ask", "--no-serve", *asked)
            checkout.ask(checkout.first, "--no-serve", *asked)
        try:
            for checkout in checkouts:
                checkout.run("ask", "--keep", KEPT, *asked)
            for _ in range(request.repeats):
                for checkout in checkouts:
                    checkout.ask(checkout.cold, "--no-serve", *asked)
                    checkout.ask(checkout.warm, *asked)
        finally:
            for checkout in checkouts:
                checkout.run("serve", "--stop")
    return checkouts


def _home(folder: Path, models: Path) -> Path:
    folder.mkdir(mode=0o700)
    models_folder(folder).symlink_to(models)
    return folder


def lines(checkouts: Sequence[Checkout]) -> list[str]:
    """A table: seconds to the first word, fastest (median), and what the fastest are of the first checkout's."""
    found = ["checkout | first | cold | warm | cold ÷ warm | CPU s cold"]
    for checkout in checkouts:
        first, cold, warm = (timed.told() for timed in (checkout.first, checkout.cold, checkout.warm))
        shares = cold["fastest_s"] / checkouts[0].cold.told()["fastest_s"]
        found.append(
            f"{checkout.folder} | {first['fastest_s']:.2f} | {cold['fastest_s']:.2f} ({cold['median_s']:.2f};"
            f" {shares:.2f} of the first line's) | {warm['fastest_s']:.2f} ({warm['median_s']:.2f}) |"
            f" {cold['fastest_s'] / warm['fastest_s']:.1f} | {cold['cpu_s']:.2f}"
        )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("document")
    parser.add_argument("question")
    parser.add_argument("--model")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--against", type=Path, action="append", default=[])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    others = tuple(folder.resolve() for folder in given.against)
    request = Request(str(Path(given.document).resolve()), given.question, given.model, given.repeats, others)
    checkouts = measure(request, models_folder(home_folder(os.environ)).resolve())
    if given.json:
        told = {"request": {**asdict(request), "against": [str(one) for one in others]}}
        print(json.dumps(told | {"checkouts": [checkout.told() for checkout in checkouts]}, indent=2))
    else:
        print("\n".join(lines(checkouts)))
    return 0


if __name__ == "__main__":
    exit_with(main)
