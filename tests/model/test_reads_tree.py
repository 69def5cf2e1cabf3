"""Whether a question reads the tree: the gates, the user's word, and what the adapter was measured to be good for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from tiny_models import make_tiny_model

from sharedllm_cli.config import InjectionConfig, Settings, TreeConfig
from sharedllm_cli.model.adapter import Adapter, model_shape
from sharedllm_cli.model.adapter_config import AdapterConfig
from sharedllm_cli.model.shared import SharedModel
from sharedllm_cli.model.upper import UpperModel

TREE = TreeConfig(16, 2, (4, 2))


def shared(*, open_gates: bool, beside: bool) -> SharedModel:
    model = make_tiny_model("llama")
    config = AdapterConfig(
        "tiny", model_shape(model), InjectionConfig("merged", 2), TREE, trained={}, beside_passages=beside
    )
    adapter = Adapter(model, AdapterConfig.from_json(config.to_json()))
    if open_gates:
        adapter.open_gates(0.0)
    nothing = cast(Any, None)
    return SharedModel(nothing, UpperModel(model, adapter), nothing, "tiny", TREE)


@pytest.mark.parametrize(
    ("open_gates", "beside", "settings", "reads"),
    [
        (True, True, Settings(), True),
        (True, True, Settings(tree=False), False),
        (True, False, Settings(), False),
        (True, False, Settings(tree=True), True),
        (True, False, Settings(evidence_tokens=0), True),
        (True, False, Settings(evidence_tokens=0, tree=False), False),
        (False, True, Settings(tree=True), False),
    ],
)
def test_what_reads_the_tree(open_gates: bool, beside: bool, settings: Settings, reads: bool) -> None:
    assert shared(open_gates=open_gates, beside=beside).reads_tree(settings) is reads


def test_an_adapter_of_before_reads_beside_passages() -> None:
    data = shared(open_gates=True, beside=False).adapter.config.to_json()
    del data["beside_passages"]
    assert AdapterConfig.from_json(data).beside_passages


@pytest.mark.parametrize(
    ("adapters", "asked", "expected"),
    [(None, None, 1024), (512, None, 512), (512, 2000, 2000), (None, 300, 300), (512, 0, 0)],
)
def test_how_many_tokens_of_passages_are_read(adapters: int | None, asked: int | None, expected: int) -> None:
    model = shared(open_gates=True, beside=False)
    config = replace(model.adapter.config, evidence_tokens=adapters)
    model.adapter.config = AdapterConfig.from_json(config.to_json())
    assert model.passage_budget(Settings(evidence_tokens=asked)) == expected
    assert model.reads_tree(Settings(evidence_tokens=asked)) is (asked == 0)


def test_an_adapter_of_before_says_nothing_of_passages() -> None:
    data = shared(open_gates=True, beside=False).adapter.config.to_json()
    del data["evidence_tokens"]
    assert AdapterConfig.from_json(data).evidence_tokens is None
