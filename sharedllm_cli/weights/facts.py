"""What a model's `config.json` alone says: its family, shape and size. Loads neither torch nor transformers.

The one place where unsupported models are refused: only the families of `ARCHITECTURES` are supported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharedllm_cli.errors import ModelError
from sharedllm_cli.weights.blocks import FORMATS, bytes_a_weight

ARCHITECTURES: Mapping[str, str] = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "granite": "GraniteForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
}
"""The supported families (`model_type`) and the class that each one's checkpoints are made for."""

FAMILIES: tuple[str, ...] = tuple(ARCHITECTURES)
_HYBRIDS = frozenset({"lfm2", "granitemoehybrid", "qwen3_next", "qwen3_5_text", "qwen3_5", "falcon_h1", "jamba"})
"""Families with convolutions or state spaces between their attention layers."""
_HEAD_DIM = {"qwen3": 128, "gemma3_text": 256}
_TIED = frozenset({"gemma3_text", "smollm3"})
"""Families whose output layer is the embeddings where config.json does not say."""
QUANTIZED_BYTES = {"8bit": 1.0, "4bit": 0.52, **{name: bytes_a_weight(bits) for name, bits in FORMATS.items()}}
"""Bytes of one weight of the layers' matrices, its share of the scales with it. Of what else there is, packed formats
hold embeddings and output layer in 8 bits (`blocks.py`), the others nothing."""
_MOST: Mapping[str, int] = {
    "num_hidden_layers": 1 << 10,
    "hidden_size": 1 << 17,
    "intermediate_size": 1 << 20,
    "num_attention_heads": 1 << 12,
    "num_key_value_heads": 1 << 12,
    "head_dim": 1 << 13,
    "vocab_size": 1 << 23,
    "max_position_embeddings": 1 << 27,
}
"""Far more than any model has: a larger number is damage, or meant to take all memory."""
_LARGEST_NUMBER = 1e15
SUPPORTED_HINT = f"supported are the families {', '.join(FAMILIES)}, e.g. --model smollm2-135m-instruct"


@dataclass(frozen=True)
class ModelFacts:
    """The shape of a base model: enough to plan memory, disk and time without loading it.

    `window` is the number of positions the model was trained for; `dtype` the type its weights are stored in.
    """

    name: str
    family: str
    layer_count: int
    hidden_size: int
    intermediate_size: int
    attention_heads: int
    key_value_heads: int
    head_dim: int
    vocabulary_size: int
    parameter_count: int
    window: int
    dtype: str

    @property
    def layer_matrices(self) -> int:
        """Weights of one decoder layer's matrices, each a multiplication and an addition a token."""
        return self.attention_matrices + 3 * self.hidden_size * self.intermediate_size

    @property
    def attention_matrices(self) -> int:
        """Those of its attention alone."""
        queries, keys = self.attention_heads * self.head_dim, self.key_value_heads * self.head_dim
        return 2 * self.hidden_size * (queries + keys)

    def weights_bytes(self, number: int, quantize: str = "none") -> int:
        """What the weights take: the layers' matrices as quantized, all else in numbers of `number` bytes."""
        matrices = self.layer_matrices * self.layer_count
        others = bytes_a_weight(8) if quantize in FORMATS else number
        return int(matrices * QUANTIZED_BYTES.get(quantize, number) + others * (self.parameter_count - matrices))

    def uneven_rows(self, block: int) -> bool:
        """Whether some matrix has rows that are not whole blocks of so many numbers."""
        widths = (self.hidden_size, self.intermediate_size, self.attention_heads * self.head_dim)
        return any(width % block for width in widths)


def read_config(folder: Path) -> dict[str, Any]:
    """The parsed `config.json` of a model folder; ModelError where it is missing, unreadable or not an object."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} holds no model: there is no config.json",
            hint="give the folder that holds config.json and *.safetensors",
        ) from None
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: it is not valid JSON") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} is damaged: it is not a JSON object")
    return config


def unreadable(path: Path, error: OSError) -> ModelError:
    """The error of a file of a model that the operating system does not let be read."""
    return ModelError(f"{path} can't be read: {(error.strerror or str(error)).lower()}")


def facts_from_config(config: Mapping[str, Any], name: str) -> ModelFacts:
    """The facts of a supported model; ModelError for every other one (see `check_supported`) and missing values."""
    family = check_supported(config, name)
    _check_numbers(config, name)
    hidden_size = _count(config, "hidden_size", name)
    heads = _count(config, "num_attention_heads", name)
    key_value_heads = _count(config, "num_key_value_heads", name, heads)
    head_dim = _count(config, "head_dim", name, _HEAD_DIM.get(family, hidden_size // heads))
    if heads % key_value_heads:
        raise ModelError(f"{name}: {heads} attention heads can't share {key_value_heads} key/value heads")
    facts = ModelFacts(
        name=name,
        family=family,
        layer_count=_count(config, "num_hidden_layers", name),
        hidden_size=hidden_size,
        intermediate_size=_count(config, "intermediate_size", name),
        attention_heads=heads,
        key_value_heads=key_value_heads,
        head_dim=head_dim,
        vocabulary_size=_count(config, "vocab_size", name),
        parameter_count=0,
        window=_count(config, "max_position_embeddings", name),
        dtype=str(config.get("dtype") or config.get("torch_dtype") or "float32"),
    )
    return ModelFacts(**{**facts.__dict__, "parameter_count": _parameter_count(facts, config)})


def check_supported(config: Mapping[str, Any], name: str) -> str:
    """The family of a supported configuration; ModelError with the reason for any other.

    Refused: code of the model's own (`auto_map`), another `model_type`, a class without a language-model head, and
    weights that are already quantized (their keys and values are not those of the float model).
    """
    if config.get("auto_map"):
        raise ModelError(f"{name} needs Python code of its own to run, which is never executed", hint=SUPPORTED_HINT)
    family = str(config.get("model_type") or "")
    if family in _HYBRIDS:
        raise ModelError(
            f"{name} is of the family {family!r}, whose layers are not all attention, which is not supported",
            hint=SUPPORTED_HINT,
        )
    if family not in ARCHITECTURES:
        what = f"of the family {family!r}" if family else "of no stated family (config.json has no model_type)"
        raise ModelError(f"{name} is {what}, which is not supported", hint=SUPPORTED_HINT)
    stated = config.get("architectures") or [ARCHITECTURES[family]]
    if ARCHITECTURES[family] not in stated:
        raise ModelError(f"{name} is made for {stated[0]}, not for {ARCHITECTURES[family]}", hint=SUPPORTED_HINT)
    for key in ("use_bidirectional_attention", "attn_logit_softcapping"):
        if config.get(key):
            raise ModelError(f"{name} states {key}, which is not supported", hint=SUPPORTED_HINT)
    quantization = config.get("quantization_config")
    if quantization:
        method = quantization.get("quant_method", "unknown") if isinstance(quantization, Mapping) else "unknown"
        raise ModelError(
            f"{name} is already quantized ({method})", hint="give the unquantized model with --quantize 4bit or 8bit"
        )
    return family


def _count(config: Mapping[str, Any], key: str, name: str, default: int | None = None) -> int:
    value = config.get(key)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST[key]:
        raise ModelError(f"the config.json of {name} has no usable {key}, got {value!r}")
    return value


def _check_numbers(config: Mapping[str, Any], name: str) -> None:
    """ModelError where a number that the layers compute with is none, or not above 0."""
    parameters = config.get("rope_parameters")
    held = [config, *([parameters] if isinstance(parameters, Mapping) else [])]
    held += [part for part in held[-1].values() if isinstance(part, Mapping)]
    for values in held:
        for key in ("rope_theta", "rope_local_base_freq", "rms_norm_eps"):
            value = values.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _LARGEST_NUMBER:
                raise ModelError(f"the config.json of {name} has no usable {key}, got {value!r}")


def _parameter_count(facts: ModelFacts, config: Mapping[str, Any]) -> int:
    hidden, inner, head_dim = facts.hidden_size, facts.intermediate_size, facts.head_dim
    queries, keys = facts.attention_heads * head_dim, facts.key_value_heads * head_dim
    layer = 2 * hidden * (queries + keys) + 3 * hidden * inner + 2 * hidden
    attention_bias = bool(config.get("attention_bias")) and facts.family not in ("mistral", "qwen2")
    if attention_bias or facts.family == "qwen2":
        layer += queries + 2 * keys
    if attention_bias:
        layer += hidden
    if config.get("mlp_bias") and facts.family in ("llama", "granite", "smollm3"):
        layer += 2 * inner + hidden
    if facts.family in ("qwen3", "gemma3_text"):
        layer += 2 * head_dim
    if facts.family == "gemma3_text":
        layer += 2 * hidden
    tied = config.get("tie_word_embeddings", facts.family in _TIED)
    embeddings = facts.vocabulary_size * hidden * (1 if tied else 2)
    return facts.layer_count * layer + hidden + embeddings
