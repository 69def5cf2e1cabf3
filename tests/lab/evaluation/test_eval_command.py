"""`sharedllm eval` as it is typed: every flag arrives."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.cli.app import run
from sharedllm_cli.cli.eval.texts import show_heat_map, style
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.lab.evaluation import answers as answers_module
from sharedllm_cli.lab.evaluation import leaf_recall as retrieval_module
from sharedllm_cli.lab.evaluation import needle as needle_module


def call(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = run(["eval", *arguments], Console(out, err))
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def tiny(lights_file: Path, tiny_folder: Path) -> list[str]:
    flags = ["--model", str(tiny_folder), "--chunk-tokens", "256", "--device", "cpu"]
    return ["--data", str(lights_file), *flags]


def test_retrieval_prints_one_object_or_a_table(tiny: list[str]) -> None:
    code, out, err = call("retrieval", *tiny, "--json")
    assert code == 0, err
    assert json.loads(out)["policies"]["bm25"]["n"] == 8
    code, out, _ = call("retrieval", *tiny, "--policies", "bm25")
    assert code == 0
    assert "R@8" in out
    assert "bm25" in out
    assert "hybrid" not in out


def test_every_flag_of_retrieval_arrives(tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def keep(request: Any, settings: Any, **others: Any) -> Any:
        seen.append((request, settings))
        return {"policies": {}}

    monkeypatch.setattr(retrieval_module, "retrieval", keep)
    flags = ["--data", "b.jsonl.xz", "--policies", "late, right", "--limit", "3", "--seed", "4", "--join", "5,2"]
    flags += [
        "--last",
        "6",
        "--out",
        "folder",
        "--no-titles",
        "--resume",
        "--skip-bad-lines",
        "--ratios",
        "8,4,2",
        "--adapter",
        "none",
    ]
    code, _, err = call("retrieval", *tiny, *flags)
    assert code == 0, err
    ((request, settings),) = seen
    assert [file.path.name for file in request.data] == ["lights.jsonl", "b.jsonl.xz"]
    assert request.policies == ("late", "right")
    assert (request.limit, request.seed, request.joins, request.lasts) == (3, 4, (5, 2), (6,))
    assert not request.titles
    assert (request.out, request.resume, request.skip_bad_lines) == (Path("folder"), True, True)
    assert (settings.chunk_tokens, settings.ratios, settings.adapter) == (256, "8,4,2", "none")


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--data", "missing.jsonl"], 3, "no data file"),
        (["--policies", "best"], 2, "unknown policy 'best'"),
        (["--policies", ""], 2, "no policy"),
        (["--join", "0"], 2, "--join"),
        (["--join", "two"], 2, "--join must be whole numbers"),
        (["--last", "3,-1"], 2, "--last must be whole numbers"),
        (["--join", "1,2,3"], 2, "--join has 3 numbers for 1 data files"),
    ],
)
def test_a_mistake_is_one_line_and_its_exit_code(tiny: list[str], flags: list[str], code: int, words: str) -> None:
    found, out, err = call("retrieval", *tiny, *flags)
    assert (found, out) == (code, "")
    assert words in err
    assert "Traceback" not in err


QA = ["--lower-layers", "2", "--max-new-tokens", "3", "--limit", "2"]


def test_qa_prints_one_object_or_a_table(tiny: list[str], tmp_path: Path) -> None:
    code, out, err = call("qa", *tiny, *QA, "--out", str(tmp_path / "a"), "--json")
    assert code == 0, err
    told = json.loads(out)
    assert list(told["arms"]) == ["closed", "truncate", "bm25", "sharedllm", "full", "tree", "tree-wrong"]
    assert told == json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert "the arm tree is left out" in err
    code, out, _ = call("qa", *tiny, *QA, "--out", str(tmp_path / "b"), "--arms", "closed,tree")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if line[:1].isalpha()] == ["Arm", "closed", "tree"]


def test_every_flag_of_qa_arrives(tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def keep(request: Any, settings: Any, **others: Any) -> Any:
        seen.append((request, settings))
        return {"arms": {}, "routes": {}}

    monkeypatch.setattr(answers_module, "answers", keep)
    flags = ["--arms", "full, tree", "--limit", "3", "--seed", "4", "--join", "5", "--no-adapter", "--out", "folder"]
    flags += ["--resume", "--skip-bad-lines", "--policy", "late", "--evidence-tokens", "6", "--no-tree"]
    flags += ["--max-new-tokens", "7", "--system", "Be brief.", "--stored-dtype", "float16", "--trees", "there"]
    flags += ["--last", "0,8", "--misplaced", "9", "--no-titles"]
    code, _, err = call("qa", *tiny, *flags)
    assert code == 0, err
    ((request, settings),) = seen
    assert (request.arms, request.limit, request.seed, request.joins) == (("full", "tree"), 3, 4, (5,))
    assert (request.lasts, request.misplaced, request.titles) == ((None, 8), 9, False)
    assert (request.out, request.resume, request.skip_bad_lines, request.adapter) == (Path("folder"), True, True, False)
    assert (settings.policy, settings.evidence_tokens, settings.tree, settings.max_new_tokens) == ("late", 6, False, 7)
    assert (settings.system, settings.stored_dtype, request.trees) == ("Be brief.", "float16", Path("there"))


NEEDLE = ["--lower-layers", "2", "--max-new-tokens", "3", "--lengths", "600", "--depths", "0,50", "--trials", "1"]


def test_needle_prints_one_object_or_grids(tiny: list[str], tmp_path: Path) -> None:
    text = tmp_path / "watches.txt"
    text.write_text(" ".join(f"In watch {number} the wind was strong." for number in range(40)), encoding="utf-8")
    flags = ["needle", *tiny[2:], "--text", str(text), *NEEDLE]
    code, out, err = call(*flags, "--out", str(tmp_path / "a"), "--json", "--arms", "bm25,tree")
    assert code == 0, err
    told = json.loads(out)
    assert told == json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert [cell["depth"] for cell in told["arms"]["bm25"]["cells"]] == [0, 50]
    assert "the arm tree is left out" in err
    code, out, _ = call(*flags, "--out", str(tmp_path / "b"), "--arms", "closed,bm25,tree")
    assert code == 0
    closed, bm25 = out.split("bm25: ")
    assert closed.splitlines()[0] == "closed: 0 of 2 answered (0% to 66%)"
    assert [line.split() for line in closed.splitlines()[1:3]] == [["depth", "600"], ["0", "%", "0/1"]]
    assert "held 2: the passages hold the planted sentence" in bm25
    assert "0/1, held 1" in bm25
    assert "tree" not in out
    assert "\x1b" not in out


def test_a_cell_s_colour_follows_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("COLORTERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    cells, shares = [["0/2", "2/2", "–"]], [[0.0, 1.0, None]]
    show_heat_map(Console(out, io.StringIO()), "depth", ["0 %"], ["a", "b", "c"], cells, shares)
    grounds = re.findall(r"\x1b\[[\d;]*48;[\d;]+m ([^ ]+) ", out.getvalue())
    assert grounds == ["0/2", "2/2"]
    assert [style(share) for share in (0.0, 1.0)] == ["white on #00224e", "black on #fee838"]


def test_every_flag_of_needle_arrives(tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def keep(request: Any, settings: Any, **others: Any) -> Any:
        seen.append((request, settings))
        return {"arms": {}, "lengths": [], "depths": []}

    monkeypatch.setattr(needle_module, "needle", keep)
    flags = ["--text", "a.txt", "--text", "b.jsonl.xz", "--lengths", "100, 200", "--depths", "0,12.5", "--arms", "bm25"]
    flags += ["--trials", "3", "--seed", "4", "--no-adapter", "--out", "folder", "--resume", "--trees", "there"]
    flags += ["--policy", "late", "--evidence-tokens", "6", "--max-new-tokens", "7"]
    code, _, err = call("needle", *tiny[2:], *flags)
    assert code == 0, err
    ((request, settings),) = seen
    assert request.texts == (Path("a.txt"), Path("b.jsonl.xz"))
    assert (request.lengths, request.depths, request.arms) == ((100, 200), (0, 12.5), ("bm25",))
    assert (request.trials, request.seed, request.adapter, request.resume) == (3, 4, False, True)
    assert (request.out, request.trees) == (Path("folder"), Path("there"))
    assert (settings.policy, settings.evidence_tokens, settings.max_new_tokens) == ("late", 6, 7)


@pytest.mark.parametrize("flags", [["--lengths", "2K"], ["--depths", "a"], ["--lengths", "1.5"]])
def test_numbers_of_needle_are_numbers(tiny: list[str], tmp_path: Path, flags: list[str]) -> None:
    code, out, err = call("needle", *tiny[2:], "--text", "a.txt", "--out", str(tmp_path / "out"), *flags)
    assert (code, out) == (2, "")
    assert "numbers joined by commas" in err
