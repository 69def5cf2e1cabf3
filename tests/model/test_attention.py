"""Every kernel of the attention that returns log-sum-exps gives what float64 arithmetic gives, within its type."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from sharedllm_cli.model import attention
from sharedllm_cli.model.attention import attend, causal_mask, choose_kernel, explicit, join
from sharedllm_cli.model.cpu_attention import attend_in_blocks, blocks_pay

SHAPES = [  # B, H, KV, Q, S, D
    (1, 9, 3, 1, 1000, 64),
    (1, 8, 2, 130, 517, 64),
    (2, 4, 2, 7, 33, 8),
    (3, 6, 6, 65, 64, 16),
    (1, 8, 1, 3, 2049, 128),
    (1, 4, 4, 5, 1, 24),
]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-6, torch.bfloat16: 2e-2, torch.float16: 3e-3}
SUM_TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}


def tensors(shape: tuple[int, ...], dtype: torch.dtype, key_batch: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    batch, heads, groups, queries, keys, width = shape
    generator = torch.Generator().manual_seed(0)
    sizes = [(batch, heads, queries, width), *[(key_batch or batch, groups, keys, width)] * 2]
    query, key, value = (torch.randn(size, generator=generator).to(dtype) for size in sizes)
    return query, key, value


def exact(query: Tensor, keys: Tensor, values: Tensor, scaling: float, seen: Tensor | None) -> tuple[Tensor, Tensor]:
    """Head by head, row by row of keys, in float64: shares nothing with the kernels."""
    outputs, sums = [], []
    for head in range(query.shape[1]):
        own = head * keys.shape[1] // query.shape[1]
        logits = torch.einsum("bqd,bsd->bqs", query[:, head].double(), keys[:, own].double().expand(len(query), -1, -1))
        logits = logits * scaling
        if seen is not None:
            logits = logits.masked_fill(~seen, float("-inf"))
        outputs.append(logits.softmax(-1) @ values[:, own].double())
        sums.append(logits.logsumexp(-1))
    return torch.stack(outputs, 1), torch.stack(sums, 1)


def check(
    found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], dtype: torch.dtype, times: float = 1.0
) -> None:
    output, log_sum = found
    assert output.dtype == dtype
    assert log_sum.dtype == torch.promote_types(dtype, torch.float32)
    assert (output.double() - expected[0]).abs().max() < times * TOLERANCE[dtype]
    assert (log_sum.double() - expected[1]).abs().max() < times * SUM_TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_every_kernel_is_the_exact_attention(shape: tuple[int, ...], dtype: torch.dtype, implementation: str) -> None:
    query, keys, values = tensors(shape, dtype)
    kernel = choose_kernel(query, keys, values, masked=False, causal=False, implementation=implementation)
    assert kernel == {"sdpa": "fused-cpu", "eager": "explicit"}[implementation]
    check(
        attend(query, keys, values, 0.11, implementation=implementation), exact(query, keys, values, 0.11, None), dtype
    )


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("implementation", "blocks"), [("sdpa", True), ("sdpa", False), ("eager", True)])
@pytest.mark.parametrize(("queries", "keys"), [(33, 33), (1, 40), (7, 40)])
def test_causal_queries_are_the_last_of_the_tokens(
    queries: int,
    keys: int,
    dtype: torch.dtype,
    implementation: str,
    blocks: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention, "blocks_pay", lambda *, learned: blocks)
    query, key, value = tensors((2, 6, 2, queries, keys, 16), dtype)
    seen = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    found = attend(query, key, value, 0.3, causal=True, implementation=implementation)
    check(found, exact(query, key, value, 0.3, seen), dtype)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_one_tree_serves_several_running_texts(implementation: str) -> None:
    query, keys, values = tensors((3, 6, 2, 5, 40, 16), torch.float32, key_batch=1)
    found = attend(query, keys, values, 0.3, implementation=implementation)
    check(found, exact(query, keys, values, 0.3, None), torch.float32)


def test_tensors_need_not_be_contiguous() -> None:
    query, keys, values = tensors((2, 6, 2, 5, 40, 16), torch.float32)
    turned = [tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in (query, keys, values)]
    assert not turned[0].is_contiguous()
    check(attend(*turned, 0.3), exact(query, keys, values, 0.3, None), torch.float32)


def test_eager_alone_is_the_explicit_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "blocks_pay", lambda *, learned: True)
    query, keys, values = tensors((1, 4, 2, 5, 9, 8), torch.float32)
    assert choose_kernel(query, keys, values, masked=True, causal=False, implementation="sdpa") == "fused-cpu"
    assert choose_kernel(query, keys, values, masked=False, causal=True, implementation="sdpa") == "blocked"
    query.requires_grad_()
    for masked, causal in [(False, False), (True, False), (False, True)]:
        assert choose_kernel(query, keys, values, masked=masked, causal=causal, implementation="sdpa") == "blocked"
        assert choose_kernel(query, keys, values, masked=masked, causal=causal, implementation="eager") == "explicit"
    monkeypatch.setattr(attention, "blocks_pay", lambda *, learned: False)
    assert choose_kernel(query, keys, values, masked=True, causal=False, implementation="sdpa") == "fused-cpu"


@pytest.mark.parametrize(("threads", "learned", "read"), [(1, True, True), (2, True, False), (3, False, False)])
def test_blocks_are_for_few_threads(threads: int, learned: bool, read: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert (blocks_pay(learned=True), blocks_pay(learned=False)) == (learned, read)


def a_mask(kind: str, batch: int, queries: int, keys: int) -> Tensor | None:
    generator = torch.Generator().manual_seed(1)
    rows = {"none": 0, "rows alike": 1}.get(kind, queries)
    if not rows:
        return None
    seen = torch.rand(batch, 1, rows, keys, generator=generator) < 0.6
    seen[..., 0] = True
    return seen if kind != "additive" else torch.zeros(seen.shape).masked_fill(~seen, float("-inf"))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["none", "rows alike", "each row", "additive", "causal"])
@pytest.mark.parametrize("shape", [(2, 6, 2, 40, 70, 16), (1, 3, 3, 33, 33, 64), (2, 4, 1, 9, 9, 20)], ids=str)
@pytest.mark.parametrize("blocks", [True, False], ids=["blocks", "fused"])
def test_masks_and_gradients_are_exact(
    shape: tuple[int, ...], kind: str, dtype: torch.dtype, blocks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "blocks_pay", lambda *, learned: blocks)
    batch, heads, _, queries, keys, width = shape
    inputs = [tensor.requires_grad_() for tensor in tensors(shape, dtype)]
    wide = [tensor.detach().double().requires_grad_() for tensor in inputs]
    mask = None if kind == "causal" else a_mask(kind, batch, queries, keys)
    seen = mask[:, 0] if mask is not None else None
    if kind == "additive":
        assert seen is not None
        seen = seen == 0
    if kind == "causal":
        seen = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    generator = torch.Generator().manual_seed(2)
    weights = torch.randn(batch, heads, queries, width, generator=generator).double()
    sum_weights = torch.randn(batch, heads, queries, generator=generator).double()

    def gradients(found: tuple[Tensor, Tensor], of: list[Tensor]) -> tuple[Tensor, ...]:
        # What is learned moves both the output and, through the join, the log-sum-exp.
        return torch.autograd.grad((found[0].double() * weights).sum() + (found[1].double() * sum_weights).sum(), of)

    found = attend(*inputs, 0.2, mask, causal=kind == "causal")
    expected = exact(*wide, 0.2, seen)
    # Where gradients are asked for the logits' product is rounded as well.
    check(
        (found[0].detach(), found[1].detach()),
        expected,
        dtype,
        times=2.0 if blocks and dtype == torch.bfloat16 else 1.0,
    )
    for own, right in zip(gradients(found, inputs), gradients(expected, wide), strict=True):
        assert own.dtype == dtype
        assert (own.double() - right).abs().max() < 10 * TOLERANCE[dtype] * max(1.0, float(right.abs().max()))


def test_a_query_that_sees_nothing_reads_zeros_and_spoils_nobody() -> None:
    query, keys, values = (tensor.requires_grad_() for tensor in tensors((2, 4, 2, 40, 50, 16), torch.float64))
    seen = torch.ones(2, 1, 40, 50, dtype=torch.bool)
    seen[1, :, 7] = False
    output, log_sum = attend_in_blocks(query, keys, values, 0.3, seen)
    assert bool((output[1, :, 7] == 0).all())
    assert bool(log_sum[1, :, 7].isneginf().all())
    found = torch.autograd.grad(output.sum(), (query, keys, values))
    assert all(bool(gradient.isfinite().all()) for gradient in found)
    kept = torch.arange(40) != 7
    alone, sums = attend_in_blocks(query[1:, :, kept], keys[1:], values[1:], 0.3)
    torch.testing.assert_close(output[1:, :, kept], alone)
    torch.testing.assert_close(log_sum[1:, :, kept], sums)


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (1, 2), (0, 2)], ids=str)
def test_one_mask_and_one_tree_serve_all_texts_and_only_what_is_asked_for_is_learned(wanted: tuple[int, ...]) -> None:
    inputs = list(tensors((3, 6, 2, 40, 50, 16), torch.float64, key_batch=1))
    for place in wanted:
        inputs[place].requires_grad_()
    seen = torch.rand(1, 1, 40, 50, generator=torch.Generator().manual_seed(3)) < 0.5
    seen[..., 0] = True

    def gradients(kernel: Callable[..., tuple[Tensor, Tensor]]) -> tuple[Tensor, ...]:
        keys, values = (tensor.expand(3, -1, -1, -1) for tensor in inputs[1:])
        output, log_sum = kernel(inputs[0], keys, values, 0.3, seen)
        return torch.autograd.grad((output.cos() + log_sum[..., None].sin()).sum(), [inputs[place] for place in wanted])

    for found, right in zip(gradients(attend_in_blocks), gradients(explicit), strict=True):
        torch.testing.assert_close(found, right)


class FakeTensor(SimpleNamespace):
    """As much of a CUDA tensor as the choice looks at."""

    requires_grad = False


@pytest.mark.parametrize(
    ("dtype", "width", "new", "implementation", "expected"),
    [
        (torch.bfloat16, 128, True, "sdpa", "fused-cuda"),
        (torch.float16, 64, True, "sdpa", "fused-cuda"),
        (torch.float16, 64, True, "flash_attention_2", "flash-attn"),
        (torch.float16, 64, True, "eager", "explicit"),
        (torch.float32, 64, True, "sdpa", "explicit"),
        (torch.bfloat16, 20, True, "sdpa", "explicit"),
        (torch.bfloat16, 264, True, "sdpa", "explicit"),
        (torch.bfloat16, 128, False, "sdpa", "explicit"),
    ],
)
def test_cuda_takes_a_fused_kernel_where_it_can(
    dtype: torch.dtype, width: int, new: bool, implementation: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_has_flash", lambda device: new)
    fake: Any = FakeTensor(device=torch.device("cuda", 0), dtype=dtype, shape=(1, 4, 7, width))
    assert choose_kernel(fake, fake, fake, masked=False, causal=False, implementation=implementation) == expected


@pytest.mark.parametrize("causal", [False, True])
def test_flash_attn_is_given_tokens_before_heads(causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package itself needs a GPU; what is handed to it and taken back is checked against the reference."""
    asked: list[dict[str, Any]] = []

    def flash_attn_func(query: Tensor, keys: Tensor, values: Tensor, **options: Any) -> tuple[Tensor, Tensor, None]:
        asked.append(options)
        turned = [tensor.transpose(1, 2) for tensor in (query, keys, values)]
        mask = causal_mask(query.shape[1], keys.shape[1], None, query.device) if options["causal"] else None
        output, log_sum = explicit(turned[0], turned[1], turned[2], options["softmax_scale"], mask)
        return output.transpose(1, 2), log_sum, None

    monkeypatch.setitem(sys.modules, "flash_attn", SimpleNamespace(flash_attn_func=flash_attn_func))
    monkeypatch.setattr(attention, "choose_kernel", lambda *_, **__: "flash-attn")
    query, keys, values = tensors((2, 6, 2, 9, 9, 16), torch.float32)
    seen = torch.ones(9, 9, dtype=torch.bool).tril() if causal else None
    found = attend(query, keys, values, 0.3, causal=causal, implementation="flash_attention_2")
    check(found, exact(query, keys, values, 0.3, seen), torch.float32)
    assert asked == [{"softmax_scale": 0.3, "causal": causal, "return_attn_probs": True}]


def test_both_of_torchs_flash_operators_take_the_same_arguments() -> None:
    """The CUDA operator can't run here; its signature says that it is called as the processor's is."""

    def names(operator: Callable[..., Any]) -> list[str]:
        return [argument.name for argument in operator.default._schema.arguments]  # type: ignore[attr-defined]

    cuda = names(torch.ops.aten._scaled_dot_product_flash_attention)
    cpu = names(torch.ops.aten._scaled_dot_product_flash_attention_for_cpu)
    assert cuda[:5] == cpu[:5] == ["query", "key", "value", "dropout_p", "is_causal"]
    assert "scale" in cuda
    returned = torch.ops.aten._scaled_dot_product_flash_attention.default._schema.returns
    assert [value.name for value in returned][:2] == ["output", "logsumexp"]


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_parts_joined_are_one_softmax(implementation: str) -> None:
    query, keys, values = tensors((1, 6, 2, 11, 50, 16), torch.float64)
    parts = [
        attend(query, keys[:, :, part], values[:, :, part], 0.3, implementation=implementation)
        for part in (slice(0, 17), slice(17, None))
    ]
    assert (join(*parts[0], *parts[1]) - exact(query, keys, values, 0.3, None)[0]).abs().max() < 1e-12
