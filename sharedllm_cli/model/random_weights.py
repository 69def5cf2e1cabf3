"""A model of a given shape with weights of no worth: speed and memory need no checkpoint.

The weights are made where they will lie, one matrix at a time, so that a model that fits once loads: no copy on the
CPU, no whole model in a larger type.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from sharedllm_cli.errors import ResourceError
from sharedllm_cli.model.cpu_attention import registered
from sharedllm_cli.model.packed import pack_weights
from sharedllm_cli.model.placement import Placement, multiply_as_asked

_SPREAD = 0.02


def random_model(config: Mapping[str, Any], placement: Placement, *, seed: int = 0) -> PreTrainedModel:
    """A frozen model for a `config.json`'s values, its layers' matrices quantised as the placement says.

    Raises ResourceError where it does not fit the memory. The same seed gives the same weights on the same device.
    """
    values = {key: value for key, value in config.items() if key != "model_type"}
    full = AutoConfig.for_model(config["model_type"], **values)
    auto: Any = AutoModelForCausalLM
    with torch.device("meta"):
        model = auto.from_config(full, dtype=placement.dtype, attn_implementation=registered(placement.attention))
    draw = _Draw(placement, seed)
    try:
        if placement.quantize != "none" and not placement.packed:
            _quantize_layers(model.model.layers, draw)
        _fill(model, draw)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ResourceError(
            f"this shape does not fit the memory of {placement.device}", hint="use --quantize 4bit, or a smaller shape"
        ) from error
    multiply_as_asked(model, placement.product_dtype)
    model.tie_weights()
    if placement.packed:
        pack_weights(model, placement.quantize, placement.dtype)
    # Buffers made on the meta device are empty; the rotation's frequencies follow from the configuration.
    model.model.rotary_emb = type(model.model.rotary_emb)(full).to(placement.device)
    frozen: PreTrainedModel = model.eval().requires_grad_(False)
    return frozen


class _Draw:
    """Random weights on the device, in the type of the computation."""

    def __init__(self, placement: Placement, seed: int) -> None:
        self.placement = placement
        self._generator = torch.Generator(placement.device).manual_seed(seed)

    def __call__(self, shape: torch.Size) -> Tensor:
        weights = torch.empty(shape, device=self.placement.device, dtype=self.placement.dtype)
        return weights.normal_(0.0, _SPREAD, generator=self._generator)


def _fill(model: nn.Module, draw: _Draw) -> None:
    """Give every parameter that has no storage yet its weights: ones for norms, random numbers for all else."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                weights = draw(parameter.shape) if parameter.dim() > 1 else _vector(name, parameter, draw)
                setattr(module, name, nn.Parameter(weights, requires_grad=False))


def _vector(name: str, parameter: Tensor, draw: _Draw) -> Tensor:
    make = torch.zeros if name == "bias" else torch.ones
    return make(parameter.shape, device=draw.placement.device, dtype=draw.placement.dtype)


def _quantize_layers(layers: nn.Module, draw: _Draw) -> None:
    """Put a quantised linear map with random weights in place of each of the layers' own."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # as in model/loading.py
    for module in list(layers.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, _quantized(child, draw))


def _quantized(linear: nn.Linear, draw: _Draw) -> nn.Module:
    layers: Any = importlib.import_module("bitsandbytes.nn")
    inputs, outputs, bias = linear.in_features, linear.out_features, linear.bias is not None
    device = draw.placement.device
    made: nn.Module
    if draw.placement.quantize == "8bit":
        made = layers.Linear8bitLt(inputs, outputs, bias, has_fp16_weights=False, device="meta")
        # bitsandbytes quantises to 8 bits on the way from the CPU to the device.
        weight = layers.Int8Params(draw(linear.weight.shape).cpu(), requires_grad=False, has_fp16_weights=False)
    else:
        options = {"compress_statistics": True, "quant_type": "nf4"}
        product = draw.placement.product_dtype
        made = layers.Linear4bit(inputs, outputs, bias, compute_dtype=product, device="meta", **options)
        weight = layers.Params4bit(draw(linear.weight.shape), requires_grad=False, module=made, **options)
    made.weight = weight.to(device)
    return made
