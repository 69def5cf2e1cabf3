"""A lower model that keeps no more than is read gives the upper model the same tree, for less work."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_models import make_tiny_model

from sharedllm_cli.config import Injection, InjectionConfig, TreeConfig
from sharedllm_cli.model import lower as lower_module
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.lower import CompressedNodes, LowerModel
from sharedllm_cli.model.upper import UpperModel

TREE = TreeConfig(16, 2, (4, 2))
TOKENS = torch.stack([torch.arange(12), torch.arange(50, 62)])
KEPT = torch.tensor([3, 7, 11])


def compressed(lower: LowerModel) -> CompressedNodes:
    """Two nodes of two chunks."""
    encoded = lower.encode(TOKENS, KEPT)
    keys, values = (torch.cat(list(part), dim=2) for part in (encoded.keys, encoded.values))
    return CompressedNodes(keys, values, torch.tensor([0, 0, 0, 1, 1, 1]), lower.first_layer)


def reading(model: Any, form: Injection) -> UpperModel:
    """An upper model whose layers 2 and 3 read, each through a gate of its own."""
    adapter = Adapter.untrained(model, "tiny", InjectionConfig(form, 4, 2), TREE)
    with torch.no_grad():
        for place, injection in adapter.injections.items():
            injection.gate.fill_(0.3 + int(place))  # type: ignore[union-attr, operator]
    return UpperModel(model, adapter)


def test_the_kept_layers_are_those_of_the_whole_and_nothing_below_is_projected(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_tiny_model(family)
    projected: list[int] = []
    project = lower_module.project_keys_values

    def counted(attention: Any, normed: torch.Tensor) -> Any:
        projected.append(attention.layer_idx)
        return project(attention, normed)

    monkeypatch.setattr(lower_module, "project_keys_values", counted)
    whole, upper_part = LowerModel(model, 4).encode(TOKENS, KEPT), LowerModel(model, 4, 2).encode(TOKENS, KEPT)
    assert projected == [0, 1, 2, 3, 2, 3]
    assert torch.equal(upper_part.keys, whole.keys[:, 2:])
    assert torch.equal(upper_part.values, whole.values[:, 2:])
    assert torch.equal(upper_part.vectors, whole.vectors)


@pytest.mark.parametrize("form", ["merged", "additive"])
def test_the_upper_model_gives_the_same_wherever_the_tree_begins(family: str, form: Injection) -> None:
    model = make_tiny_model(family)
    lowers = {first: LowerModel(model, 4, first) for first in (0, 1, 2)}
    upper, text = reading(model, form), torch.arange(20, 33)[None]
    with torch.no_grad():
        plain = upper.forward(text, None)
        logits = {first: upper.forward(text, upper.context(compressed(lowers[first]), 2)) for first in lowers}
        moved = upper.forward(text, upper.context(replace(compressed(lowers[1]), first_layer=2), 2))
    assert torch.equal(logits[0], logits[2])
    assert torch.equal(logits[0], logits[1])
    assert not torch.allclose(logits[0], plain, atol=1e-3), "the tree is read"
    assert not torch.allclose(logits[0], moved, atol=1e-3), "another layer's keys are another tree"


def test_layers_that_are_not_there_are_not_read_from_the_other_end() -> None:
    model = make_tiny_model("llama")
    upper = reading(model, "merged")
    for first, end in ((3, 4), (0, 3)):
        with pytest.raises(ValueError, match=r"lack layers \[[23]\]"):
            upper.context(compressed(LowerModel(model, end, first)), 2)
    with pytest.raises(ValueError, match="is not below M"):
        LowerModel(model, 2, 2)
