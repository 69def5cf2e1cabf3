"""Every family against plain transformers: what the tree holds of a text, read back, is what the text itself gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import FAMILIES, make_tiny_model

from sharedllm_cli.config import InjectionConfig, TreeConfig
from sharedllm_cli.errors import UsageError
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.compat import call_model
from sharedllm_cli.model.families import after_mlp, rotation_kind, turns_alike
from sharedllm_cli.model.lower import CompressedNodes, LowerModel
from sharedllm_cli.model.streaming import StreamingReader
from sharedllm_cli.model.upper import UpperModel

TREE = TreeConfig(16, 2, (4, 2))
TEXT = torch.tensor([5, 80, 41, 9, 200, 33])
NEXT = torch.tensor([17])


def every_layer_reads(model: Any) -> UpperModel:
    """All gates open at a bias of 0: the tree's keys count as the text's own."""
    layers = model.config.num_hidden_layers
    adapter = Adapter.untrained(model, "tiny", InjectionConfig("merged", layers), TREE)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if name.endswith("gate"):
                parameter.zero_()
    return UpperModel(model, adapter)


def test_a_text_in_the_tree_is_read_as_the_text_before(family: str) -> None:
    """Each token a chunk of its own: the next token, at the position behind them, sees exactly what it would see."""
    model = make_tiny_model(family)
    with torch.no_grad():
        expected = model(torch.cat([TEXT, NEXT])[None]).logits[0, -1]
        alone = model(NEXT[None], position_ids=torch.tensor([[len(TEXT)]])).logits[0, -1]
        encoded = LowerModel(model, model.config.num_hidden_layers).encode(TEXT[None], torch.arange(len(TEXT)))
        nodes = CompressedNodes(encoded.keys[0], encoded.values[0], torch.arange(len(TEXT)))
        upper = every_layer_reads(model)
        tree = upper.context(nodes, len(TEXT))
        positions = torch.tensor([[len(TEXT)]])
        found = call_model(model, NEXT[None], None, position_ids=positions, tree_context=tree).logits[0, -1]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert (alone - expected).abs().max() > 0.01, "the text before matters"


def test_the_states_within_a_layer_are_the_layers_before_its_mlp(family: str) -> None:
    model = make_tiny_model(family)
    lower = LowerModel(model, 1)
    within = lower.attended(TEXT[None])
    with torch.no_grad():
        behind = after_mlp(model.model.layers[0], within)
    torch.testing.assert_close(behind, lower.states(TEXT[None], 1))
    assert not torch.equal(within, behind)


def test_layers_turn_their_keys_as_the_family_does() -> None:
    kinds = {family: [rotation_kind(layer) for layer in make_tiny_model(family).model.layers] for family in FAMILIES}
    assert kinds["gemma3_text"] == ["sliding_attention", "full_attention"] * 2
    assert kinds["smollm3"] == ["", "none", "", ""]
    assert all(set(kinds[family]) == {""} for family in FAMILIES if family not in ("gemma3_text", "smollm3"))
    assert not turns_alike(make_tiny_model("smollm3"))
    assert turns_alike(make_tiny_model("granite"))


@pytest.mark.parametrize("family", ["gemma3_text", "granite", "smollm3"])
def test_training_computes_what_the_model_computes(family: str) -> None:
    from sharedllm_cli.lab.training.objective import TrainedUpper
    from sharedllm_cli.lab.training.sample import Batch, Sample

    model = make_tiny_model(family)
    with torch.no_grad():
        expected = model(torch.cat([TEXT, NEXT])[None]).logits[0, :-1]
        trained = TrainedUpper(every_layer_reads(model))
        places = np.arange(len(TEXT))
        targets = np.array([*TEXT.tolist()[1:], *NEXT.tolist()])
        batch = Batch.of([Sample(TEXT.numpy(), places, np.zeros_like(places), targets)], torch.device("cpu"))
        torch.testing.assert_close(trained(batch), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["gemma3_text", "smollm3"])
def test_layers_that_turn_differently_are_not_streamed(family: str) -> None:
    with pytest.raises(UsageError, match="turn their keys in different ways"):
        StreamingReader(every_layer_reads(make_tiny_model(family)), window=4)
