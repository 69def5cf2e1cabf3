"""`models default NAME` and what `models list` says of each model."""

from __future__ import annotations

import io
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.cli.app import run
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.config import DEFAULT_MODEL

LARGER = "qwen2.5-coder-0.5b-instruct"


def call(*words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    return run(["models", *words], Console(out, err)), out.getvalue(), err.getvalue()


def listed() -> dict[str, Any]:
    return {entry["name"]: entry for entry in json.loads(call("list", "--json")[1])["models"]}


def test_the_default_is_written_and_the_other_settings_stay(private_home: Path) -> None:
    settings = private_home / "config.toml"
    settings.write_text('# mine\nmodel = "elsewhere"\ntemperature = 0.5\n', encoding="utf-8")
    code, out, _ = call("default", LARGER.upper())
    assert code == 0
    assert LARGER in out
    assert tomllib.loads(settings.read_text(encoding="utf-8")) == {"model": LARGER, "temperature": 0.5}
    assert "# mine" in settings.read_text(encoding="utf-8")
    assert [name for name, entry in listed().items() if entry["default"]] == [LARGER]


def test_a_model_that_is_not_known_is_refused(private_home: Path) -> None:
    code, _, err = call("default", "huge")
    assert code != 0
    assert LARGER in err
    assert not (private_home / "config.toml").exists()


@pytest.mark.parametrize("name", ["organisation/model", DEFAULT_MODEL])
def test_a_hub_id_and_a_name_are_taken_without_fetching(name: str, private_home: Path) -> None:
    assert call("default", name)[0] == 0
    assert tomllib.loads((private_home / "config.toml").read_text(encoding="utf-8")) == {"model": name}


def test_the_list_says_what_each_takes() -> None:
    code, out, _ = call("list")
    assert code == 0
    assert "491" in out or "478" in out
    assert listed()[DEFAULT_MODEL]["default"]
    assert listed()[LARGER]["memory_bytes"] == 2 * 630_167_424
