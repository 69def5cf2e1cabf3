"""What the arms must do, without a model: the operations of `bench --count`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from sharedllm_cli.config import Settings
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.bench.arms import Arm, label, predicted_ratio
from sharedllm_cli.lab.bench.counts import Extent
from sharedllm_cli.lab.bench.request import Request, make_arms
from sharedllm_cli.lab.bench.subject import describe_subject
from sharedllm_cli.lab.bench.tree_arm import SharedLLM
from sharedllm_cli.progress import Silent


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
