"""Gradient checkpointing changes what is kept and nothing that is learned; what a step takes on a GPU is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretend_cuda import CUDA, Peak, on_cuda, pretended_cuda
from tiny_models import make_tiny_model
from transformers import AutoConfig, AutoModelForCausalLM

from sharedllm_cli.config import Injection, InjectionConfig, TreeConfig
from sharedllm_cli.lab.bench.subject import shape_config
from sharedllm_cli.lab.training.objective import TrainedUpper
from sharedllm_cli.lab.training.run import Request
from sharedllm_cli.lab.training.sample import NO_TARGET, Batch, Sample
from sharedllm_cli.model.adapter import Adapter, model_shape
from sharedllm_cli.model.adapter_config import TARGETS, AdapterConfig, LowRankConfig
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.lower import CompressedNodes
from sharedllm_cli.model.upper import UpperModel

TREE = TreeConfig(16, 2, (4, 2))


def sample(length: int, seed: int, branches: int = 1) -> Sample:
    random = np.random.default_rng(seed)
    places = np.arange(length)
    targets = np.where(places % 3 == 2, random.integers(0, 200, length), NO_TARGET)
    return Sample(random.integers(0, 200, length), places, np.minimum(places // 4, branches), targets)


def reading(form: Injection) -> tuple[UpperModel, TreeContext]:
    model = make_tiny_model("llama")
    low_rank = LowRankConfig(2, 4.0, (3,), ("q_proj", "down_proj"), shared_layers=(1, 2))
    config = AdapterConfig("tiny", model_shape(model), InjectionConfig(form, 3, first_layer=1), TREE, low_rank)
    torch.manual_seed(0)
    adapter = Adapter(model, config)
    adapter.open_gates(0.3)
    for name, parameter in adapter.named_parameters():
        if name.endswith("up"):
            torch.nn.init.normal_(parameter, std=0.1)
    upper = UpperModel(model, adapter)
    keys = torch.randn(3, 2, 9, 8, generator=torch.Generator().manual_seed(1))
    tree = upper.context(CompressedNodes(keys, keys * 2, torch.arange(9) // 3), 3)
    assert tree is not None
    return upper, tree


def learned(form: Injection, *, gradient_checkpointing: bool, with_tree: bool) -> tuple[Any, dict[str, Any], list[int]]:
    """The loss, the gradients, and how often each layer was run."""
    upper, tree = reading(form)
    model = TrainedUpper(upper, gradient_checkpointing=gradient_checkpointing)
    runs = [0] * 4
    for place, layer in enumerate(upper.model.model.layers):
        layer.register_forward_pre_hook(lambda *_, place=place: runs.__setitem__(place, runs[place] + 1))
    batch = Batch.of([sample(14, 1, branches=3), sample(9, 2)], torch.device("cpu"))
    loss = torch.nn.functional.cross_entropy(model(batch, tree if with_tree else None), batch.targets)
    loss.backward()
    return loss.detach(), {name: one.grad for name, one in model.trained_parameters().items()}, runs


@pytest.mark.parametrize("with_tree", [True, False])
@pytest.mark.parametrize("form", ["merged", "additive"])
def test_losses_and_gradients_are_the_same_and_learned_layers_run_twice(form: Injection, with_tree: bool) -> None:
    plain, expected, once = learned(form, gradient_checkpointing=False, with_tree=with_tree)
    loss, gradients, runs = learned(form, gradient_checkpointing=True, with_tree=with_tree)
    assert torch.equal(loss, plain)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert (gradient is None) == (expected[name] is None), name
        if gradient is not None:
            torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-7)
    assert once == [1, 1, 1, 1]
    assert runs == [1, 2, 2, 2], "nothing below the lowest layer that learns is run again"


def test_nothing_is_run_again_where_nothing_is_learned() -> None:
    upper, tree = reading("merged")
    model = TrainedUpper(upper, gradient_checkpointing=True)
    batch = Batch.of([sample(14, 1)], torch.device("cpu"))
    with torch.no_grad():
        found = model(batch, tree)
        model.gradient_checkpointing = False
        assert torch.equal(found, model(batch, tree))


def test_a_request_trains_without_it_unless_told(tmp_path: Path) -> None:
    assert not Request((), tmp_path).gradient_checkpointing


def kept_on_a_gpu(shape: str, depth: int, gradient_checkpointing: bool) -> tuple[float, float]:
    """Bytes kept for the way back, and the most on the way there, of 2,048 tokens with a tree of 8,192.

    Beside base, adapter and tree. The way back itself needs a device that is there.
    """
    values = shape_config(shape)
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
    layers = config.num_hidden_layers
    low_rank = LowRankConfig(16, 2.0, tuple(range(depth, layers)), TARGETS, tuple(range(depth // 2, depth)))
    injection = InjectionConfig("merged", depth, first_layer=depth // 2)
    adapter = Adapter(model, AdapterConfig(shape, model_shape(model), injection, TreeConfig(), low_rank))
    adapter.to_empty(device="cpu").open_gates(0.0)  # whether a gate is open is asked before anything is pretended
    upper = UpperModel(model, adapter)
    trained = TrainedUpper(upper, gradient_checkpointing=gradient_checkpointing)
    with pretended_cuda():
        on_cuda(model), on_cuda(adapter, learned=True)
        kept = (1, config.num_key_value_heads, 8192 // 8, config.head_dim)
        keys = torch.empty(kept, dtype=torch.bfloat16, device=CUDA)
        turn = torch.empty(1, 1, config.head_dim, dtype=torch.bfloat16, device=CUDA)
        held, turns = dict.fromkeys(injection.layers, keys), dict.fromkeys(injection.layers, (turn, turn))
        tree = TreeContext(held, held, turns)
        batch = Batch.of([sample(512, seed) for seed in range(4)], CUDA)
        with Peak() as peak:
            peak.know([keys, turn, *model.parameters(), *adapter.parameters()])
            loss = torch.nn.functional.cross_entropy(trained(batch, tree).float(), batch.targets)
            assert loss.requires_grad
            assert loss.device == CUDA
            return peak.bytes, peak.most


def test_a_step_stays_on_the_gpu_and_keeps_far_less() -> None:
    plain, _ = kept_on_a_gpu("llama-3.1-8b", 16, False)
    spared, most = kept_on_a_gpu("llama-3.1-8b", 16, True)
    print(f"llama-3.1-8b: {plain / 1e9:.1f} GB kept; checkpointed {spared / 1e9:.2f}, at most {most / 1e9:.1f}")
    assert spared < plain / 8
