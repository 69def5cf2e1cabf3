"""Softmax attention on a CPU, where torch's fused kernel is far from what the machine can do (docs/log.md).

That kernel reaches 30 to 60 GFLOP/s on heads of 64, a tenth of what the same machine's matrix products do. It takes a
lone query's products number by number in bfloat16, and grouped queries one by one, under a mask with a copy of the keys
for each. Here two ways replace it. The queries of a token or a few become rows of the head whose keys they read
(`few_queries`), so that the keys are read once. Where there are few threads, causal texts and what is learned from go
by blocks of rows (`attend_in_blocks`): a block's logits stay in the cache, and it reads no key that none of its rows
sees. As in FlashAttention (Dao et al., 2022) the backward pass computes the weights again. All else is transformers'
own SDPA. Shapes: B batch, H query heads, KV key/value heads, G queries a group, Q queries, S keys, D head dimension.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sharedllm_cli.model.compat import AttentionInterface, AttentionMaskInterface, sdpa_attention_forward, sdpa_mask

_ROWS = 96
"""Rows of a block for each head of keys; 64 to 128 are alike."""
FEW_QUERIES = 16
"""Up to this many queries under a mask become rows of one head of keys, which is then read once. With more queries
their own products take the time."""
_MOST_QUERIES = 4096
"""Longer texts gain nothing: a block's logits don't stay in the cache."""
CPU_SDPA = "sdpa_cpu"
"""transformers' name of SDPA as it is run here (`registered`)."""
Blocked = tuple[Tensor, Tensor]


def blocks_pay(*, learned: bool) -> bool:
    """Whether blocks are faster than torch's fused kernel: a block is too small to be shared by many threads.

    Measured with one and two threads; with gradients two still gain, without them one alone (docs/log.md).
    """
    return torch.get_num_threads() <= (2 if learned else 1)


def attend_in_blocks(
    query: Tensor, keys: Tensor, values: Tensor, scaling: float, mask: Tensor | None = None, *, causal: bool = False
) -> Blocked:
    """Grouped-query softmax attention and the log-sum-exp of its logits.

    query: [B, H, Q, D]; keys, values: [B, KV, S, D]; mask: boolean (True = seen) or additive, [B or 1, 1, Q or 1, S];
    `causal`, where there is no mask: the queries are the last Q of S tokens and see no later one. Returns output
    [B, H, Q, D] in the query's dtype and log-sum-exp [B, H, Q] in at least float32; a query that sees nothing reads
    zeros, and its log-sum-exp is −∞.
    """
    learned = torch.is_grad_enabled() and any(states.requires_grad for states in (query, keys, values))
    kind = query.dtype if learned else torch.promote_types(query.dtype, torch.float32)
    found: Blocked = _BlockedAttention.apply(query, keys, values, scaling, mask, causal, kind)  # type: ignore[no-untyped-call]
    return found


class _Block(NamedTuple):
    """Some queries of one text and the keys that they may see.

    `hidden`, [q or 1, s]: True for those of the last s of these keys that a query does not see, or what is added.
    """

    text: int
    queries: slice
    keys: slice
    hidden: Tensor | None


class _BlockedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        scaling: float,
        mask: Tensor | None,
        causal: bool,
        kind: torch.dtype,
    ) -> Blocked:
        rows, columns = _by_group(query.to(kind) * scaling, keys), keys.to(kind)
        output = query.new_empty(rows.shape)
        log_sum = rows.new_empty(rows.shape[:-1], dtype=torch.promote_types(query.dtype, torch.float32))
        for block in _blocks(rows, keys, mask, causal):
            logits = _logits(rows, columns, block)
            highest = logits.amax(dim=-1)
            weights = _weights(logits, block)
            # The weight of the highest logit gives the sum without another pass of exponentials.
            sums = highest - weights.amax(dim=-1).log()
            log_sum[block.text, :, :, block.queries] = torch.where(highest.isneginf(), highest, sums)
            read = weights.to(values.dtype).flatten(1, 2) @ values[block.text, :, block.keys]
            output[block.text, :, :, block.queries] = read.view(*weights.shape[:-1], -1)
        found = output.flatten(1, 2)
        ctx.save_for_backward(query, keys, values, found, mask)
        ctx.scaling, ctx.causal = scaling, causal
        return found, log_sum.flatten(1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Of logit ij: P_ij (dO_i · V_j + dL_i − dO_i · O_i), with dL the gradient of the log-sum-exp."""
        query, keys, values, output, mask = ctx.saved_tensors
        needs_query, needs_keys, needs_values = ctx.needs_input_grad[:3]
        rows, of_output = _by_group(query * ctx.scaling, keys), _by_group(gradients[0].to(query.dtype), keys)
        wide = torch.promote_types(query.dtype, torch.float32)
        own = (of_output.to(wide) * _by_group(output, keys).to(wide)).sum(dim=-1)
        added = gradients[1].to(wide).view(own.shape) - own
        of_query = torch.empty_like(rows, memory_format=torch.contiguous_format) if needs_query else None
        of_keys = torch.zeros_like(keys, dtype=wide) if needs_keys else None
        of_values = torch.zeros_like(values, dtype=wide) if needs_values else None
        for block in _blocks(rows, keys, mask, ctx.causal):
            weights = _weights(_logits(rows, keys, block), block)
            given = of_output[block.text, :, :, block.queries].flatten(1, 2)
            if of_values is not None:
                of_values[block.text, :, block.keys] += weights.to(values.dtype).flatten(1, 2).mT @ given
            if of_query is None and of_keys is None:
                continue
            moved = (given @ values[block.text, :, block.keys].mT).view(weights.shape)
            of_logits = (moved.to(wide) + added[block.text, :, :, block.queries, None]).mul_(weights).to(query.dtype)
            if of_query is not None:
                found = of_logits.flatten(1, 2) @ keys[block.text, :, block.keys]
                of_query[block.text, :, :, block.queries] = found.view(*weights.shape[:-1], -1)
            if of_keys is not None:
                asked = rows[block.text, :, :, block.queries].flatten(1, 2)
                of_keys[block.text, :, block.keys] += of_logits.flatten(1, 2).mT @ asked
        return (
            None if of_query is None else of_query.flatten(1, 2) * ctx.scaling,
            None if of_keys is None else of_keys.to(keys.dtype),
            None if of_values is None else of_values.to(values.dtype),
            *[None] * 4,
        )


def _blocks(rows: Tensor, keys: Tensor, mask: Tensor | None, causal: bool) -> Iterator[_Block]:
    """All queries in blocks. rows: [B, KV, G, Q, D]; keys: [B, KV, S, D]."""
    batch, _, groups, queries, _ = rows.shape
    count = keys.shape[2]
    step = max(16, _ROWS // groups)
    for text in range(batch):
        for first in range(0, queries, step):
            last = min(first + step, queries)
            width, hidden = count, None
            if mask is not None:
                own = mask[min(text, len(mask) - 1), 0]
                own = own if len(own) == 1 else own[first:last]
                seen = own if own.dtype == torch.bool else own > float("-inf")
                width = 1 + int(seen.any(dim=0).nonzero().amax()) if bool(seen.any()) else 1
                hidden = ~own[:, :width] if own.dtype == torch.bool else own[:, :width]
            elif causal:
                width = count - queries + last
                hidden = torch.ones(last - first, last - first, dtype=torch.bool).triu(1)
            yield _Block(text, slice(first, last), slice(width), hidden)


def _logits(rows: Tensor, keys: Tensor, block: _Block) -> Tensor:
    """A block's logits in at least float32, [KV, G, q, s], −∞ where a query does not see a key."""
    own = rows[block.text, :, :, block.queries]
    found = (own.flatten(1, 2) @ keys[block.text, :, block.keys].mT).view(*own.shape[:-1], -1)
    found = found.to(torch.promote_types(found.dtype, torch.float32))
    if block.hidden is None:
        return found
    if block.hidden.dtype != torch.bool:
        return found.add_(block.hidden)
    found[..., -block.hidden.shape[1] :].masked_fill_(block.hidden, float("-inf"))
    return found


def _weights(logits: Tensor, block: _Block) -> Tensor:
    """Softmax of the logits; zeros for a query that sees nothing."""
    weights = logits.softmax(dim=-1)
    return weights if block.hidden is None else weights.nan_to_num_(nan=0.0)


def _by_group(states: Tensor, keys: Tensor) -> Tensor:
    """[B, H, Q, D] as [B, KV, G, Q, D]."""
    batch, _, queries, width = states.shape
    return states.reshape(batch, keys.shape[1], -1, queries, width)


def cpu_attention(
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
        few = attention_mask is not None and alike and attention_mask.shape[2] == queries <= FEW_QUERIES
        if not learned and (few or (attention_mask is None and queries == 1)):
            return few_queries(query, key, value, scaling, attention_mask), None
        fitting = whole and (learned or queries <= _MOST_QUERIES)
        if (fitting or (learned and alike)) and blocks_pay(learned=learned):
            output, _ = attend_in_blocks(query, key, value, scaling, attention_mask, causal=whole)
            return output.transpose(1, 2).contiguous(), None
    attended: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **arguments)
    return attended


def _is_causal(module: nn.Module, arguments: dict[str, Any]) -> bool:
    asked = arguments.get("is_causal")
    return bool(getattr(module, "is_causal", True) if asked is None else asked)


def few_queries(query: Tensor, keys: Tensor, values: Tensor, scaling: float, mask: Tensor | None = None) -> Tensor:
    """Attention of a few queries, as rows of the head whose keys they read.

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
    if kernel == CPU_SDPA:
        AttentionInterface.register(CPU_SDPA, cpu_attention)
        # Without a mask function of the same name transformers would drop every mask silently.
        AttentionMaskInterface.register(CPU_SDPA, sdpa_mask)
    return kernel
