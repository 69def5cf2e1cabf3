"""A training run on disk: whole or absent, plain formats only.

`checkpoints/step-00000120/` holds the adapter (its own folder format), `optimizer.safetensors` (the optimiser's
moments and torch's random state) and `state.json` (step, position in the data, totals, what the run was configured
with). A checkpoint is written beside and renamed; the newest whole one counts.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sharedllm_cli.errors import StoredIndexError, UsageError
from sharedllm_cli.model.adapter import WEIGHTS_FILE, Adapter

FOLDER = "checkpoints"
ADAPTER = "adapter"
OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"
FORMAT_VERSION = 1
KEPT = 2
_RANDOM = "torch random state"


@dataclass(frozen=True)
class Position:
    """Where a run stands: steps done, samples drawn, targets and tokens learned from, seconds of work."""

    step: int = 0
    next_sample: int = 0
    targets: int = 0
    tokens: int = 0
    seconds: float = 0.0


def save(
    run: Path,
    position: Position,
    adapter: Adapter,
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    configuration: Mapping[str, Any],
) -> Path:
    """Write a checkpoint and remove those before the last few; returns its folder."""
    folder = run / FOLDER / f"step-{position.step:08d}"
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    adapter.save(partial / ADAPTER)
    tensors = {_RANDOM: torch.get_rng_state()}
    for name, parameter in parameters.items():
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name} {moment}"] = value.detach().cpu().contiguous()
    save_file(tensors, partial / OPTIMIZER)
    state = {"format_version": FORMAT_VERSION, "position": position.__dict__, "configuration": dict(configuration)}
    (partial / STATE).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    for file in (partial / OPTIMIZER, partial / STATE):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    for older in checkpoints(run)[:-KEPT]:
        shutil.rmtree(older, ignore_errors=True)
    return folder


def checkpoints(run: Path) -> list[Path]:
    """The whole checkpoints of a run, the newest last."""
    return sorted(path.parent for path in (run / FOLDER).glob(f"step-*/{STATE}"))


def load(
    folder: Path,
    adapter: Adapter,
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    configuration: Mapping[str, Any],
) -> Position:
    """Put adapter, optimiser and random state back to where the checkpoint was written.

    Raises UsageError where the run was configured otherwise, StoredIndexError where the checkpoint is damaged.
    """
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        tensors = load_file(folder / OPTIMIZER)
        weights = load_file(folder / ADAPTER / WEIGHTS_FILE)
        if state["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format version {state['format_version']}")
        position = Position(**state["position"])
        before = state["configuration"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise StoredIndexError(
            f"the checkpoint {folder} is damaged: {error}", hint="remove it and resume again"
        ) from error
    _check_same(before, json.loads(json.dumps(dict(configuration))))
    adapter.load_state_dict(weights)
    torch.set_rng_state(tensors[_RANDOM])
    for name, parameter in parameters.items():
        optimizer.state[parameter] = _moments(name, tensors, parameter)
    return position


def _moments(name: str, tensors: Mapping[str, Tensor], parameter: nn.Parameter) -> dict[str, Tensor]:
    moments = {}
    for key, value in tensors.items():
        owner, _, moment = key.rpartition(" ")
        if owner == name:
            # AdamW counts its steps in a tensor that stays on the CPU.
            moments[moment] = value if moment == "step" else value.to(parameter.device)
    return moments


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            raise UsageError(
                f"the run was started with another {key.replace('_', ' ')}: {before.get(key)!r}, not {now.get(key)!r}",
                hint="resume with the same settings, or train into another folder",
            )
