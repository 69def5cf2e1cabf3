"""An injection that has nothing to read is exactly the base model; low-rank weights never touch the lower model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import make_tiny_model

from sharedllm_cli.config import InjectionConfig, TreeConfig
from sharedllm_cli.errors import ModelError
from sharedllm_cli.model import attention
from sharedllm_cli.model.adapter import Adapter, LowRankLinear, model_shape
from sharedllm_cli.model.adapter_config import (
    ATTENTION_TARGETS,
    TARGETS,
    AdapterConfig,
    LowRankConfig,
    read_config,
)
from sharedllm_cli.model.attention import attend, explicit, join, rotate
from sharedllm_cli.model.compat import DynamicCache, call_model
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.lower import CompressedNodes, LowerModel
from sharedllm_cli.model.upper import UpperModel

TREE = TreeConfig(16, 2, (4, 2))
TOKENS = torch.arange(20, 33)


def random_nodes(model: Any, layers: int, keys: int = 9, seed: int = 1) -> CompressedNodes:
    generator = torch.Generator().manual_seed(seed)
    shape = (layers, model.config.num_key_value_heads, keys, 8)
    chunks = torch.arange(keys) // 4
    return CompressedNodes(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator), chunks)


def opened(adapter: Adapter, seed: int = 0) -> Adapter:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("gate"):
                parameter.copy_(noise)
            else:
                parameter.add_(noise * 0.1)
    return adapter


@pytest.mark.parametrize("form", ["merged", "additive"])
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_closed_gates_are_the_base_model_bit_for_bit(family: str, form: Any, kernel: str) -> None:
    model = make_tiny_model(family, attn_implementation=kernel)
    with torch.no_grad():
        plain = model(TOKENS[None]).logits
        upper = UpperModel(model, Adapter.untrained(model, "tiny", InjectionConfig(form, 3), TREE))
        context = upper.context(random_nodes(model, 3), 3)
        assert context is None
        assert not upper.reads_tree
        assert torch.equal(upper.forward(TOKENS[None], context), plain)
        one_gate_open(upper.adapter)
        half_open = upper.context(random_nodes(model, 3), 3)
        assert half_open is not None
        assert list(half_open.keys) == [1], "a closed gate's layer is skipped even when another's is open"
        assert not torch.equal(upper.forward(TOKENS[None], half_open), plain)
        assert torch.equal(upper.forward(TOKENS[None], None), plain), "no tree, no trace of one"
        upper.remove()
        assert torch.equal(model(TOKENS[None]).logits, plain)


def one_gate_open(adapter: Adapter) -> None:
    with torch.no_grad():
        adapter.injections["1"].gate.fill_(0.5)


@pytest.mark.parametrize("form", ["merged", "additive"])
def test_cached_decoding_equals_the_full_forward(family: str, form: Any) -> None:
    model = make_tiny_model(family)
    upper = UpperModel(model, opened(Adapter.untrained(model, "tiny", InjectionConfig(form, 3), TREE)))
    context = upper.context(random_nodes(model, 3), 3)
    cache = upper.cache()
    with torch.no_grad():
        whole = upper.forward(TOKENS[None], context)[0]
        steps = [upper.decode_step(TOKENS[:5], context, cache)] + [
            upper.decode_step(TOKENS[i : i + 1], context, cache) for i in range(5, 13)
        ]
    torch.testing.assert_close(torch.stack(steps), whole[4:], atol=1e-5, rtol=1e-5)


def test_a_larger_index_serves_a_smaller_model() -> None:
    model = make_tiny_model("llama")
    upper = UpperModel(model, opened(Adapter.untrained(model, "tiny", InjectionConfig("merged", 2), TREE)))
    nodes = random_nodes(model, 4)
    small = CompressedNodes(nodes.keys[:2], nodes.values[:2], nodes.chunks)
    with torch.no_grad():
        assert torch.equal(
            upper.forward(TOKENS[None], upper.context(nodes, 3)), upper.forward(TOKENS[None], upper.context(small, 3))
        )


def test_lower_model_is_the_bottom_layers_of_the_base(family: str) -> None:
    """Its keys, rotated by the positions inside the node, are what the base model's own cache holds."""
    model = make_tiny_model(family)
    tokens = torch.stack([torch.arange(12), torch.arange(50, 62)])
    encoded = LowerModel(model, 3).encode(tokens, torch.arange(12))
    with torch.no_grad():
        cache = DynamicCache(config=model.config)
        call_model(model, tokens, cache)
        kinds = [(kind,) if family == "gemma3_text" else () for kind in getattr(model.config, "layer_types", [""] * 3)]
        rotations = [model.model.rotary_emb(encoded.keys, torch.arange(12)[None], *kind) for kind in kinds[:3]]
    for layer, rotation in enumerate(rotations):
        held = cache.layers[layer]
        turned = getattr(model.model.layers[layer].self_attn, "use_rope", True)
        keys = rotate(encoded.keys[:, layer], *rotation) if turned else encoded.keys[:, layer]
        last = slice(-held.keys.shape[2], None)  # a window's cache has forgotten what it does not see
        torch.testing.assert_close(keys[:, :, last], held.keys, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(encoded.values[:, layer, :, last], held.values, atol=1e-5, rtol=1e-5)


def test_lower_model_ignores_an_adapter_in_place() -> None:
    model = make_tiny_model("llama")
    tokens, kept = torch.arange(12)[None], torch.tensor([3, 7, 11])
    before = LowerModel(model, 3).encode(tokens, kept)
    low_rank = LowRankConfig(2, 4.0, (3,), ("q_proj", "o_proj"), (1, 2))
    config = AdapterConfig("tiny", model_shape(model), InjectionConfig("merged", 3), TREE, low_rank)
    upper = UpperModel(model, opened(Adapter(model, config)))
    after = LowerModel(model, 3).encode(tokens, kept)
    assert torch.equal(before.keys, after.keys)
    assert torch.equal(before.values, after.values)
    assert torch.equal(before.vectors, after.vectors)
    upper.remove()


def test_low_rank_weights_of_the_top_layers_act_and_leave_again() -> None:
    model = make_tiny_model("qwen3")
    config = AdapterConfig(
        "tiny",
        model_shape(model),
        InjectionConfig("merged", 2),
        TREE,
        LowRankConfig(3, 6.0, (2, 3), ("v_proj", "up_proj")),
    )
    with torch.no_grad():
        plain = model(TOKENS[None]).logits
        fresh = UpperModel(model, Adapter(model, config))
        assert torch.equal(fresh.forward(TOKENS[None], None), plain), "a low-rank addition starts as zero"
        fresh.remove()
        adapter = Adapter(model, config)
        for addition in adapter.low_rank["2"].children():
            addition.up.normal_()  # type: ignore[union-attr, operator]
        expected = model.model.layers[2].self_attn.v_proj.weight + 2.0 * (
            adapter.low_rank["2"]["v_proj"].up @ adapter.low_rank["2"]["v_proj"].down  # type: ignore[index]
        )
        upper = UpperModel(model, adapter)
        states = torch.randn(1, 4, 32)
        torch.testing.assert_close(model.model.layers[2].self_attn.v_proj(states), states @ expected.T)
        assert not torch.equal(upper.forward(TOKENS[None], None), plain)
        upper.remove()
        assert torch.equal(model(TOKENS[None]).logits, plain)


@pytest.mark.parametrize("form", ["merged", "additive"])
def test_adapter_survives_its_folder(tmp_path: Path, family: str, form: Any) -> None:
    model = make_tiny_model(family)
    low_rank = LowRankConfig(2, 2.0, (3,), ("q_proj", "down_proj"))
    config = AdapterConfig("tiny", model_shape(model), InjectionConfig(form, 2, 1), TREE, low_rank)
    adapter = opened(Adapter(model, config))
    adapter.save(tmp_path, trained={"objective": "recite", "steps": 3})
    again = Adapter.load(tmp_path, model)
    assert again.trained
    assert not adapter.trained
    assert again.config.trained == {"objective": "recite", "steps": 3}
    assert again.config.injection == config.injection
    assert again.config.low_rank == low_rank
    for name, tensor in adapter.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter.json", "adapter.safetensors"]


def test_foreign_and_damaged_adapters_are_refused(tmp_path: Path) -> None:
    model = make_tiny_model("llama")
    with pytest.raises(ModelError, match="not an adapter"):
        Adapter.load(tmp_path, model)
    Adapter.untrained(model, "tiny", InjectionConfig("merged", 2), TREE).save(tmp_path)
    with pytest.raises(ModelError, match="another shape"):
        Adapter.load(tmp_path, make_tiny_model("llama", num_hidden_layers=3))
    weights = tmp_path / "adapter.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-3])
    with pytest.raises(ModelError, match="can't be read"):
        Adapter.load(tmp_path, model)
    weights.write_bytes(whole)
    text = json.loads((tmp_path / "adapter.json").read_text())
    for changes, message in [
        ({"format_version": 2}, "format version 2"),
        ({"injection": {**text["injection"], "lower_layers": 1}}, "unknown injections.1"),
        ({"injection": {**text["injection"], "lower_layers": 3}}, "lacks injections.2"),
        ({"injection": {"strange": 1}}, "not an adapter's configuration"),
        ({"shape": [1]}, "not an adapter's configuration"),
    ]:
        (tmp_path / "adapter.json").write_text(json.dumps(text | changes))
        with pytest.raises(ModelError, match=message):
            Adapter.load(tmp_path, model)
    (tmp_path / "adapter.json").write_text("[]")
    with pytest.raises(ModelError, match="not an adapter's configuration"):
        read_config(tmp_path)


@pytest.mark.parametrize("value", [1e12, -1e12, float("nan"), float("inf"), float("-inf")])
def test_an_adapter_with_values_that_no_training_gives_is_refused(value: float, tmp_path: Path) -> None:
    model = make_tiny_model("llama")
    config = AdapterConfig("tiny", model_shape(model), InjectionConfig("merged", 2), TREE, LowRankConfig(2, 2.0, (3,)))
    adapter = Adapter(model, config)
    adapter.save(tmp_path)
    Adapter.load(tmp_path, model)  # its gates are closed: minus infinity there is a value like any other
    weights = adapter.state_dict()
    name = next(name for name in weights if not name.endswith(".gate"))
    weights[name].view(-1)[0] = value
    adapter.save(tmp_path)
    with pytest.raises(ModelError, match="values that no training gives"):
        Adapter.load(tmp_path, model)


@pytest.mark.parametrize(
    ("injection", "low_rank", "message"),
    [
        (InjectionConfig("merged", 2), LowRankConfig(2, 2.0, (1,), ("k_proj",)), "stale"),
        (InjectionConfig("merged", 2, 1), LowRankConfig(2, 2.0, (2,), ("q_proj",), (0,)), "stale"),
        (InjectionConfig("merged", 2), LowRankConfig(2, 2.0, (4,), ("q_proj",)), "layer 4"),
        (InjectionConfig("merged", 2), LowRankConfig(2, 2.0, (3,), ("lm_head",)), "lm_head"),
        (InjectionConfig("merged", 5), None, "M = 5"),
        (InjectionConfig("additive", 2, gates="head"), None, "merged form only"),
    ],
)
def test_adapters_that_can_not_be_meant_are_refused(
    injection: InjectionConfig, low_rank: LowRankConfig | None, message: str
) -> None:
    model = make_tiny_model("llama")
    with pytest.raises(ModelError, match=message):
        Adapter(model, AdapterConfig("tiny", model_shape(model), injection, TREE, low_rank))


def test_attention_in_blocks_equals_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    query, keys, values = torch.randn(2, 4, 11, 8), torch.randn(1, 2, 7, 8), torch.randn(1, 2, 7, 8)
    mask = torch.rand(1, 1, 11, 7) > 0.3
    mask[..., 0] = True
    whole = explicit(query, keys, values, 0.3, mask)
    monkeypatch.setattr(attention, "_LOGITS_BYTES", 1)
    blocks = explicit(query, keys, values, 0.3, mask)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, keys.expand(2, -1, -1, -1), values.expand(2, -1, -1, -1), attn_mask=mask, scale=0.3, enable_gqa=True
    )
    for found in (whole, blocks):
        torch.testing.assert_close(found[0], expected)
    torch.testing.assert_close(whole[1], blocks[1])


def test_joined_attentions_are_one_softmax() -> None:
    query = torch.randn(1, 4, 5, 8)
    keys, values = torch.randn(1, 2, 12, 8), torch.randn(1, 2, 12, 8)
    first, second = (
        attend(query, keys[:, :, :7], values[:, :, :7], 0.4),
        attend(query, keys[:, :, 7:], values[:, :, 7:], 0.4),
    )
    torch.testing.assert_close(join(*first, *second), attend(query, keys, values, 0.4)[0])


def test_merged_low_rank_weights_are_the_attached_ones_and_leave_the_lower_model_alone() -> None:
    tokens, kept = torch.arange(12)[None], torch.tensor([3, 7, 11])
    logits, compressed = [], []
    for merge in (False, True):
        model = make_tiny_model("llama")
        low_rank = LowRankConfig(2, 4.0, (2, 3), ("q_proj", "v_proj", "down_proj"))
        config = AdapterConfig("tiny", model_shape(model), InjectionConfig("merged", 2), TREE, low_rank)
        upper = UpperModel(model, opened(Adapter(model, config)), merge=merge)
        context = upper.context(random_nodes(model, 2), 3)
        with torch.no_grad():
            logits.append(upper.forward(TOKENS[None], context))
            compressed.append(LowerModel(model, 2).encode(tokens, kept).keys)
            plain = make_tiny_model("llama")(TOKENS[None]).logits
        if merge:
            assert not any(isinstance(module, LowRankLinear) for module in model.modules())
            with pytest.raises(RuntimeError, match="merged"):
                upper.remove()
    torch.testing.assert_close(logits[0], logits[1], atol=1e-5, rtol=1e-5)
    assert torch.equal(compressed[0], compressed[1])
    assert not torch.allclose(logits[1], plain, atol=1e-3)


@pytest.mark.parametrize("merge", [False, True])
def test_low_rank_weights_of_shared_layers_act_in_the_upper_model_alone(family: str, merge: bool) -> None:
    model = make_tiny_model(family)
    config = AdapterConfig(
        "tiny",
        model_shape(model),
        InjectionConfig("merged", 2),
        TREE,
        LowRankConfig(3, 6.0, (), TARGETS, (0, 1)),
    )
    adapter = Adapter(model, config)
    expected = make_tiny_model(family)
    encoded = LowerModel(model, 2).encode(TOKENS[None], torch.arange(5))
    plain = model(TOKENS[None]).logits
    expected.load_state_dict(model.state_dict())
    with torch.no_grad():
        for place in (0, 1):
            additions: Any = adapter.low_rank[str(place)]
            layer = expected.model.layers[place]
            for target in TARGETS:
                additions[target].up.normal_(std=0.3)
                linear = getattr(layer.self_attn if target in ATTENTION_TARGETS else layer.mlp, target)
                linear.weight += 2.0 * additions[target].up @ additions[target].down
        upper = UpperModel(model, adapter, merge=merge)
        # whole and in two steps with a cache
        torch.testing.assert_close(
            upper.forward(TOKENS[None], None), expected(TOKENS[None]).logits, atol=1e-5, rtol=1e-5
        )
        cache = upper.cache()
        parts = [upper.forward(part[None], None, cache) for part in (TOKENS[:5], TOKENS[5:])]
        torch.testing.assert_close(torch.cat(parts, 1), expected(TOKENS[None]).logits, atol=1e-5, rtol=1e-5)
        again = LowerModel(model, 2).encode(TOKENS[None], torch.arange(5))
        assert torch.equal(again.keys, encoded.keys)
        assert torch.equal(again.values, encoded.values)
        if not merge:
            upper.remove()
            assert torch.equal(model(TOKENS[None]).logits, plain)


@pytest.mark.parametrize("form", ["merged", "additive"])
def test_trees_side_by_side_are_read_as_each_alone(form: Any) -> None:
    model = make_tiny_model("llama")
    injection = InjectionConfig(form, 2)
    upper = UpperModel(model, opened(Adapter(model, AdapterConfig("tiny", model_shape(model), injection, TREE))))
    torch.manual_seed(1)
    heads, width = model_shape(model)[3:]
    contexts = []
    for keys, chunks in ((3, 1), (11, 4), (6, 2)):
        nodes = CompressedNodes(
            torch.randn(2, heads, keys, width), torch.randn(2, heads, keys, width), torch.arange(keys) % chunks
        )
        context = upper.context(nodes, chunks)
        assert context is not None
        contexts.append(context)
    with torch.no_grad():
        together = upper.forward(TOKENS.expand(3, -1), TreeContext.side_by_side(contexts))
        alone = torch.cat([upper.forward(TOKENS[None], context) for context in contexts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_the_bias_of_a_reading_is_added_to_all_gates() -> None:
    model = make_tiny_model("llama")
    injection = InjectionConfig("merged", 2, gates="head")
    adapter = opened(Adapter(model, AdapterConfig("tiny", model_shape(model), injection, TREE)))
    upper = UpperModel(model, adapter)
    context = upper.context(random_nodes(model, 2), 3)
    assert context is not None
    less = replace(context, bias=-1.5)
    with torch.no_grad():
        plain = upper.forward(TOKENS[None], context)
        biased = upper.forward(TOKENS[None], less)
        together = upper.forward(TOKENS.expand(2, -1), TreeContext.side_by_side([less, less]))
        for injected in adapter.injections.values():
            injected.gate.sub_(1.5)  # type: ignore[union-attr, operator]
        shifted = upper.forward(TOKENS[None], context)
    torch.testing.assert_close(biased, shifted, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(together, shifted.expand(2, -1, -1), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(plain, biased, atol=1e-3)
    with pytest.raises(ValueError, match="different biases"):
        TreeContext.side_by_side([context, less])


def test_a_bias_on_gates_is_for_the_merged_form_alone() -> None:
    model = make_tiny_model("llama")
    config = AdapterConfig("tiny", model_shape(model), InjectionConfig("additive", 2), TREE, text_bias=-1.0)
    with pytest.raises(ModelError, match="merged form only"):
        Adapter(model, config)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_keys_that_nobody_else_reads_are_rotated_where_they_lie(dtype: torch.dtype) -> None:
    model = make_tiny_model("llama", seed=1).to(dtype)
    upper = UpperModel(model, opened(Adapter.untrained(model, "tiny", InjectionConfig("merged", 3), TREE)))
    nodes = random_nodes(model, 3)
    nodes = replace(nodes, keys=nodes.keys.to(dtype), values=nodes.values.to(dtype))
    before = nodes.keys.clone()
    kept = upper.context(nodes, 3)
    assert torch.equal(nodes.keys, before), "others may read them yet"
    used = upper.context(nodes, 3, consume=True)
    assert kept is not None
    assert used is not None
    tolerance = {torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 4e-2}[dtype]
    for layer, keys in kept.keys.items():
        assert torch.allclose(used.keys[layer], keys, rtol=0, atol=tolerance)
        assert torch.equal(used.values[layer], kept.values[layer])
        assert used.keys[layer].untyped_storage().data_ptr() == nodes.keys.untyped_storage().data_ptr()
