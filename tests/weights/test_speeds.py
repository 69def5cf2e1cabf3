"""How fast a model answered is remembered, of each model and device, and shown as long as it can be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.weights import speeds
from sharedllm_cli.weights.speeds import last_speed, remember_speed


def note(home: Path, model: str = "tiny", device: str = "cpu", **changes: Any) -> None:
    remember_speed(
        *(home, model),
        device=device,
        **({"first_token_s": 1.25, "tokens_per_s": 20.0, "new_tokens": 40} | changes),
    )


def test_the_last_answer_counts_on_whichever_device(private_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert last_speed(private_home, "tiny") is None
    for number, device in enumerate(("cpu", "cuda:0", "cpu")):
        monkeypatch.setattr(speeds, "now", lambda number=number: f"2026-01-0{number + 1}T00:00:00+00:00")
        note(private_home, device=device, tokens_per_s=10.0 + number)
    found = last_speed(private_home, "tiny")
    assert found is not None
    assert (found.tokens_per_s, found.device) == (12.0, "cpu")
    assert found.words == "first token after 1.2 s, 12 tokens/s (cpu)"
    assert set(json.loads((private_home / "models" / "speeds.json").read_text())["tiny"]) == {"cpu", "cuda:0"}
    assert last_speed(private_home, "other") is None


@pytest.mark.parametrize("changes", [{"new_tokens": 3}, {"tokens_per_s": 0.0}])
def test_too_short_an_answer_measures_nothing(changes: dict[str, Any], private_home: Path) -> None:
    note(private_home, **changes)
    assert last_speed(private_home, "tiny") is None


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"tiny": 3}', '{"tiny": {"cpu": {"tokens_per_s": "x"}}}'])
def test_a_damaged_memory_is_forgotten(damage: str, private_home: Path) -> None:
    (private_home / "models").mkdir()
    (private_home / "models" / "speeds.json").write_text(damage, encoding="utf-8")
    assert last_speed(private_home, "tiny") is None
    note(private_home)
    assert last_speed(private_home, "tiny") is not None


def test_a_home_that_can_not_be_written_forgets(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file in its place", encoding="utf-8")
    note(tmp_path / "home")
    assert last_speed(tmp_path / "home", "tiny") is None
