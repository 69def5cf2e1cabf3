"""All arms at one length, measured in turns.

Arms take turns within each repetition, so that a machine that warms up or slows down does so for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

import torch

from sharedllm_cli.lab.bench import texts
from sharedllm_cli.lab.bench.arms import Arm
from sharedllm_cli.lab.bench.counts import Extent, Machine
from sharedllm_cli.lab.bench.request import Request
from sharedllm_cli.lab.bench.subject import Subject
from sharedllm_cli.lab.bench.texts import Reading
from sharedllm_cli.lab.bench.timing import Clock, Samples, peak, reset_peak
from sharedllm_cli.lab.bench.tree_arm import SharedLLM
from sharedllm_cli.memory import is_out_of_memory
from sharedllm_cli.model.placement import free_bytes
from sharedllm_cli.progress import Task


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
        reading = texts.reading(self._subject, length, request.running_tokens, request.text)
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
        prefilled = one.arm.cold(reading, clock)
        highest = peak(device)
        token = prefilled.token
        with after.part("tokens"):
            for _ in range(1 if warm_up else self._request.new_tokens):
                token = prefilled.step(token)
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
