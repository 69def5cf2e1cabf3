"""A shelf of small documents, read with a tiny model's tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from keeping import Keeper

from sharedllm_cli.config import Settings


@pytest.fixture
def keeper(model_folder: Callable[..., Path], private_home: Path, tmp_path: Path) -> Keeper:
    files = tmp_path / "files"
    files.mkdir()
    settings = Settings(model=str(model_folder()), device="cpu", dtype="float32", offline=True)
    return Keeper(settings, private_home, files)
