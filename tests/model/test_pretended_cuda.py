"""What a GPU is asked to do, followed without one: it stays there, and takes no more memory than was promised."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pretend_cuda import CUDA, Peak, on_cuda, pretended_cuda
from torch._subclasses.fake_tensor import DataDependentOutputException
from transformers import AutoConfig, AutoModelForCausalLM

from sharedllm_cli.config import Injection, InjectionConfig, TreeConfig
from sharedllm_cli.context.tree import kept_positions
from sharedllm_cli.lab.bench.shapes import shape_config
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.lower import CompressedNodes, LowerModel
from sharedllm_cli.model.streaming import StreamingReader
from sharedllm_cli.model.upper import UpperModel

TOKENS, RATIO, RUNNING = 131_072, 8, 1280
ALLOWED_BYTES = 200e6


def described(shape: str, depth: int, form: Injection = "merged") -> tuple[Any, Adapter]:
    values = shape_config(shape)
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
        adapter = Adapter.untrained(model, shape, InjectionConfig(form, lower_layers=depth), TreeConfig())
    return model, adapter


def ids(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, dtype=torch.long, device=CUDA)


def test_what_a_gpu_would_refuse_or_wait_for_is_refused() -> None:
    with pretended_cuda():
        here, there = torch.ones(3), torch.empty(3, device=CUDA)
        assert (there[1:] * 2).device == CUDA
        with pytest.raises(Exception, match="two devices"):
            here + there
        with pytest.raises(DataDependentOutputException):
            float(there.sum())
        with pytest.raises(DataDependentOutputException):
            there.tolist()


def test_the_peak_counts_what_lives_at_once() -> None:
    with pretended_cuda(), Peak() as peak:
        known = torch.empty(1000, dtype=torch.uint8, device=CUDA)
        for _ in range(3):
            first = torch.empty(100, dtype=torch.uint8, device=CUDA)
            second = first + 1
            view = second[10:]
            del first, second
        assert view.shape == (90,)
        del view
        assert (peak.most, peak.bytes) == (1300, 1000), "the last view holds its hundred while two more are made"
        torch.empty(2000, dtype=torch.uint8)
        assert peak.most == 1300, "the processor's memory is another"
    with pretended_cuda():
        known = torch.empty(1000, dtype=torch.uint8, device=CUDA)
        with Peak() as peak:
            peak.know([known])
            assert known[5:].shape == (995,)
        assert peak.most == 0


@pytest.mark.parametrize("flash", [True, False])
@pytest.mark.parametrize("form", ["merged", "additive"])
def test_from_the_tree_to_the_answer_nothing_leaves_the_gpu(form: Injection, flash: bool) -> None:
    model, adapter = described("tiny", 2, form)
    with pretended_cuda(flash=flash), torch.no_grad():
        upper = UpperModel(on_cuda(model), on_cuda(adapter))
        lower = LowerModel(model, 2)
        encoded = lower.encode(ids(3, 64), torch.from_numpy(kept_positions(64, 4)))
        assert encoded.keys.device == encoded.values.device == encoded.vectors.device == CUDA
        assert lower.states(ids(2, 16), 1).device == CUDA
        assert lower.last_token_vectors(ids(2, 16)).device == CUDA
        keys, values = (part.permute(1, 2, 0, 3, 4).flatten(2, 3) for part in (encoded.keys, encoded.values))
        nodes = CompressedNodes(keys, values, ids(keys.shape[2]))
        tree = upper.context(nodes, 3, closed_too=True)
        assert tree is not None
        logits, cache = upper.prefill(ids(24), tree)
        for _ in range(3):
            logits = upper.decode_step(logits.argmax()[None], tree, cache)
        assert logits.device == CUDA
        assert cache.layers[0].keys.device == CUDA


def test_streaming_stays_on_the_gpu() -> None:
    model, adapter = described("tiny", 2)
    with pretended_cuda(), torch.inference_mode():
        upper = UpperModel(on_cuda(model), on_cuda(adapter))
        assert StreamingReader(upper, window=128, block=32).read(ids(256), keep=8).device == CUDA


@pytest.mark.parametrize("depth", [4, 8, 16])
@pytest.mark.parametrize("shape", ["llama-3.1-8b", "llama-2-7b"])
def test_asking_takes_the_keys_and_values_it_reads_and_little_more(shape: str, depth: int) -> None:
    """128K tokens, a running text of 1,280 tokens and a new one; model and selected keys and values lie there."""
    model, adapter = described(shape, depth)
    config = model.config
    with pretended_cuda(), torch.inference_mode():
        upper = UpperModel(on_cuda(model), on_cuda(adapter))
        kept = (depth, config.num_key_value_heads, TOKENS // RATIO, config.head_dim)
        keys, values = (torch.empty(kept, dtype=torch.bfloat16, device=CUDA) for _ in range(2))
        with Peak() as peak:
            peak.know([keys, values, *model.parameters(), *adapter.parameters()])
            nodes = CompressedNodes(keys, values, torch.empty(kept[2], dtype=torch.long))
            tree = upper.context(nodes, TOKENS // 1024, closed_too=True, consume=True)
            logits, cache = upper.prefill(ids(RUNNING), tree)
            upper.decode_step(logits.argmax()[None], tree, cache)
        own = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 2 * (RUNNING + 1)
        print(f"{shape} M={depth}: {peak.most / 1e6:.0f} MB beside model and selected keys, {own / 1e6:.0f} its own")
        assert own < peak.most <= own + ALLOWED_BYTES
