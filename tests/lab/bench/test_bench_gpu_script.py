"""The script for a GPU machine, run here over miniatures; and that its checks can fail."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sharedllm_cli.errors import DocumentError, UsageError
from sharedllm_cli.lab.bench import gpu, gpu_checks
from sharedllm_cli.lab.bench.gpu_parts import PARTS, Asked, Part, asking
from sharedllm_cli.model import cross_attention, lower, recorded

CPU = torch.device("cpu")


def test_a_dry_run_goes_through_every_part(
    model_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = model_folder(hidden_size=64, intermediate_size=128, head_dim=16, max_position_embeddings=4096)
    file = tmp_path / "gpu.json"
    line = ["--device", "cpu", "--dry-run", "--same-process", "--model", str(folder), "--home", str(tmp_path)]
    code = gpu.main([*line, "--seconds", "3000", "--out", str(file)])  # a busy machine must not fail this test
    shown = capsys.readouterr().out
    parts = json.loads(file.read_text("utf-8"))["parts"]
    assert list(parts) == list(PARTS)
    assert {name: part["failure"] for name, part in parts.items()} == dict.fromkeys(PARTS)
    for name in ("checks", "checkpoint"):
        assert [row for row in parts[name]["found"]["rows"] if not row["passed"]] == []
    assert len(parts["checkpoint"]["found"]["rows"]) == 4
    for name in ("llama-3.1-8b", "llama-2-7b-4bit"):
        arms = parts[name]["found"]["lengths"]["512"]["arms"]
        assert {"sharedllm M=2", "sharedllm M=4", "streaming", "encoder-decoder base", "full"} <= set(arms)
        assert parts[name]["found"]["decoding"]["agree"]
        assert parts[name]["found"]["decoding"]["tokens_per_s"] > 0
    assert shown.count("(a step was not recorded: the model is not on a CUDA device; the same tokens") == 2
    assert parts["memory"]["found"]["rows"][-1]["tokens"] == 1024
    assert code == 0
    for name in PARTS:
        assert f"## {name}: passed" in shown
    assert "WRONG" not in shown
    assert "## targets" in shown


def test_a_part_in_its_own_process_hands_back_what_it_found(tmp_path: Path) -> None:
    asked = Asked(device="cpu", dry=True, home=str(tmp_path), seconds=300)
    (told,) = gpu.run_parts(asked, ["machine"], isolated=True)
    assert told.failure is None
    assert told.found is not None
    assert told.found["operations_per_s"] > 0


def _fails(asked: Asked, ends: float) -> dict[str, Any]:
    raise DocumentError("there is no paper")


def _breaks(asked: Asked, ends: float) -> dict[str, Any]:
    raise RuntimeError("an illegal memory access")


def test_a_part_that_fails_is_told_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    parts = {
        "fails": Part(_fails, 1),
        "breaks": Part(_breaks, 1),
        "checks": Part(lambda asked, ends: {"rows": [], "passed": False}, 1),
    }
    monkeypatch.setattr(gpu, "PARTS", parts)
    code = gpu.main(["--device", "cpu", "--same-process", "--parts", "fails,breaks,checks", "--home", str(tmp_path)])
    shown = capsys.readouterr().out
    assert code == 1
    assert "there is no paper" in shown
    assert "RuntimeError: an illegal memory access" in shown
    assert "## checks: failed" in shown


def test_a_process_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu.sys, "executable", "/bin/false" if os.path.exists("/bin/false") else "/usr/bin/false")
    (told,) = gpu.run_parts(Asked(device="cpu", seconds=30), ["machine"], isolated=True)
    assert told.failure == "ended with exit code 1"
    assert not told.passed


def test_a_part_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="no part 'other'"):
        gpu.main(["--parts", "other"])


def test_the_parts_share_the_seconds_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []

    def note(asked: Asked, name: str, seconds: float) -> tuple[dict[str, Any], None]:
        given.append(seconds)
        return {}, None

    monkeypatch.setattr(gpu, "_here", note)
    gpu.run_parts(Asked(device="cpu", seconds=100), list(PARTS), isolated=False)
    assert sum(part.weight for part in PARTS.values()) > 0
    assert given[-1] == pytest.approx(100, abs=1), "what the others did not use is the last one's"
    assert given[0] < 20


def test_a_check_sees_a_wrong_rotation(monkeypatch: pytest.MonkeyPatch) -> None:
    right = cross_attention.rotate
    assert gpu_checks.upper_model(CPU, torch.float32, "merged").passed

    def wrong(states: Any, cosine: Any, sine: Any) -> Any:
        return right(states, cosine, -sine if states.dtype == torch.float32 else sine)

    monkeypatch.setattr(cross_attention, "rotate", wrong)
    assert not gpu_checks.upper_model(CPU, torch.float32, "merged").passed


def test_a_check_sees_a_wrong_kernel_and_a_wrong_projection(monkeypatch: pytest.MonkeyPatch) -> None:
    right, project = gpu_checks.attention.attend, lower.project_keys_values
    monkeypatch.setattr(
        gpu_checks.attention, "attend", lambda query, *others, **named: right(query * 1.01, *others, **named)
    )
    assert not gpu_checks.tree_attention(CPU, torch.float32, causal=False).passed

    def wrong(attention: Any, normed: Any) -> Any:
        keys, values = project(attention, normed)
        return keys, values * (1.01 if normed.dtype == torch.float32 else 1.0)

    monkeypatch.setattr(lower, "project_keys_values", wrong)
    assert not gpu_checks.lower_model(CPU, torch.float32, "qwen3").passed


def test_a_check_sees_a_step_that_does_not_move_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu_checks.recorded_decoding(CPU, torch.float32).passed
    run = recorded.FixedStep.run

    def stuck(step: Any) -> Any:
        logits = run(step)
        step._position.sub_(1)
        return logits

    monkeypatch.setattr(recorded.FixedStep, "run", stuck)
    assert not gpu_checks.recorded_decoding(CPU, torch.float32).passed


def test_a_step_that_could_not_be_recorded_is_told() -> None:
    found = {
        "tokens_per_s": 30.04,
        "fixed_tokens_per_s": None,
        "recorded": False,
        "why_not": "it was not",
        "agree": None,
    }
    assert gpu._decoding(found)[0] == "A step of decoding without a tree: 30.0 tokens/s; it was not."


def test_the_running_text_s_own_keys_are_told_apart() -> None:
    told = {"indexed": {"peak_bytes": 1_000_000_000}, "tree_bytes": 100_000_000}
    found = {"model": {"memory_bytes": 550_000_000}, "lengths": {"8192": {"arms": {"sharedllm": told}}}}
    row = {"tokens": 8192, "arm": "sharedllm", "bytes": 350_000_000}
    assert asking(found, 160_000_000) == [{**row, "own_bytes": 160_000_000, "within": True}]
    assert asking(found, 140_000_000) == [{**row, "own_bytes": 140_000_000, "within": False}]


def test_a_number_that_is_none_is_no_pass() -> None:
    assert not gpu_checks.Finding("nothing", float("nan"), 1.0).passed
    assert gpu_checks.Finding("exact", 0.0, 0.0).passed
