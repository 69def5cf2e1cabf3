"""No deprecation of a library reaches a user: every command is run once with such warnings as errors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from sharedllm_cli.config import InjectionConfig, TreeConfig
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.loading import load
from sharedllm_cli.progress import Silent

RUN_ALL = """
import json, sys
from sharedllm_cli.cli.app import run
from sharedllm_cli.cli.terminal.console import Console
codes = [(line, run(line, Console(sys.stdout, sys.stderr))) for line in json.load(open(sys.argv[1]))]
print(json.dumps(codes), file=open(sys.argv[2], "w"))
"""
FILLER = "The lamp of the tower is lit at dusk. The tower is 21 metres tall. The wind blows on most days. "
STORY = f"{FILLER * 6}Its keeper was called Ann Stone. {FILLER * 6}"


def test_every_command_runs_with_future_warnings_as_errors(
    model_folder: Callable[..., Path], tmp_path: Path, private_home: Path
) -> None:
    folder = str(model_folder("llama", max_position_embeddings=4096))
    base = load(folder, home=private_home, device="cpu", reporter=Silent())
    adapter = Adapter.untrained(base.model, base.name, InjectionConfig("merged", 2), TreeConfig(256, 3, (16, 8, 4)))
    with torch.no_grad():
        for injection in adapter.injections.values():
            injection.gate.fill_(1.0)  # type: ignore[union-attr, operator]
    adapter.save(tmp_path / "open", trained={"objective": "none: gates opened by a test"})
    (tmp_path / "story.txt").write_text(STORY, encoding="utf-8")
    qas = [{"id": "1", "question": "What was the keeper called?", "answers": ["Ann Stone"]}]
    rows = [{"doc_id": str(n), "title": f"Tower {n}", "document": f"{n} {STORY}", "qas": qas} for n in range(4)]
    (tmp_path / "towers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    lines = _lines(folder, tmp_path)
    (tmp_path / "lines.json").write_text(json.dumps(lines), encoding="utf-8")
    command = [sys.executable, "-W", "error::FutureWarning", "-c", RUN_ALL]
    done = subprocess.run(
        [*command, str(tmp_path / "lines.json"), str(tmp_path / "codes.json")],
        input="Who kept the lamp?\n/quit\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    codes = json.loads((tmp_path / "codes.json").read_text("utf-8"))
    assert [(line, code) for line, code in codes if code] == [], done.stderr
    assert "Warning" not in done.stderr


def _lines(folder: str, tmp_path: Path) -> list[list[str]]:
    story, towers, out = str(tmp_path / "story.txt"), str(tmp_path / "towers.jsonl"), str(tmp_path / "out")
    model = ["--model", folder, "--device", "cpu"]
    opened = [*model, "--adapter", str(tmp_path / "open")]
    short = ["--max-new-tokens", "4"]
    small = ["--lower-layers", "2", "--chunk-tokens", "256"]
    train = ["--steps", "1", "--samples", "2", "--rank", "2", "--hold-back", "2", "--validation", "1", *small]
    needle = ["--lengths", "600", "--depths", "50", "--trials", "1"]
    return [
        ["ask", story, "Who kept the lamp?", *model, *short],
        ["ask", story, "Who kept the lamp?", *opened, *short, "--tree"],
        ["ask", story, "Who kept the lamp?", *opened, *short, "--evidence-tokens", "0", "--policy", "paper-cosine"],
        ["index", story, *opened, "--late-states"],
        ["plan", story, *opened],
        ["chat", story, *model, *short],
        ["chats", "list"],
        ["indexes", "list"],
        ["indexes", "verify"],
        ["indexes", "prune", "--yes"],
        ["models", "list"],
        ["models", "show", folder],
        ["models", "probe", "--data", towers, *model, "--limit", "4", "--tokens", "2048"],
        ["doctor"],
        ["train", "--data", towers, "--out", out, *model, *train],
        [
            "eval",
            "qa",
            "--data",
            towers,
            *opened,
            *short,
            "--arms",
            "bm25,sharedllm,tree",
            "--limit",
            "2",
            "--out",
            f"{out}-qa",
        ],
        ["eval", "ppl", "--text", story, *opened, "--lengths", "600", "--recent", "100", "--scored", "50"],
        ["eval", "needle", "--text", story, *opened, *short, *needle, "--out", f"{out}-needle"],
        ["eval", "retrieval", "--data", towers, *model],
        ["eval", "compare", f"{out}-qa", f"{out}-qa"],
        ["bench", *model, "--lengths", "200", "--running-tokens", "16", "--new-tokens", "2", "--repeats", "1"],
    ]
