"""A store in a fresh folder, and the tiny lower model of the index's tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from index_samples import load_lower

from sharedllm_cli.index.store import IndexStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "indexes"


@pytest.fixture
def store(root: Path) -> IndexStore:
    return IndexStore(root)


@pytest.fixture(scope="session")
def lower_folder(model_folder: Callable[..., Path]) -> Path:
    return model_folder("llama")


@pytest.fixture(scope="session")
def lower(lower_folder: Path) -> Any:
    return load_lower(lower_folder)
