"""The lower model: the bottom M layers of the base model, as a compressor of the context tree's nodes.

docs/method.md §3. Its weights are the base model's own, loaded once. Knows no document, no tree and no file: it takes
token ids of nodes of equal length and the positions to keep, and returns their keys and values.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sharedllm_cli.model.attention import rotate
from sharedllm_cli.model.compat import DynamicCache, PreTrainedModel, causal_mask_of, decoder_layer, layer_keywords
from sharedllm_cli.model.families import Rotations, after_attention
from sharedllm_cli.model.placement import computing_device


@dataclass(frozen=True)
class EncodedNodes:
    """Compressed keys and values of B nodes of equal length.

    `keys`, `values`: [B, L, KV, k, D] of the lower model's L `layers`, keys without rotation; `vectors`: [B, hidden],
    the state of each node's last token after one layer and the final norm (the node's vector under the paper's policy).
    """

    keys: Tensor
    values: Tensor
    vectors: Tensor


@dataclass(frozen=True)
class CompressedNodes:
    """The keys and values of all preserved nodes, in the order given.

    `keys`, `values`: [L, KV, S, D], keys without rotation, the layer j at j − `first_layer`; `chunks`: [S], the number
    of the chunk each key belongs to, counted over all documents of the question.
    """

    keys: Tensor
    values: Tensor
    chunks: Tensor
    first_layer: int = 0

    @property
    def layers(self) -> range:
        """The layers whose keys and values these are."""
        return range(self.first_layer, self.first_layer + self.keys.shape[0])


def project_keys_values(attention: Any, normed: Tensor) -> tuple[Tensor, Tensor]:
    """A layer's keys, before rotation and after the family's key norm, and its values.

    normed: [B, l, hidden], the layer's normed input. Returns two of [B, KV, l, D].
    """
    shape = (*normed.shape[:-1], -1, attention.head_dim)
    keys = attention.k_proj(normed).view(shape)
    if hasattr(attention, "k_norm"):
        keys = attention.k_norm(keys)
    return keys.transpose(1, 2), attention.v_proj(normed).view(shape).transpose(1, 2)


def sliding_window(attention: Any) -> int | None:
    """The window of a layer's own attention, None where it sees everything before it."""
    config = attention.config
    owner = config if config.model_type == "mistral" else attention
    window = getattr(owner, "sliding_window", None)
    return int(window) if window else None


class LowerModel:
    """The bottom `lower_layers` layers of a base model, frozen, in evaluation mode.

    Keys and values are those of layers `first_layer`..M − 1: what lies below the lowest layer that reads is run, and
    nothing of it is kept.
    """

    def __init__(self, model: PreTrainedModel, lower_layers: int, first_layer: int = 0) -> None:
        decoder: Any = model.model
        self.config: Any = model.config
        if not 1 <= lower_layers <= len(decoder.layers):
            raise ValueError(f"M = {lower_layers} is not within the model's {len(decoder.layers)} layers")
        if not 0 <= first_layer < lower_layers:
            raise ValueError(f"the first layer to keep, {first_layer}, is not below M = {lower_layers}")
        self.lower_layers = lower_layers
        self.first_layer = first_layer
        self._embedding_scale: Any = getattr(decoder, "embedding_multiplier", None)
        self._embedding: nn.Module = decoder.embed_tokens
        self._rotary: nn.Module = decoder.rotary_emb
        self._norm: nn.Module = decoder.norm
        # An injected layer wraps the layer it injects into; the lower model is the layers as they came.
        self._layers: list[Any] = [decoder_layer(layer) for layer in decoder.layers[:lower_layers]]

    def replica(self, device: torch.device) -> LowerModel:
        """An equal lower model with a copy of the weights on another device."""
        other = copy.copy(self)
        other._embedding, other._rotary, other._norm = (
            copy.deepcopy(part).to(device) for part in (self._embedding, self._rotary, self._norm)
        )
        other._layers = [copy.deepcopy(layer).to(device) for layer in self._layers]
        return other

    @property
    def layers(self) -> range:
        """The layers whose keys and values are kept."""
        return range(self.first_layer, self.lower_layers)

    @property
    def device(self) -> torch.device:
        """Where token ids go in and keys, values and states come out."""
        return computing_device(self._embedding)

    @property
    def dtype(self) -> torch.dtype:
        """The type of states, keys and values."""
        return next(self._norm.parameters()).dtype

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states."""
        return int(self.config.hidden_size)

    @property
    def key_value_heads(self) -> int:
        """KV, the heads of keys and values."""
        return int(self.config.num_key_value_heads)

    @property
    def head_dim(self) -> int:
        """D, the width of one head's key or value."""
        return int(self._layers[0].self_attn.head_dim)

    @torch.no_grad()
    def encode(self, token_ids: Tensor, kept: Tensor) -> EncodedNodes:
        """Encode B nodes of equal length, each alone, and keep the keys and values at the kept positions.

        token_ids: [B, l] integers; kept: [k] positions in 0..l−1. Layer M yields its keys and values only.
        """
        hidden, run = self._start(token_ids)
        keys: list[Tensor] = []
        values: list[Tensor] = []
        first: Tensor | None = None
        for place, layer in enumerate(self._layers):
            if place in self.layers:
                # The kept rows alone are projected a second time here: an eighth of a twentieth of a layer's work,
                # which buys independence from how the family's attention keeps its cache.
                rows = hidden[:, kept.to(hidden.device)]
                key, value = project_keys_values(layer.self_attn, layer.input_layernorm(rows))
                keys.append(key.to(self.device))
                values.append(value.to(self.device))
            if place + 1 < self.lower_layers or place == 0:
                hidden = run(layer, hidden)
            if place == 0:
                first = self._norm(hidden[:, -1])
        assert first is not None
        return EncodedNodes(torch.stack(keys, dim=1), torch.stack(values, dim=1), first)

    @torch.no_grad()
    def states(self, token_ids: Tensor, layers: int) -> Tensor:
        """Hidden states of B token sequences of equal length after the first `layers` layers (at most M).

        token_ids: [B, l]. Returns [B, l, hidden].
        """
        hidden, run = self._start(token_ids)
        for layer in self._layers[:layers]:
            hidden = run(layer, hidden)
        return hidden

    @torch.no_grad()
    def attended(self, token_ids: Tensor) -> Tensor:
        """States of B token sequences of equal length within the first layer: behind its attention, before its MLP.

        token_ids: [B, l]. Returns [B, l, hidden]; the leaves' and the question's states of late interaction. The MLP is
        three quarters to nine tenths of the layer's work, and leaves found no better with it (docs/log/).
        """
        hidden, run = self._start(token_ids)
        layer = self._layers[0]

        def attention(states: Tensor, **named: Any) -> Tensor:
            found, _ = layer.self_attn(hidden_states=layer.input_layernorm(states), **named)
            return after_attention(layer, states, found)

        attended: Tensor = run(layer, hidden, attention)
        return attended

    def node_vectors(self, token_ids: Tensor) -> Tensor:
        """The paper's vector of B token sequences: last token after one layer and the final norm, [B, hidden]."""
        with torch.no_grad():
            vectors: Tensor = self._norm(self.states(token_ids, 1)[:, -1])
        return vectors

    @torch.no_grad()
    def last_token_vectors(self, token_ids: Tensor) -> Tensor:
        """What `node_vectors` gives, to rounding, for a tenth of its work: the last token alone has a query.

        token_ids: [B, l]. The tokens before it are keys and values of the first layer, which none of its other
        parts need. Returns [B, hidden].
        """
        layer = self._layers[0]
        window = sliding_window(layer.self_attn)
        token_ids = token_ids if window is None else token_ids[:, -window:]
        hidden = self._embedded(token_ids)
        positions = torch.arange(token_ids.shape[1], device=hidden.device).unsqueeze(0)
        cosine, sine = Rotations(self._rotary, hidden, positions).of(layer)
        before = DynamicCache()
        if token_ids.shape[1] > 1:
            keys, values = project_keys_values(layer.self_attn, layer.input_layernorm(hidden[:, :-1]))
            before.update(rotate(keys, cosine[:, :-1], sine[:, :-1]), values, layer.self_attn.layer_idx)
        rotation = (cosine[:, -1:], sine[:, -1:])
        named = layer_keywords(layer, mask=None, positions=positions[:, -1:], rotation=rotation, cache=before)
        last: Tensor = layer(hidden[:, -1:], **named)
        vectors: Tensor = self._norm(last[:, 0])
        return vectors

    def _embedded(self, token_ids: Tensor) -> Tensor:
        hidden: Tensor = self._embedding(token_ids.to(self.device))
        return hidden if self._embedding_scale is None else hidden * self._embedding_scale

    def _start(self, token_ids: Tensor) -> tuple[Tensor, Any]:
        """Embedded tokens, and a function that runs a layer or a part of it over them at positions 0..l−1, causally."""
        hidden = self._embedded(token_ids)
        positions = torch.arange(token_ids.shape[1], device=hidden.device).unsqueeze(0)
        rotations = Rotations(self._rotary, hidden, positions)
        masks: dict[bool, Any] = {}

        def run(layer: Any, states: Tensor, part: Any = None) -> Tensor:
            window = sliding_window(layer.self_attn)
            windowed = window is not None and window < token_ids.shape[1]
            if windowed not in masks:
                masks[windowed] = causal_mask_of(self.config, hidden, positions, windowed=windowed)
            named = layer_keywords(layer, mask=masks[windowed], positions=positions, rotation=rotations.of(layer))
            output: Tensor = (part or layer)(states, **named)
            return output

        return hidden, run
