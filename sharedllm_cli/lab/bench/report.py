"""What was measured as the result tells of it: numbers beside their floors, and ratios beside the predicted ones."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from sharedllm_cli.lab.bench.arms import Arm, EncoderDecoderArm, Streaming, label, predicted_ratio
from sharedllm_cli.lab.bench.counts import Extent, Machine, Work
from sharedllm_cli.lab.bench.measure import Measured
from sharedllm_cli.lab.bench.subject import Subject
from sharedllm_cli.lab.bench.texts import Reading
from sharedllm_cli.lab.bench.tree_arm import SharedLLM
from sharedllm_cli.model.placement import attention_name
from sharedllm_cli.model.quantization import weight_bytes


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
