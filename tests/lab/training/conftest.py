"""Little documents with questions, and a tiny model large enough in its window to be asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.config import Settings
from sharedllm_cli.model.loading import BaseModel, load
from sharedllm_cli.progress import Silent

WINDOW = 4096
KEEPERS = ("Ann", "Bo", "Cy", "Dee", "Eve", "Fay", "Gus", "Hal")


def record(number: int) -> dict[str, Any]:
    """A document about one lighthouse, with questions whose answers stand in it."""
    keeper, year, metres = KEEPERS[number % len(KEEPERS)], 1801 + number, 20 + number
    filler = " ".join(f"The {word} of the coast is known to every sailor." for word in ("wind", "fog", "tide", "rock"))
    text = (
        f"The lamp of Skerry {number} was lit in {year}. {filler} Its keeper was called {keeper} Stone. "
        f"{filler} The tower is {metres} metres tall. {filler}"
    )
    asked = [
        ("When was the lamp lit?", [str(year)]),
        ("What was the keeper called?", [f"{keeper} Stone"]),
        ("How tall is the tower?", [f"{metres} metres"]),
    ]
    qas = [{"id": f"{number}-{place}", "question": q, "answers": a} for place, (q, a) in enumerate(asked)]
    return {"doc_id": f"d{number}", "title": f"Skerry {number}", "document": text, "qas": qas}


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    path = tmp_path / "lights.jsonl"
    path.write_text("".join(json.dumps(record(number)) + "\n" for number in range(12)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_folder(model_folder: Callable[..., Path]) -> Path:
    return model_folder("llama", max_position_embeddings=WINDOW)


@pytest.fixture
def tiny(tiny_folder: Path, tmp_path: Path) -> BaseModel:
    """A freshly loaded tiny model: training changes what is put into it."""
    return load(str(tiny_folder), home=tmp_path / "home", device="cpu", attention="sdpa", reporter=Silent())


@pytest.fixture
def settings(tiny_folder: Path) -> Settings:
    return Settings(model=str(tiny_folder), device="cpu", lower_layers=2, chunk_tokens=256)
