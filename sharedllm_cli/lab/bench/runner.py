"""One run of `bench`: every arm at every length beside what the machine can do and what the arm must."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from sharedllm_cli import __version__
from sharedllm_cli.config import Settings
from sharedllm_cli.errors import UsageError
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.bench import report, texts
from sharedllm_cli.lab.bench.arms import Streaming, label
from sharedllm_cli.lab.bench.measure import Measured, Turns
from sharedllm_cli.lab.bench.request import Request, make_arms
from sharedllm_cli.lab.bench.resident import Job, resident_peak
from sharedllm_cli.lab.bench.subject import Subject, open_subject
from sharedllm_cli.lab.bench.timing import measure_machine
from sharedllm_cli.progress import Reporter, Silent


def bench(request: Request, settings: Settings, *, home: Path, reporter: Reporter) -> dict[str, Any]:
    """Measure and return what `bench --json` prints.

    Raises UsageError, ModelError or ResourceError where the model can't be had; an arm that does not fit the memory or
    the time is left out, with the reason.
    """
    started = perf_counter()
    subject = open_subject(request.shape, settings, home, reporter)
    return run(subject, request, settings, home=home, reporter=reporter, deadline=started + request.seconds)


def run(
    subject: Subject, request: Request, settings: Settings, *, home: Path, reporter: Reporter, deadline: float
) -> dict[str, Any]:
    """`bench` for a model that is open already; nothing is begun that would end after `deadline` (`perf_counter`)."""
    machine = measure_machine(subject.placement)
    found: dict[str, Any] = {}
    with TemporaryDirectory(prefix="sharedllm-bench-") as folder:
        arms = make_arms(subject, request, settings, IndexStore(Path(folder), Silent()))
        total = len(request.lengths) * len(arms) * (1 + request.repeats)
        with reporter.task(f"timing {subject.name}", total, "runs") as task:
            for length in request.lengths:
                turns = Turns(subject, request, machine, arms, task, deadline)
                reading, measured = turns.measure(length)
                if request.memory and subject.placement.device.type == "cpu":
                    _resident_peaks(measured, Job(request, settings, home, Path(folder), length))
                found[str(length)] = report.length_report(reading, measured, machine, request.extent(length))
    return {
        "version": __version__,
        "model": report.model_report(subject),
        "machine": report.machine_report(machine, measure_machine(subject.placement)),
        "request": report.plain(asdict(request)),
        "arms": {label(arm): report.arm_report(arm) for arm in arms},
        "tree": report.plain(asdict(subject.tree)),
        "text": texts.source(request.text),
        "lengths": found,
    }


def _resident_peaks(measured: Iterable[Measured], job: Job) -> None:
    """On a processor each arm's peak is that of a process of its own, which reads once."""
    for one in measured:
        if one.left_out is None:
            asked = replace(job.request, arms=(one.arm.name,))
            if isinstance(one.arm, Streaming):
                asked = replace(asked, block=one.arm.block)
            job = replace(job, request=asked)
            one.cold.peak_bytes = resident_peak(job, label(one.arm), "cold")
            if one.indexed.clocks:
                one.indexed.peak_bytes = resident_peak(job, label(one.arm), "indexed")


def write(found: dict[str, Any], out: Path) -> None:
    """Write a result as JSON; UsageError where the file can't be written."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out} can't be written: {(error.strerror or str(error)).lower()}") from error
