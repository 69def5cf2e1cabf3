"""A GGUF file of a supported family becomes `config.json` and float safetensors: llama.cpp's names to transformers'.

The `gguf` package reads the file and dequantises its blocks (vectorised, exact); this module knows the names, the
row order of Llama's rotary projections and how rotary scaling is written. Needs no torch. Reads nothing but the file.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sharedllm_cli.errors import ModelError
from sharedllm_cli.progress import Task
from sharedllm_cli.weights.facts import ARCHITECTURES, SUPPORTED_HINT, unreadable

_HALF_PRECISION_FROM = 1_000_000_000
_SHARD_BYTES = 2 << 30
_TENSORS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


class GGUFFile:
    """An opened GGUF file of a supported family: its metadata by name, and its tensors.

    Raises ModelError for a file that is not GGUF, is damaged, or holds another architecture.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = _open(path)
        self.architecture = str(self.value("general.architecture", ""))
        if self.architecture not in ("llama", "qwen2", "qwen3"):
            raise ModelError(
                f"{path} holds a model of the architecture {self.architecture!r}, which is not supported",
                hint=SUPPORTED_HINT,
            )
        if self.value(f"{self.architecture}.expert_count", 0):
            raise ModelError(f"{path} holds a mixture of experts, which is not supported", hint=SUPPORTED_HINT)
        self.tensor_names = frozenset(tensor.name for tensor in self._reader.tensors)
        self.parameter_count = sum(int(tensor.n_elements) for tensor in self._reader.tensors)

    def value(self, key: str, default: Any = None) -> Any:
        """A metadata value as a Python object, or the default where the file doesn't state it."""
        field = self._reader.get_field(key)
        return default if field is None else field.contents()

    def shape_value(self, key: str, default: Any = None) -> Any:
        """A value under the architecture's own prefix, e.g. `llama.block_count`; ModelError if it is missing."""
        value = self.value(f"{self.architecture}.{key}", default)
        if value is None:
            raise ModelError(f"{self.path} is damaged: it doesn't state {self.architecture}.{key}")
        return value

    def tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        """Every weight under its transformers name, dequantised to float32; ModelError for one that has no place."""
        from gguf.quants import dequantize

        heads = int(self.shape_value("attention.head_count"))
        key_value_heads = int(self.shape_value("attention.head_count_kv", heads))
        for tensor in self._reader.tensors:
            if tensor.name == "rope_freqs.weight":  # goes into config.json, see `_rope_parameters`
                continue
            name = self._transformers_name(tensor.name)
            try:
                values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
            except (NotImplementedError, ValueError) as error:
                raise ModelError(
                    f"{self.path} stores {tensor.name} as {tensor.tensor_type.name}, which can't be dequantised"
                ) from error
            if self.architecture == "llama" and ".attn_q." in tensor.name:
                values = _rotary_halves(values, heads)
            elif self.architecture == "llama" and ".attn_k." in tensor.name:
                values = _rotary_halves(values, key_value_heads)
            yield name, np.ascontiguousarray(values)

    def frequency_factors(self) -> np.ndarray | None:
        """The divisors of the rotary frequencies that Llama 3.1 and later files carry, [head_dim / 2]."""
        for tensor in self._reader.tensors:
            if tensor.name == "rope_freqs.weight":
                return np.asarray(tensor.data, dtype=np.float32).reshape(-1)
        return None

    def _transformers_name(self, name: str) -> str:
        parts = name.split(".")
        layer = f"model.layers.{parts[1]}." if parts[0] == "blk" and len(parts) == 4 else ""
        stem, suffix = parts[-2] if len(parts) > 1 else name, parts[-1]
        is_bias_of_qwen2 = self.architecture == "qwen2" and suffix == "bias"
        if stem not in _TENSORS or not (suffix == "weight" or is_bias_of_qwen2):
            raise ModelError(f"{self.path} holds a weight with no place in a {self.architecture} model: {name}")
        return f"{layer}{_TENSORS[stem]}.{suffix}"


def config_from_gguf(file: GGUFFile) -> dict[str, Any]:
    """The `config.json` of the file's model, as transformers spells it."""
    hidden, heads = int(file.shape_value("embedding_length")), int(file.shape_value("attention.head_count"))
    head_dim = int(file.shape_value("attention.key_length", file.shape_value("rope.dimension_count", hidden // heads)))
    config: dict[str, Any] = {
        "architectures": [ARCHITECTURES[file.architecture]],
        "model_type": file.architecture,
        "hidden_size": hidden,
        "intermediate_size": int(file.shape_value("feed_forward_length")),
        "num_hidden_layers": int(file.shape_value("block_count")),
        "num_attention_heads": heads,
        "num_key_value_heads": int(file.shape_value("attention.head_count_kv", heads)),
        "head_dim": head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": int(file.shape_value("context_length")),
        "rms_norm_eps": _shortest(file.shape_value("attention.layer_norm_rms_epsilon")),
        "rope_parameters": _rope_parameters(file, head_dim),
        "vocab_size": len(file.value("tokenizer.ggml.tokens", ())) or int(file.shape_value("vocab_size")),
        "tie_word_embeddings": "output.weight" not in file.tensor_names,
        "dtype": str(np.dtype(stored_type(file))),
    }
    for key, name in (("bos", "bos"), ("eos", "eos"), ("padding", "pad")):
        identity = file.value(f"tokenizer.ggml.{key}_token_id")
        if identity is not None:
            config[f"{name}_token_id"] = int(identity)
    return config


def generation_config_from_gguf(file: GGUFFile) -> dict[str, Any]:
    """Which tokens begin, end and pad a text: `generation_config.json`."""
    ends = [file.value(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot")]
    distinct = list(dict.fromkeys(int(end) for end in ends if end is not None))
    values = {
        "bos_token_id": file.value("tokenizer.ggml.bos_token_id"),
        "eos_token_id": distinct[0] if len(distinct) == 1 else distinct or None,
        "pad_token_id": file.value("tokenizer.ggml.padding_token_id"),
    }
    return {key: value for key, value in values.items() if value is not None}


def stored_type(file: GGUFFile) -> type[np.floating[Any]]:
    """float32 (exact); float16 for 1B parameters and more, where exactness would cost gigabytes of disk."""
    return np.float32 if file.parameter_count < _HALF_PRECISION_FROM else np.float16


def converted_bytes(file: GGUFFile) -> int:
    """How much disk the converted weights take."""
    return file.parameter_count * np.dtype(stored_type(file)).itemsize


def write_weights(file: GGUFFile, folder: Path, task: Task) -> list[Path]:
    """Write the weights as safetensors into a folder, in shards of at most about 2 GiB; returns the files.

    `task` advances by bytes written. One shard is held in memory at a time.
    """
    shards: list[dict[str, np.ndarray]] = [{}]
    written: list[tuple[Path, list[str]]] = []
    size = 0
    for name, values in file.tensors():
        stored = values if values.ndim == 1 else values.astype(stored_type(file), copy=False)
        if size and size + stored.nbytes > _SHARD_BYTES:
            written.append(_write_shard(folder, len(written), shards.pop()))
            shards.append({})
            size = 0
        shards[-1][name] = stored
        size += stored.nbytes
        task.advance(stored.nbytes)
    written.append(_write_shard(folder, len(written), shards.pop()))
    if len(written) == 1:
        only = folder / "model.safetensors"
        written[0][0].rename(only)
        return [only]
    weight_map = {name: path.name for path, names in written for name in names}
    index = {"metadata": {"total_size": converted_bytes(file)}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    return [path for path, _ in written]


def _write_shard(folder: Path, number: int, tensors: dict[str, np.ndarray]) -> tuple[Path, list[str]]:
    from safetensors.numpy import save_file

    path = folder / f"model-{number + 1:05d}.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    return path, list(tensors)


def require_gguf(path: Path) -> None:
    """ModelError for a file that does not begin as a GGUF file does; OSError where it can't be read."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise ModelError(
            f"{path} is not a GGUF file", hint="give a folder with config.json and *.safetensors, or a .gguf file"
        )


def _open(path: Path) -> Any:
    from gguf import GGUFReader

    try:
        require_gguf(path)
        return GGUFReader(path)
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is a damaged GGUF file", hint="download it again") from error


def _rotary_halves(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a Llama q/k projection from llama.cpp's order (pairs beside each other) to transformers' (two halves).

    `values` is [heads · head_dim, hidden]; within each head row 2i becomes row i and row 2i + 1 row head_dim/2 + i.
    """
    rows = values.shape[0]
    return values.reshape(heads, rows // heads // 2, 2, -1).swapaxes(1, 2).reshape(values.shape)


def _rope_parameters(file: GGUFFile, head_dim: int) -> dict[str, Any]:
    theta = _shortest(file.shape_value("rope.freq_base", 10000.0))
    factors = file.frequency_factors()
    if factors is not None:
        return _llama3_parameters(file.path, theta, factors, head_dim)
    kind = file.shape_value("rope.scaling.type", "none")
    if kind == "none":
        return {"rope_type": "default", "rope_theta": theta}
    if kind not in ("linear", "yarn"):
        raise ModelError(f"{file.path} scales its positions by {kind!r}, which is not supported")
    parameters = {"rope_type": kind, "rope_theta": theta, "factor": _shortest(file.shape_value("rope.scaling.factor"))}
    if kind == "yarn":
        parameters["original_max_position_embeddings"] = int(file.shape_value("rope.scaling.original_context_length"))
    return parameters


def _llama3_parameters(path: Path, theta: float, factors: np.ndarray, head_dim: int) -> dict[str, Any]:
    """The published Llama 3 scaling that yields the file's frequency factors; ModelError where none does."""
    factor = _shortest(factors.max())
    parameters = {
        "rope_type": "llama3",
        "rope_theta": theta,
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    wavelengths = 2 * math.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
    smooth = np.clip((8192 / wavelengths - 1.0) / (4.0 - 1.0), 0.0, 1.0)
    expected = 1 / ((1 - smooth) / factor + smooth)
    if expected.shape != factors.shape or not np.allclose(expected, factors, rtol=1e-3):
        raise ModelError(f"{path} scales its positions in a way that is not supported")
    return parameters


def _shortest(value: Any) -> float:
    """A float32 of the file as the decimal that it was written from: 9.999999747378752e-06 is 1e-05."""
    return float(str(np.float32(value)))
