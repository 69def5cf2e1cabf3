"""Data made by hand: keepers of lighthouses, each fact said once, and a tiny model to ask of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sharedllm_cli.config import InjectionConfig, Settings, TreeConfig
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.loading import load
from sharedllm_cli.progress import Silent

WINDOW = 4096
KEEPERS = ("Agnes", "Brendan", "Cormac", "Deirdre")


def lights(number: int) -> dict[str, Any]:
    """A document of a light with three questions, the last without an answer."""
    filler = " ".join(f"The {word} of the coast is known to every sailor." for word in ("wind", "fog", "tide", "rock"))
    text = f"The lamp was lit in {1801 + number}. {filler} Its keeper was called {KEEPERS[number]} Stone. {filler}"
    asked = [
        ("When was the lamp lit?", [str(1801 + number)]),
        ("What was the keeper called?", ["Nobody", f"{KEEPERS[number]} Stone."]),
        ("Who painted the door?", []),
    ]
    qas = [{"id": str(place), "question": q, "answers": a} for place, (q, a) in enumerate(asked)]
    return {"doc_id": f"d{number}", "title": f"Skerry {number}", "document": text, "qas": qas}


@pytest.fixture
def lights_file(tmp_path: Path) -> Path:
    path = tmp_path / "lights.jsonl"
    path.write_text("".join(json.dumps(lights(number)) + "\n" for number in range(4)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_folder(model_folder: Callable[..., Path]) -> Path:
    return model_folder("llama", max_position_embeddings=WINDOW)


@pytest.fixture
def settings(tiny_folder: Path) -> Settings:
    return Settings(
        model=str(tiny_folder), device="cpu", lower_layers=2, chunk_tokens=256, evidence_tokens=200, max_new_tokens=6
    )


@pytest.fixture
def open_adapter(tiny_folder: Path, tmp_path: Path) -> str:
    """An adapter whose gates are open, so that the tree is read."""
    base = load(str(tiny_folder), home=tmp_path / "home", device="cpu", reporter=Silent())
    adapter = Adapter.untrained(base.model, base.name, InjectionConfig("merged", 2), TreeConfig(256, 3, (16, 8, 4)))
    with torch.no_grad():
        for injection in adapter.injections.values():
            injection.gate.fill_(1.0)  # type: ignore[union-attr, operator]
    adapter.save(tmp_path / "open", trained={"objective": "none: gates opened by a test"})
    return str(tmp_path / "open")


@pytest.fixture
def reading(settings: Settings, open_adapter: str) -> Settings:
    return replace(settings, adapter=open_adapter)
