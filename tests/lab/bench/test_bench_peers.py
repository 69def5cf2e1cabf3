"""The comparison with llama.cpp runs both sides in turn on one file and prints medians, the fastest and the ratio."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_gguf import write_gguf
from tiny_models import make_tiny_model

from sharedllm_cli.errors import UsageError
from sharedllm_cli.lab.bench.peers import Rates, Task, compare, llama_run, main, table


def stand_in(folder: Path, body: str) -> Path:
    """A program that is called like llama-bench; `calls` beside it collects what it was asked."""
    program = folder / "llama-bench"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\nopen({str(folder / 'calls')!r}, 'a')"
        f".write(json.dumps(sys.argv[1:]) + '\\n')\n{body}\n"
    )
    program.chmod(0o700)
    return program


ANSWERS = "print(json.dumps([{'avg_ts': 40.0, 'build_number': 7, 'build_commit': 'abc'}]))"


def test_both_sides_run_in_turn() -> None:
    order: list[str] = []

    def side(name: str) -> Callable[[Task, Rates], None]:
        def run(task: Task, rates: Rates) -> None:
            order.append(name)
            rates.prompt.append(len(order))
            rates.answer.append(2)

        return run

    theirs, ours = compare(Task(8, 2, 1), 2, side("llama"), side("ours"))
    assert order == ["llama", "ours"] * 2
    assert (theirs.prompt, ours.prompt) == ([1, 3], [2, 4])


def test_medians_the_fastest_and_the_ratio_are_printed() -> None:
    lines = table([Rates("a", [10, 20, 40], [4, 2, 2]), Rates("b", [60, 30, 30], [1, 1, 1])]).splitlines()
    assert lines[2:] == [
        "| a | 20.0 | 40.0 | 2.0 | 4.0 |",
        "| b | 30.0 | 60.0 | 1.0 | 1.0 |",
        "| times as fast | 1.50 | 1.50 | 0.50 | 0.25 |",
    ]


def test_one_file_is_read_by_both(tmp_path: Path, private_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "tiny.gguf"
    write_gguf(model, make_tiny_model("llama"))
    program, out = stand_in(tmp_path, ANSWERS), tmp_path / "out.json"
    sizes = ["--prompt", "12", "--answer", "3", "--repeats", "2", "--threads", "1"]
    assert main(["--llama-bench", str(program), "--model", str(model), *sizes, "--out", str(out)]) == 0
    calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    same = ["-m", str(model), "-t", "1", "-r", "1"]
    parts = (["-p", "12", "-n", "0"], ["-p", "0", "-n", "3", "-d", "12"])
    assert calls == [[*same, *part, "-o", "json"] for part in parts] * 2
    theirs, ours = json.loads(out.read_text())
    assert (theirs["name"], theirs["prompt"], theirs["answer"]) == ("llama.cpp 7 (abc)", [40, 40], [40, 40])
    assert len(ours["prompt"]) == len(ours["answer"]) == 2
    assert "tiny.gguf, 12 + 3 tokens, 1 threads" in capsys.readouterr().out


@pytest.mark.parametrize("body", ["sys.exit('no such model')", "print('no JSON')"])
def test_a_program_that_fails_is_named(tmp_path: Path, body: str) -> None:
    with pytest.raises(UsageError, match="llama-bench did not run"):
        llama_run(stand_in(tmp_path, body), tmp_path / "tiny.gguf", Task(8, 2, 1), Rates("x"))
