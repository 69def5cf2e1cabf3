"""Seconds and bytes of what is measured: parts of one run, and several runs as a median with its spread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import Any

import torch

from sharedllm_cli.lab.bench.counts import Machine, Work
from sharedllm_cli.model.placement import Placement
from sharedllm_cli.planning import matrix_rate

_COPIES = 6


class Clock:
    """The parts of one run, in seconds; the device is waited for at both ends of each."""

    def __init__(self, synchronise: Callable[[], None]) -> None:
        self.parts: dict[str, float] = {}
        self._synchronise = synchronise

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is done within; a part of the same name adds to it."""
        self._synchronise()
        started = perf_counter()
        try:
            yield
        finally:
            self._synchronise()
            self.parts[name] = self.parts.get(name, 0.0) + perf_counter() - started

    @property
    def seconds(self) -> float:
        """All parts together."""
        return sum(self.parts.values())


class Samples:
    """Several runs of the same thing: seconds, parts, and the largest memory peak."""

    def __init__(self) -> None:
        self.clocks: list[Clock] = []
        self.peak_bytes: int | None = None

    def add(self, clock: Clock, peak_bytes: int | None) -> None:
        """One run more."""
        self.clocks.append(clock)
        if peak_bytes is not None:
            self.peak_bytes = max(self.peak_bytes or 0, peak_bytes)

    @property
    def seconds(self) -> float:
        """The median."""
        return median(clock.seconds for clock in self.clocks)

    def told(self, machine: Machine, steps: Sequence[Work]) -> dict[str, Any]:
        """As the result tells of it, beside the least that its steps can take."""
        runs = [clock.seconds for clock in self.clocks]
        floor = machine.floor(steps)
        return {
            "seconds": self.seconds,
            "runs": runs,
            "spread": (max(runs) - min(runs)) / self.seconds,
            "parts": {name: median(clock.parts[name] for clock in self.clocks) for name in self.clocks[0].parts},
            "operations": sum(step.operations for step in steps),
            "bytes": sum(step.bytes for step in steps),
            "floor_s": floor,
            "share_of_floor": floor / self.seconds,
            "peak_bytes": self.peak_bytes,
        }


def measure_machine(placement: Placement) -> Machine:
    """The rate of large matrix products and of copies (bytes read and written) on the device, each the best of some."""
    return Machine(matrix_rate(placement), _copy_bandwidth(placement.device))


def _copy_bandwidth(device: torch.device) -> float:
    size = 2**27 if device.type == "cpu" else 2**30
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    rates = []
    for _ in range(_COPIES):
        started = perf_counter()
        target.copy_(source)
        int(target[-1])  # a number is asked for, so that a GPU has to finish
        rates.append(2 * size / (perf_counter() - started))
    return max(rates)


def reset_peak(device: torch.device) -> None:
    """From now on `peak` counts anew, on a GPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> int | None:
    """The most memory that tensors took on a GPU since `reset_peak`; None on a processor (see `bench.resident`)."""
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else None
