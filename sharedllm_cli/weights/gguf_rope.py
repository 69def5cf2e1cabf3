"""How a GGUF file's model turns positions into rotations: base, scaling, frequency factors, as transformers writes it.

llama.cpp and transformers name the same scalings (linear, yarn) alike. Llama 3.1's is stored as its effect, a divisor
of each frequency, and found again from it. What can't be said in transformers' terms is refused.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sharedllm_cli.errors import ModelError
from sharedllm_cli.weights.gguf_file import GGUFFile, shortest

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
