"""Self-attention on a processor, where torch's fused kernel is far from what the machine can do (docs/log/).

A lone query's products it takes number by number in bfloat16, eight to twenty times as slowly as those of two queries,
and grouped queries arrive there one by one, under a mask with a copy of the keys for each. Here the queries of a token
or a few are laid under each other as rows of the head whose keys they read: no lone queries any more, and the keys are
read once. Where there are few threads, causal texts and what is
learned from go by blocks of rows (`blocked_attention.py`). All else is transformers' own SDPA, under whose rules for
masks this stands. Knows no tree.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sharedllm_cli.model.attention import FEW_QUERIES
from sharedllm_cli.model.blocked_attention import attend_in_blocks, blocks_pay
from sharedllm_cli.model.compat import AttentionInterface, AttentionMaskInterface, sdpa_attention_forward, sdpa_mask
from sharedllm_cli.model.placement import PROCESSOR_SDPA

_MOST_QUERIES = 4096
"""Longer texts gain nothing: a block's logits don't stay in the cache."""


def processor_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **arguments: Any
) -> tuple[Tensor, None]:
    """What transformers' SDPA gives: output [B, Q, H, D] and no weights.

    query: [B, H, Q, D]; key, value: [B, KV, S, D]. Dropout and other devices are left to transformers.
    """
    queries, keys = query.shape[2], key.shape[2]
    scaling = arguments.get("scaling")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if query.device.type == "cpu" and not arguments.get("dropout"):
        learned = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
        alike = attention_mask is not None and attention_mask.shape[1] == 1 and attention_mask.shape[3] == keys
        whole = attention_mask is None and queries == keys and _is_causal(module, arguments)
        told = attention_mask is not None and alike and attention_mask.shape[2] == queries <= FEW_QUERIES
        if not learned and (told or (attention_mask is None and queries == 1)):
            return few_queries(query, key, value, scaling, attention_mask), None
        fitting = whole and (learned or queries <= _MOST_QUERIES)
        if (fitting or (learned and alike)) and blocks_pay(learned=learned):
            output, _ = attend_in_blocks(query, key, value, scaling, attention_mask, causal=whole)
            return output.transpose(1, 2).contiguous(), None
    attended: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **arguments)
    return attended


def _is_causal(module: nn.Module, arguments: dict[str, Any]) -> bool:
    told = arguments.get("is_causal")
    return bool(getattr(module, "is_causal", True) if told is None else told)


def few_queries(query: Tensor, keys: Tensor, values: Tensor, scaling: float, mask: Tensor | None = None) -> Tensor:
    """Attention of a few queries, laid under each other for every head of keys.

    query: [B, H, Q, D]; keys, values: [B, KV, S, D]; mask: boolean or additive, [B or 1, 1, Q, S]; without one they
    see all keys. Returns [B, Q, H, D].
    """
    batch, heads, count, width = query.shape
    group = heads // keys.shape[1]
    rows = query.reshape(batch, keys.shape[1], group * count, width)
    alone = rows.shape[2] == 1 and rows.dtype == torch.bfloat16
    if alone:
        rows = rows.expand(-1, -1, 2, -1)
    laid = None if mask is None else mask.repeat(1, 1, group, 1)  # one row serves two
    output = nn.functional.scaled_dot_product_attention(rows, keys, values, attn_mask=laid, scale=scaling)
    return (output[:, :, :1] if alone else output).reshape(batch, heads, count, width).transpose(1, 2)


def registered(kernel: str) -> str:
    """A kernel's name, known to transformers from now on where it is this one."""
    if kernel == PROCESSOR_SDPA:
        AttentionInterface.register(PROCESSOR_SDPA, processor_attention)
        # Without a mask function of the same name transformers would drop every mask silently.
        AttentionMaskInterface.register(PROCESSOR_SDPA, sdpa_mask)
    return kernel
