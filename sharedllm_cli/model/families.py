"""Where the supported families' layers differ: rotations, residuals, norms, and what goes in and comes out.

Llama's structure is the common one. Gemma 3 scales its embeddings, norms what attention and MLP return, and turns the
keys of its local layers by another base. Granite multiplies embeddings, residuals and logits. SmolLM3 does not turn
the keys of every fourth layer at all. Everything is looked up on transformers' own modules, nothing by a family's name.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sharedllm_cli.model.compat import decoder_layer

Rotation = tuple[Tensor, Tensor]
"""Cosine and sine [B or 1, n, D] of some positions."""


class Rotations:
    """The rotations of some positions, as each layer uses them; each kind is computed once."""

    def __init__(self, rotary: Any, states: Tensor, positions: Tensor) -> None:
        """rotary: the model's rotary embedding; states: of its device and type; positions: [B or 1, n]."""
        self._rotary, self._states, self._positions = rotary, states, positions
        self._found: dict[str, Rotation] = {}

    def of(self, layer: Any) -> Rotation:
        """The rotation of a decoder layer's queries and keys."""
        kind = rotation_kind(layer)
        if kind not in self._found:
            self._found[kind] = self._computed(kind)
        return self._found[kind]

    def _computed(self, kind: str) -> Rotation:
        if kind == _NONE:
            cosine, sine = self._computed("")
            return torch.ones_like(cosine), torch.zeros_like(sine)
        named = (kind,) if kind else ()
        found: Rotation = self._rotary(self._states, self._positions, *named)
        return found


_NONE = "none"


def rotation_kind(layer: Any) -> str:
    """Which rotation a layer's keys get: `none`, the family's name of the layer's type, or nothing for the only one."""
    attention = decoder_layer(layer).self_attn
    if not getattr(attention, "use_rope", True):
        return _NONE
    # Only a family with a rotation for each type of layer states its parameters by type.
    parameters = getattr(attention.config, "rope_parameters", None) or {}
    kind = getattr(attention, "layer_type", None)
    return str(kind) if kind in parameters else ""


def turns_alike(model: Any) -> bool:
    """Whether all layers of a model turn their keys in the same way."""
    return {rotation_kind(layer) for layer in model.model.layers} == {""}


def embedded(decoder: Any, token_ids: Tensor) -> Tensor:
    """The states [B, n, hidden] that go into the first layer."""
    embeddings: Tensor = decoder.embed_tokens(token_ids)
    multiplier = getattr(decoder, "embedding_multiplier", None)
    return embeddings if multiplier is None else embeddings * multiplier


def projected(model: Any, states: Tensor) -> Tensor:
    """Logits of normed final states."""
    logits: Tensor = model.lm_head(states)
    divisor = getattr(model.config, "logits_scaling", None)
    if divisor is not None:
        logits = logits / divisor
    cap = getattr(model.config, "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap


def after_attention(layer: Any, hidden: Tensor, attended: Tensor) -> Tensor:
    """A layer's states after its attention returned `attended`, both [B, Q, hidden]."""
    if _norms_outputs(layer):
        attended = layer.post_attention_layernorm(attended)
    return hidden + attended * layer.residual_multiplier if _multiplies(layer) else hidden + attended


def after_mlp(layer: Any, hidden: Tensor) -> Tensor:
    """A layer's output [B, Q, hidden] from its states after attention."""
    if _norms_outputs(layer):
        output: Tensor = hidden + layer.post_feedforward_layernorm(layer.mlp(layer.pre_feedforward_layernorm(hidden)))
        return output
    change: Tensor = layer.mlp(layer.post_attention_layernorm(hidden))
    return hidden + change * layer.residual_multiplier if _multiplies(layer) else hidden + change


def _norms_outputs(layer: Any) -> bool:
    return hasattr(layer, "pre_feedforward_layernorm")


def _multiplies(layer: Any) -> bool:
    return hasattr(layer, "residual_multiplier")


def norm_epsilon(norm: Any) -> float:
    """What a root-mean-square norm adds to the mean square."""
    return float(norm.eps if hasattr(norm, "eps") else norm.variance_epsilon)


def norm_weight(norm: Any) -> Tensor:
    """What a root-mean-square norm multiplies by; Gemma stores it less one."""
    weight: Tensor = norm.weight
    return weight + 1 if hasattr(norm, "eps") else weight
