"""Training searches its documents as `ask` does: by the same policy, with the same scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharedllm_cli.config import Settings, TreeConfig
from sharedllm_cli.errors import DocumentError, UsageError
from sharedllm_cli.lab.evaluation.scoring import DocumentScorer
from sharedllm_cli.lab.training import corpus
from sharedllm_cli.lab.training.corpus import Documents, LeafScores, LocatedDocument, ScoresByPolicy, by_words, locate
from sharedllm_cli.lab.training.question_samples import Mixture, QuestionSamples
from sharedllm_cli.lab.training.records import DataFile, Record, read_records
from sharedllm_cli.lab.training.run import Request, run
from sharedllm_cli.lab.training.trainer import Schedule
from sharedllm_cli.model.adapter import read_config
from sharedllm_cli.model.loading import BaseModel
from sharedllm_cli.model.lower import LowerModel
from sharedllm_cli.model.shared import load_shared
from sharedllm_cli.progress import Silent

TREE = TreeConfig(chunk_tokens=256)
QUESTION = "What was the keeper called?"


def records(data_file: Path) -> list[Record]:
    return read_records(data_file, skip_bad_lines=False, reporter=Silent())


def located(data_file: Path, tokenizer: Any, count: int) -> list[LocatedDocument]:
    return [locate(record, tokenizer, TREE, paged=False) for record in records(data_file)[:count]]


@pytest.mark.parametrize("policy", ["hybrid", "bm25", "late", "right"])
def test_the_scores_are_those_of_a_question(
    policy: str, data_file: Path, tiny: BaseModel, settings: Settings, tmp_path: Path
) -> None:
    (document,) = located(data_file, tiny.tokenizer, 1)
    shared = load_shared(replace(settings, lower_layers=2, chunk_tokens=256), tmp_path / "home", Silent())
    asked = DocumentScorer(document.opened, shared, many_questions=True)(QUESTION, policy).leaves
    scores = ScoresByPolicy(policy, tiny, LowerModel(tiny.model, 2))(QUESTION, [document])
    np.testing.assert_allclose(scores[0], asked[0], rtol=1e-5, atol=1e-6)
    if policy != "right":
        assert np.ptp(scores[0]) > 0


def test_states_are_computed_once_a_document_and_dropped_when_they_are_too_many(
    data_file: Path, tiny: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = located(data_file, tiny.tokenizer, 2)
    computed: list[int] = []
    compute = corpus.leaf_states

    def counting(leaves: Any, *others: Any) -> Any:
        computed.append(next(place for place, one in enumerate((first, second)) if one.leaves is leaves))
        return compute(leaves, *others)

    monkeypatch.setattr(corpus, "leaf_states", counting)
    scores = ScoresByPolicy("hybrid", tiny, LowerModel(tiny.model, 2))
    before = scores(QUESTION, [first, second])
    again = scores(QUESTION, [first, second])
    assert computed == [0, 1]
    np.testing.assert_array_equal(np.concatenate(before), np.concatenate(again))
    monkeypatch.setattr(corpus, "KEPT_BYTES", 1)
    np.testing.assert_array_equal(np.concatenate(scores(QUESTION, [first, second])), np.concatenate(before))
    scores(QUESTION, [second])
    assert computed == [0, 1, 1], "the one used last is kept, however large"


def test_a_policy_that_needs_vectors_of_nodes_is_refused_where_samples_are_searched(
    data_file: Path, settings: Settings, tmp_path: Path
) -> None:
    def train(objective: str, first_layer: int | None = None) -> None:
        schedule = Schedule(steps=1, samples=1)
        request = Request(
            (DataFile(data_file),),
            tmp_path / objective,
            objective,
            first_layer=first_layer,
            schedule=schedule,
            hold_back=2,
            validation=0,
        )
        run(request, replace(settings, policy="paper-cosine"), home=tmp_path / "home", reporter=Silent())

    with pytest.raises(UsageError, match="paper-cosine can't be trained with"):
        train("qa")
    assert not (tmp_path / "qa").exists()
    with pytest.raises(DocumentError, match="too short"):  # nothing is searched there: it fails at its texts alone
        train("lm", 0)


def test_passages_are_those_that_score_best(data_file: Path, tiny: BaseModel) -> None:
    """A search that likes a document's last leaf puts it before the model, which BM25 does not."""

    def last(question: str, documents: Sequence[LocatedDocument]) -> list[np.ndarray]:
        return [np.arange(document.leaves.leaf_count, dtype=np.float64) for document in documents]

    def ends(scores: LeafScores) -> int:
        documents = Documents([(1.0, records(data_file))], tiny.tokenizer, TREE, paged=0.0)
        mixture = Mixture(least_evidence=130, most_evidence=130, hard_unanswerable=0.0, left_missed=0.0)
        mixture = replace(mixture, second_document=0.0)
        samples = QuestionSamples(documents, tiny.tokenizer, seed=0, window=4096, mixture=mixture, scores=scores)
        return sum(samples.case(number).passages[-1].text.rstrip().endswith("every sailor.") for number in range(20))

    assert ends(last) > ends(by_words)


def test_the_policy_of_a_run_is_the_users_and_is_recorded(
    data_file: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    score = corpus.score_documents

    def watching(question: str, documents: Any, base: Any, lower: Any, policy: str, **others: Any) -> Any:
        asked.append(policy)
        return score(question, documents, base, lower, policy, **others)

    monkeypatch.setattr(corpus, "score_documents", watching)

    def trained(policy: str) -> Any:
        request = Request(
            (DataFile(data_file),), tmp_path / policy, schedule=Schedule(steps=1, samples=2), hold_back=2, validation=0
        )
        run(request, replace(settings, policy=policy), home=tmp_path / "home", reporter=Silent())
        return (read_config(tmp_path / policy / "adapter").trained or {})["policy"]

    assert (trained("hybrid"), set(asked)) == ("hybrid", {"hybrid"})
    asked.clear()
    assert (trained("bm25"), set(asked)) == ("bm25", {"bm25"})
