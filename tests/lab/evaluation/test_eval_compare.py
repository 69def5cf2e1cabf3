"""Finished runs are compared question by question: what is paired, what is left out, and what is not comparable."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.cli.app import run
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.errors import DocumentError, UsageError
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT
from sharedllm_cli.lab.evaluation.comparing import Side, compare
from sharedllm_cli.lab.evaluation.metrics import difference
from sharedllm_cli.lab.evaluation.runner import CONFIG, METRICS, PREDICTIONS


def line(arm: str, key: str, answer: str | None, *, gold: str | None = "red", nll: float = 1.0) -> dict[str, Any]:
    return {
        "key": f"{arm} {key}",
        "arm": arm,
        "question": f"What of {key}?",
        "answers": [gold] if gold else [],
        "answerable": gold is not None,
        "answer": answer,
        "nll": nll,
        "gold_tokens": 2,
        "refusal_nll": 3.0,
        "first_token_s": 0.1,
    }


def made(
    folder: Path,
    lines: Sequence[dict[str, Any]],
    *,
    weights: str = "w",
    command: str = "eval qa",
    sha256: str = "0",
    join: int = 1,
    finished: bool = True,
) -> Path:
    folder.mkdir()
    files = [{"file": name, "sha256": sha256, "join": join, "last": None} for name in ("a.jsonl", "b.jsonl")]
    config = {
        "command": command,
        "arms": ["bm25"],
        "data": {"files": files, "limit": len(lines)},
        "model": {"adapter_weights": weights, "tree": {"height": 3}},
    }
    (folder / CONFIG).write_text(json.dumps(config))
    if finished:
        (folder / METRICS).write_text("{}")
    (folder / PREDICTIONS).write_text("".join(json.dumps(one) + "\n" for one in lines))
    return folder


@pytest.fixture
def first(tmp_path: Path) -> Path:
    lines = [
        line("sharedllm", "a.jsonl:1/1", "red", nll=1.0),
        line("sharedllm", "a.jsonl:1/2", "blue", nll=2.0),
        line("sharedllm", "b.jsonl:1/1", NOT_IN_DOCUMENT, nll=3.0),
        line("sharedllm", "misplaced b.jsonl:1/2", NOT_IN_DOCUMENT, gold=None),
        line("sharedllm", "b.jsonl:1/9", "red"),
        line("bm25", "a.jsonl:1/1", "green", nll=4.0),
    ]
    return made(tmp_path / "first", lines, weights="new")


@pytest.fixture
def second(tmp_path: Path) -> Path:
    lines = [
        line("sharedllm", "a.jsonl:1/1", "green", nll=2.0),
        line("sharedllm", "a.jsonl:1/2", "red", nll=2.5),
        line("sharedllm", "b.jsonl:1/1", "green", nll=5.0),
        line("sharedllm", "misplaced b.jsonl:1/2", "red", gold=None),
        line("sharedllm", "b.jsonl:1/8", "red"),
    ]
    return made(tmp_path / "second", lines, weights="old")


def test_the_same_questions_are_paired(first: Path, second: Path) -> None:
    found = compare(Side((first,), "sharedllm"), Side((second,), "sharedllm"))
    assert (found["n"], found["n_unanswerable"], found["not_compared"]) == (3, 1, [1, 1])
    assert found["f1"]["arm"]["mean"] == pytest.approx(1 / 3)
    assert found["f1"]["against"]["mean"] == pytest.approx(1 / 3)
    assert found["f1"]["difference"]["mean"] == pytest.approx(0)
    assert found["answer_nll"]["arm"]["mean"] == pytest.approx(6 / 6), "summed nats over summed tokens"
    assert found["answer_nll"]["difference"]["mean"] == pytest.approx(-3.5 / 6)
    paired = difference([0.5, 1, 1.5], [1, 1.25, 2.5], [2, 2, 2])
    assert paired is not None
    assert found["answer_nll"]["difference"]["interval"] == [paired.low, paired.high]
    assert found["refused"]["difference"]["mean"] == pytest.approx(1 / 3)
    assert found["unanswerable_refused"]["arm"]["mean"] == 1.0
    assert found["unanswerable_refused"]["against"]["mean"] == 0.0


def test_what_the_runs_differ_in_is_told(first: Path, second: Path) -> None:
    found = compare(Side((first,), "sharedllm"), Side((second,), "sharedllm"))
    assert found["configured"] == {"model adapter_weights": ["new", "old"]}


def test_each_file_has_its_own_numbers(first: Path, second: Path) -> None:
    files = compare(Side((first,), "sharedllm"), Side((second,), "sharedllm"))["files"]
    assert {name: (of["n"], of["n_unanswerable"]) for name, of in files.items()} == {
        "a.jsonl": (2, 0),
        "b.jsonl": (1, 1),
    }
    assert files["a.jsonl"]["unanswerable_refused"] is None
    assert files["a.jsonl"]["f1"]["arm"]["mean"] == pytest.approx(0.5)


def test_runs_are_put_together_and_a_question_counts_once(first: Path, second: Path, tmp_path: Path) -> None:
    more = made(tmp_path / "more", [line("bm25", "a.jsonl:1/1", "red"), line("bm25", "a.jsonl:1/2", "red", nll=7.0)])
    found = compare(Side((first,), "sharedllm"), Side((first, more), "bm25"))
    assert found["n"] == 2
    assert found["f1"]["against"]["mean"] == pytest.approx(0.5), "the first run's answer counts"
    assert math.isclose(found["answer_nll"]["against"]["mean"], 11 / 4)


def test_a_document_that_did_not_fit_is_not_compared_and_is_told(first: Path, tmp_path: Path) -> None:
    full = made(tmp_path / "full", [line("full", "a.jsonl:1/1", None), line("full", "a.jsonl:1/2", "blue", nll=1.0)])
    found = compare(Side((first,), "sharedllm"), Side((full,), "full"))
    assert (found["n"], found["f1"]["difference"]["mean"]) == (1, 0.0)
    assert found["not_compared"] == [4, 1]
    none = made(tmp_path / "none", [line("full", "a.jsonl:1/1", None)])
    with pytest.raises(UsageError, match="no question in common"):
        compare(Side((first,), "sharedllm"), Side((none,), "full"))
    # Where another run answered it, that answer counts.
    more = made(tmp_path / "more", [line("full", "a.jsonl:1/1", "red")])
    assert compare(Side((first,), "sharedllm"), Side((none, full, more), "full"))["n"] == 2


def test_other_documents_of_the_same_questions_are_told(first: Path, tmp_path: Path) -> None:
    joined = made(tmp_path / "joined", [line("bm25", "a.jsonl:1/1", "red")], weights="new", join=8)
    found = compare(Side((first,), "sharedllm"), Side((joined,), "bm25"))
    assert found["configured"] == {"data a.jsonl join": [1, 8], "data b.jsonl join": [1, 8]}


def test_another_file_of_the_same_name_is_refused(first: Path, tmp_path: Path) -> None:
    other = made(tmp_path / "other", [line("bm25", "a.jsonl:1/1", "red")], sha256="1")
    with pytest.raises(DocumentError, match="not the same file"):
        compare(Side((first,), "sharedllm"), Side((other,), "bm25"))


def test_other_words_under_the_same_key_are_refused(first: Path, tmp_path: Path) -> None:
    other = {**line("bm25", "a.jsonl:1/1", "red"), "question": "Something else?"}
    folder = made(tmp_path / "other", [other])
    with pytest.raises(DocumentError, match=r"not asked of the same data: the key 'a\.jsonl:1/1'"):
        compare(Side((first,), "sharedllm"), Side((folder,), "bm25"))
    with pytest.raises(DocumentError, match="asks something else under the key"):
        compare(Side((first,), "sharedllm"), Side((first, folder), "bm25"))


def test_tokens_of_another_tokenizer_are_no_common_measure(first: Path, tmp_path: Path) -> None:
    other = made(tmp_path / "other", [{**line("bm25", "a.jsonl:1/1", "red"), "gold_tokens": 3}])
    found = compare(Side((first,), "sharedllm"), Side((other,), "bm25"))
    assert found["answer_nll"] is None
    assert found["f1"]["difference"]["mean"] == 0.0


def test_what_is_not_finished_is_compared_and_told(first: Path, tmp_path: Path) -> None:
    half = made(tmp_path / "half", [line("bm25", "a.jsonl:1/1", "red")], finished=False)
    with (half / PREDICTIONS).open("a") as file:
        file.write('{"key": "bm25 a.jso')
    found = compare(Side((first,), "sharedllm"), Side((half,), "bm25"))
    assert (found["n"], found["unfinished"]) == (1, [str(half)])


def test_what_cannot_be_compared_is_said(first: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="with itself"):
        compare(Side((first,), "bm25"), Side((first,), "bm25"))
    other = made(tmp_path / "other", [line("bm25", "a.jsonl:1/2", "red")])
    with pytest.raises(UsageError, match="with itself"):
        compare(Side((first, other), "bm25"), Side((first / ".." / "first",), "bm25"))
    with pytest.raises(UsageError, match="no question was answered by the arm 'tree'") as missing:
        compare(Side((first,), "tree"), Side((first,), "bm25"))
    assert "bm25, sharedllm" in str(missing.value.hint)
    with pytest.raises(DocumentError, match="holds no run"):
        compare(Side((tmp_path,), "tree"), Side((first,), "bm25"))
    needle = made(tmp_path / "needle", [], command="eval needle")
    with pytest.raises(DocumentError, match="holds a run of 'eval needle'"):
        compare(Side((needle,), "tree"), Side((first,), "bm25"))
    elsewhere = made(tmp_path / "elsewhere", [line("bm25", "a.jsonl:7/7", "red")])
    with pytest.raises(UsageError, match="no question in common"):
        compare(Side((first,), "sharedllm"), Side((elsewhere,), "bm25"))
    (elsewhere / CONFIG).write_text('{"command": "eval qa", "data": {}}')
    with pytest.raises(DocumentError, match="does not name the data"):
        compare(Side((first,), "sharedllm"), Side((elsewhere,), "bm25"))


def searched(key: str, *, hybrid: tuple[int, int], bm25: tuple[int, int]) -> dict[str, Any]:
    recall = {
        policy: {"recall_at_1": float(found[0]), "recall_at_8": float(found[1])}
        for policy, found in (("hybrid", hybrid), ("bm25", bm25))
    }
    return {"key": key, "question": f"What of {key}?", "gold": [3], "leaves": 9, "recall": recall}


@pytest.fixture
def searches(tmp_path: Path) -> tuple[Path, Path]:
    ours = [
        searched("a.jsonl:1/1", hybrid=(1, 1), bm25=(0, 1)),
        searched("a.jsonl:1/2", hybrid=(1, 1), bm25=(0, 0)),
        searched("b.jsonl:1/1", hybrid=(0, 1), bm25=(0, 1)),
        searched("b.jsonl:1/2", hybrid=(0, 0), bm25=(1, 1)),
    ]
    theirs = [
        searched("a.jsonl:1/1", hybrid=(0, 1), bm25=(0, 1)),
        searched("a.jsonl:1/2", hybrid=(1, 1), bm25=(0, 0)),
        searched("b.jsonl:1/1", hybrid=(0, 0), bm25=(0, 1)),
        searched("b.jsonl:1/7", hybrid=(1, 1), bm25=(0, 1)),
    ]
    return tuple(
        made(tmp_path / name, lines, weights=name, command="eval retrieval")
        for name, lines in (("head", ours), ("plain", theirs))
    )  # type: ignore[return-value]


def test_searches_are_paired_by_policy(searches: tuple[Path, Path]) -> None:
    head, plain = searches
    found = compare(Side((head,), "hybrid"), Side((plain,), "hybrid"))
    assert (found["command"], found["n"], found["not_compared"]) == ("eval retrieval", 3, [1, 1])
    assert found["recall_at_1"]["arm"]["mean"] == pytest.approx(2 / 3)
    assert found["recall_at_1"]["against"]["mean"] == pytest.approx(1 / 3)
    paired = difference([1, 1, 1], [1, 1, 0])
    assert paired is not None
    assert found["recall_at_8"]["difference"] == {"n": 3, "mean": paired.mean, "interval": [paired.low, paired.high]}
    assert {name: of["n"] for name, of in found["files"].items()} == {"a.jsonl": 2, "b.jsonl": 1}
    within = compare(Side((head,), "hybrid"), Side((head,), "bm25"))
    assert (within["n"], within["recall_at_1"]["difference"]["mean"]) == (4, 0.25)


def test_searches_and_answers_are_not_compared(first: Path, searches: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match=r"eval retrieval.*eval qa"):
        compare(Side((searches[0],), "hybrid"), Side((first,), "sharedllm"))
    with pytest.raises(UsageError, match="no question was answered by the arm 'late'") as missing:
        compare(Side((searches[0],), "late"), Side((searches[1],), "hybrid"))
    assert "bm25, hybrid" in str(missing.value.hint)


def test_the_command_compares_searches_by_hybrid_unless_said(searches: tuple[Path, Path]) -> None:
    head, plain = map(str, searches)
    code, out, err = call(head, "--against", plain)
    assert code == 0, err
    assert "R@1" in out
    assert "F1" not in out
    assert "+0.333 (" in out
    assert "adapter_weights: head against plain" in err
    code, out, err = call(head, "--json")
    assert code == 0, err
    assert (json.loads(out)["arm"], json.loads(out)["against"]) == ("hybrid", "bm25")


def test_nothing_heavy_is_loaded() -> None:
    code = "import sys, sharedllm_cli.lab.evaluation.comparing; import sharedllm_cli.cli.eval.questions;"
    code += "print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def call(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = run(["eval", "compare", *arguments], Console(out, err))
    return code, out.getvalue(), err.getvalue()


def test_the_command_shows_both_sides_and_their_difference(first: Path, second: Path) -> None:
    code, out, err = call(str(first), "--against", str(second))
    assert code == 0, err
    assert "-0.583 (" in out
    assert "adapter_weights: new against old" in err
    assert "1 and 1 questions" in err
    assert "3 questions and 1 unanswerable" in " ".join(out.split())
    assert "a.jsonl" in out
    code, out, err = call(str(first), "--json")
    assert code == 0, err
    assert (json.loads(out)["arm"], json.loads(out)["against"], json.loads(out)["n"]) == ("sharedllm", "bm25", 1)
    code, _, err = call(str(first), "--arm", "bm25")
    assert code == 2
    assert "compared with itself" in err
