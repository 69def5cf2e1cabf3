"""Where and how a model runs: device, floating-point types, quantization and attention, from what was asked."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import torch

from sharedllm_cli.errors import UsageError
from sharedllm_cli.model.attention import runs_flash
from sharedllm_cli.weights.facts import ModelFacts

_QUANTIZE_FROM = 1_000_000_000
_HALF_FROM = 50_000_000
"""From so many parameters on a processor that multiplies bfloat16 computes in it; 135 million gain (docs/log/)."""
_KERNELS = {"sdpa": "sdpa", "eager": "eager", "flash": "flash_attention_2"}
PROCESSOR_SDPA = "sdpa_processor"
"""transformers' name of SDPA as processors run it (`processor_attention.py`, which registers it)."""
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Placement:
    """Device, computation type, quantization (`none`, `8bit`, `4bit`), attention kernel (transformers' name).

    `dtype` is the type of everything that is not quantized, and of all states; `product_dtype` the one in which 4-bit
    weights are multiplied; `gpus` those that may be used, in order: all, unless one was named.
    """

    device: torch.device
    dtype: torch.dtype
    quantize: str
    attention: str
    product_dtype: torch.dtype
    gpus: tuple[torch.device, ...] = ()


def place(facts: ModelFacts, *, device: str, dtype: str, quantize: str, attention: str) -> Placement:
    """Settle every `auto` for this machine and model; UsageError for what the machine doesn't have."""
    where = choose_device(device)
    how = choose_quantization(quantize, where, facts.parameter_count)
    kind = choose_dtype(dtype, where, facts.parameter_count)
    if how == "4bit" and where.type == "cpu":
        _check_blocks(facts)
    # A processor multiplies 4-bit weights many times faster in bfloat16; a type that was asked for is kept to.
    product = torch.bfloat16 if dtype == "auto" and kind == torch.float32 else kind
    return Placement(where, kind, how, choose_attention(attention, where, kind), product, usable_gpus(device, where))


def choose_device(asked: str) -> torch.device:
    """The device asked for. `auto` is the first CUDA GPU if there is one, else the CPU.

    `auto` never takes Apple's mps: its kernels differ from the tested ones, so it is for who asks for it.
    """
    if asked == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise UsageError(f"unknown device {asked!r}", hint="choose auto, cpu, cuda, cuda:0 or mps") from None
    if device.type == "cuda":
        return _cuda(device)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("this machine has no mps device", hint="use --device cpu")
    if device.type not in ("cpu", "mps"):
        raise UsageError(f"unknown device {asked!r}", hint="choose auto, cpu, cuda, cuda:0 or mps")
    return device


def usable_gpus(asked: str, device: torch.device) -> tuple[torch.device, ...]:
    """The CUDA GPUs that may be used: the one that was named by its number, else all; none without CUDA."""
    if device.type != "cuda":
        return ()
    if ":" in asked:
        return (device,)
    return tuple(torch.device("cuda", number) for number in range(torch.cuda.device_count()))


def choose_dtype(asked: str, device: torch.device, parameter_count: int) -> torch.dtype:
    """The computation type asked for.

    `auto` is bfloat16 on a GPU, or float16 where it has none; on a processor bfloat16 where it multiplies that itself
    and the model is not tiny, else float32.
    """
    if asked != "auto":
        return _DTYPES[asked]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "mps":
        return torch.float16
    return torch.bfloat16 if parameter_count >= _HALF_FROM and multiplies_bfloat16() else torch.float32


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions that multiply bfloat16: without them it has to convert every number."""
    # torch has no public question for this yet; where the private ones are gone, float32 is always right.
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(supported() for supported in asked if supported is not None)


def choose_quantization(asked: str, device: torch.device, parameter_count: int) -> str:
    """The quantization asked for. `auto` is 4bit on CUDA for models of 1B parameters and more, else none."""
    if asked == "auto":
        pays = device.type == "cuda" and parameter_count >= _QUANTIZE_FROM
        return "4bit" if pays and _has("bitsandbytes") else "none"
    if asked != "none" and not _has("bitsandbytes"):
        raise UsageError(f"--quantize {asked} needs the package bitsandbytes", hint="pip install bitsandbytes")
    if asked != "none" and device.type == "mps":
        raise UsageError(f"--quantize {asked} does not run on mps", hint="use --quantize none or --device cpu")
    return asked


def choose_attention(asked: str, device: torch.device, dtype: torch.dtype) -> str:
    """transformers' name of the attention kernel. `auto` is flash-attn where it can run, else torch's SDPA.

    UsageError where flash-attn is asked for and isn't installed, or can't run on the device or in the type.
    """
    if asked in ("auto", "flash") and (reason := _why_not_flash(device, dtype)):
        if asked == "flash":
            raise UsageError(f"--attention flash {reason[0]}", hint=reason[1])
        asked = "sdpa"
    elif asked == "auto":
        asked = "flash"
    return PROCESSOR_SDPA if asked == "sdpa" and device.type == "cpu" else _KERNELS[asked]


def attention_name(kernel: str) -> str:
    """The name by which `--attention` knows one of transformers' kernels."""
    names = {told: name for name, told in _KERNELS.items()} | {PROCESSOR_SDPA: "sdpa"}
    return names.get(kernel, kernel)


def _why_not_flash(device: torch.device, dtype: torch.dtype) -> tuple[str, str] | None:
    """Why flash-attn can't run, and what to do about it; None where it can."""
    if device.type != "cuda":
        return f"runs on CUDA only, not on {device.type}", "use --attention sdpa, or --device cuda"
    if dtype == torch.float32:
        return "runs in bfloat16 or float16 only", "use --attention sdpa, or --dtype bfloat16"
    if not runs_flash(device):
        return "needs an Ampere GPU or a newer one", "use --attention sdpa"
    if not _has("flash_attn"):
        return "needs the package flash-attn", "pip install 'sharedllm-cli[flash]' (compiles against CUDA)"
    return None


def quantization_config(placement: Placement, *, spilled: bool = False) -> Any:
    """transformers' BitsAndBytesConfig: NF4 with double quantization; or 8 bits; None for none.

    Embeddings, norms and the output layer are not quantized, nor are layers that are `spilled` to the processor.
    """
    if placement.quantize == "none":
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


def _check_blocks(facts: ModelFacts) -> None:
    """bitsandbytes' CPU kernel takes rows of whole 64-value blocks, which tiny test models may not have."""
    if any(
        width % 64 for width in (facts.hidden_size, facts.intermediate_size, facts.attention_heads * facts.head_dim)
    ):
        raise UsageError(f"{facts.name} is too narrow for --quantize 4bit on a CPU", hint="use --quantize none")


def _cuda(device: torch.device) -> torch.device:
    if not torch.cuda.is_available():
        raise UsageError(
            "this machine has no CUDA GPU that torch can use", hint="use --device cpu, or see sharedllm doctor"
        )
    ordinal, count = device.index or 0, torch.cuda.device_count()
    if ordinal >= count:
        raise UsageError(f"there is no GPU {ordinal}: this machine has {count}", hint=f"use --device cuda:{count - 1}")
    return torch.device("cuda", ordinal)


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
