"""`sharedllm models probe` as it is typed: every flag arrives, tables and plots are of the same numbers."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.cli.app import run
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.lab.evaluation import probe as probe_module
from sharedllm_cli.lab.evaluation.probe_results import layers_plot, ratios_plot


def call(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = run(["models", "probe", *arguments], Console(out, err))
    return code, out.getvalue(), err.getvalue()


def row(layers: str, ratio: int | str, gap: float) -> dict[str, Any]:
    first, end = map(int, layers.split("-"))
    return {
        "layers": layers,
        "first_layer": first,
        "lower_layers": end,
        "ratio": ratio,
        "tokens_per_key": 8.5 if ratio == "tree" else float(ratio),
        "right": 4.0 - gap,
        "wrong": 4.0,
        "gap": gap,
        "gap_interval": [gap - 0.1, gap + 0.1],
        "gain": 0.25 + gap,
        "gain_interval": [gap, gap + 0.5],
    }


FOUND = {
    "closed": 4.25,
    "layers": [row("0-2", 4, 0.125), row("1-4", 4, -0.5)],
    "ratios": [row("0-4", 2, 0.75), row("0-4", "tree", 0.375)],
    "questions": {"asked": 6, "answer_tokens": 30},
    "documents": {"asked": 3, "cut": 1, "tokens": 1500.0},
    "interrupted": False,
}


@pytest.fixture
def tiny(lights_file: Path, tiny_folder: Path) -> list[str]:
    return ["--data", str(lights_file), "--model", str(tiny_folder), "--chunk-tokens", "128", "--device", "cpu"]


def test_tables_say_what_the_object_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "probe", lambda *_, **__: FOUND)
    code, out, err = call("--data", "a.jsonl")
    assert code == 0
    rows = [" ".join(line.split()) for line in out.splitlines() if line[:1].isdigit()]
    assert rows[0] == "0-2 2 4 3.88 4.00 4.25 0.125 (0.025 to 0.225) 0.375 (0.125 to 0.625)"
    assert [line[:8] for line in rows[1:]] == ["1-4 4 4 ", "0-4 4 2 ", "0-4 4 tr"]
    assert "6 questions (30 answer tokens) of 3 documents with 1,500 tokens on average, 1 of them cut" in err
    code, out, _ = call("--data", "a.jsonl", "--json")
    assert (code, json.loads(out)) == (0, FOUND)


def test_what_an_interrupted_probe_measured_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "probe", lambda *_, **__: FOUND | {"interrupted": True})
    code, out, err = call("--data", "a.jsonl", "--out", "folder")
    assert code == 130
    assert "0-2" in out
    assert "interrupted: go on with --resume" in err


def test_a_run_leaves_its_numbers_and_plots(tiny: list[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    code, told, err = call(*tiny, "--layers", "0-2", "--ratios", "4,tree", "--limit", "3", "--out", str(out), "--json")
    assert code == 0, err
    assert json.loads(told) == json.loads((out / "metrics.json").read_text("utf-8"))
    names = ["config.json", "layers.png", "metrics.json", "predictions.jsonl", "ratios.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert all((out / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for name in ("layers.png", "ratios.png"))


def test_plots_are_of_the_numbers() -> None:
    pytest.importorskip("matplotlib")
    layers, ratios = (layers_plot(FOUND["layers"], 4.25), ratios_plot(FOUND["ratios"], 4.25))  # type: ignore[arg-type]
    other = row("0-2", 4, 0.3)
    assert layers != layers_plot([other, row("1-4", 4, -0.5)], 4.25)
    assert layers != layers_plot(FOUND["layers"], 5.0)  # type: ignore[arg-type]
    assert ratios != ratios_plot([row("0-4", 2, 0.75), row("0-4", "tree", 0.5)], 4.25)
    assert ratios_plot([row("0-4", "tree", 0.5)], 4.25), "the tree alone"


def test_every_flag_arrives(tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def keep(request: Any, settings: Any, **others: Any) -> Any:
        seen.append((request, settings))
        return FOUND

    monkeypatch.setattr(probe_module, "probe", keep)
    flags = ["--data", "b.jsonl.xz", "--layers", "0-2, 1-4", "--ratios", "2, tree", "--at-ratio", "tree"]
    flags += ["--at-layers", "1-3", "--limit", "3", "--per-document", "4", "--tokens", "500", "--seed", "6"]
    flags += ["--last", "7", "--out", "folder", "--resume", "--skip-bad-lines", "--policy", "right"]
    code, _, err = call(*tiny, *flags)
    assert code == 0, err
    ((request, settings),) = seen
    assert [file.path.name for file in request.data] == ["lights.jsonl", "b.jsonl.xz"]
    assert (request.layers, request.ratios) == (((0, 2), (1, 4)), (2, "tree"))
    assert (request.at_ratio, request.at_layers, request.adapter) == ("tree", (1, 3), None)
    assert (request.limit, request.per_document, request.tokens, request.seed, request.last) == (3, 4, 500, 6, 7)
    assert (request.out, request.resume, request.skip_bad_lines) == (Path("folder"), True, True)
    assert (settings.policy, settings.chunk_tokens) == ("right", 128)
    call(*tiny, "--adapter", "there")
    request, _ = seen[1]
    assert (request.adapter, request.layers, request.at_layers, request.at_ratio) == (Path("there"), None, None, 4)
    assert request.ratios == (1, 2, 4, 8, 16, "tree")


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--data", "missing.jsonl"], 3, "no data file"),
        (["--layers", "15"], 2, "layers look like"),
        (["--layers", "0-9"], 2, "end above the model's 4 layers"),
        (["--ratios", "4,half"], 2, "a ratio is"),
        (["--adapter", "nowhere"], 4, "is not an adapter"),
        (["--tokens", "8"], 2, "--tokens"),
    ],
)
def test_a_mistake_is_one_line_and_its_exit_code(tiny: list[str], flags: list[str], code: int, words: str) -> None:
    found, out, err = call(*tiny, *flags)
    assert (found, out) == (code, "")
    assert words in err
    assert "Traceback" not in err
