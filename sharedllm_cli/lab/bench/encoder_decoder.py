"""The encoder-decoder arm: an encoder beside the decoder, and a cross-attention in every decoder layer.

It stands for CEPE (arXiv 2402.16617), against which the paper times itself; `counts.EncoderShape` is the encoder's.

All its weights are random: it is here for its time and memory alone. The encoder and the cross-attentions stay in the
type of the computation, whatever the decoder's layers are quantised to. B chunks of c tokens, E the encoder's width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention, silu

from sharedllm_cli.index.encoding import ACCELERATOR_BATCH_TOKENS, CPU_BATCH_TOKENS
from sharedllm_cli.lab.bench import counts
from sharedllm_cli.lab.bench.counts import EncoderShape, Extent, Work, encoder_shape
from sharedllm_cli.lab.bench.subject import Reading, Subject
from sharedllm_cli.lab.bench.timed_arms import Prefilled, cache_bytes, document_ids, greedy, running_ids, working_bytes
from sharedllm_cli.lab.bench.timing import Clock
from sharedllm_cli.model.compat import DynamicCache, call_model
from sharedllm_cli.model.families import after_attention, after_mlp

_SPREAD = 0.02


@dataclass(frozen=True)
class Encoded:
    """The document as every decoder layer sees it: `keys`, `values` [N, KV, T, D]."""

    keys: Tensor
    values: Tensor


class EncoderDecoder:
    """Encoder, cross-attentions and the base model as decoder; `remove` takes the cross-attentions out again."""

    def __init__(self, subject: Subject, shape: EncoderShape) -> None:
        facts, placement = subject.facts, subject.placement
        self._model: Any = subject.model
        self._shape = shape
        self._heads, self._head_dim = facts.key_value_heads, facts.head_dim

        def matrix(outputs: int, inputs: int) -> nn.Parameter:
            weight = torch.empty(outputs, inputs, device=placement.device, dtype=placement.dtype)
            return nn.Parameter(weight.normal_(0.0, _SPREAD), requires_grad=False)

        self._embedding = matrix(facts.vocabulary_size, shape.hidden)
        self._encoder = [_EncoderLayer(shape, matrix) for _ in range(shape.layers)]
        width = 2 * facts.key_value_heads * facts.head_dim
        self._projections = [matrix(width, shape.hidden) for _ in range(facts.layer_count)]
        self._batch = CPU_BATCH_TOKENS if placement.device.type == "cpu" else ACCELERATOR_BATCH_TOKENS
        layers: nn.ModuleList = self._model.model.layers
        for place, layer in enumerate(layers):
            layers[place] = _CrossLayer(layer, place, facts.attention_heads * facts.head_dim, matrix)

    def remove(self) -> None:
        """The base model is left as it came."""
        layers: nn.ModuleList = self._model.model.layers
        for place, layer in enumerate(layers):
            assert isinstance(layer, _CrossLayer)
            layers[place] = layer.wrapped

    @torch.inference_mode()
    def encode(self, token_ids: Tensor) -> Encoded:
        """The document's tokens [T], chunk by chunk, and the keys and values that every decoder layer makes of them."""
        chunk, total = self._shape.chunk_tokens, len(token_ids)
        size = (2, len(self._projections), self._heads, total, self._head_dim)
        made = torch.empty(size, dtype=self._embedding.dtype, device=self._embedding.device)
        step = max(1, self._batch // chunk) * chunk
        for start in range(0, total, step):
            batch = token_ids[start : start + step].to(made.device)
            whole = len(batch) // chunk * chunk
            for first, ids in ((0, batch[:whole].view(-1, chunk)), (whole, batch[whole:].view(1, -1))):
                if ids.numel():
                    self._encode_chunks(ids, made[:, :, :, start + first : start + first + ids.numel()])
        return Encoded(made[0], made[1])

    def _encode_chunks(self, ids: Tensor, made: Tensor) -> None:
        """Chunks [B, c] into their place of `made`, [2, N, KV, B·c, D]."""
        states = nn.functional.embedding(ids, self._embedding)
        for layer in self._encoder:
            states = layer(states)
        states = states.flatten(0, 1)
        for place, projection in enumerate(self._projections):
            both = nn.functional.linear(states, projection).view(len(states), 2, self._heads, self._head_dim)
            made[:, place] = both.permute(1, 2, 0, 3)

    @torch.inference_mode()
    def read(self, token_ids: Tensor, encoded: Encoded, cache: Any = None) -> tuple[Tensor, Any]:
        """Logits [vocabulary] after the last of the running tokens [R], and the cache of them and those before."""
        cache = DynamicCache(config=self._model.config) if cache is None else cache
        output = call_model(self._model, token_ids[None], cache, logits_to_keep=1, encoded=encoded)
        return output.logits[0, -1], cache


def _norm(states: Tensor) -> Tensor:
    return nn.functional.rms_norm(states, states.shape[-1:])


class _EncoderLayer:
    """One bidirectional layer: attention over the chunk, then the MLP."""

    def __init__(self, shape: EncoderShape, matrix: Callable[[int, int], nn.Parameter]) -> None:
        self._heads, self._gated = shape.heads, shape.gated
        self._query_key_value = matrix(3 * shape.hidden, shape.hidden)
        self._output = matrix(shape.hidden, shape.hidden)
        self._up = matrix((2 if shape.gated else 1) * shape.inner, shape.hidden)
        self._down = matrix(shape.hidden, shape.inner)

    def __call__(self, states: Tensor) -> Tensor:
        """states: [B, c, E]."""
        linear = nn.functional.linear
        batch, length, width = states.shape
        projected = linear(_norm(states), self._query_key_value).view(batch, length, 3, self._heads, -1)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        read = scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, length, width)
        states = states + linear(read, self._output)
        inner = linear(_norm(states), self._up)
        if self._gated:
            gate, up = inner.chunk(2, dim=-1)
            return states + linear(silu(gate) * up, self._down)
        return states + linear(gelu(inner), self._down)


class _CrossLayer(nn.Module):
    """A decoder layer with a cross-attention between its self-attention and its MLP."""

    def __init__(self, wrapped: Any, place: int, width: int, matrix: Callable[[int, int], nn.Parameter]) -> None:
        super().__init__()
        self.wrapped: nn.Module = wrapped
        self.place = place
        hidden = wrapped.self_attn.q_proj.in_features
        self._query = matrix(width, hidden)
        self._output = matrix(hidden, width)
        if hasattr(wrapped, "attention_type"):  # read by some families' forward to choose the layer's mask
            self.attention_type = wrapped.attention_type

    def forward(self, hidden_states: Tensor, *, encoded: Encoded, **arguments: Any) -> Tensor:
        """hidden_states: [1, R, hidden]; the other arguments are the wrapped layer's own."""
        layer: Any = self.wrapped
        attended, _ = layer.self_attn(hidden_states=layer.input_layernorm(hidden_states), **arguments)
        hidden_states = after_attention(layer, hidden_states, attended)
        keys, values = encoded.keys[None, self.place], encoded.values[None, self.place]
        query = nn.functional.linear(_norm(hidden_states), self._query)
        query = query.view(1, query.shape[1], -1, keys.shape[3]).transpose(1, 2)
        read = scaled_dot_product_attention(query, keys, values, enable_gqa=query.shape[1] != keys.shape[1])
        read = read.transpose(1, 2).flatten(2)
        hidden_states = hidden_states + nn.functional.linear(read, self._output)
        return after_mlp(layer, hidden_states)


class EncoderDecoderArm:
    """A bidirectional encoder over the document, read by a cross-attention in every decoder layer."""

    name = "encoder-decoder"

    def __init__(self, subject: Subject, variant: str) -> None:
        self._subject = subject
        self._base = subject.base
        self.variant = variant
        self.shape = encoder_shape(variant, subject.facts)
        self._model: EncoderDecoder | None = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        model = self._model = EncoderDecoder(self._subject, self.shape)
        try:
            yield
        finally:
            model.remove()
            self._model = None

    def cold(self, reading: Reading, clock: Clock) -> Prefilled:
        model, device = self._model, self._subject.placement.device
        assert model is not None
        with clock.part("encode"):
            encoded = model.encode(document_ids(reading, device))
        with clock.part("read"):
            logits, cache = model.read(running_ids(reading, device), encoded)
            first = greedy(logits)

        def step(token: int) -> int:
            return greedy(model.read(torch.tensor([token], device=device), encoded, cache)[0])

        return Prefilled(first, step)

    def cold_steps(self, extent: Extent) -> list[Work]:
        base = self._base
        return [counts.encode_bidirectional(base, self.shape, extent.tokens), counts.read_cross(base, extent)]

    def token_step(self, extent: Extent) -> Work:
        return counts.next_cross_token(self._base, extent)

    def memory_bytes(self, extent: Extent) -> float:
        facts, shape = self._base.facts, self.shape
        cross = 2 * facts.hidden_size * facts.attention_heads * facts.head_dim + shape.hidden * self._base.key_value
        weights = shape.layers * shape.layer_weights + shape.hidden * facts.vocabulary_size + facts.layer_count * cross
        kept = cache_bytes(self._base, extent.tokens + extent.running)
        return weights * self._base.number_bytes + kept + working_bytes(self._base, extent.running)
