"""Self-attention of one new token on a processor: the queries that share keys read them together.

torch's fused kernel for processors takes a lone query's products number by number in bfloat16, eight to twenty times
as slow as those of two queries and more (docs/log.md), and grouped queries arrive there one by one. Laid under each
other as rows of the head whose keys they read they are no lone queries any more, and keys are read once. All else is
transformers' own SDPA, under whose rules for masks this stands, too. Knows no tree.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from sharedllm_cli.model.placement import SINGLE_QUERY


def single_query_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **arguments: Any
) -> tuple[Tensor, None]:
    """What transformers' SDPA gives: output [B, Q, H, D] and no weights.

    query: [B, H, Q, D]; key, value: [B, KV, S, D].
    """
    if query.shape[2] > 1 or attention_mask is not None or query.device.type != "cpu":
        attended: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **arguments)
        return attended
    batch, heads, _, width = query.shape
    rows = query.reshape(batch, key.shape[1], heads // key.shape[1], width)
    alone = rows.shape[2] == 1 and rows.dtype == torch.bfloat16
    if alone:
        rows = rows.expand(-1, -1, 2, -1)
    output = nn.functional.scaled_dot_product_attention(
        rows, key, value, dropout_p=arguments.get("dropout", 0.0), scale=arguments.get("scaling")
    )
    if alone:
        output = output[:, :, :1]
    return output.reshape(batch, 1, heads, width), None


def registered(kernel: str) -> str:
    """A kernel's name, known to transformers from now on where it is this one."""
    if kernel == SINGLE_QUERY:
        AttentionInterface.register(SINGLE_QUERY, single_query_attention)
        # Without a mask function of the same name transformers would drop every mask silently.
        AttentionMaskInterface.register(SINGLE_QUERY, sdpa_mask)
    return kernel
