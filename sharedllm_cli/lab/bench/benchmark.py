"""One run of `bench`: every arm at every length beside what the machine can do and what the arm must.

Arms take turns within each repetition, so that a machine that warms up or slows down does so for all of them. Numbers
stand beside their floors, and ratios beside the predicted ones.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch

from sharedllm_cli import __version__
from sharedllm_cli.config import Settings
from sharedllm_cli.errors import UsageError
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.bench.counts import Extent, Machine, Work
from sharedllm_cli.lab.bench.encoder_decoder import EncoderDecoderArm
from sharedllm_cli.lab.bench.request import Request, make_arms
from sharedllm_cli.lab.bench.resident import Job, resident_peak
from sharedllm_cli.lab.bench.subject import Reading, Subject, make_reading, open_subject, text_source
from sharedllm_cli.lab.bench.timed_arms import Arm, Streaming, label, predicted_ratio
from sharedllm_cli.lab.bench.timing import Clock, Samples, measure_machine, peak, reset_peak
from sharedllm_cli.lab.bench.tree_arm import SharedLLM
from sharedllm_cli.memory import is_out_of_memory
from sharedllm_cli.model.placement import attention_name, free_bytes, weight_bytes
from sharedllm_cli.progress import Reporter, Silent, Task


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
                found[str(length)] = length_report(reading, measured, machine, request.extent(length))
    return {
        "version": __version__,
        "model": model_report(subject),
        "machine": machine_report(machine, measure_machine(subject.placement)),
        "request": plain(asdict(request)),
        "arms": {label(arm): arm_report(arm) for arm in arms},
        "tree": plain(asdict(subject.tree)),
        "text": text_source(request.text),
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


@dataclass
class Measured:
    """What was measured of one arm at one length, or why it was left out."""

    arm: Arm
    new_tokens: int
    left_out: str | None = None
    cold: Samples = field(default_factory=Samples)
    token: Samples = field(default_factory=Samples)
    indexed: Samples = field(default_factory=Samples)
    index: Samples = field(default_factory=Samples)


class Turns:
    """Measures all arms at a length, nothing after `deadline` (`perf_counter`)."""

    def __init__(
        self, subject: Subject, request: Request, machine: Machine, arms: Sequence[Arm], task: Task, deadline: float
    ) -> None:
        self._subject = subject
        self._request = request
        self._machine = machine
        self._arms = arms
        self._task = task
        self._deadline = deadline

    def measure(self, length: int) -> tuple[Reading, list[Measured]]:
        """A run of each arm to warm up, the indexes, then the repetitions that count."""
        request = self._request
        extent = request.extent(length)
        reading = make_reading(self._subject, length, request.running_tokens, request.text)
        measured = [Measured(arm, request.new_tokens, self._why_not(arm, extent)) for arm in self._arms]
        for repetition in range(1 + request.repeats):
            for one in measured:
                if one.left_out is None and not self._hurry(one, extent):
                    self._attempt(one, reading, extent, warm_up=repetition == 0)
                self._task.advance(1)
        for one in measured:
            if one.left_out is None and not one.cold.clocks:
                one.left_out = "the time was up"
        return reading, measured

    def _why_not(self, arm: Arm, extent: Extent) -> str | None:
        floor = self._machine.floor(arm.cold_steps(extent))
        if floor > self._request.max_seconds:
            return f"would take at least {floor:.0f} s"
        needed, free = arm.memory_bytes(extent), available_bytes(self._subject.placement.device)
        return f"needs about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free" if needed > free else None

    def _hurry(self, one: Measured, extent: Extent) -> bool:
        """Whether one more run would end after the deadline."""
        expected = one.cold.seconds if one.cold.clocks else self._machine.floor(one.arm.cold_steps(extent))
        return perf_counter() + expected > self._deadline

    def _attempt(self, one: Measured, reading: Reading, extent: Extent, *, warm_up: bool) -> None:
        try:
            with one.arm.installed():
                self._cold(one, reading, warm_up)
                if isinstance(one.arm, SharedLLM):
                    self._indexed(one, one.arm, reading, extent, warm_up)
            return
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
            one.left_out = "ran out of memory"
        if self._subject.placement.device.type == "cuda":
            torch.cuda.empty_cache()

    def _cold(self, one: Measured, reading: Reading, warm_up: bool) -> None:
        device = self._subject.placement.device
        clock, after = Clock(self._subject.synchronise), Clock(self._subject.synchronise)
        reset_peak(device)
        begun = one.arm.cold(reading, clock)
        highest = peak(device)
        token = begun.token
        with after.part("tokens"):
            for _ in range(1 if warm_up else self._request.new_tokens):
                token = begun.step(token)
        if not warm_up:
            one.cold.add(clock, highest)
            one.token.add(after, None)

    def _indexed(self, one: Measured, arm: SharedLLM, reading: Reading, extent: Extent, warm_up: bool) -> None:
        """The index is built once, by the run that warms up; then it is read as often as everything else."""
        device = self._subject.placement.device
        clock = Clock(self._subject.synchronise)
        if warm_up:
            floor = self._machine.floor(arm.index_steps(extent))
            if floor > self._request.max_seconds or perf_counter() + floor > self._deadline:
                return
            reset_peak(device)
            arm.build(reading, clock)
            one.index.add(clock, peak(device))
        if one.index.clocks:
            clock = Clock(self._subject.synchronise)
            reset_peak(device)
            arm.indexed(reading, clock)
            if not warm_up:
                one.indexed.add(clock, peak(device))


def available_bytes(device: torch.device) -> int:
    """Memory that tensors on the device may still take: free, or held by torch without need."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    return int(free_bytes(device) + unused)


def length_report(reading: Reading, measured: Sequence[Measured], machine: Machine, extent: Extent) -> dict[str, Any]:
    """One length of a result."""
    return {
        "chunks": len(reading.leaves.trees),
        "text_s": reading.seconds,
        "arms": {label(one.arm): _told(one, measured, machine, extent) for one in measured},
    }


def _told(one: Measured, measured: Sequence[Measured], machine: Machine, extent: Extent) -> dict[str, Any]:
    arm = one.arm
    if one.left_out is not None:
        return {"left_out": one.left_out, "operations": sum(step.operations for step in arm.cold_steps(extent))}
    told: dict[str, Any] = {"cold": one.cold.told(machine, arm.cold_steps(extent))}
    told["token"] = _token_report(one, machine, arm.token_step(extent))
    if isinstance(arm, SharedLLM):
        told["tree_bytes"] = arm.tree_bytes(extent)
        told["index_bytes"] = arm.index_bytes(extent)
        told["indexed"] = one.indexed.told(machine, arm.indexed_steps(extent)) if one.indexed.clocks else None
        told["index"] = one.index.told(machine, arm.index_steps(extent)) if one.index.clocks else None
        others = (other for other in measured if not isinstance(other.arm, SharedLLM) and other.left_out is None)
        told["against"] = {label(other.arm): _ratio(one, other, extent) for other in others}
    return told


def _token_report(one: Measured, machine: Machine, step: Work) -> dict[str, Any]:
    """Seconds of one token: those of the whole answer over its tokens."""
    told = one.token.told(machine, [step])
    runs = told.pop("runs")
    count = one.new_tokens
    seconds = told["seconds"] / count
    return {
        **{name: told[name] for name in ("operations", "bytes", "floor_s")},
        "seconds": seconds,
        "runs": [run / count for run in runs],
        "tokens_per_s": 1 / seconds,
        "share_of_floor": told["floor_s"] / seconds,
    }


def _ratio(ours: Measured, theirs: Measured, extent: Extent) -> dict[str, float]:
    """How much longer another arm takes, measured and as the operations predict it."""
    measured = theirs.cold.seconds / ours.cold.seconds
    predicted = predicted_ratio(ours.arm.cold_steps(extent), theirs.arm.cold_steps(extent))
    return {"measured": measured, "predicted": predicted, "share": measured / predicted}


def arm_report(arm: Arm) -> dict[str, Any]:
    """What makes an arm what it is."""
    if isinstance(arm, Streaming):
        return {"window": arm.window, "block": arm.block}
    if isinstance(arm, EncoderDecoderArm):
        return {"encoder": str(arm.shape), "chunk_tokens": arm.shape.chunk_tokens}
    return {"lower_layers": arm.layers.stop, "first_layer": arm.layers.start} if isinstance(arm, SharedLLM) else {}


def model_report(subject: Subject) -> dict[str, Any]:
    """The model, where and how it ran."""
    placement = subject.placement
    cuda = placement.device.type == "cuda"
    return {
        "name": subject.name,
        "random_weights": subject.tokenizer is None,
        "facts": asdict(subject.facts),
        "device": str(placement.device),
        "device_name": torch.cuda.get_device_name(placement.device) if cuda else platform.processor() or "processor",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "dtype": str(placement.dtype).removeprefix("torch."),
        "quantize": placement.quantize,
        "attention": attention_name(placement.attention),
        "memory_bytes": weight_bytes(subject.model),
    }


def machine_report(before: Machine, after: Machine) -> dict[str, Any]:
    """Floors rest on what was measured before the arms; what it was after them shows whether the machine was quiet."""
    return {
        "operations_per_s": before.rate,
        "bytes_per_s": before.bandwidth,
        "afterwards": {"operations_per_s": after.rate, "bytes_per_s": after.bandwidth},
    }


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Values as JSON takes them: paths as text, no bound as null."""
    return {
        name: None if value == math.inf else str(value) if isinstance(value, Path) else value
        for name, value in values.items()
    }


def ratios(found: dict[str, Any]) -> Iterator[tuple[str, str, str, dict[str, float]]]:
    """Length, arm, other arm and ratio of every comparison in a result."""
    for length, of in found["lengths"].items():
        for arm, told in of["arms"].items():
            for other, ratio in told.get("against", {}).items():
                yield length, arm, other, ratio
