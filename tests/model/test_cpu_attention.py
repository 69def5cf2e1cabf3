"""Self-attention on a processor: the numbers of plain arithmetic, whatever grouping and length, and masks are kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import make_tiny_model
from torch import Tensor, nn
from transformers import DynamicCache

from sharedllm_cli.model import cpu_attention as kernels
from sharedllm_cli.model.compat import call_model
from sharedllm_cli.model.cpu_attention import CPU_SDPA, cpu_attention, registered

BOUNDS = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


@pytest.fixture(autouse=True)
def few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "blocks_pay", lambda *, learned: True)


class Grouped(nn.Module):
    """What transformers' functions ask of a layer's attention."""

    is_causal = True

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.num_key_value_groups = groups


def by_hand(query: Tensor, key: Tensor, value: Tensor, scaling: float, mask: Tensor | None = None) -> Tensor:
    """[B, Q, H, D] in float64; every query sees every key, or what the mask [B or 1, 1, Q, S] says."""
    groups = query.shape[1] // key.shape[1]
    query, key, value = query.double(), *(one.double().repeat_interleave(groups, dim=1) for one in (key, value))
    logits = query @ key.transpose(2, 3) * scaling
    weights = (logits if mask is None else logits.masked_fill(~mask, -torch.inf)).softmax(dim=-1)
    return (weights @ value).transpose(1, 2)


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize(("heads", "groups"), [(6, 3), (4, 4), (3, 1)])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_single_query_reads_what_it_should(dtype: torch.dtype, heads: int, groups: int, batch: int) -> None:
    query = torch.randn(batch, heads, 1, 16, dtype=dtype)
    key, value = (torch.randn(batch, heads // groups, 37, 16, dtype=dtype) for _ in range(2))
    output, weights = cpu_attention(Grouped(groups), query, key, value, None, scaling=0.3)
    assert weights is None
    assert output.shape == (batch, 1, heads, 16)
    assert output.dtype == dtype
    expected = by_hand(query, key, value, 0.3)
    assert float((output.double() - expected).abs().max()) < BOUNDS[dtype] * float(expected.abs().max())


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize(("heads", "groups"), [(6, 3), (4, 4), (3, 1)])
@pytest.mark.parametrize("queries", [1, 4, 16])
@pytest.mark.parametrize("masks", [1, 2])
def test_a_few_queries_read_what_their_mask_says(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, heads: int, groups: int, queries: int, masks: int
) -> None:
    monkeypatch.setattr(kernels, "sdpa_attention_forward", None)
    query = torch.randn(2, heads, queries, 16, dtype=dtype)
    key, value = (torch.randn(2, heads // groups, 37, 16, dtype=dtype) for _ in range(2))
    mask = torch.rand(masks, 1, queries, 37) < 0.5
    mask[..., 0] = True
    told = mask if masks == 1 else torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, -torch.inf)
    output, _ = cpu_attention(Grouped(groups), query, key, value, told, scaling=0.3)
    assert output.shape == (2, queries, heads, 16)
    assert output.dtype == dtype
    expected = by_hand(query, key, value, 0.3, mask)
    assert float((output.double() - expected).abs().max()) < BOUNDS[dtype] * float(expected.abs().max())


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize(("heads", "groups"), [(6, 3), (4, 4), (3, 1), (16, 16)])
@pytest.mark.parametrize("length", [2, 31, 32, 33, 97])
def test_causal_queries_read_what_they_should(dtype: torch.dtype, heads: int, groups: int, length: int) -> None:
    query = torch.randn(2, heads, length, 16, dtype=dtype)
    key, value = (torch.randn(2, heads // groups, length, 16, dtype=dtype) for _ in range(2))
    output, _ = cpu_attention(Grouped(groups), query, key, value, None, scaling=0.3)
    assert output.shape == (2, length, heads, 16)
    assert output.dtype == dtype
    assert output.is_contiguous()
    for place in range(length):
        expected = by_hand(query[:, :, [place]], key[:, :, : place + 1], value[:, :, : place + 1], 0.3)
        found = output[:, [place]].double()
        assert float((found - expected).abs().max()) < BOUNDS[dtype] * max(1.0, float(expected.abs().max()))


def test_what_it_is_not_made_for_is_left_to_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, ...]] = []
    monkeypatch.setattr(kernels, "sdpa_attention_forward", lambda *given, **more: seen.append(given) or (None, None))
    query, key = torch.randn(1, 4, 2, 8), torch.randn(1, 2, 9, 8)
    mask = torch.ones(1, 1, 1, 9, dtype=torch.bool)
    cpu_attention(Grouped(2), query, key, key, None, scaling=1.0)
    cpu_attention(Grouped(2), query, key, key, mask, scaling=1.0)  # a row for both of them
    assert seen[1][4] is mask
    several = torch.randn(1, 4, 9, 8)
    cpu_attention(Grouped(2), several, key, key, None, scaling=1.0, is_causal=False)
    cpu_attention(Grouped(2), several, key, key, None, scaling=1.0, dropout=0.1)
    many = torch.randn(1, 4, 17, 8)
    cpu_attention(Grouped(2), many, key, key, mask.expand(-1, -1, 17, -1), scaling=1.0)
    assert len(seen) == 5
    cpu_attention(Grouped(2), several, key, key, None, scaling=1.0)
    cpu_attention(Grouped(2), query[:, :, :1], key, key, None, scaling=1.0)
    cpu_attention(Grouped(2), several.requires_grad_(), key, key, mask.expand(-1, -1, 9, -1), scaling=1.0)
    each_head = mask.expand(-1, 4, 9, -1)
    cpu_attention(Grouped(2), several, key, key, each_head, scaling=1.0)
    assert len(seen) == 6
    monkeypatch.setattr(kernels, "blocks_pay", lambda *, learned: False)
    cpu_attention(Grouped(2), several, key, key, None, scaling=1.0)
    assert len(seen) == 7
    monkeypatch.setattr(kernels, "blocks_pay", lambda *, learned: True)
    monkeypatch.setattr(kernels, "_MOST_QUERIES", 8)
    with torch.no_grad():
        cpu_attention(Grouped(2), several, key, key, None, scaling=1.0)
    assert len(seen) == 8


@pytest.mark.parametrize("kind", ["whole", "one", "masked"])
def test_what_is_learned_from_has_the_gradients_of_plain_sdpa(kind: str) -> None:
    query, key, value = (torch.randn(2, heads, 40, 16, requires_grad=True) for heads in (6, 2, 2))
    mask = torch.ones(2, 1, 40, 40, dtype=torch.bool).tril() & (torch.arange(40) % 3 != 1) if kind == "masked" else None
    mask = mask if mask is None else mask | torch.eye(40, dtype=torch.bool)
    own = query[:, :, -1:] if kind == "one" else query

    def gradients(function: Any) -> tuple[Tensor, ...]:
        output, _ = function(Grouped(3), own, key, value, mask, scaling=0.3)
        return torch.autograd.grad(
            (output * torch.arange(output.numel()).view(output.shape)).sum(), (query, key, value)
        )

    for found, right in zip(gradients(cpu_attention), gradients(kernels.sdpa_attention_forward), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-4 * float(right.abs().max()))


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen3"])
def test_a_model_reads_and_decodes_as_with_plain_sdpa(family: str) -> None:
    model = make_tiny_model(family).eval()
    ids = torch.randint(0, 64, (1, 40))

    def logits() -> Tensor:
        cache = DynamicCache(config=model.config)
        with torch.inference_mode():
            read = call_model(model, ids[:, :30], cache).logits
            steps = [call_model(model, ids[:, [place]], cache).logits for place in range(30, 40)]
        return torch.cat([read, *steps], dim=1)

    model.set_attn_implementation("sdpa")
    plain = logits()
    model.set_attn_implementation(registered(CPU_SDPA))
    assert model.config._attn_implementation == CPU_SDPA
    torch.testing.assert_close(logits(), plain, rtol=1e-4, atol=1e-5)


def test_padding_is_not_seen_through_it() -> None:
    """The mask function is registered with the kernel: without it transformers drops masks silently."""
    model = make_tiny_model("llama").eval()
    model.set_attn_implementation(registered(CPU_SDPA))
    ids = torch.randint(0, 64, (1, 12))
    padded = torch.cat([torch.zeros(1, 4, dtype=torch.long), ids], dim=1)
    seen = torch.cat([torch.zeros(1, 4, dtype=torch.long), torch.ones(1, 12, dtype=torch.long)], dim=1)
    positions = (seen.cumsum(1) - 1).clamp(min=0)
    with torch.inference_mode():
        alone = model(input_ids=ids).logits[:, -1]
        behind = model(input_ids=padded, attention_mask=seen, position_ids=positions).logits[:, -1]
    torch.testing.assert_close(behind, alone, rtol=1e-4, atol=1e-5)
