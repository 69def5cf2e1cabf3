"""`plan` and `doctor` say what fits before anything is loaded, from sizes alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sharedllm_cli import planning
from sharedllm_cli.cli.machine import Finding, examine
from sharedllm_cli.config import Settings
from sharedllm_cli.model.placement import ModelSizes, Placement, Room, place
from sharedllm_cli.weights.facts import facts_from_config

GB = 10**9
EIGHT_BILLION = facts_from_config(
    {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
    },
    "llama-3.1-8b",
)


def on_gpus(quantize: str, *free: int) -> planning.Fit:
    placement = Placement(torch.device("cuda", 0), torch.bfloat16, quantize, "sdpa", torch.bfloat16)
    sizes = planning.model_sizes(EIGHT_BILLION, quantize, torch.bfloat16)
    rooms = [Room(f"cuda:{number}", size * GB) for number, size in enumerate(free)]
    return planning.fit_gpus(sizes, planning.batch_bytes(EIGHT_BILLION, placement), rooms, 20 * GB)


def test_an_8b_model_on_gpus_of_several_sizes() -> None:
    """16.06 GB in bfloat16 (8.03 billion parameters); in 4 bits 3.6 GB of layers and 2.1 GB of embeddings."""
    assert planning.model_sizes(EIGHT_BILLION, "none", torch.bfloat16).whole == pytest.approx(16.06 * GB, rel=0.001)
    assert planning.model_sizes(EIGHT_BILLION, "4bit", torch.bfloat16).whole == pytest.approx(5.73 * GB, rel=0.01)
    assert on_gpus("none", 80).fits
    assert on_gpus("none", 80).words.endswith("of 80.0 GB free on cuda:0")
    assert on_gpus("4bit", 12).fits
    assert on_gpus("none", 12, 12).words.endswith("layers on cuda:0, 13 layers on cuda:1")
    assert "layers on cpu" in on_gpus("none", 12).words
    assert not on_gpus("none", 2).fits


def test_a_batch_that_leaves_no_room_is_told() -> None:
    sizes = ModelSizes(GB, GB, 4, GB)
    found = planning.fit_gpus(sizes, 9 * GB, [Room("cuda:0", 10 * GB)], 0)
    assert not found.fits
    assert "smaller batches" in found.words
    assert planning.fit_gpus(sizes, 4 * GB, [Room("cuda:0", 10 * GB)], 0).fits


def test_a_processor_is_measured_by_its_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    placement = place(EIGHT_BILLION, device="cpu", dtype="float32", quantize="none", attention="auto")
    for free, fits in ((64 * GB, True), (16 * GB, False)):
        monkeypatch.setattr(planning, "free_bytes", lambda device, free=free: free)
        found = planning.fit(EIGHT_BILLION, placement, 0)
        assert found.fits == fits
        assert found.words.startswith("needs ") == (not fits)


def findings(home: Path, **settings: Any) -> dict[str, Finding]:
    return {finding.topic: finding for finding in examine(Settings(**settings), home, {})}


def test_doctor_says_how_the_model_would_run_and_whether_it_has_room(
    model_folder: Callable[..., Path], private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(model_folder("llama"))
    found = findings(private_home, model=model, device="cpu")
    assert found["runs"].value.startswith("on cpu in float32, quantize none, attention sdpa; weights ")
    assert found["room"].state == "ok"
    assert findings(private_home, model=model, device="cpu", attention="eager")["runs"].value.count("eager") == 1
    flash = findings(private_home, model=model, device="cpu", attention="flash")["runs"]
    assert flash.state == "problem"
    assert "CUDA only" in flash.value
    monkeypatch.setattr(planning, "free_bytes", lambda device: 1000)
    room = findings(private_home, model=model, device="cpu")["room"]
    assert room.state == "problem"
    assert room.advice


def test_doctor_says_nothing_of_a_model_that_is_not_here(private_home: Path) -> None:
    assert "runs" not in findings(private_home, model="./nothing-there")
