"""Softmax attention that also returns the log-sum-exp of its logits, by the fastest kernel that can; rotary embedding.

Two attentions over disjoint keys become one softmax by their log-sum-exps (`join`), which is how the merged form reads
the tree (METHOD section 4). `explicit` is the reference: any device and type, masks, gradients. The fused kernels are
torch's flash kernels for the CPU, which takes masks and is given a gradient of the log-sum-exp here, and for CUDA, and
the package flash-attn; on a GPU masks and gradients stay with the reference. On a CPU with a thread or two, causal
queries and gradients go by blocks of rows (`cpu_attention.py`). Shapes: B batch, H query heads, KV key/value heads, Q
queries, S keys, D head dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from sharedllm_cli.model.cpu_attention import FEW_QUERIES, attend_in_blocks, blocks_pay

_LOGITS_BYTES = 64 * 2**20
"""The explicit kernel computes over blocks of queries whose logits take at most this much memory."""
_HALVES = (torch.float16, torch.bfloat16)
_WIDEST_HEAD = 256
_WIDENED_BY = 8
_AMPERE = (8, 0)

Kernel = Literal["explicit", "blocked", "fused-cpu", "fused-cuda", "flash-attn"]
Attended = tuple[Tensor, Tensor]


def attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    scaling: float,
    mask: Tensor | None = None,
    *,
    causal: bool = False,
    implementation: str = "sdpa",
) -> Attended:
    """Grouped-query softmax attention and the log-sum-exp of its logits.

    query: [B, H, Q, D]; keys, values: [B or 1, KV, S, D]; mask: boolean (True = seen) or additive, broadcastable to
    [B, 1, Q, S]; `causal`, where there is no mask: the queries are the last Q of S tokens and see no later one;
    `implementation`: the model's attention, in transformers' names. Returns output [B, H, Q, D] in the query's dtype
    and log-sum-exp [B, H, Q] in at least float32.
    """
    causal = causal and mask is None and query.shape[2] > 1
    kernel = choose_kernel(query, keys, values, masked=mask is not None, causal=causal, implementation=implementation)
    if causal and (kernel == "explicit" or (kernel != "blocked" and query.shape[2] != keys.shape[2])):
        mask, causal = causal_mask(query.shape[2], keys.shape[2], None, keys.device), False
    if kernel == "explicit":
        return explicit(query, keys, values, scaling, mask)
    keys, values = (tensor.expand(len(query), -1, -1, -1) for tensor in (keys, values))
    if kernel == "blocked":
        return attend_in_blocks(query, keys, values, scaling, mask, causal=causal)
    return _FUSED[kernel](query, keys, values, scaling, mask, causal)


def choose_kernel(
    query: Tensor, keys: Tensor, values: Tensor, *, masked: bool, causal: bool, implementation: str
) -> Kernel:
    """The kernel for these tensors: `explicit` wherever no fused one can do the same.

    `eager` asks for the explicit one. On CUDA the fused ones take no mask, give no gradient, and need half precision,
    heads of at most 256 numbers, a multiple of 8, and an Ampere GPU or newer.
    """
    if implementation == "eager":
        return "explicit"
    needs_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (query, keys, values))
    if query.device.type == "cpu":
        return "blocked" if (needs_gradient or causal) and blocks_pay(learned=needs_gradient) else "fused-cpu"
    partly_causal = causal and query.shape[2] != keys.shape[2]
    if masked or needs_gradient or partly_causal:
        return "explicit"
    width = query.shape[3]
    if query.device.type != "cuda" or query.dtype not in _HALVES or width % 8 or width > _WIDEST_HEAD:
        return "explicit"
    if implementation == "flash_attention_2":
        return "flash-attn"
    return "fused-cuda" if _has_flash(query.device) else "explicit"


@cache
def runs_flash(device: torch.device) -> bool:
    """Whether a CUDA device is new enough for flash kernels."""
    return torch.cuda.get_device_capability(device) >= _AMPERE


@cache
def _has_flash(device: torch.device) -> bool:
    return runs_flash(device) and torch.backends.cuda.is_flash_attention_available()


def explicit(query: Tensor, keys: Tensor, values: Tensor, scaling: float, mask: Tensor | None = None) -> Attended:
    """The reference: logits, log-sum-exp, weights, over blocks of queries; differentiable. Shapes as in `attend`."""
    batch, heads, length, _ = query.shape
    per_query = max(1, batch * heads * keys.shape[2] * 4)
    block = max(1, _LOGITS_BYTES // per_query)
    outputs, sums = [], []
    for start in range(0, length, block):
        part = mask if mask is None or mask.shape[-2] == 1 else mask[..., start : start + block, :]
        output, log_sum = _explicit_block(query[:, :, start : start + block], keys, values, scaling, part)
        outputs.append(output)
        sums.append(log_sum)
    return torch.cat(outputs, dim=2), torch.cat(sums, dim=2)


def _explicit_block(query: Tensor, keys: Tensor, values: Tensor, scaling: float, mask: Tensor | None) -> Attended:
    batch, heads, length, width = query.shape
    groups = keys.shape[1]
    # The heads of a group share their keys: folding them into the rows avoids repeating the keys.
    folded = (query * scaling).reshape(batch, groups, (heads // groups) * length, width)
    logits = (folded @ keys.transpose(-1, -2)).view(batch, groups, heads // groups, length, -1)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if mask is not None:
        mask = mask.unsqueeze(1)
        logits = logits.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else logits + mask
    log_sum = logits.logsumexp(dim=-1, keepdim=True)
    weights = (logits - log_sum).exp().to(query.dtype)
    output = weights.view(batch, groups, (heads // groups) * length, -1) @ values
    return output.view(batch, heads, length, width), log_sum.view(batch, heads, length)


class _ProcessorFlash(torch.autograd.Function):
    """torch's flash kernel for the CPU, with gradients of its output and of its log-sum-exp.

    torch's own backward pass knows no gradient of the log-sum-exp. That of logit ij is P_ij (dO_i · V_j + dL_i − δ_i)
    with δ_i = dO_i · O_i: a column more, of ones in V, of dL in dO and of zeros in O, makes the kernel add dL_i.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, keys: Tensor, values: Tensor, scaling: float, mask: Tensor | None, causal: bool
    ) -> Attended:
        """query, keys, values: [B, H, Q or S, D]; mask: additive, broadcastable to [B, H, Q, S]."""
        output, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, keys, values, 0.0, causal, attn_mask=mask, scale=scaling
        )
        ctx.save_for_backward(query, keys, values, output, log_sum, mask)
        ctx.scaling, ctx.causal = scaling, causal
        return output, log_sum

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of query, keys and values from those of output [B, H, Q, D] and log-sum-exp [B, H, Q]."""
        query, keys, values, output, log_sum, mask = ctx.saved_tensors
        found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            _widened(gradients[0], gradients[1]),
            _widened(query, 0.0),
            _widened(keys, 0.0),
            _widened(values, 1.0),
            _widened(output, 0.0),
            log_sum,
            0.0,
            ctx.causal,
            attn_mask=mask,
            scale=ctx.scaling,
        )
        width = query.shape[-1]
        return (*(gradient[..., :width] for gradient in found), None, None, None)


def _widened(states: Tensor, column: Tensor | float) -> Tensor:
    """[..., D] with a column more, and zeros up to a width that kernels like."""
    width = states.shape[-1]
    wide = states.new_zeros(*states.shape[:-1], width + _WIDENED_BY)
    wide[..., :width] = states
    wide[..., width] = column
    return wide


def _processor_flash(
    query: Tensor, keys: Tensor, values: Tensor, scaling: float, mask: Tensor | None, causal: bool
) -> Attended:
    if mask is not None and mask.dtype == torch.bool:
        nothing = torch.zeros((), dtype=query.dtype)
        mask = torch.where(mask, nothing, torch.full_like(nothing, float("-inf")))
    elif mask is not None:
        mask = mask.to(query.dtype)  # the kernel would read the bytes of another type as its own
    attended: Attended = _ProcessorFlash.apply(query, keys, values, scaling, mask, causal)  # type: ignore[no-untyped-call]
    return attended


def _cuda_flash(
    query: Tensor, keys: Tensor, values: Tensor, scaling: float, mask: Tensor | None, causal: bool
) -> Attended:
    output, log_sum, *_ = torch.ops.aten._scaled_dot_product_flash_attention(
        query, keys, values, 0.0, causal, scale=scaling
    )
    return output, log_sum


def _grouped(kernel: Callable[..., Attended]) -> Callable[..., Attended]:
    """One of torch's own flash kernels, which take as many heads of keys as of queries."""

    def run(query: Tensor, keys: Tensor, values: Tensor, scaling: float, mask: Tensor | None, causal: bool) -> Attended:
        batch, heads, length, width = query.shape
        groups = keys.shape[1]
        rows = 1 if mask is None else mask.shape[-2]
        if causal or rows > FEW_QUERIES:
            keys, values = (tensor.repeat_interleave(heads // groups, dim=1) for tensor in (keys, values))
        else:
            # As in the reference: rows of one head, so that its keys are read once for the whole group.
            query = query.reshape(batch, groups, (heads // groups) * length, width)
            if mask is not None and rows > 1:
                mask = mask.repeat(1, 1, heads // groups, 1)
        output, log_sum = kernel(query, keys, values, scaling, mask, causal)
        return output.reshape(batch, heads, length, width), log_sum.reshape(batch, heads, length)

    return run


def _flash_attention(
    query: Tensor, keys: Tensor, values: Tensor, scaling: float, mask: Tensor | None, causal: bool
) -> Attended:
    """The package flash-attn: tokens before heads, groups known to it."""
    from flash_attn import flash_attn_func

    output, log_sum, _ = flash_attn_func(
        query.transpose(1, 2),
        keys.transpose(1, 2),
        values.transpose(1, 2),
        softmax_scale=scaling,
        causal=causal,
        return_attn_probs=True,
    )
    return output.transpose(1, 2), log_sum


_FUSED: Mapping[str, Callable[..., Attended]] = {
    "fused-cpu": _grouped(_processor_flash),
    "fused-cuda": _grouped(_cuda_flash),
    "flash-attn": _flash_attention,
}


def causal_mask(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor | None:
    """Boolean [1, 1, Q, S] of what the last Q of S tokens see; None where they see everything."""
    if queries == 1 and (window is None or keys <= window):
        return None
    distance = torch.arange(keys - queries, keys, device=device)[:, None] - torch.arange(keys, device=device)[None, :]
    seen = distance >= 0
    if window is not None:
        seen &= distance < window
    return seen[None, None]


def join(first: Tensor, first_sum: Tensor, second: Tensor, second_sum: Tensor) -> Tensor:
    """Two attentions over disjoint keys as one softmax over both, by their log-sum-exps.

    first, second: [B, H, Q, D]; sums: [B, H, Q].
    """
    total = torch.logaddexp(first_sum, second_sum)
    share = (first_sum - total).exp().unsqueeze(-1).to(first.dtype)
    other = (second_sum - total).exp().unsqueeze(-1).to(first.dtype)
    return first * share + second * other


def rotate(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary position embedding in the half-rotation layout of the Llama families.

    states: [B, heads, L, D]; cosine, sine: [B or 1, L or 1, D].
    """
    first, second = states.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return states * cosine.unsqueeze(1) + turned * sine.unsqueeze(1)


def rotate_in_place(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """The same as `rotate`, written over the states: half of them is the only memory that is taken beside."""
    first, second = states.chunk(2, dim=-1)
    (first_cosine, second_cosine), (first_sine, second_sine) = (
        turn.unsqueeze(1).chunk(2, dim=-1) for turn in (cosine, sine)
    )
    before = first.clone()
    first.mul_(first_cosine).addcmul_(second, first_sine, value=-1)
    second.mul_(second_cosine).addcmul_(before, second_sine)
    return states
