"""Where and how a model runs: device, floating-point types, attention, and which of its parts lies on which device.

A model lies on one device, over several GPUs, or is spilled to the CPU's memory. What decides is arithmetic on sizes
(`spread`). The first GPU holds what begins and ends a forward pass, so that tokens go in and logits come out in one
place; decoder layers follow in order. Spilled layers wait in the CPU's memory and are brought to the first GPU each
time they compute (accelerate's hooks do it).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sharedllm_cli.errors import ResourceError, UsageError
from sharedllm_cli.model.attention import runs_flash
from sharedllm_cli.model.cpu_attention import CPU_SDPA
from sharedllm_cli.weights.blocks import FORMATS, SMALLEST_BLOCK
from sharedllm_cli.weights.facts import QUANTIZED_BYTES, ModelFacts

_QUANTIZE_FROM = 1_000_000_000
_PACKED_FROM = 50_000_000
_HALF_FROM = 50_000_000
"""Models with at least this many parameters compute in bfloat16 on a CPU that multiplies it; 135 million gain
(docs/log/)."""
_KERNELS = {"sdpa": "sdpa", "eager": "eager", "flash": "flash_attention_2"}
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CPU = "cpu"
ENDS = ("model.embed_tokens", "model.rotary_emb", "model.norm", "lm_head")
"""What is not a decoder layer, by the names that the supported families share."""
SHARE_LEFT_FREE = 0.1
LEAST_LEFT_FREE = 2**30
"""Bytes of each GPU that are left to what is computed: states, a batch of nodes, the tree, the cache."""


@dataclass(frozen=True)
class Placement:
    """Device, computation type, quantization, attention kernel (transformers' name).

    `quantize` is `none`, `8bit` or `4bit` (bitsandbytes), `int8` or `int4` (packed blocks, on a CPU).

    `dtype` is the type of everything that is not quantized, and of all states; `product_dtype` the one in which 4-bit
    weights are multiplied; `gpus` those that may be used, in order: all, unless one was named.
    """

    device: torch.device
    dtype: torch.dtype
    quantize: str
    attention: str
    product_dtype: torch.dtype
    gpus: tuple[torch.device, ...] = ()

    @property
    def packed(self) -> bool:
        """Whether the weights are packed in blocks (`model/packed.py`)."""
        return self.quantize in FORMATS


def file_type(placement: Placement) -> str:
    """The type of converted weights that a placement loads."""
    return placement.quantize if placement.packed else str(placement.dtype).removeprefix("torch.")


def place(facts: ModelFacts, *, device: str, dtype: str, quantize: str, attention: str) -> Placement:
    """Settle every `auto` for this machine and model; UsageError for what the machine doesn't have."""
    where = choose_device(device)
    how = choose_quantization(quantize, where, facts)
    kind = choose_dtype(dtype, where, facts.parameter_count)
    if how == "4bit" and where.type == "cpu":
        _check_blocks(facts)
    # A CPU multiplies 4-bit weights many times faster in bfloat16; a type that was asked for is kept to.
    product = torch.bfloat16 if dtype == "auto" and kind == torch.float32 else kind
    return Placement(where, kind, how, choose_attention(attention, where, kind), product, usable_gpus(device, where))


def choose_device(asked: str) -> torch.device:
    """The device asked for. `auto` is the first CUDA GPU if there is one, else the CPU.

    `auto` never takes Apple's mps: its kernels differ from the tested ones, so it is taken only when asked for.
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

    `auto` is bfloat16 on a GPU, or float16 where it has none; on a CPU bfloat16 where it multiplies that itself
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
    """Whether the CPU has instructions that multiply bfloat16: without them it has to convert every number."""
    # torch has no public question for this yet; where the private ones are gone, float32 is always right.
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(supported() for supported in asked if supported is not None)


def choose_quantization(asked: str, device: torch.device, facts: ModelFacts) -> str:
    """The quantization asked for, as this device does it.

    `auto` is `4bit` on CUDA for models of 1B parameters and more, and `int8` on a CPU for all but tiny ones. On a CPU
    `8bit` and `4bit` are `int8` and `int4` where the model's rows are whole blocks, else bitsandbytes'.
    """
    if device.type == "cpu":
        packs = packs_blocks(facts)
        if asked == "auto":
            return "int8" if packs and facts.parameter_count >= _PACKED_FROM else "none"
        if packs and asked != "none":
            return {"8bit": "int8", "4bit": "int4"}[asked]
    if asked == "auto":
        pays = device.type == "cuda" and facts.parameter_count >= _QUANTIZE_FROM
        return "4bit" if pays and _has("bitsandbytes") else "none"
    if asked != "none" and not _has("bitsandbytes"):
        raise UsageError(f"--quantize {asked} needs the package bitsandbytes", hint="pip install bitsandbytes")
    if asked != "none" and device.type == "mps":
        raise UsageError(f"--quantize {asked} does not run on mps", hint="use --quantize none or --device cpu")
    return asked


def packs_blocks(facts: ModelFacts) -> bool:
    """Whether this machine multiplies packed weights, and the model's rows are whole blocks."""
    return _has("onnxruntime") and not facts.uneven_rows(SMALLEST_BLOCK)


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
    return CPU_SDPA if asked == "sdpa" and device.type == "cpu" else _KERNELS[asked]


def attention_name(kernel: str) -> str:
    """The name by which `--attention` knows one of transformers' kernels."""
    names = {kernel: name for name, kernel in _KERNELS.items()} | {CPU_SDPA: "sdpa"}
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


def _check_blocks(facts: ModelFacts) -> None:
    """bitsandbytes' CPU kernel takes rows of whole 64-value blocks, which tiny test models may not have."""
    if facts.uneven_rows(64):
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


@dataclass(frozen=True)
class ModelSizes:
    """Bytes of a model's parts: `ends` (embeddings, last norm, output), each of `layers` decoder layers, and a layer
    on the CPU, where it is not quantized."""

    ends: int
    layer: int
    layers: int
    spilled_layer: int

    @property
    def whole(self) -> int:
        """Bytes of all parts, none of them spilled."""
        return self.ends + self.layer * self.layers


def model_sizes(facts: ModelFacts, quantize: str, dtype: torch.dtype) -> ModelSizes:
    """The sizes of a model that is loaded with this quantization and computes in this type."""
    plain = dtype.itemsize
    matrices = facts.layer_matrices
    rest = facts.parameter_count - matrices * facts.layer_count
    layer = int(matrices * QUANTIZED_BYTES.get(quantize, plain))
    return ModelSizes(ends=rest * plain, layer=layer, layers=facts.layer_count, spilled_layer=matrices * plain)


@dataclass(frozen=True)
class Room:
    """A device and its free bytes."""

    device: str
    free: int

    @property
    def usable(self) -> int:
        """The bytes that weights may take."""
        return self.free - max(LEAST_LEFT_FREE, int(self.free * SHARE_LEFT_FREE))


@dataclass(frozen=True)
class Spread:
    """Where the parts lie: `device_map` in transformers' form; `layers`: how many lie on each device, bottom first."""

    device_map: Mapping[str, str]
    layers: Mapping[str, int] = field(default_factory=dict)

    @property
    def first_spilled(self) -> int | None:
        """The lowest layer in the CPU's memory, None where there is none."""
        if CPU not in self.layers:
            return None
        return sum(count for device, count in self.layers.items() if device != CPU)

    def words(self) -> str:
        """For the user: which devices hold how many layers."""
        return ", ".join(f"{count} layers on {device}" for device, count in self.layers.items())


def spread(sizes: ModelSizes, gpus: Sequence[Room], cpu: int) -> Spread:
    """Put a model on the first GPU that holds it whole; else over all of them; what is left over to the CPU.

    gpus: at least one, in the order in which they are filled; cpu: free bytes of the CPU's memory. Raises
    ResourceError where all of them together do not hold it.
    """
    for room in gpus:
        if sizes.whole <= room.usable:
            return Spread({"": room.device}, {room.device: sizes.layers})
    counts = _fill(sizes, gpus)
    left = sizes.layers - sum(counts)
    if left:
        # A layer that comes to the first GPU to compute needs its place there.
        counts = _fill(sizes, gpus, for_spilled=sizes.spilled_layer)
        left = sizes.layers - sum(counts)
    if counts[0] < 0 or left * sizes.spilled_layer > cpu:
        needed, found = sizes.whole, sum(room.free for room in gpus)
        raise ResourceError(
            f"the model needs {needed / 1e9:.1f} GB, and {found / 1e9:.1f} GB of GPU memory"
            f" and {cpu / 1e9:.1f} GB of memory are free",
            hint="use --quantize 4bit, a smaller --model or --device cpu, or close other programs",
        )
    held = {room.device: count for room, count in zip(gpus, counts, strict=True) if count} | (
        {CPU: left} if left else {}
    )
    devices = [device for device, count in held.items() for _ in range(count)]
    layers = {f"model.layers.{place}": device for place, device in enumerate(devices)}
    return Spread(dict.fromkeys(ENDS, gpus[0].device) | layers, held)


def _fill(sizes: ModelSizes, gpus: Sequence[Room], for_spilled: int = 0) -> list[int]:
    """How many layers each GPU takes, in order; the first is negative where the ends alone don't fit."""
    counts: list[int] = []
    for place, room in enumerate(gpus):
        usable = room.usable - (sizes.ends + for_spilled if place == 0 else 0)
        if place == 0 and usable < 0:
            return [-1]
        counts.append(max(0, min(usable // sizes.layer, sizes.layers - sum(counts))))
    return counts


def free_bytes(device: torch.device) -> int:
    """Free memory of a device; of the CPU for `cpu`, and for `mps`, which shares it."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


def layer_device(layer: Any) -> torch.device:
    """Where a decoder layer computes."""
    return computing_device(layer.input_layernorm)


def computing_device(module: Any) -> torch.device:
    """Where a module with a weight of its own computes: where that lies, or where a spilled one is brought."""
    execution = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
    if execution is None:
        own: torch.device = module.device if hasattr(module, "device") else module.weight.device
        return own
    return torch.device("cuda", execution) if isinstance(execution, int) else torch.device(execution)


def is_spread(model: Any) -> bool:
    """Whether parts of a loaded model lie on other devices than its first, or come and go by accelerate's hooks."""
    devices = {parameter.device for parameter in model.parameters()}
    return len(devices) > 1 or any(hasattr(module, "_hf_hook") for module in model.modules())


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
