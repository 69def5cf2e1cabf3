"""`models default NAME` and what `models list` says of each model."""

from __future__ import annotations

import io
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tiny_gguf import write_gguf
from tiny_models import make_tiny_model

from sharedllm_cli.cli.app import run
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.config import DEFAULT_MODEL
from sharedllm_cli.progress import Silent
from sharedllm_cli.weights.conversion import converted_folder
from sharedllm_cli.weights.speeds import remember_speed

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


def test_without_a_name_the_present_default_is_printed(private_home: Path) -> None:
    assert call("default")[:2] == (0, f"{DEFAULT_MODEL}\n")
    assert not (private_home / "config.toml").exists()
    call("default", LARGER)
    assert call("default")[:2] == (0, f"{LARGER}\n")
    assert json.loads(call("default", "--json")[1]) == {"model": LARGER}


def test_the_list_says_how_fast_each_answered_here(private_home: Path) -> None:
    assert "not measured yet" in " ".join(call("list")[1].split())
    assert listed()[LARGER]["speed"] is None
    remember_speed(private_home, LARGER, device="cpu", first_token_s=2.5, tokens_per_s=17.0, new_tokens=30)
    speed = listed()[LARGER]["speed"]
    assert (speed["first_token_s"], speed["tokens_per_s"], speed["device"]) == (2.5, 17.0, "cpu")
    assert listed()[DEFAULT_MODEL]["speed"] is None


def test_prune_deletes_conversions_of_files_that_are_gone(tmp_path: Path, private_home: Path) -> None:
    for number in range(3):
        write_gguf(tmp_path / f"{number}.gguf", make_tiny_model("llama", seed=number))
        converted_folder(tmp_path / f"{number}.gguf", private_home, Silent())
    here = {name: entry["source"] for name, entry in listed().items() if entry["installed"]}
    assert sorted(here.values()) == [str(tmp_path / f"{number}.gguf") for number in range(3)]
    assert json.loads(call("prune", "--json", "--yes")[1]) == {"deleted": False, "items": []}
    (tmp_path / "0.gguf").unlink()
    (tmp_path / "1.gguf").write_bytes(b"GGUF and something else")
    (private_home / "models" / ".fetched-0123").mkdir()
    code, out, _ = call("prune", "--dry-run")
    assert code == 0
    assert all(why in " ".join(out.split()) for why in ("0.gguf is gone", "1.gguf has changed", "was interrupted"))
    assert len([name for name, entry in listed().items() if entry["installed"]]) == 3
    assert call("prune", "--yes")[0] == 0
    left = [entry["source"] for entry in listed().values() if entry["installed"]]
    assert left == [str(tmp_path / "2.gguf")]
    assert not (private_home / "models" / ".fetched-0123").exists()
