"""The head that is trained is the head that is asked, on disk and in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sharedllm_cli.errors import ModelError
from sharedllm_cli.lab.training.late_head import TrainableHead, main
from sharedllm_cli.reading import heads


def changed(head: TrainableHead) -> TrainableHead:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return head


def test_torch_and_numpy_give_a_leaf_the_same_score() -> None:
    torch.manual_seed(0)
    head = changed(TrainableHead(torch.randn(50, 8), dimension=5))
    leaves, asked = torch.randn(6, 4, 8), torch.randn(5, 8)
    real = torch.ones(6, 4, dtype=torch.bool)
    real[3, 2:] = False
    idf, owner = torch.rand(5) * 4, torch.tensor([0, 0, 1, 1, 1])
    with torch.no_grad():
        trained = head(leaves, real, asked, idf, owner, 2).numpy()
    numbers = head.exported()
    states = [leaf[kept].numpy() for leaf, kept in zip(leaves, real, strict=True)]
    for question in (0, 1):
        mine = (owner == question).numpy()
        weights = numbers.token_weights(asked.numpy()[mine], idf.numpy()[mine])
        cosines = numbers.best_cosines(asked.numpy()[mine], states)
        found = numbers.late(cosines, weights, np.arange(6), 6)
        np.testing.assert_allclose(found, trained[question], rtol=1e-4, atol=1e-4)


def test_the_loss_falls_when_the_gold_leaf_scores_higher() -> None:
    head = TrainableHead(torch.randn(50, 8), dimension=5)
    gold = torch.tensor([[False, True, False]])
    low, high = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[1.0, 3.0, 0.0]])
    nothing = torch.zeros(1, 3)
    assert head.loss(high, nothing, gold) < head.loss(low, nothing, gold)
    assert head.loss(nothing, high, gold) < head.loss(nothing, low, gold)


def test_a_head_comes_back_from_its_file_and_serves_its_own_weights_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = changed(TrainableHead(torch.randn(50, 8), dimension=5)).exported()
    (tmp_path / "tiny.safetensors").write_bytes(heads.head_bytes(head, {"base_weights": "abc", "seed": 3}))
    again, provenance = heads.read_head(tmp_path / "tiny.safetensors")
    assert provenance["seed"] == 3
    assert again.shares == head.shares
    np.testing.assert_allclose(again.projection, head.projection, rtol=1e-3, atol=1e-6)
    monkeypatch.setattr(heads, "SHIPPED", tmp_path)
    heads.shipped_head.cache_clear()
    assert heads.shipped_head("tiny", "abc") is not None
    assert heads.shipped_head("tiny", "other weights") is None
    assert heads.shipped_head("another", "abc") is None
    (tmp_path / "broken.safetensors").write_bytes(b"no head")
    with pytest.raises(ModelError, match="no scoring head"):
        heads.shipped_head("broken", "abc")
    heads.shipped_head.cache_clear()


def test_the_command_writes_a_head_and_what_made_it(model_folder: Callable[..., Path], tmp_path: Path) -> None:
    colours = ("amber", "crimson", "teal", "ochre", "ivory", "violet")
    text = "\n\n".join(
        f"The lamp of house {place} glows {colour} at night. " * 6 for place, colour in enumerate(colours)
    )
    line = {"doc_id": "a", "title": "Lamps", "document": text.replace("glows", "is lit and glows", 1), "qas": []}
    line["qas"] = [{"id": "1", "question": "What is lit?", "answers": ["is lit and glows amber"]}]
    data = tmp_path / "lamps.jsonl"
    data.write_text("\n".join(json.dumps({**line, "doc_id": str(number)}) for number in range(3)))
    folder, out = model_folder("llama"), tmp_path / "head.safetensors"
    main(["--data", f"{data}:2", "--model", str(folder), "--home", str(tmp_path), "--epochs", "3", "--out", str(out)])
    head, made = heads.read_head(out)
    assert made["steps"] == 6
    assert made["data"][0]["first_documents"] == 2
    assert made["base_weights"]
    assert head.lexical_weight != 0.5
    assert head.projection.shape[0] == len(head.centre) == len(head.direction)
