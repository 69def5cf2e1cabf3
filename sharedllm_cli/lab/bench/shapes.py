"""Models known by their shape alone: what `--random-weights` takes. Knows no weights and loads nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sharedllm_cli.errors import UsageError

_SHAPE = re.compile(r"(\d+)x(\d+)x(\d+)x(\d+)x(\d+)x(\d+)")
_FORM = "LAYERSxHIDDENxHEADSxKVxMLPxVOCAB"


def _llama(
    layers: int, hidden: int, heads: int, key_value_heads: int, inner: int, vocabulary: int, **more: Any
) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "head_dim": hidden // heads,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        **more,
    }


SHAPES: Mapping[str, Mapping[str, Any]] = {
    "llama-3.1-8b": _llama(32, 4096, 32, 8, 14336, 128256, rope_theta=500000.0, max_position_embeddings=131072),
    "llama-2-7b": _llama(32, 4096, 32, 32, 11008, 32000, max_position_embeddings=4096),
    "smollm2-135m": _llama(30, 576, 9, 3, 1536, 49152, rope_theta=100000.0, tie_word_embeddings=True),
    "tiny": _llama(4, 64, 4, 2, 128, 512, max_position_embeddings=512),
}
"""The configurations behind the names; window and rotation as the published models have them (8B without its stretched
rotation, which costs nothing)."""


def shape_config(text: str) -> dict[str, Any]:
    """The configuration of a named shape or of `LAYERSxHIDDENxHEADSxKVxMLPxVOCAB`; UsageError for any other text."""
    if text in SHAPES:
        return dict(SHAPES[text])
    numbers = _SHAPE.fullmatch(text)
    if numbers is None:
        raise UsageError(f"there is no shape {text!r}", hint=f"choose one of {', '.join(SHAPES)}, or write {_FORM}")
    layers, hidden, heads, key_value_heads, inner, vocabulary = map(int, numbers.groups())
    if not all((layers, hidden, heads, key_value_heads, inner, vocabulary)):
        raise UsageError(f"the shape {text} holds a zero")
    if hidden % (2 * heads):
        raise UsageError(f"the hidden size of {text} must be an even multiple of its heads")
    if heads % key_value_heads:
        raise UsageError(f"the heads of {text} must be a multiple of its key/value heads")
    return _llama(layers, hidden, heads, key_value_heads, inner, vocabulary)
