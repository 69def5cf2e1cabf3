"""Quantized weights: what they stand for, what they take, which parts are left alone; two roles share them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sharedllm_cli import planning
from sharedllm_cli.config import InjectionConfig, Settings, TreeConfig
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.loading import BaseModel, load
from sharedllm_cli.model.lower import LowerModel
from sharedllm_cli.model.placement import linear_weight, place, weight_bytes
from sharedllm_cli.model.shared import load_shared
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Silent

pytestmark = pytest.mark.usefixtures("bitsandbytes_alone")
WIDE = {"hidden_size": 128, "head_dim": 32, "intermediate_size": 256}
TOKENS = torch.arange(60)[None]
NF4_BLOCK = 64
LARGEST_GAP = 1.0 - 0.6961928009986877
"""Between −1 and its neighbour: the widest step of the NF4 code (QLoRA, appendix E)."""
SECOND_ROUNDING = 0.01
"""Double quantization stores a block's largest magnitude in 8 bits."""


@pytest.fixture
def folder(model_folder: Callable[..., Path]) -> str:
    return str(model_folder("llama", **WIDE))


def loaded(folder: str, home: Path, quantize: str, **options: Any) -> BaseModel:
    return load(folder, home=home, device="cpu", quantize=quantize, **options)


def maps(model: nn.Module) -> dict[str, Any]:
    """The linear maps of all decoder layers by name."""
    layers: Any = model.model.layers  # type: ignore[union-attr]
    return {name: module for name, module in layers.named_modules() if hasattr(module, "in_features")}


def dequantized(folder: str, home: Path, quantized: BaseModel) -> nn.Module:
    """A floating-point model over the weights that the quantized ones stand for."""
    plain = loaded(folder, home, "none")
    found = maps(quantized.model)
    for name, linear in maps(plain.model).items():
        linear.weight.data = linear_weight(found[name]).float()
    return plain.model


def test_four_bits_are_within_half_a_step_of_their_block(folder: str, private_home: Path) -> None:
    plain, rounded = (maps(loaded(folder, private_home, quantize).model) for quantize in ("none", "4bit"))
    assert len(plain) == 4 * 7
    for name, linear in plain.items():
        blocks = linear.weight.reshape(-1, NF4_BLOCK)
        largest = blocks.abs().amax(dim=1, keepdim=True)
        error = (linear_weight(rounded[name]).reshape(-1, NF4_BLOCK) - blocks).abs()
        assert (error <= largest * (LARGEST_GAP / 2 + SECOND_ROUNDING)).all(), name
        assert error.max() > 0, name


def test_eight_bits_are_within_half_a_step_of_their_row(folder: str, private_home: Path) -> None:
    plain, rounded = (maps(loaded(folder, private_home, quantize).model) for quantize in ("none", "8bit"))
    for name, linear in plain.items():
        largest = linear.weight.abs().amax(dim=1, keepdim=True)
        error = (linear_weight(rounded[name]) - linear.weight).abs()
        # bitsandbytes takes the weights as float16, whose own rounding is up to a sixteenth of a step.
        assert (error <= largest / 127 * (0.5 + 1 / 16)).all(), name
        assert error.max() > 0, name


def test_four_bits_compute_what_their_weights_stand_for(folder: str, private_home: Path) -> None:
    rounded = loaded(folder, private_home, "4bit", dtype="float32")
    exact = dequantized(folder, private_home, rounded)
    plain = loaded(folder, private_home, "none").model
    with torch.inference_mode():
        found, expected, original = (model(TOKENS).logits for model in (rounded.model, exact, plain))
    assert (found - expected).abs().max() < 1e-3
    assert (original - expected).abs().max() > 0.05, "the model is one that rounding changes"


def test_bfloat16_products_are_taken_unless_a_type_was_asked_for() -> None:
    from sharedllm_cli.weights.facts import facts_from_config

    shape = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    facts = facts_from_config(shape | {"vocab_size": 100, "max_position_embeddings": 64, "model_type": "llama"}, "m")

    def products(dtype: str) -> torch.dtype:
        return place(facts, device="cpu", dtype=dtype, quantize="4bit", attention="auto").product_dtype

    assert (products("auto"), products("float32"), products("float16")) == (
        torch.bfloat16,
        torch.float32,
        torch.float16,
    )


@pytest.mark.parametrize(("quantize", "tolerance"), [("4bit", 0.02), ("8bit", 0.0)])
def test_weights_are_told_apart_after_they_ran(
    quantize: str, tolerance: float, folder: str, private_home: Path
) -> None:
    """bitsandbytes moves 8-bit scales when a map first runs, and on a processor reorders 4-bit weights.

    Where it has a fused kernel for the processor it also rounds the 4-bit scales once more, to bfloat16.
    """
    base = loaded(folder, private_home, quantize)
    before = {name: linear_weight(linear) for name, linear in maps(base.model).items()}
    size = base.weight_bytes
    with torch.inference_mode():
        base.model(TOKENS)
        for name, linear in maps(base.model).items():
            assert (linear_weight(linear) - before[name]).abs().max() <= tolerance * before[name].abs().max(), name
    assert base.weight_bytes == pytest.approx(size, rel=0.03)


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("form", ["merged", "additive"])
def test_only_the_layers_own_maps_are_quantized(
    quantize: str, tied: bool, form: Any, model_folder: Callable[..., Path], private_home: Path
) -> None:
    path = str(model_folder("qwen3", tie_word_embeddings=tied, **WIDE))
    base = loaded(path, private_home, quantize)
    model: Any = base.model
    upper = UpperModel(model, Adapter.untrained(model, "tiny", InjectionConfig(form, 2), TreeConfig(16, 2, (4, 2))))
    kinds = {type(linear).__name__ for linear in maps(model).values()}
    assert kinds == {{"4bit": "Linear4bit", "8bit": "Linear8bitLt"}[quantize]}
    assert type(model.lm_head) is nn.Linear
    for name, parameter in model.named_parameters():
        if "proj" not in name or "injection" in name:
            assert parameter.dtype == torch.float32, name
    for name, parameter in upper.adapter.named_parameters():
        assert parameter.dtype == torch.float32, name
    if form == "additive":
        injection: Any = upper.adapter.injections["0"]
        expected = linear_weight(model.model.layers[0].wrapped.self_attn.q_proj)
        torch.testing.assert_close(injection.query.data, expected.float())


def test_lower_and_upper_model_share_one_set_of_quantized_layers(folder: str, private_home: Path) -> None:
    settings = Settings(model=folder, device="cpu", quantize="4bit", lower_layers=3)
    shared = load_shared(settings, private_home, Silent())
    lower = [linear.weight for layer in shared.lower._layers for linear in maps_of(layer)]
    upper = [linear.weight for layer in shared.upper._layers[:3] for linear in maps_of(layer.wrapped)]  # type: ignore[union-attr]
    assert len(lower) == 3 * 7
    assert [weight.data_ptr() for weight in lower] == [weight.data_ptr() for weight in upper]
    size = shared.base.weight_bytes
    alone = loaded(folder, private_home, "4bit").weight_bytes
    assert alone <= size <= alone + 100, "two roles weigh no more than one, and a few gates"


def maps_of(layer: Any) -> list[Any]:
    return [module for module in layer.modules() if hasattr(module, "in_features")]


@pytest.mark.parametrize("quantize", ["none", "8bit", "4bit"])
def test_what_weights_take_is_what_was_planned(quantize: str, folder: str, private_home: Path) -> None:
    base = loaded(folder, private_home, quantize)
    placement = place(base.facts, device="cpu", dtype="float32", quantize=quantize, attention="auto")
    measured = weight_bytes(base.model)
    assert measured == pytest.approx(planning.weights_bytes(base.facts, placement), rel=0.03)
    floats = sum(linear.in_features * linear.out_features * 4 for linear in maps(base.model).values())
    rest = sum(tensor.numel() * 4 for name, tensor in base.model.named_parameters() if "proj" not in name)
    share = {"none": 1.0, "8bit": 0.26, "4bit": 0.135}[quantize]
    assert measured <= floats * share + rest + 1000
    assert measured > floats * share * 0.9


def test_quantized_layers_encode_nodes(folder: str, private_home: Path) -> None:
    """The lower model's trees are those of the weights that it has: another quantization, other trees."""
    tokens, kept = torch.arange(12)[None], torch.tensor([3, 7, 11])
    rounded = loaded(folder, private_home, "4bit", dtype="float32")
    found = LowerModel(rounded.model, 2).encode(tokens, kept).keys
    exact: Any = dequantized(folder, private_home, rounded)
    torch.testing.assert_close(found, LowerModel(exact, 2).encode(tokens, kept).keys, atol=1e-3, rtol=1e-3)
    plain = LowerModel(loaded(folder, private_home, "none").model, 2).encode(tokens, kept).keys
    assert (found - plain).abs().max() > 0.01
