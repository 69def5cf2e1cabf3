"""Load a base model: the one set of frozen weights that serves lower and upper model.

transformers builds and fills the model; this page decides what is loaded, checks that every weight came from the
files, and translates what can go wrong. Nothing here runs code from a model folder.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sharedllm_cli.config import Settings
from sharedllm_cli.errors import ModelError
from sharedllm_cli.memory import return_large_blocks
from sharedllm_cli.model.cpu_attention import registered
from sharedllm_cli.model.packed import load_packed, unloadable
from sharedllm_cli.model.placement import (
    Placement,
    Room,
    Spread,
    attention_name,
    file_type,
    free_bytes,
    model_sizes,
    multiply_as_asked,
    place,
    quantization_config,
    spread,
    weight_bytes,
)
from sharedllm_cli.progress import Reporter, Silent
from sharedllm_cli.weights.facts import ARCHITECTURES, ModelFacts, facts_from_config, read_config
from sharedllm_cli.weights.registry import locate
from sharedllm_cli.weights.tokenizer_files import quiet_transformers, read_tokenizer
from sharedllm_cli.weights.weight_files import ready_files, typed_name, weights_hash

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


@dataclass(frozen=True)
class BaseModel:
    """A loaded base model: in evaluation mode, its parameters frozen.

    `weights_hash` and `tokenizer_hash` identify what trees and adapters were made with; `window` is the number of
    positions it was trained for; `quantize` is `none`, `8bit` or `4bit`; `spread` says which layers lie where, None if
    all are in one place; `gpus` are those that may be used.
    """

    name: str
    family: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    weights_hash: str
    tokenizer_hash: str
    device: torch.device
    dtype: torch.dtype
    quantize: str
    window: int
    facts: ModelFacts
    spread: Spread | None = None
    gpus: tuple[torch.device, ...] = ()

    @property
    def layer_count(self) -> int:
        """N, the number of decoder layers."""
        return self.facts.layer_count

    def quantize_of(self, layers: int) -> str:
        """How the bottom `layers` layers are quantized: those that wait in the CPU's memory are not."""
        first = self.spread.first_spilled if self.spread else None
        if first is None or first >= layers or self.quantize == "none":
            return self.quantize
        return f"{self.quantize} below layer {first}"

    @property
    def weight_bytes(self) -> int:
        """What the weights take in memory."""
        return weight_bytes(self.model)


def load(
    reference: str,
    *,
    home: Path,
    device: str = "auto",
    dtype: str = "auto",
    quantize: str = "auto",
    attention: str = "auto",
    offline: bool = False,
    reporter: Reporter | None = None,
) -> BaseModel:
    """Load a base model by name, folder, GGUF file or hub id, fetching or converting it on first use.

    Raises ModelError for a model that can't be had, isn't supported or is damaged, UsageError for a device or kernel
    that isn't there, ResourceError where it doesn't fit the memory.
    """
    located = locate(reference, home=home, offline=offline, reporter=reporter or Silent())
    facts = facts_from_config(read_config(located.folder), located.name)
    placement = place(facts, device=device, dtype=dtype, quantize=quantize, attention=attention)
    tokenizer, tokenizer_hash = read_tokenizer(located.folder)
    _check_vocabulary(tokenizer, facts)
    placement, where = _settle(facts, placement)
    files = _files(located.folder, placement, home, reporter or Silent())
    if placement.packed:
        return_large_blocks()
        model = load_packed(located.folder, files, facts, placement)
    else:
        model = _load_weights(located.folder, files, facts, placement, where)
    base = BaseModel(
        name=located.name,
        family=facts.family,
        model=model,
        tokenizer=tokenizer,
        weights_hash=weights_hash(located.folder, files, home),
        tokenizer_hash=tokenizer_hash,
        device=placement.device,
        dtype=placement.dtype,
        quantize=placement.quantize,
        window=facts.window,
        facts=facts,
        spread=where,
        gpus=placement.gpus,
    )
    if where is not None and reporter is not None:
        reporter.note(f"{facts.name} does not fit {placement.device}: {where.words()}")
    if reporter is not None:
        reporter.detail("the model", _load_report(base))
    return base


def _files(folder: Path, placement: Placement, home: Path, reporter: Reporter) -> list[Path]:
    """The weight files to load from, written on first use where they are converted from a GGUF file."""
    kind = file_type(placement)
    if (files := ready_files(folder, kind)) is not None:
        return files
    from sharedllm_cli.weights.conversion import typed_weights

    return typed_weights(folder, kind, home, reporter)


def prepare(folder: Path, settings: Settings, *, home: Path, reporter: Reporter) -> None:
    """Convert a fetched model's weights into the type that a load with these settings takes; loads nothing."""
    from sharedllm_cli.weights.conversion import typed_weights

    facts = facts_from_config(read_config(folder), folder.name)
    placement = place(
        facts, device=settings.device, dtype=settings.dtype, quantize=settings.quantize, attention=settings.attention
    )
    typed_weights(folder, file_type(placement), home, reporter)


def _load_report(base: BaseModel) -> str:
    """What was loaded, for `--verbose`."""
    dtype = str(base.dtype).removeprefix("torch.")
    floats = base.facts.parameter_count * base.dtype.itemsize
    attention = attention_name(base.model.config._attn_implementation)
    return (
        f"{base.name} on {base.device}: {base.weight_bytes / 1e6:,.0f} MB of weights (quantize {base.quantize};"
        f" {floats / 1e6:,.0f} MB as {dtype}), attention {attention}"
    )


def _settle(facts: ModelFacts, placement: Placement) -> tuple[Placement, Spread | None]:
    """The device that holds the model whole; else where its parts lie. ResourceError where they have no room."""
    if not placement.gpus:
        return placement, None
    rooms = [Room(str(gpu), free_bytes(gpu)) for gpu in placement.gpus]
    found = spread(model_sizes(facts, placement.quantize, placement.dtype), rooms, free_bytes(torch.device("cpu")))
    if "" in found.device_map:
        return replace(placement, device=torch.device(found.device_map[""])), None
    return placement, found


def _load_weights(
    folder: Path, files: Sequence[Path], facts: ModelFacts, placement: Placement, where: Spread | None
) -> PreTrainedModel:
    import transformers

    architecture = getattr(transformers, ARCHITECTURES[facts.family])
    options: dict[str, Any] = {"dtype": placement.dtype, "attn_implementation": registered(placement.attention)}
    if placement.quantize != "none" or placement.device.type != "cpu":
        options["device_map"] = {"": placement.device} if where is None else dict(where.device_map)
    spilled = where is not None and where.first_spilled is not None
    if (quantization := quantization_config(placement, spilled=spilled)) is not None:
        options["quantization_config"] = quantization
        # bitsandbytes warns at every layer of every forward pass that it rounds its input, which is intended
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    dtype_name = str(placement.dtype).removeprefix("torch.")
    if files[0].name == typed_name(dtype_name):
        options["variant"] = dtype_name
    try:
        with quiet_transformers():
            rounded = None
            if placement.quantize == "none" and placement.device.type == "cpu":
                rounded = _rounded(files, placement.dtype)
            if rounded is not None:
                options |= {"config": architecture.config_class.from_pretrained(folder), "state_dict": rounded}
            model, report = architecture.from_pretrained(
                folder if rounded is None else None,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
            if rounded is not None and (folder / "generation_config.json").is_file():
                model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
    except Exception as error:  # transformers and safetensors raise many kinds for files that don't fit together
        raise unloadable(error, facts.name, placement) from error
    _check_complete(report, facts.name)
    multiply_as_asked(model, placement.product_dtype)
    frozen: PreTrainedModel = model.eval().requires_grad_(False)
    return frozen


def _rounded(files: Sequence[Path], dtype: torch.dtype) -> dict[str, torch.Tensor] | None:
    """The weights of files in a type, one read after the other; None where the files hold that type.

    Weights of the right type are used where they lie in the mapped file. transformers rounds others from there, and so
    holds both at its end: three times the model, for bfloat16 of float32.
    """
    from safetensors import safe_open

    held: dict[str, torch.Tensor] = {}
    for path in files:
        # Not mapped: what was read of a mapped file stays in memory as long as that is open.
        with safe_open(path, framework="pt", backend="pread") as file:
            names = list(file.keys())
            if not held and all(_DTYPE_CODES.get(file.get_slice(name).get_dtype()) == dtype for name in names):
                return None
            held |= {name: file.get_tensor(name).to(dtype) for name in names}
    return held


_DTYPE_CODES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def _check_complete(report: dict[str, Any], name: str) -> None:
    """ModelError unless every weight of the model came from the files and every weight in the files has a place."""
    for key, what in (
        ("missing_keys", "lack"),
        ("mismatched_keys", "have another shape for"),
        ("unexpected_keys", "hold unknown"),
        ("error_msgs", "can't be read:"),
    ):
        found = sorted(str(entry) for entry in report.get(key) or ())
        if found:
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            raise ModelError(f"the weights of {name} {what} {found[0]}{more}")


def _check_vocabulary(tokenizer: PreTrainedTokenizerFast, facts: ModelFacts) -> None:
    highest = max(tokenizer.backend_tokenizer.get_vocab_size() - 1, *tokenizer.added_tokens_decoder, -1)
    if highest >= facts.vocabulary_size:
        raise ModelError(
            f"the tokenizer of {facts.name} doesn't fit its model: token {highest} of {facts.vocabulary_size}"
        )
