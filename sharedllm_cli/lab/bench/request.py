"""What is asked of a run of `bench`, the arms that it comes to, and what these must do: the operations of `--count`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sharedllm_cli.config import LayerSpan, Settings
from sharedllm_cli.errors import UsageError
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.bench.counts import Extent
from sharedllm_cli.lab.bench.encoder_decoder import EncoderDecoderArm
from sharedllm_cli.lab.bench.subject import Subject, describe_subject
from sharedllm_cli.lab.bench.timed_arms import (
    BLOCKS,
    NAMES,
    Arm,
    Full,
    Streaming,
    label,
    predicted_ratio,
)
from sharedllm_cli.lab.bench.tree_arm import SharedLLM
from sharedllm_cli.progress import Silent


@dataclass(frozen=True)
class Request:
    """What is measured. `layers` that read a tree, an arm each; empty: the model's own; `shape` None: the model of the
    settings; `block` None: the one with which streaming is fastest.

    `max_seconds` leaves out an arm whose floor alone is longer; `seconds` bounds the whole run.
    """

    lengths: tuple[int, ...]
    arms: tuple[str, ...] = NAMES
    shape: str | None = None
    text: Path | None = None
    layers: tuple[LayerSpan, ...] = ()
    running_tokens: int = 1280
    new_tokens: int = 32
    repeats: int = 3
    window: int = 2048
    block: int | None = None
    encoders: tuple[str, ...] = ("cepe",)
    max_seconds: float = math.inf
    seconds: float = math.inf
    memory: bool = True

    def __post_init__(self) -> None:
        for name in self.arms:
            if name not in NAMES:
                raise UsageError(f"there is no arm {name!r}", hint=f"choose among {', '.join(NAMES)}")
        for value, what in ((self.lengths, "--lengths"), (self.arms, "--arms"), (self.encoders, "--encoder")):
            if not value:
                raise UsageError(f"{what} is empty")
        for number in (*self.lengths, *(end for _, end in self.layers)):
            if number < 1:
                raise UsageError(f"lengths and lower layers must be at least 1, got {number}")
        for first, end in self.layers:
            if not 0 <= first < end:
                raise UsageError(f"the first layer that reads, {first}, is not below M = {end}")

    def extent(self, tokens: int) -> Extent:
        """T and R of one length."""
        return Extent(tokens, self.running_tokens)


def make_arms(subject: Subject, request: Request, settings: Settings, store: IndexStore) -> list[Arm]:
    """The arms asked for, one for each set of layers and each encoder; UsageError for layers that the model lacks."""
    count = subject.facts.layer_count
    spans = [range(*span) for span in dict.fromkeys(request.layers)] or [subject.layers]
    for layers in spans:
        if layers.stop > count:
            written = f"{layers.start}-{layers.stop}" if layers.start else str(layers.stop)
            raise UsageError(f"--lower-layers {written} is more than the model's {count} layers")
    made: list[Arm] = []
    for name in dict.fromkeys(request.arms):
        if name == "sharedllm":
            options: dict[str, Any] = {
                "injection": settings.injection,
                "policy": settings.policy,
                "stored_dtype": settings.stored_dtype,
            }
            made += [SharedLLM(subject, layers, store, **options) for layers in spans]
        elif name == "encoder-decoder":
            made += [EncoderDecoderArm(subject, encoder) for encoder in dict.fromkeys(request.encoders)]
        elif name == "streaming":
            made.append(_streaming(subject, request))
        else:
            made.append(Full(subject))
    return made


def _streaming(subject: Subject, request: Request) -> Streaming:
    if request.block is None and subject.loaded is not None:
        return Streaming.fastest(subject, request.window)
    return Streaming(subject, request.window, request.block or BLOCKS[0])


def count(request: Request, settings: Settings, *, home: Path) -> dict[str, Any]:
    """Operations of every arm at every length, and the ratios that they predict; nothing is loaded or run.

    Raises UsageError or ModelError where the model isn't known.
    """
    subject = describe_subject(request.shape, settings, home)
    arms = make_arms(subject, request, settings, IndexStore(home, Silent()))
    return {
        "model": subject.name,
        "tree": asdict(subject.tree),
        "lengths": {str(length): _length(arms, request.extent(length)) for length in request.lengths},
    }


def _length(arms: list[Arm], extent: Extent) -> dict[str, Any]:
    return {"arms": {label(arm): _counted(arm, arms, extent) for arm in arms}}


def _counted(arm: Arm, arms: list[Arm], extent: Extent) -> dict[str, Any]:
    counted: dict[str, Any] = {
        "cold": sum(step.operations for step in arm.cold_steps(extent)),
        "token": arm.token_step(extent).operations,
    }
    if isinstance(arm, SharedLLM):
        counted["indexed"] = sum(step.operations for step in arm.indexed_steps(extent))
        counted["index"] = sum(step.operations for step in arm.index_steps(extent))
        counted["index_bytes"] = arm.index_bytes(extent)
        ours = arm.cold_steps(extent)
        others = (other for other in arms if not isinstance(other, SharedLLM))
        counted["against"] = {label(other): predicted_ratio(ours, other.cold_steps(extent)) for other in others}
    return counted
