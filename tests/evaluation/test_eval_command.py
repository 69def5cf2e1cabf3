"""`sharedllm eval` as it is typed: every flag arrives."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.cli.app import run
from sharedllm_cli.cli.console import Console
from sharedllm_cli.evaluation import answers as answers_module
from sharedllm_cli.evaluation import retrieval as retrieval_module


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
    flags = ["--data", "b.jsonl.xz", "--policies", "late, right", "--limit", "3", "--seed", "4", "--join", "5"]
    flags += [
        "--last",
        "6",
        "--out",
        "folder",
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
    assert (request.limit, request.seed, request.join, request.last) == (3, 4, 5, 6)
    assert (request.out, request.resume, request.skip_bad_lines) == (Path("folder"), True, True)
    assert (settings.chunk_tokens, settings.ratios, settings.adapter) == (256, "8,4,2", "none")


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--data", "missing.jsonl"], 3, "no data file"),
        (["--policies", "best"], 2, "unknown policy 'best'"),
        (["--policies", ""], 2, "no policy"),
        (["--join", "0"], 2, "--join"),
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
        return {"arms": {}}

    monkeypatch.setattr(answers_module, "answers", keep)
    flags = ["--arms", "full, tree", "--limit", "3", "--seed", "4", "--join", "5", "--no-adapter", "--out", "folder"]
    flags += ["--resume", "--skip-bad-lines", "--policy", "late", "--evidence-tokens", "6", "--no-tree"]
    flags += ["--max-new-tokens", "7", "--system", "Be brief.", "--stored-dtype", "float16", "--trees", "there"]
    flags += ["--last", "8", "--misplaced", "9"]
    code, _, err = call("qa", *tiny, *flags)
    assert code == 0, err
    ((request, settings),) = seen
    assert (request.arms, request.limit, request.seed, request.join) == (("full", "tree"), 3, 4, 5)
    assert (request.last, request.misplaced) == (8, 9)
    assert (request.out, request.resume, request.skip_bad_lines, request.adapter) == (Path("folder"), True, True, False)
    assert (settings.policy, settings.evidence_tokens, settings.tree, settings.max_new_tokens) == ("late", 6, False, 7)
    assert (settings.system, settings.stored_dtype, request.trees) == ("Be brief.", "float16", Path("there"))
