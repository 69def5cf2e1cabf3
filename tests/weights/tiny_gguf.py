"""Tiny GGUF files and a wheel around one, written as llama.cpp's converter writes them."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
GEMMA_NORMS = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
ARCHITECTURES = {"mistral": "llama", "gemma3_text": "gemma3"}
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
BYTE_MERGES = ["Ġ Ġ", "1 2", "t h", "th e", "Ġ the"]


def llama_order(weights: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's `permute` of q and k rows when it converts a Llama model."""
    return (
        weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
        .swapaxes(1, 2)
        .reshape(weights.shape)
    )


def byte_alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_level_vocabulary(size: int) -> tuple[list[str], list[int]]:
    """Three control tokens, the 256 bytes, the merged tokens, and unused ones up to the size; with their kinds."""
    merged = [merge.replace(" ", "") for merge in BYTE_MERGES]
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *byte_alphabet(), *merged]
    kinds = [3, 3, 3] + [1] * (len(tokens) - 3)
    unused = [f"<unused{number}>" for number in range(size - len(tokens))]
    return tokens + unused, kinds + [5] * len(unused)


def write_gguf(
    path: Path,
    model: Any,
    quantized: bool = False,
    without: str = "",
    tensors: dict[str, np.ndarray] | None = None,
    **changes: Any,
) -> dict[str, np.ndarray]:
    """Write a tiny transformers model as GGUF; returns the weights that the file then holds, by transformers name.

    `changes` replace metadata (None leaves a key out) or, for `architecture`, the architecture's name; `without` leaves
    weights out whose name ends so; `tensors` are written besides.
    """
    config = model.config
    architecture = changes.pop("architecture", ARCHITECTURES.get(config.model_type, config.model_type))
    writer = gguf.GGUFWriter(str(path), architecture)
    for key, value in (_metadata(architecture, config) | changes).items():
        _add(writer, key, value)
    held: dict[str, np.ndarray] = {}
    for name, parameter in model.state_dict().items():
        if (name == "lm_head.weight" and config.tie_word_embeddings) or (without and name.endswith(without)):
            continue
        held[name] = _add_tensor(writer, name, parameter.numpy(), config, quantized)
    for name, values in (tensors or {}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return held


def _metadata(architecture: str, config: Any) -> dict[str, Any]:
    tokens, kinds = byte_level_vocabulary(config.vocab_size)
    shape = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.freq_base": float(config.rope_parameters.get("full_attention", config.rope_parameters)["rope_theta"]),
    }
    if architecture == "gemma3":
        shape |= {
            "attention.sliding_window": config.sliding_window,
            "attention.sliding_window_pattern": [kind == "sliding_attention" for kind in config.layer_types],
            "rope.freq_base_swa": float(config.rope_parameters["sliding_attention"]["rope_theta"]),
        }
    if architecture == "granite":
        shape |= {
            "attention.scale": float(config.attention_multiplier),
            "embedding_scale": float(config.embedding_multiplier),
            "residual_scale": float(config.residual_multiplier),
            "logit_scale": float(config.logits_scaling),
        }
    tokenizer = {
        "model": "gpt2",
        "pre": "smollm",
        "tokens": tokens,
        "token_type": kinds,
        "merges": BYTE_MERGES,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
        "padding_token_id": 2,
        "add_bos_token": False,
    }
    return (
        {f"{architecture}.{key}": value for key, value in shape.items()}
        | {f"tokenizer.ggml.{key}": value for key, value in tokenizer.items()}
        | {"tokenizer.chat_template": TEMPLATE}
    )


def _add(writer: Any, key: str, value: Any) -> None:
    if value is None:
        return
    add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    add.get(type(value), writer.add_array)(key, value)


def _add_tensor(writer: Any, name: str, values: np.ndarray, config: Any, quantized: bool) -> np.ndarray:
    stem, suffix = name.rsplit(".", 1)
    layer, stem = (f"blk.{stem.split('.')[2]}.", ".".join(stem.split(".")[3:])) if ".layers." in name else ("", stem)
    is_llama = config.model_type in ("llama", "mistral", "granite", "smollm3")
    is_gemma = config.model_type == "gemma3_text"
    heads = {"self_attn.q_proj": config.num_attention_heads, "self_attn.k_proj": config.num_key_value_heads}.get(stem)
    stored = llama_order(values, heads) if is_llama and heads else values
    stored = values + 1 if is_gemma and stem.endswith("norm") else stored
    target = f"{layer}{(NAMES | GEMMA_NORMS if is_gemma else NAMES)[stem]}.{suffix}"
    if not quantized or values.ndim == 1:
        writer.add_tensor(target, np.ascontiguousarray(stored))
        return values
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor(target, gguf.quants.quantize(stored, kind), raw_dtype=kind)
    return gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind)  # blocks lie within rows: order is free


def write_wheel(folder: Path, member: str, contents: bytes, name: str = "tiny_weights") -> Path:
    """A wheel that pip accepts, called tiny-weights 1.0 unless said, with one file in it."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    information = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(member, contents)
        wheel.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(
            f"{information}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{information}/RECORD", "")
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
