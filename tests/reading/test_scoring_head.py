"""Where a scoring head is shipped for a model's weights, `hybrid` uses it, and looks at each leaf once for both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharedllm_cli.config import Settings
from sharedllm_cli.lab.evaluation.questions import JoinedDocument, opened
from sharedllm_cli.lab.evaluation.scoring import DocumentScorer
from sharedllm_cli.model.lower import LowerModel
from sharedllm_cli.model.shared import SharedModel, load_shared
from sharedllm_cli.progress import Silent
from sharedllm_cli.reading import heads, scoring
from sharedllm_cli.retrieval.late_head import LateHead

TEXT = "The whale sang in the bay. A ship came by at noon. " * 40 + "The keeper slept. " * 60
QUESTION = "What did the whale do?"


@pytest.fixture
def shared(model_folder: Callable[..., Path], tmp_path: Path) -> SharedModel:
    settings = Settings(model=str(model_folder("llama")), device="cpu", lower_layers=2, chunk_tokens=256)
    return load_shared(settings, tmp_path / "home", Silent())


def random_head(size: int) -> LateHead:
    random = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    arrays = {"projection": draw(size, 4), "centre": draw(size), "question_bias": draw(4), "leaf_bias": draw(4)}
    numbers: Any = {"idf_gain": 1.0, "weight_bias": 0.1, "scale": 1.0, "lexical_weight": 0.3}
    return LateHead(**arrays, direction=draw(size), shares=(0.4, 0.8, 0.6, 0.2), **numbers)


def test_the_head_changes_the_scores_and_costs_no_second_look(
    shared: SharedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = shared.base
    document = opened(JoinedDocument("a", TEXT, ()), base.tokenizer, base.tokenizer_hash, shared.tree)
    runs: list[int] = []
    states = LowerModel.states

    def counted(lower: LowerModel, token_ids: Any, layers: int) -> Any:
        runs.append(len(token_ids))
        return states(lower, token_ids, layers)

    monkeypatch.setattr(LowerModel, "states", counted)
    plain = DocumentScorer(document, shared)(QUESTION, "hybrid").leaves[0]
    without, runs[:] = list(runs), []
    head = random_head(base.model.config.hidden_size)
    (tmp_path / f"{base.name}.safetensors").write_bytes(
        heads.head_bytes(head, {"base": base.name, "base_weights": base.weights_hash})
    )
    monkeypatch.setattr(heads, "SHIPPED", tmp_path)
    heads.shipped_head.cache_clear()
    trained = DocumentScorer(document, shared)(QUESTION, "hybrid").leaves[0]
    assert runs == without
    assert not np.allclose(trained, plain)
    monkeypatch.setattr(scoring, "shipped_head", lambda base, weights: None)
    np.testing.assert_allclose(DocumentScorer(document, shared)(QUESTION, "hybrid").leaves[0], plain)
