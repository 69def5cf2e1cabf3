"""Load a base model with weights packed in blocks (`packed.py`): transformers' model with our maps in its places.

From a file of packed weights they are used where they lie in the mapped file; floating-point ones are packed one after
the other. Every weight of the model has to come from the files, and every weight of the files has to have a place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import init_empty_weights  # type: ignore[import-untyped,unused-ignore]
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sharedllm_cli.errors import ModelError, ResourceError
from sharedllm_cli.memory import is_out_of_memory
from sharedllm_cli.model.cpu_attention import registered
from sharedllm_cli.model.packed import PackedLinear, PackedWeight, packed_module
from sharedllm_cli.model.placement import Placement
from sharedllm_cli.weights.blocks import CODES, SCALES, ZEROS, bits_of
from sharedllm_cli.weights.facts import ARCHITECTURES, ModelFacts
from sharedllm_cli.weights.tokenizer_files import quiet_transformers
from sharedllm_cli.weights.weight_files import MappedFile, typed_name

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_packed(folder: Path, files: Sequence[Path], facts: ModelFacts, placement: Placement) -> PreTrainedModel:
    """The model of a folder with its weights packed as the placement says, frozen, in evaluation mode.

    Raises ModelError for files that don't fit the model or are damaged, ResourceError where memory does not suffice.
    """
    import transformers

    architecture = getattr(transformers, ARCHITECTURES[facts.family])
    try:
        with quiet_transformers():
            config = architecture.config_class.from_pretrained(folder)
            with init_empty_weights():
                model = architecture(config)
            model.set_attn_implementation(registered(placement.attention))
            if (folder / "generation_config.json").is_file():
                model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
        _fill(model, _weights(files, placement), config, facts.name, placement.dtype)
    except (ModelError, ResourceError):
        raise
    except Exception as error:  # transformers and safetensors raise many kinds for files that don't fit together
        if is_out_of_memory(error):
            raise ResourceError(
                f"{facts.name} does not fit the memory of {placement.device}",
                hint="use --quantize 4bit, or a smaller model",
            ) from error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"the weights of {facts.name} can't be loaded: {reason}") from error
    frozen: PreTrainedModel = model.eval().requires_grad_(False)
    return frozen


def _weights(files: Sequence[Path], placement: Placement) -> Iterator[tuple[str, Tensor | PackedWeight]]:
    """Every weight of the files by its name in the model, packed where it is to be."""
    for path in files:
        file = MappedFile(path) if path.name == typed_name(placement.quantize) else None
        yield from _unpacked(path, placement) if file is None else _packed(file, placement)


def _packed(file: MappedFile, placement: Placement) -> Iterator[tuple[str, Tensor | PackedWeight]]:
    """The weights of a file of packed ones, used where they lie."""
    names = set(file.names)
    for name in file.names:
        whole, _, part = name.rpartition(".")
        if part == CODES:
            parts = [one for one in (CODES, SCALES, ZEROS) if f"{whole}.{one}" in names]
            yield whole, PackedWeight({one: torch.from_numpy(file.array(f"{whole}.{one}")) for one in parts}, file)
        elif part not in (SCALES, ZEROS):
            yield name, torch.from_numpy(file.array(name)).to(placement.dtype, copy=True)


def _unpacked(path: Path, placement: Placement) -> Iterator[tuple[str, Tensor | PackedWeight]]:
    """The weights of a file of floating-point ones, packed where they are to be."""
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                tensor = file.get_tensor(name)
                bits = bits_of(name, placement.quantize)
                yield name, PackedWeight.of(tensor, bits) if bits else tensor.to(placement.dtype)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} can't be read: {error}") from error


def _fill(
    model: Any, weights: Iterator[tuple[str, Tensor | PackedWeight]], config: Any, name: str, dtype: torch.dtype
) -> None:
    """Put the weights into a model that has none."""
    for place, weight in weights:
        owner_name, _, attribute = place.rpartition(".")
        try:
            owner = model.get_submodule(owner_name)
            expected = getattr(owner, attribute).shape
        except AttributeError:
            raise ModelError(f"the weights of {name} hold unknown {place}") from None
        shape = (weight.rows, weight.width) if isinstance(weight, PackedWeight) else tuple(weight.shape)
        if tuple(expected) != shape:
            raise ModelError(f"the weights of {name} have another shape for {place}")
        if isinstance(weight, PackedWeight):
            _replace(model, owner_name, packed_module(owner, weight, dtype))
        else:
            owner.register_parameter(attribute, nn.Parameter(weight, requires_grad=False))
    if getattr(config, "tie_word_embeddings", False):
        _replace(model, "lm_head", PackedLinear(model.get_submodule("model.embed_tokens").packed, None))
    missing = sorted(place for place, weight in model.named_parameters() if weight.is_meta)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelError(f"the weights of {name} lack {missing[0]}{more}")


def _replace(model: nn.Module, place: str, module: nn.Module) -> None:
    owner, _, name = place.rpartition(".")
    setattr(model.get_submodule(owner), name, module)
