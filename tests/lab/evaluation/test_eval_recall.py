"""Where the answer's words stand, and recall against values worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharedllm_cli.config import Settings, TreeConfig
from sharedllm_cli.errors import DocumentError, UsageError
from sharedllm_cli.lab.evaluation import leaf_recall as retrieval_module
from sharedllm_cli.lab.evaluation.leaf_recall import Request, answer_span, gold_leaves, recall_at, retrieval
from sharedllm_cli.lab.evaluation.questions import Asked, JoinedDocument, opened
from sharedllm_cli.lab.evaluation.runner import METRICS, PREDICTIONS
from sharedllm_cli.lab.training.records import DataFile
from sharedllm_cli.progress import Silent


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (("red fox",), "Red\n fox"),
        (("red fox.",), "Red\n fox"),
        (("dog",), None),
        (("dog", "foxes", "den"), "den"),
        (("fox",), "fox"),
        ((), None),
        ((" . ",), None),
    ],
)
def test_the_answer_counts_where_it_stands_only_once(answers: tuple[str, ...], words: str | None) -> None:
    text = "The Red\n fox and the dog. The dog has no den. Foxglove."
    spans = answer_span(Asked("k", "Which?", answers), text)
    assert [text[start:end] for start, end in spans] == ([] if words is None else [words])


def test_an_answer_that_stands_in_another_of_the_joined_documents_only_has_no_place() -> None:
    text = "A fox.\n\nA den."
    assert answer_span(Asked("k", "Who?", ("den",), within=(0, 6)), text) == ()
    assert answer_span(Asked("k", "Who?", ("den",), within=(8, 14)), text) == ((10, 13),)
    assert answer_span(Asked("k", "Who?", ("den", "fox"), within=(0, 6)), text) == ((2, 5),)


def test_evidence_goes_before_words() -> None:
    asked = Asked("k", "Which?", ("b",), evidence=((4, 5), (0, 1)))
    assert answer_span(asked, "a b c d") == ((4, 5), (0, 1))


@pytest.mark.parametrize(
    ("span", "leaves"),
    [((0, 4), {0}), ((6, 10), {0}), ((7, 12), {1}), ((4, 28), {1, 2}), ((3, 29), {0, 1, 2, 3}), ((31, 32), {3})],
)
def test_gold_is_more_than_half_or_the_most(span: tuple[int, int], leaves: set[int], byte_tokenizer: Any) -> None:
    document = opened(JoinedDocument("d", "x" * 32, ()), byte_tokenizer, "h", TreeConfig(32, 2, (8, 4)))
    assert document.leaves.leaf_count == 4
    assert gold_leaves(document, (span,)) == leaves


@pytest.mark.parametrize(
    ("scores", "gold", "k", "value"),
    [
        ([3, 2, 1, 0], {0}, 1, 1.0),
        ([3, 2, 1, 0], {1}, 1, 0.0),
        ([3, 2, 1, 0], {1}, 2, 1.0),
        ([3, 2, 1, 0], {3, 1}, 2, 1.0),
        ([0, 0, 0, 0], {2}, 1, 0.25),
        ([0, 0, 0, 0], {2}, 3, 0.75),
        ([0, 0, 0, 0], {2}, 9, 1.0),
        ([0, 0, 0, 0], {1, 2}, 2, 1 - 1 / 6),
        ([5, 1, 1, 0], {2}, 2, 0.5),
        ([5, 1, 1, 0], {2}, 1, 0.0),
    ],
)
def test_recall_by_hand_ties_left_to_chance(scores: list[float], gold: set[int], k: int, value: float) -> None:
    assert recall_at(np.array(scores), frozenset(gold), k) == pytest.approx(value)


def test_the_right_policy_is_chance_and_bm25_finds_what_is_named(lights_file: Path, settings: Settings) -> None:
    home = lights_file.parent / "home"
    request = Request(
        (DataFile(lights_file),), policies=("bm25", "hybrid", "late", "paper-cosine", "right"), joins=(4,)
    )
    found = retrieval(request, settings, home=home, reporter=Silent())
    assert found["questions"] == {"asked": 8, "answer_found_once": 8, "in_data": 12}
    assert found["policies"]["right"]["recall_at_1"] == pytest.approx(1 / found["leaves_per_document"])
    assert found["policies"]["bm25"]["recall_at_8"] > 0.8
    for of in found["policies"].values():
        low, high = of["recall_at_8_interval"]
        assert of["n"] == 8
        assert low <= of["recall_at_8"] <= high
    pairs = {(of["policy"], of["against"]): of for of in found["differences"]}
    assert len(pairs) == len(found["policies"]) * (len(found["policies"]) - 1) // 2
    for (one, other), of in pairs.items():
        less = found["policies"][one]["recall_at_1"] - found["policies"][other]["recall_at_1"]
        assert of["recall_at_1"]["mean"] == pytest.approx(less)
        low, high = of["recall_at_8"]["interval"]
        assert low <= of["recall_at_8"]["mean"] <= high
    assert not (home / "indexes").exists()


def test_a_resumed_run_equals_an_uninterrupted_one(
    lights_file: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(out: str, **changes: object) -> dict[str, object]:
        values = {"policies": ("bm25", "hybrid"), "limit": 7, "out": tmp_path / out, "joins": (2,)} | changes
        return retrieval(Request((DataFile(lights_file),), **values), settings, home=tmp_path, reporter=Silent())  # type: ignore[arg-type]

    whole = run("whole")
    with monkeypatch.context() as patch:
        calls = iter(range(5))
        first = retrieval_module._recalls
        patch.setattr(retrieval_module, "_recalls", lambda *given: (next(calls), first(*given))[1])
        with pytest.raises((StopIteration, RuntimeError)):
            run("cut")
    predictions = tmp_path / "cut" / PREDICTIONS
    assert 0 < len(predictions.read_text().splitlines()) < 7
    predictions.write_text(predictions.read_text() + '{"key": "torn')
    with pytest.raises(UsageError, match="holds a run already"):
        run("cut")
    with pytest.raises(UsageError, match="another data seed: 0, not 1"):
        run("cut", resume=True, seed=1)
    assert not (tmp_path / "cut" / METRICS).exists()
    assert run("cut", resume=True) == whole
    for name in (METRICS, PREDICTIONS):
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_mistakes_are_told_before_anything_is_loaded(lights_file: Path, settings: Settings, tmp_path: Path) -> None:
    data = (DataFile(lights_file),)
    with pytest.raises(UsageError, match="unknown policy 'best'"):
        Request(data, policies=("best",))
    with pytest.raises(UsageError, match="twice"):
        Request(data, policies=("bm25", "bm25"))
    with pytest.raises(UsageError, match="nothing to ask"):
        Request(())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="something else"):
        retrieval(Request(data, out=tmp_path / "full"), settings, home=tmp_path, reporter=Silent())
    with pytest.raises(DocumentError, match="no data file"):
        retrieval(Request((DataFile(tmp_path / "x.jsonl"),)), settings, home=tmp_path, reporter=Silent())
