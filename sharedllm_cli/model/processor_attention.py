"""Self-attention on a processor, where torch's fused kernel is far from what the machine can do (docs/log.md).

A lone query's products it takes number by number in bfloat16, eight to twenty times as slowly as those of two queries,
and grouped queries arrive there one by one. Here they are laid under each other as rows of the head whose keys they
read: no lone queries any more, and the keys are read once. Of many causal queries, blocks of rows are read against the
keys that the last of them sees, by plain products: a block's logits stay in the cache, and half of all logits are never
computed. All else is transformers' own SDPA, under whose rules for masks this stands, too. Knows no tree.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from sharedllm_cli.model.placement import PROCESSOR_SDPA

_ROWS = 96
"""Rows of logits a head of keys computes at once; 64 to 128 are alike."""
_MOST_QUERIES = 4096
"""Longer texts gain nothing: a block's keys don't stay in the cache."""


def processor_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **arguments: Any
) -> tuple[Tensor, None]:
    """What transformers' SDPA gives: output [B, Q, H, D] and no weights.

    query: [B, H, Q, D]; key, value: [B, KV, S, D]. Masks, gradients, dropout, other devices: transformers' own.
    """
    queries, keys = query.shape[2], key.shape[2]
    learned = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad)
    plain = attention_mask is None and not arguments.get("dropout") and query.device.type == "cpu" and not learned
    scaling = arguments.get("scaling")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if plain and queries == 1:
        return single_query(query, key, value, scaling), None
    if plain and queries == keys <= _MOST_QUERIES and _is_causal(module, arguments):
        return causal(query, key, value, scaling), None
    attended: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **arguments)
    return attended


def _is_causal(module: nn.Module, arguments: dict[str, Any]) -> bool:
    told = arguments.get("is_causal")
    return bool(getattr(module, "is_causal", True) if told is None else told)


def single_query(query: Tensor, keys: Tensor, values: Tensor, scaling: float) -> Tensor:
    """Attention of one query, which sees all keys. query: [B, H, 1, D]; keys, values: [B, KV, S, D]; [B, 1, H, D]."""
    batch, heads, _, width = query.shape
    rows = query.reshape(batch, keys.shape[1], heads // keys.shape[1], width)
    alone = rows.shape[2] == 1 and rows.dtype == torch.bfloat16
    if alone:
        rows = rows.expand(-1, -1, 2, -1)
    output = nn.functional.scaled_dot_product_attention(rows, keys, values, scale=scaling)
    return (output[:, :, :1] if alone else output).reshape(batch, 1, heads, width)


def causal(query: Tensor, keys: Tensor, values: Tensor, scaling: float) -> Tensor:
    """Causal attention of S queries over S keys, logits and softmax in at least float32.

    query: [B, H, S, D]; keys, values: [B, KV, S, D]. Returns [B, S, H, D].
    """
    batch, heads, length, width = query.shape
    groups = keys.shape[1]
    wide = torch.promote_types(query.dtype, torch.float32)
    rows = query.reshape(batch, groups, heads // groups, length, width)
    seen = keys.to(wide).transpose(2, 3)
    output = query.new_empty(batch, length, groups, heads // groups, width)
    step = max(16, _ROWS // rows.shape[2])
    for first in range(0, length, step):
        last = min(first + step, length)
        block = (rows[:, :, :, first:last].to(wide) * scaling).flatten(2, 3)
        logits = torch.matmul(block, seen[..., :last])
        logits = logits.view(batch, groups, -1, last - first, last)
        later = torch.ones(last - first, last - first, dtype=torch.bool).triu(1)
        logits[..., first:].masked_fill_(later, float("-inf"))
        weights = logits.softmax(dim=-1).to(values.dtype).flatten(2, 3)
        read = torch.matmul(weights, values[:, :, :last]).view(batch, groups, -1, last - first, width)
        output[:, first:last] = read.permute(0, 3, 1, 2, 4)
    return output.flatten(2, 3)


def registered(kernel: str) -> str:
    """A kernel's name, known to transformers from now on where it is this one."""
    if kernel == PROCESSOR_SDPA:
        AttentionInterface.register(PROCESSOR_SDPA, processor_attention)
        # Without a mask function of the same name transformers would drop every mask silently.
        AttentionMaskInterface.register(PROCESSOR_SDPA, sdpa_mask)
    return kernel
