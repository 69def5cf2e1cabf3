"""Which part of a model lies on which device: on one GPU, over several, or spilled to the processor's memory.

What decides is arithmetic on sizes (`spread`). The first GPU holds what begins and ends a forward pass, so that tokens
go in and logits come out in one place; decoder layers follow in order. Spilled layers wait in the processor's memory
and are brought to the first GPU each time they compute (accelerate's hooks do it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from sharedllm_cli.errors import ResourceError
from sharedllm_cli.weights.facts import QUANTIZED_BYTES, ModelFacts

PROCESSOR = "cpu"
ENDS = ("model.embed_tokens", "model.rotary_emb", "model.norm", "lm_head")
"""What is not a decoder layer, by the names that the supported families share."""
SHARE_LEFT_FREE = 0.1
LEAST_LEFT_FREE = 2**30
"""Bytes of each GPU that are left to what is computed: states, a batch of nodes, the tree, the cache."""


@dataclass(frozen=True)
class ModelSizes:
    """Bytes of a model's parts: `ends` (embeddings, last norm, output), each of `layers` decoder layers, and a layer
    on the processor, where it is not quantized."""

    ends: int
    layer: int
    layers: int
    spilled_layer: int

    @property
    def whole(self) -> int:
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
        """The lowest layer in the processor's memory, None where there is none."""
        if PROCESSOR not in self.layers:
            return None
        return sum(count for device, count in self.layers.items() if device != PROCESSOR)

    def words(self) -> str:
        """For the user: which devices hold how many layers."""
        return ", ".join(f"{count} layers on {device}" for device, count in self.layers.items())


def spread(sizes: ModelSizes, gpus: Sequence[Room], processor: int) -> Spread:
    """Put a model on the first GPU that holds it whole; else over all of them; what is left over to the processor.

    gpus: at least one, in the order in which they are filled; processor: free bytes of the processor's memory. Raises
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
    if counts[0] < 0 or left * sizes.spilled_layer > processor:
        needed, found = sizes.whole, sum(room.free for room in gpus)
        raise ResourceError(
            f"the model needs {needed / 1e9:.1f} GB, and {found / 1e9:.1f} GB of GPU memory"
            f" and {processor / 1e9:.1f} GB of memory are free",
            hint="use --quantize 4bit, a smaller --model or --device cpu, or close other programs",
        )
    held = {room.device: count for room, count in zip(gpus, counts, strict=True) if count} | (
        {PROCESSOR: left} if left else {}
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
    """Free memory of a device; of the processor for `cpu`, and for `mps`, which shares it."""
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
        device: torch.device = module.weight.device
        return device
    return torch.device("cuda", execution) if isinstance(execution, int) else torch.device(execution)


def is_spread(model: Any) -> bool:
    """Whether parts of a loaded model lie on other devices than its first, or come and go by accelerate's hooks."""
    devices = {parameter.device for parameter in model.parameters()}
    return len(devices) > 1 or any(hasattr(module, "_hf_hook") for module in model.modules())
