"""Streaming through sinks and window equals one token after another, by an account in float64 of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from reference import Reference
from tiny_models import make_tiny_model

from sharedllm_cli.config import InjectionConfig, TreeConfig
from sharedllm_cli.errors import UsageError
from sharedllm_cli.model.adapter import Adapter, model_shape
from sharedllm_cli.model.adapter_config import AdapterConfig, LowRankConfig
from sharedllm_cli.model.streaming import StreamingReader
from sharedllm_cli.model.upper import UpperModel

TREE = TreeConfig(16, 2, (4, 2))
TOKENS = torch.randint(0, 256, (40,), generator=torch.Generator().manual_seed(5))
SINKS, WINDOW = 3, 9


def upper_of(model: Any) -> UpperModel:
    return UpperModel(model, Adapter.untrained(model, "tiny", InjectionConfig("merged", 2), TREE))


def read_all(upper: UpperModel, *, window: int = WINDOW, sinks: int = SINKS, block: int = 4) -> torch.Tensor:
    return StreamingReader(upper, window=window, sinks=sinks, block=block).read(TOKENS, keep=len(TOKENS))


def streamed(reference: Reference, tokens: list[int], sinks: int, window: int) -> np.ndarray:
    """StreamingLLM, token by token: a list of unrotated keys, each rotated by its place in the list when it is read."""
    caches: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(reference.layers)]
    group = reference.heads // reference.key_value_heads
    logits = []
    for token in tokens:
        state = reference.weights["model.embed_tokens.weight"][token]
        for layer, cache in enumerate(caches):
            prefix = f"model.layers.{layer}"
            normed = reference.norm(state, reference.weights[f"{prefix}.input_layernorm.weight"])
            cache.append((reference.project(layer, "k", normed), reference.project(layer, "v", normed)))
            if len(cache) > sinks + window:
                del cache[sinks]
            queries = reference.project(layer, "q", normed)
            heads = []
            for head in range(reference.heads):
                own = [
                    (reference.rotate(key[head // group], place), value[head // group])
                    for place, (key, value) in enumerate(cache)
                ]
                heads.append(reference.head_output(reference.rotate(queries[head], len(cache) - 1), own, []))
            state = state + reference.output_projection(layer, np.stack(heads))
            after = reference.weights[f"{prefix}.post_attention_layernorm.weight"]
            state = state + reference.mlp(layer, reference.norm(state, after))
        final = reference.norm(state, reference.weights["model.norm.weight"])
        logits.append(final @ reference.weights["lm_head.weight"].T)
    return np.stack(logits)


@pytest.mark.parametrize(("kernel", "block"), [("sdpa", 1), ("sdpa", 4), ("eager", 9)])
def test_blocks_are_one_token_after_another(llama_like: str, kernel: str, block: int) -> None:
    model = make_tiny_model(llama_like, attn_implementation=kernel)
    expected = streamed(Reference.of(model), TOKENS.tolist(), SINKS, WINDOW)
    np.testing.assert_allclose(read_all(upper_of(model), block=block).numpy(), expected, atol=2e-5)


def test_pieces_are_the_whole() -> None:
    upper = upper_of(make_tiny_model("llama"))
    reader = StreamingReader(upper, window=WINDOW, sinks=SINKS, block=7)
    told: list[int] = []
    pieces = [reader.read(part, keep=40, advance=told.append) for part in TOKENS.split([1, 1, 20, 11, 7])]
    torch.testing.assert_close(torch.cat(pieces), read_all(upper, block=5), atol=2e-5, rtol=0)
    assert reader.tokens_read == sum(told) == len(TOKENS)


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_a_text_within_sinks_and_window_is_the_plain_model(llama_like: str, kernel: str) -> None:
    model = make_tiny_model(llama_like, attn_implementation=kernel)
    with torch.no_grad():
        plain = model(TOKENS[None]).logits[0]
    upper = upper_of(model)
    torch.testing.assert_close(read_all(upper, window=37, block=16), plain, atol=1e-5, rtol=0)
    narrower = read_all(upper, window=36, block=16)
    torch.testing.assert_close(narrower[:39], plain[:39], atol=1e-5, rtol=0)
    assert not torch.allclose(narrower[39], plain[39], atol=1e-3), "the last token no longer sees the fourth"


def test_scaled_rotations_are_turned_without_their_factor() -> None:
    rope = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 2.0, "original_max_position_embeddings": 256}
    model = make_tiny_model("llama", rope_parameters=rope)
    assert model.model.rotary_emb.attention_scaling != 1.0
    upper = upper_of(model)
    torch.testing.assert_close(read_all(upper, block=9), read_all(upper, block=1), atol=2e-5, rtol=0)


def test_only_the_last_logits_are_given() -> None:
    model = make_tiny_model("llama")
    upper = upper_of(model)
    last = StreamingReader(upper, window=WINDOW, sinks=SINKS, block=4).read(TOKENS, keep=7)
    assert last.shape == (7, model.config.vocab_size)
    torch.testing.assert_close(last, read_all(upper)[-7:], atol=1e-5, rtol=0)
    assert StreamingReader(upper, window=WINDOW).read(TOKENS, keep=0).shape == (0, model.config.vocab_size)


@pytest.mark.parametrize("sinks", [0, 1])
def test_few_sinks_or_none(sinks: int) -> None:
    model = make_tiny_model("llama")
    expected = streamed(Reference.of(model), TOKENS.tolist(), sinks, 4)
    np.testing.assert_allclose(read_all(upper_of(model), window=4, sinks=sinks).numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("low_rank", [LowRankConfig(2, 4.0, (3,)), LowRankConfig(2, 4.0, (), ("q_proj",), (0, 1))])
def test_an_adapters_low_rank_weights_stay_on(low_rank: LowRankConfig) -> None:
    model = make_tiny_model("llama")
    plain = model(TOKENS[None]).logits[0].detach()
    config = AdapterConfig("tiny", model_shape(model), InjectionConfig("merged", 2), TREE, low_rank)
    adapter = Adapter(model, config)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if name.endswith("up"):
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    upper = UpperModel(model, adapter)
    with torch.no_grad():
        adapted = upper.forward(TOKENS[None], None)[0]
    assert not torch.allclose(adapted, plain, atol=1e-2)
    torch.testing.assert_close(read_all(upper, window=37, block=16), adapted, atol=1e-5, rtol=0)
    torch.testing.assert_close(read_all(upper, block=9), read_all(upper, block=1), atol=2e-5, rtol=0)


def test_what_the_model_does_not_know_is_refused() -> None:
    short = upper_of(make_tiny_model("llama", max_position_embeddings=64))
    with pytest.raises(UsageError, match="take 65 positions, but the model knows 64"):
        StreamingReader(short, window=50, sinks=5, block=10)
    with pytest.raises(ValueError, match="can't be read"):
        StreamingReader(short, window=0)
    sliding = upper_of(make_tiny_model("mistral", sliding_window=16))
    with pytest.raises(UsageError, match="sees 16 tokens back"):
        StreamingReader(sliding, window=17)
    assert StreamingReader(sliding, window=16).tokens_read == 0
