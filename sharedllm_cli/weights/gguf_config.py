"""The `config.json` of a GGUF file's model and the place of each of its tensors: llama.cpp's names to transformers'.

What the file states about the model is kept or refused: a key or a tensor that is not known here is an error, since a
model without it computes something else. Reads nothing but the file. Needs no torch.

llama.cpp and transformers name the same scalings of positions (linear, yarn) alike. Llama 3.1's is stored as its
effect, a divisor of each frequency, and found again from it. What transformers has no terms for is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharedllm_cli.errors import ModelError
from sharedllm_cli.weights.facts import ARCHITECTURES, SUPPORTED_HINT
from sharedllm_cli.weights.gguf_file import GGUFFile, Tensor, shortest

_YARN = {
    "rope.scaling.yarn_beta_fast": "beta_fast",
    "rope.scaling.yarn_beta_slow": "beta_slow",
}
_FIXED = {"rope.scaling.yarn_ext_factor": (-1.0, 1.0), "rope.scaling.yarn_attn_factor": (1.0,)}
"""Adjustments that transformers has no words for, and the values that adjust nothing."""
ROPE_KEYS = (
    *("rope.dimension_count", "rope.freq_base", "rope.scaling.type", "rope.scaling.factor", "rope.scale_linear"),
    *("rope.scaling.original_context_length", "rope.scaling.finetuned", "rope.scaling.attn_factor"),
    *_YARN,
    *_FIXED,
)
_LOCAL_BASE = 10_000.0
_LLAMA3_WINDOW, _LLAMA3_HIGH = 8192, 4.0


def rope_parameters(file: GGUFFile, head_dim: int) -> dict[str, Any]:
    """transformers' `rope_parameters`; ModelError for a scaling that it can't say."""
    theta = file.number("rope.freq_base", 10_000.0)
    parameters = _scaled(file, theta)
    factors = file.whole("rope_freqs.weight")
    if factors is not None and not np.allclose(factors, 1.0):
        if parameters["rope_type"] != "default":
            raise _unsupported(file)
        parameters = _llama3_parameters(file, theta, factors, head_dim)
    if file.architecture != "gemma3":
        return parameters
    local = {"rope_type": "default", "rope_theta": file.number("rope.freq_base_swa", _LOCAL_BASE)}
    return {"full_attention": parameters, "sliding_attention": local}


def _unsupported(file: GGUFFile) -> ModelError:
    return ModelError(f"{file.path} scales its positions in a way that is not supported")


def _scaled(file: GGUFFile, theta: float) -> dict[str, Any]:
    """The base and its linear or yarn scaling. A factor without a type is linear, as in files older than the type."""
    factor = file.number("rope.scaling.factor", file.number("rope.scale_linear", 0.0)) or 1.0
    kind = file.shape_value("rope.scaling.type", "linear")
    if kind not in ("none", "linear", "yarn"):
        raise ModelError(f"{file.path} scales its positions by {kind!r}, which is not supported")
    if factor <= 0:
        raise _unsupported(file)
    if kind == "none" or factor == 1.0:
        return {"rope_type": "default", "rope_theta": theta}
    parameters: dict[str, Any] = {"rope_type": kind, "rope_theta": theta, "factor": factor}
    attention = file.number("rope.scaling.attn_factor", 1.0)
    if kind == "linear":
        if attention != 1.0:
            raise _unsupported(file)
        return parameters
    for key, neutral in _FIXED.items():
        if file.number(key, neutral[0]) not in neutral:
            raise _unsupported(file)
    window = file.whole_number("rope.scaling.original_context_length", file.whole_number("context_length"))
    parameters["original_max_position_embeddings"] = window
    parameters |= {name: file.number(key) for key, name in _YARN.items() if file.shape_value(key, 0)}
    if attention != 1.0:  # a factor of yarn's own, which transformers states as a whole
        parameters["attention_factor"] = attention * (0.1 * math.log(factor) + 1.0)
    return parameters


def _llama3_parameters(file: GGUFFile, theta: float, factors: np.ndarray, head_dim: int) -> dict[str, Any]:
    """The Llama 3 scaling that yields the file's frequency factors [head_dim / 2]; ModelError where none does.

    A frequency of wavelength w is divided by 1 / ((1 − s) / factor + s), where s = (window / w − low) / (high − low)
    is cut to 0…1. `low` is 1: the same s is had with any other at another window and `high`.
    """
    if factors.shape != (head_dim // 2,) or not factors.min() > 0:
        raise _unsupported(file)
    factor = shortest(factors.max())
    turns = 1 / (2 * math.pi * theta ** (np.arange(0, head_dim, 2) / head_dim))
    window, high = _LLAMA3_WINDOW, _LLAMA3_HIGH
    share = (1 / factors.astype(np.float64) - 1 / factor) / (1 - 1 / factor) if factor > 1 else np.ones_like(turns)
    between = (share > 1e-3) & (share < 1 - 1e-3)
    if between.sum() >= 2:
        slope, intercept = np.polyfit(turns[between], share[between], 1)
        if intercept < 0:
            high = _tidy(1 - 1 / intercept, 2)
            window = round(_tidy(slope * (high - 1), 0))
    smooth = np.clip((window * turns - 1.0) / (high - 1.0), 0.0, 1.0) if high > 1 else np.ones_like(turns)
    expected = 1 / ((1 - smooth) / factor + smooth)
    if not np.allclose(expected, factors, rtol=1e-3):
        raise _unsupported(file)
    return {
        "rope_type": "llama3",
        "rope_theta": theta,
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": float(high),
        "original_max_position_embeddings": window,
    }


def _tidy(value: float, digits: int) -> float:
    """A fitted number as it was meant: the nearest whole one where that is as near as float32 factors are exact."""
    nearest = float(round(value))
    return nearest if abs(value - nearest) < 1e-3 * max(1.0, abs(value)) else round(float(value), digits)


_TENSORS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_HEAD_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_GEMMA_NORMS = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_KEYS = (
    *("block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size"),
    *("attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length"),
    *("attention.layer_norm_rms_epsilon", "attention.sliding_window", *ROPE_KEYS),
)
_ATTENTION = ("attn_q", "attn_k", "attn_v", "attn_output")
_MLP = ("ffn_gate", "ffn_up", "ffn_down")
CONTROL = 3
"""llama.cpp's kind of a control token."""
ENDS = frozenset(
    {
        *("<|endoftext|>", "<|im_end|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<eos>"),
        *("</s>", "<|end|>", "<|eot|>"),
    }
)
"""Control tokens that end a text or a turn in the supported families."""
_GEMMA_PATTERN = 6
"""Every sixth layer of Gemma 3 sees the whole text, where its file does not say which."""


@dataclass(frozen=True)
class _Family:
    """How one of llama.cpp's architectures is written: its tensors, biases that it may have, keys of its own.

    `paired`: rows of queries and keys are in llama.cpp's rotary order; `shift`: what the file's norms have more than
    transformers'.
    """

    model_type: str
    tensors: Mapping[str, str]
    biases: Mapping[str, tuple[str, ...]]
    keys: tuple[str, ...] = ()
    paired: bool = False
    shift: float = 0.0


_BIASES = {"attention_bias": _ATTENTION, "mlp_bias": _MLP}
_GRANITE_SCALES = {
    "attention.scale": "attention_multiplier",
    "embedding_scale": "embedding_multiplier",
    "residual_scale": "residual_multiplier",
    "logit_scale": "logits_scaling",
}
_FAMILIES: Mapping[str, _Family] = {
    "llama": _Family("llama", _TENSORS, _BIASES, paired=True),
    "qwen2": _Family("qwen2", _TENSORS, {"": _ATTENTION[:3]}),
    "qwen3": _Family("qwen3", _TENSORS | _HEAD_NORMS, {"attention_bias": _ATTENTION}),
    "granite": _Family("granite", _TENSORS, _BIASES, tuple(_GRANITE_SCALES), paired=True),
    "smollm3": _Family("smollm3", _TENSORS, _BIASES, paired=True),
    "gemma3": _Family(
        *("gemma3_text", _TENSORS | _HEAD_NORMS | _GEMMA_NORMS, {"attention_bias": _ATTENTION}),
        keys=("attention.sliding_window_pattern", "rope.freq_base_swa"),
        shift=1.0,
    ),
}


@dataclass(frozen=True)
class Weight:
    """One weight of the model under its transformers name. Without a `source` it is all zeros.

    `heads`: number of heads whose rows are to be reordered; `shift`: what is taken off the stored numbers.
    """

    name: str
    shape: tuple[int, ...]
    source: Tensor | None
    heads: int | None = None
    shift: float = 0.0


def config_from_gguf(file: GGUFFile) -> dict[str, Any]:
    """The `config.json` of the file's model, as transformers spells it.

    Raises ModelError for another architecture, and for what the file states that this model can't be.
    """
    family = _family(file)
    hidden, heads = file.whole_number("embedding_length"), file.whole_number("attention.head_count")
    key_value_heads = file.whole_number("attention.head_count_kv", heads)
    if not heads or not key_value_heads:
        raise ModelError(f"{file.path} is damaged: it states a model without attention heads")
    head_dim = _head_dim(file, hidden, heads, key_value_heads)
    config: dict[str, Any] = {
        "architectures": [ARCHITECTURES[family.model_type]],
        "model_type": family.model_type,
        "hidden_size": hidden,
        "intermediate_size": file.whole_number("feed_forward_length"),
        "num_hidden_layers": file.whole_number("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "head_dim": head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": file.whole_number("context_length"),
        "rms_norm_eps": file.number("attention.layer_norm_rms_epsilon"),
        "rope_parameters": rope_parameters(file, head_dim),
        "vocab_size": _vocabulary_size(file),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "dtype": "float32",
    }
    for name, parts in family.biases.items():
        if name and any(_has_bias(file, part) for part in parts):
            config[name] = True
    config |= _windows(file, config) | _own_values(file, config)
    for key, name in (("bos", "bos"), ("eos", "eos"), ("padding", "pad")):
        identity = file.value(f"tokenizer.ggml.{key}_token_id")
        if identity is not None:
            config[f"{name}_token_id"] = int(identity)
    return config


def weights_from_gguf(file: GGUFFile) -> list[Weight]:
    """Every weight of the file's model in the file's order; ModelError for one that has no place in it.

    Of biases that come together, those that the file leaves out are zeros: the model is the same.
    """
    family = _family(file)
    heads = file.whole_number("attention.head_count")
    reordered = {"attn_q": heads, "attn_k": file.whole_number("attention.head_count_kv", heads)}
    found = []
    for tensor in file.tensors.values():
        if tensor.name == "rope_freqs.weight":  # goes into config.json
            continue
        layer, stem, suffix = _split(tensor.name)
        allowed = suffix == "weight" or (
            suffix == "bias" and layer and any(stem in parts for parts in family.biases.values())
        )
        if stem not in family.tensors or not allowed:
            raise ModelError(f"{file.path} holds a weight with no place in a {file.architecture} model: {tensor.name}")
        shift = family.shift if stem.endswith("norm") else 0.0
        pairs = reordered.get(stem) if family.paired else None
        found.append(Weight(f"{layer}{family.tensors[stem]}.{suffix}", tensor.shape, tensor, pairs, shift))
    return found + _zero_biases(file, family, {weight.name for weight in found})


def _family(file: GGUFFile) -> _Family:
    """How the file's architecture is written; ModelError for an unknown one and for keys that are not known of it."""
    family = _FAMILIES.get(file.architecture)
    if family is None:
        raise ModelError(
            f"{file.path} holds a model of the architecture {file.architecture!r}, which is not supported",
            hint=SUPPORTED_HINT,
        )
    if file.value(f"{file.architecture}.expert_count", 0):
        raise ModelError(f"{file.path} holds a mixture of experts, which is not supported", hint=SUPPORTED_HINT)
    known = {*_KEYS, *family.keys}
    prefix = f"{file.architecture}."
    for key, value in file.metadata.items():
        # A switch that is off and a count of zero state that there is nothing.
        if key.startswith(prefix) and value and key.removeprefix(prefix) not in known:
            raise ModelError(f"{file.path} states {key} = {str(value)[:60]}, which is not supported")
    return family


def _split(name: str) -> tuple[str, str, str]:
    """A tensor's layer as transformers writes it (or nothing), what it is, and `weight` or `bias`."""
    parts = name.split(".")
    layer = f"model.layers.{parts[1]}." if parts[0] == "blk" and len(parts) == 4 else ""
    return layer, parts[-2] if len(parts) == (4 if layer else 2) else name, parts[-1]


def _has_bias(file: GGUFFile, part: str) -> bool:
    return any(name.endswith(f".{part}.bias") for name in file.tensors)


def _zero_biases(file: GGUFFile, family: _Family, present: set[str]) -> list[Weight]:
    zeros = []
    for name, parts in family.biases.items():
        if name and not any(_has_bias(file, part) for part in parts):
            continue
        for tensor in file.tensors.values():
            layer, stem, suffix = _split(tensor.name)
            bias = f"{layer}{family.tensors.get(stem)}.bias"
            if stem in parts and suffix == "weight" and bias not in present:
                zeros.append(Weight(bias, tensor.shape[:1], None))
    return zeros


def _head_dim(file: GGUFFile, hidden: int, heads: int, key_value_heads: int) -> int:
    """Width of one head: as stated, or else as the queries' weights have it; ModelError where values differ in it."""
    queries = file.tensors.get("blk.0.attn_q.weight")
    head_dim = file.whole_number("attention.key_length", queries.shape[0] // heads if queries else hidden // heads)
    for key in ("attention.value_length", "rope.dimension_count"):
        if file.whole_number(key, head_dim) != head_dim:
            raise ModelError(
                f"{file.path} states {file.architecture}.{key} = {file.shape_value(key)} beside heads {head_dim} wide,"
                " which is not supported"
            )
    widths = {"attn_q": heads * head_dim, "attn_k": key_value_heads * head_dim, "attn_v": key_value_heads * head_dim}
    for tensor in file.tensors.values():
        _, stem, suffix = _split(tensor.name)
        if suffix == "weight" and tensor.shape[0] != widths.get(stem, tensor.shape[0]):
            raise ModelError(f"{file.path} is damaged: {tensor.name} has {tensor.shape[0]} rows, not {widths[stem]}")
    return head_dim


def _vocabulary_size(file: GGUFFile) -> int:
    """Rows of the embeddings, which may be more than there are tokens; ModelError where they are fewer."""
    stated = len(file.value("tokenizer.ggml.tokens", ()))
    embeddings = file.tensors.get("token_embd.weight")
    size = embeddings.shape[0] if embeddings else stated
    if stated > size:
        raise ModelError(f"{file.path} is damaged: it has {stated} tokens and embeddings for {size}")
    return size


def _windows(file: GGUFFile, config: Mapping[str, Any]) -> dict[str, Any]:
    """Which layers see only so many tokens back, as the family writes it."""
    window = file.whole_number("attention.sliding_window", 0)
    if file.architecture == "gemma3":
        if not window:
            raise ModelError(f"{file.path} is damaged: it doesn't state gemma3.attention.sliding_window")
        return {"sliding_window": window, "layer_types": _gemma_layers(file, config["num_hidden_layers"])}
    if not window or window >= config["max_position_embeddings"]:
        return {}
    if file.architecture == "llama" and not any(config.get(name) for name in _BIASES):
        # llama.cpp's name of Mistral is llama, too; its window holds for every layer.
        return {"model_type": "mistral", "architectures": [ARCHITECTURES["mistral"]], "sliding_window": window}
    raise ModelError(f"{file.path} has layers that see {window} tokens and does not say which, which is not supported")


def _gemma_layers(file: GGUFFile, count: int) -> list[str]:
    pattern = file.shape_value("attention.sliding_window_pattern", _GEMMA_PATTERN)
    if isinstance(pattern, int) and not isinstance(pattern, bool) and pattern > 0:
        local = [(place + 1) % pattern != 0 for place in range(count)]
    elif isinstance(pattern, list) and len(pattern) == count:
        local = [bool(entry) for entry in pattern]
    else:
        raise ModelError(f"{file.path} states gemma3.attention.sliding_window_pattern in a way that is not supported")
    return ["sliding_attention" if is_local else "full_attention" for is_local in local]


def _own_values(file: GGUFFile, config: Mapping[str, Any]) -> dict[str, Any]:
    """What one family alone has."""
    if file.architecture == "gemma3":
        activation = "gelu_pytorch_tanh"
        return {
            "hidden_act": activation,
            "hidden_activation": activation,
            "query_pre_attn_scalar": config["head_dim"],
        }
    if file.architecture == "granite":
        head_dim = config["head_dim"]
        default = {"attention.scale": head_dim**-0.5}
        scales = {name: file.number(key, default.get(key, 1.0)) for key, name in _GRANITE_SCALES.items()}
        if not all(scales.values()):
            raise ModelError(f"{file.path} is damaged: a scale of its model is 0")
        return scales
    return {}


def generation_config_from_gguf(file: GGUFFile) -> dict[str, Any]:
    """Which tokens begin, end and pad a text: `generation_config.json`.

    An answer ends at what the file calls its end, and at the control tokens that end a text or a turn by their names:
    a model that was taught both writes either.
    """
    tokens, kinds = file.value("tokenizer.ggml.tokens", []), file.value("tokenizer.ggml.token_type", [])
    named = [
        identity
        for identity, (token, kind) in enumerate(zip(tokens, kinds, strict=False))
        if kind == CONTROL and token in ENDS
    ]
    stated = [file.value(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot", "eom")]
    ends = list(dict.fromkeys(int(end) for end in (*stated, *named) if end is not None))
    values = {
        "bos_token_id": file.value("tokenizer.ggml.bos_token_id"),
        "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
        "pad_token_id": file.value("tokenizer.ggml.padding_token_id"),
    }
    return {key: value for key, value in values.items() if value is not None}
