"""`models pull` without a name."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.cli.app import run
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.config import DEFAULT_MODEL
from sharedllm_cli.weights import pull as pull_module


@pytest.mark.parametrize(("chosen", "pulled"), [(None, DEFAULT_MODEL), ("other/model", "other/model")])
def test_the_model_that_ask_takes_is_pulled(
    chosen: str | None, pulled: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fetched: list[str] = []

    def fetch(name: str, home: Path, reporter: Any, offline: bool = False) -> Path:
        fetched.append(name)
        return tmp_path

    monkeypatch.setattr(pull_module, "pull", fetch)
    monkeypatch.setattr("sharedllm_cli.model.loading.prepare", lambda folder, *_, **__: fetched.append(folder.name))
    if chosen:
        monkeypatch.setenv("SHAREDLLM_MODEL", chosen)
    out = io.StringIO()
    assert run(["models", "pull"], Console(out, io.StringIO())) == 0
    assert fetched == [pulled, tmp_path.name], "fetched, and converted at once: the first question need not wait"
    assert out.getvalue().startswith(pulled)
