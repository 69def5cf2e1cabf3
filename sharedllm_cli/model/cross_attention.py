"""How an injected layer reads the tree: position-aware cross-attention, in the published and in the merged form.

docs/method.md §4. Shapes: B batch, Q running tokens, S kept keys of the tree, H query heads, KV key/value heads, D head
dimension. Knows no document and no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sharedllm_cli.config import InjectionConfig
from sharedllm_cli.model.attention import attend, causal_mask, join, rotate, rotate_in_place
from sharedllm_cli.model.families import Rotations, norm_epsilon, norm_weight
from sharedllm_cli.model.lower import CompressedNodes, project_keys_values, sliding_window
from sharedllm_cli.model.placement import linear_weight


@dataclass(frozen=True)
class TreeContext:
    """What the upper model reads of the tree for one question, ready for attention.

    `keys[j]`, `values[j]` of injected layer j: [B or 1, KV, S, D], keys rotated by their chunk's number k;
    `rotations[j]`: the cosine and sine [B or 1, 1, D] of position n, the number of chunks, by which its queries are
    rotated. In a batch of trees of different sizes, `mask` (boolean [B, 1, 1, S]) is True for keys, False for padding.
    `bias` is added to the gates of merged injections.
    """

    keys: dict[int, Tensor]
    values: dict[int, Tensor]
    rotations: dict[int, tuple[Tensor, Tensor]]
    mask: Tensor | None = None
    bias: float = 0.0

    @property
    def rotation(self) -> tuple[Tensor, Tensor]:
        """One of the layers' rotations, for what all have in common: device, type, size of the batch."""
        return next(iter(self.rotations.values()))

    def on(self, device: torch.device) -> TreeContext:
        """What all layers share of it on the device of one layer; keys and values lie where their layers do."""
        if self.rotation[0].device == device:
            return self
        mask = None if self.mask is None else self.mask.to(device)
        moved = {layer: (cosine.to(device), sine.to(device)) for layer, (cosine, sine) in self.rotations.items()}
        return replace(self, rotations=moved, mask=mask)

    def first(self, count: int) -> TreeContext:
        """The tree's first `count` keys alone; of one tree."""
        keys = {layer: tensor[:, :, :count] for layer, tensor in self.keys.items()}
        return replace(self, keys=keys, values={layer: tensor[:, :, :count] for layer, tensor in self.values.items()})

    @property
    def kept_keys(self) -> int:
        """S, the number of keys that each injected layer sees (of the largest tree, where there are several)."""
        return int(next(iter(self.keys.values())).shape[2])

    def key_counts(self) -> Tensor:
        """The number of keys of each tree, [B or 1]."""
        if self.mask is not None:
            return self.mask.sum(dim=-1).view(-1)
        return self.rotation[0].new_full((1,), self.kept_keys)  # made where it is needed: a copy would be waited for

    @staticmethod
    def side_by_side(contexts: Sequence[TreeContext]) -> TreeContext:
        """The trees of B prompts as one batch, padded to the largest; ValueError where their biases differ."""
        if len(contexts) == 1:
            return contexts[0]
        if len({context.bias for context in contexts}) > 1:
            raise ValueError("trees that are read with different biases can't be one batch")
        sizes = [context.kept_keys for context in contexts]
        largest = max(sizes)

        def padded(tensors: Sequence[Tensor]) -> Tensor:
            whole = tensors[0].new_zeros(len(tensors), tensors[0].shape[1], largest, tensors[0].shape[3])
            for row, tensor in zip(whole, tensors, strict=True):
                row[:, : tensor.shape[2]] = tensor[0]
            return whole

        layers = contexts[0].keys
        rotation = contexts[0].rotation[0]
        mask = torch.arange(largest, device=rotation.device) < torch.tensor(sizes, device=rotation.device)[:, None]
        return TreeContext(
            {layer: padded([context.keys[layer] for context in contexts]) for layer in layers},
            {layer: padded([context.values[layer] for context in contexts]) for layer in layers},
            {
                layer: (
                    torch.cat([context.rotations[layer][0] for context in contexts]),
                    torch.cat([context.rotations[layer][1] for context in contexts]),
                )
                for layer in layers
            },
            mask[:, None, None],
            contexts[0].bias,
        )


def tree_context(
    nodes: CompressedNodes,
    chunk_count: int,
    rotary: nn.Module,
    layers: Mapping[int, Any],
    devices: Mapping[int, torch.device],
    dtype: torch.dtype,
    *,
    consume: bool = False,
) -> TreeContext:
    """Rotate the keys of the preserved nodes by their chunk numbers and fix the queries' position n.

    nodes: keys of the layers that read, at least (more are allowed: trees of more layers serve fewer); layers: the
    decoder layers that read; devices: where each of them computes; `consume`: nobody reads the nodes afterwards, so
    that their keys are rotated where they lie. Raises ValueError for a layer that the nodes lack.
    """
    if missing := [layer for layer in devices if layer not in nodes.layers]:
        raise ValueError(f"the nodes hold {nodes.layers} and lack layers {missing}")
    keys = nodes.keys.to(dtype)
    turn = rotate_in_place if consume or keys is not nodes.keys else rotate
    positions = torch.cat([nodes.chunks, nodes.chunks.new_tensor([chunk_count])]).to(keys.device).unsqueeze(0)
    rotations = Rotations(rotary, keys, positions)

    def turned(layer: int) -> Tensor:
        cosine, sine = rotations.of(layers[layer])
        return turn(keys[layer - nodes.first_layer].unsqueeze(0), cosine[:, :-1], sine[:, :-1])

    rotated = {layer: turned(layer).to(device) for layer, device in devices.items()}
    values = {
        layer: nodes.values[layer - nodes.first_layer].to(device, dtype).unsqueeze(0)
        for layer, device in devices.items()
    }
    found = {layer: rotations.of(layers[layer]) for layer in devices}
    return TreeContext(
        rotated, values, {layer: (cosine[:, -1:], sine[:, -1:]) for layer, (cosine, sine) in found.items()}
    )


class LowRank(nn.Module):
    """A low-rank addition to a linear map, x ↦ scale · up(down(x)); starts as zero.

    While `disabled` it adds nothing: the base model is heard through its adapter.
    """

    disabled = False

    def __init__(self, inputs: int, outputs: int, rank: int, scale: float) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        self.scale = scale
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, states: Tensor) -> Tensor:
        """states: [..., inputs]. Returns [..., outputs] in the dtype of the states, a plain zero while disabled."""
        if self.disabled:
            return states.new_zeros(())
        down, up = self.down.to(states.dtype), self.up.to(states.dtype)
        return nn.functional.linear(nn.functional.linear(states, down), up) * self.scale


class AdditiveInjection(nn.Module):
    """The published form: h + tanh(g) · CrossAttn(norm(h), K, V), with its own norm, query and output projections.

    They start as copies of the layer's own; the gate starts at 0 (docs/method.md §4).
    """

    def __init__(self, layer: Any, config: InjectionConfig, dtype: torch.dtype) -> None:
        super().__init__()
        attention = layer.self_attn
        self.config: Any = attention.config
        heads, hidden = attention.config.num_attention_heads, attention.config.hidden_size
        self.head_dim: int = attention.head_dim
        self.scaling: float = attention.scaling
        self.eps: float = norm_epsilon(layer.input_layernorm)
        self.norm = nn.Parameter(torch.ones(hidden, dtype=dtype))
        self.query = nn.Parameter(torch.zeros(heads * self.head_dim, hidden, dtype=dtype))
        self.query_bias = (
            nn.Parameter(torch.zeros(heads * self.head_dim, dtype=dtype)) if attention.q_proj.bias is not None else None
        )
        self.query_norm = nn.Parameter(torch.ones(self.head_dim, dtype=dtype)) if hasattr(attention, "q_norm") else None
        self.output = nn.Parameter(torch.zeros(hidden, heads * self.head_dim, dtype=dtype))
        self.output_bias = nn.Parameter(torch.zeros(hidden, dtype=dtype)) if attention.o_proj.bias is not None else None
        self.gate = nn.Parameter(torch.zeros((), dtype=torch.float32))

    @torch.no_grad()
    def copy_from(self, layer: Any) -> None:
        """Start from the layer's own norm and projections."""
        attention = layer.self_attn
        self.norm.copy_(norm_weight(layer.input_layernorm))
        self.query.copy_(linear_weight(attention.q_proj))
        self.output.copy_(linear_weight(attention.o_proj))
        if self.query_bias is not None:
            self.query_bias.copy_(attention.q_proj.bias)
        if self.output_bias is not None:
            self.output_bias.copy_(attention.o_proj.bias)
        if self.query_norm is not None:
            self.query_norm.copy_(norm_weight(attention.q_norm))

    @property
    def is_open(self) -> bool:
        """Whether the gate lets anything of the tree through."""
        return bool(self.gate.detach() != 0)

    def forward(self, hidden: Tensor, tree: TreeContext, place: int) -> Tensor:
        """What layer `place` adds to its hidden states [B, Q, hidden] between self-attention and MLP."""
        batch, length, _ = hidden.shape
        normed = _root_mean_square_norm(hidden, self.norm, self.eps)
        query = nn.functional.linear(
            normed, self.query.to(hidden.dtype), None if self.query_bias is None else self.query_bias.to(hidden.dtype)
        ).view(batch, length, -1, self.head_dim)
        if self.query_norm is not None:
            query = _root_mean_square_norm(query, self.query_norm, self.eps)
        query = rotate(query.transpose(1, 2), *tree.rotations[place])
        kernel = self.config._attn_implementation
        read, _ = attend(query, tree.keys[place], tree.values[place], self.scaling, tree.mask, implementation=kernel)
        read = read.transpose(1, 2).reshape(batch, length, -1)
        output = nn.functional.linear(
            read, self.output.to(hidden.dtype), None if self.output_bias is None else self.output_bias.to(hidden.dtype)
        )
        return torch.tanh(self.gate).to(hidden.dtype) * output


class MergedInjection(nn.Module):
    """The merged form: one softmax over the tree's keys and the layer's own, with the layer's own projections.

    Two attentions joined by their log-sum-exps; the gate is a bias b on the tree's logits, one a layer or one a head,
    −∞ at the start (docs/method.md §4).
    """

    def __init__(self, layer: Any, config: InjectionConfig) -> None:
        super().__init__()
        heads = layer.self_attn.config.num_attention_heads
        self.gate = nn.Parameter(torch.full((heads if config.gates == "head" else 1,), float("-inf")))

    @property
    def is_open(self) -> bool:
        """Whether the gate lets anything of the tree through."""
        return bool((self.gate.detach() > float("-inf")).any())

    def forward(
        self,
        normed: Tensor,
        attention: Any,
        tree: TreeContext,
        place: int,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None,
        cache: Any,
    ) -> Tensor:
        """The attention output [B, Q, hidden] of layer `place` for its normed input [B, Q, hidden].

        attention: the layer's, with the adapter's low-rank additions where it has any.
        """
        batch, length, _ = normed.shape
        query = attention.q_proj(normed).view(batch, length, -1, attention.head_dim)
        if hasattr(attention, "q_norm"):
            query = attention.q_norm(query)
        query = query.transpose(1, 2)
        keys, values = project_keys_values(attention, normed)
        turned = getattr(attention, "use_rope", True)
        keys = rotate(keys, *position_embeddings) if turned else keys
        if cache is not None:
            keys, values = cache.update(keys, values, attention.layer_idx)
        window, kernel = sliding_window(attention), attention.config._attn_implementation
        causal = attention_mask is None and (window is None or keys.shape[2] <= window)
        mask = attention_mask
        if mask is None and not causal:
            mask = causal_mask(length, keys.shape[2], window, keys.device)
        own_query = rotate(query, *position_embeddings) if turned else query
        own, own_sum = attend(own_query, keys, values, attention.scaling, mask, causal=causal, implementation=kernel)
        read, read_sum = attend(
            rotate(query, *tree.rotations[place]),
            tree.keys[place],
            tree.values[place],
            attention.scaling,
            tree.mask,
            implementation=kernel,
        )
        joined = join(own, own_sum, read, read_sum + self._bias(tree, read_sum.dtype))
        output: Tensor = attention.o_proj(joined.transpose(1, 2).reshape(batch, length, -1))
        return output

    def _bias(self, tree: TreeContext, dtype: torch.dtype) -> Tensor:
        """What is added to the tree's logits: the gate and the reading's bias, [1, H or 1, 1]."""
        return self.gate.to(dtype)[None, :, None] + tree.bias


def _root_mean_square_norm(states: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = states.to(torch.promote_types(states.dtype, torch.float32))
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return weight.to(states.dtype) * wide.to(states.dtype)
