"""Quantized weights: how they are asked for and multiplied, which numbers they represent, and the bytes they take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from sharedllm_cli.model.placement import Placement


def quantization_config(placement: Placement, *, spilled: bool = False) -> Any:
    """transformers' BitsAndBytesConfig: NF4 with double quantization; or 8 bits; None for none.

    Embeddings, norms and the output layer are not quantized, nor are layers that are `spilled` to the CPU.
    """
    if placement.quantize == "none" or placement.packed:
        return None
    import transformers

    config: Any = transformers.BitsAndBytesConfig
    if placement.quantize == "8bit":
        return config(load_in_8bit=True, llm_int8_enable_fp32_cpu_offload=spilled)
    return config(
        load_in_4bit=True,
        llm_int8_enable_fp32_cpu_offload=spilled,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=placement.product_dtype,
    )


def multiply_as_asked(model: nn.Module, dtype: torch.dtype) -> None:
    """Keep bitsandbytes on a CPU from rounding 4-bit products to bfloat16 where another type was asked for.

    Its fused kernel for the CPU knows bfloat16 alone, whatever the layer's type of computation says.
    """
    if dtype == torch.bfloat16:
        return
    for module in model.modules():
        if type(module).__name__ == "Linear4bit" and hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def linear_weight(linear: Any) -> Tensor:
    """The weight of a linear map, dequantised where it is stored in 4 or 8 bits: [outputs, inputs]."""
    weight = linear.weight
    if hasattr(weight, "quant_state"):
        from bitsandbytes.functional import dequantize_4bit

        linear.state_dict()  # undoes the order that bitsandbytes brings weights into when a CPU first runs them
        dequantised: Tensor = dequantize_4bit(weight.data, weight.quant_state)
        return dequantised
    if hasattr(weight, "SCB"):
        scales = linear.state.SCB if weight.SCB is None else weight.SCB  # moved when the map first runs
        weight = weight.data.to(torch.float32) * (scales.unsqueeze(1) / 127)
    tensor: Tensor = weight
    return tensor


def weight_bytes(model: nn.Module) -> int:
    """What the weights take in memory, tied ones once, with the scales of quantized ones."""
    sizes = {id(tensor): tensor.numel() * tensor.element_size() for tensor in _stored(model)}
    return sum(sizes.values())


def _stored(model: nn.Module) -> Iterator[Tensor]:
    yield from model.buffers()
    for parameter in model.parameters():
        yield parameter
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            # Not the codes, tables of 16 and 256 numbers that bitsandbytes holds once a map.
            yield from (part.absmax for part in (state, state.state2) if part is not None)
    for module in model.modules():
        # Not an attribute `weight`, which packed maps make anew from their codes.
        for owner in (module._parameters.get("weight"), getattr(module, "state", None)):
            scales = getattr(owner, "SCB", None)
            if isinstance(scales, Tensor):
                yield scales
