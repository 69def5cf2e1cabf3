"""Which layers lie where is arithmetic; a model in pieces computes what it computes in one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from accelerate import cpu_offload, dispatch_model
from accelerate.hooks import attach_align_device_hook_on_blocks
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import make_tiny_model

from sharedllm_cli.config import InjectionConfig, TreeConfig
from sharedllm_cli.errors import ResourceError
from sharedllm_cli.model import loading
from sharedllm_cli.model.adapter import Adapter, LowRankLinear, model_shape
from sharedllm_cli.model.adapter_config import AdapterConfig, LowRankConfig
from sharedllm_cli.model.compat import layer_keywords
from sharedllm_cli.model.families import Rotations
from sharedllm_cli.model.lower import CompressedNodes, LowerModel
from sharedllm_cli.model.placement import (
    ENDS,
    LEAST_LEFT_FREE,
    SHARE_LEFT_FREE,
    ModelSizes,
    Room,
    layer_device,
    model_sizes,
    place,
    spread,
    usable_gpus,
    weight_bytes,
)
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.weights.facts import facts_from_config

GB = 10**9
LARGE = ModelSizes(ends=2 * GB, layer=GB, layers=32, spilled_layer=2 * GB)
TREE = TreeConfig(16, 2, (4, 2))
TOKENS = torch.arange(20, 33)


def gpus(*free: int) -> list[Room]:
    return [Room(f"cuda:{number}", size * GB) for number, size in enumerate(free)]


def test_a_model_that_one_gpu_holds_lies_there_whole() -> None:
    assert spread(LARGE, gpus(80), 0).device_map == {"": "cuda:0"}
    assert spread(LARGE, gpus(80, 80), 0).device_map == {"": "cuda:0"}
    assert spread(LARGE, gpus(8, 80), 0).device_map == {"": "cuda:1"}, "the first that holds it"


def test_a_larger_model_is_spread_over_all_gpus_in_order() -> None:
    found = spread(LARGE, gpus(24, 24), 0)
    assert found.layers == {"cuda:0": 19, "cuda:1": 13}  # 24 − 2.4 free − 2 of the ends; 21 would fit the second
    assert found.first_spilled is None
    assert {found.device_map[name] for name in ENDS} == {"cuda:0"}
    assert [found.device_map[f"model.layers.{layer}"] for layer in (0, 18, 19, 31)] == [
        "cuda:0",
        "cuda:0",
        "cuda:1",
        "cuda:1",
    ]


def test_what_the_gpus_do_not_hold_spills_to_the_processor() -> None:
    found = spread(LARGE, gpus(16), 64 * GB)
    assert found.layers == {"cuda:0": 10, "cpu": 22}  # 16 − 1.6 − 2, and 2 for the layer that is brought
    assert found.first_spilled == 10
    assert found.device_map["model.layers.31"] == "cpu"
    assert found.words() == "10 layers on cuda:0, 22 layers on cpu"


@pytest.mark.parametrize(("free", "processor"), [((16,), 43), ((2,), 500), ((1, 80), 500)])
def test_what_fits_nowhere_is_refused_with_a_hint(free: tuple[int, ...], processor: int) -> None:
    if free == (1, 80):
        assert spread(LARGE, gpus(*free), processor * GB).device_map == {"": "cuda:1"}
        return
    with pytest.raises(ResourceError, match=r"needs 34\.0 GB") as caught:
        spread(LARGE, gpus(*free), processor * GB)
    assert caught.value.hint


@given(
    st.lists(st.integers(0, 90), min_size=1, max_size=4),
    st.integers(0, 200),
    st.integers(1, 80),
    st.integers(1, 40),
    st.integers(1, 30),
)
def test_nothing_is_overfilled_and_every_layer_lies_somewhere(
    free: list[int], processor: int, layers: int, layer: int, ends: int
) -> None:
    sizes = ModelSizes(ends * GB // 10, layer * GB // 10, layers, layer * GB // 5)
    rooms = gpus(*free)
    try:
        found = spread(sizes, rooms, processor * GB)
    except ResourceError:
        return
    assert sum(found.layers.values()) == layers
    for room in rooms:
        taken = found.layers.get(room.device, 0) * sizes.layer
        if found.device_map.get("lm_head", found.device_map.get("")) == room.device:
            taken += sizes.ends + (sizes.spilled_layer if "cpu" in found.layers else 0)
        assert taken == 0 or taken <= room.free - max(LEAST_LEFT_FREE, int(room.free * SHARE_LEFT_FREE))
    assert found.layers.get("cpu", 0) * sizes.spilled_layer <= processor * GB
    if "" not in found.device_map:
        assert len(found.device_map) == layers + len(ENDS)


def test_sizes_are_those_of_the_loaded_model(family: str) -> None:
    model = make_tiny_model(family)
    facts = facts_from_config(model.config.to_dict() | {"architectures": None}, "tiny")
    assert model_sizes(facts, "none", torch.float32).whole == weight_bytes(model) - buffers(model)
    assert model_sizes(facts, "4bit", torch.float32).layer < model_sizes(facts, "8bit", torch.float32).layer


def buffers(model: Any) -> int:
    return sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())


def test_every_part_of_every_family_has_a_place(family: str) -> None:
    """A part that the map forgot would stay where transformers first made it."""
    found = spread(ModelSizes(GB, GB, 4, GB), gpus(5, 5), 0)
    for name, _ in [*make_tiny_model(family).named_parameters(), *make_tiny_model(family).named_buffers()]:
        assert sum(name == place or name.startswith(place + ".") for place in found.device_map) == 1, name


@pytest.mark.parametrize(("asked", "count"), [("auto", 3), ("cuda", 3), ("cuda:1", 1)])
def test_a_gpu_that_was_named_is_used_alone(asked: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    found = usable_gpus(asked, torch.device("cuda", 1 if ":" in asked else 0))
    assert len(found) == count
    assert found[0] == torch.device("cuda", 1 if ":" in asked else 0)
    assert usable_gpus("cpu", torch.device("cpu")) == ()


def random_nodes(model: Any, layers: int, keys: int = 9) -> CompressedNodes:
    generator = torch.Generator().manual_seed(1)
    shape = (layers, model.config.num_key_value_heads, keys, 8)
    chunks = torch.arange(keys) // 4
    return CompressedNodes(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator), chunks)


def reading(model: Any, form: Any, *, merge: bool = False) -> UpperModel:
    """An upper model with every gate open and low-rank weights on the top layer and on an injected one."""
    low_rank = LowRankConfig(2, 4.0, (3,), ("q_proj", "down_proj"), shared_layers=(1,))
    adapter = Adapter(model, AdapterConfig("tiny", model_shape(model), InjectionConfig(form, 3), TREE, low_rank))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return UpperModel(model, adapter, merge=merge)


def answers(model: Any, form: Any) -> list[torch.Tensor]:
    """All that is asked of a model: what the lower one encodes, what the upper one reads, a token at a time."""
    upper = reading(model, form, merge=True)
    lower = LowerModel(model, 3)
    encoded = lower.encode(torch.arange(12)[None], torch.tensor([3, 7, 11]))
    context = upper.context(random_nodes(model, 3), 3)
    cache = upper.cache()
    logits = [upper.decode_step(TOKENS[:7], context, cache), upper.decode_step(TOKENS[7:8], context, cache)]
    plain = upper.decode_step(TOKENS[:7], None, upper.cache())
    return [encoded.keys, encoded.values, encoded.vectors, *logits, plain, lower.node_vectors(TOKENS[None])]


@pytest.mark.parametrize("form", ["merged", "additive"])
def test_spilled_layers_compute_what_resident_ones_do(family: str, form: Any) -> None:
    """accelerate's offloading with the processor as the device that computes: weights lie apart from their layers."""
    expected = answers(make_tiny_model(family), form)
    spilled = cpu_offload(make_tiny_model(family), execution_device=torch.device("cpu"))
    assert next(spilled.model.layers[1].parameters()).is_meta
    found = answers(spilled, form)
    assert layer_device(spilled.model.layers[3]) == torch.device("cpu")
    assert type(spilled.model.layers[3].self_attn.q_proj) is LowRankLinear, (
        "weights that lie apart can't be merged into"
    )
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)  # merged and attached additions round apart


def in_two_places(model: Any, first: int) -> Any:
    """A model whose layers from `first` on lie on another device, one that knows shapes only."""
    places = dict.fromkeys(ENDS, "cpu")
    places |= {f"model.layers.{layer}": "cpu" if layer < first else "meta" for layer in range(4)}
    devices = {name: torch.device(device) for name, device in places.items()}
    attach_align_device_hook_on_blocks(
        model,
        execution_device=devices,
        offload=dict.fromkeys(places, False),
        skip_keys=model._skip_keys_device_placement,
    )
    return model


@pytest.mark.parametrize("form", ["merged", "additive"])
def test_each_layer_reads_the_tree_on_its_own_device(family: str, form: Any) -> None:
    """Mixing devices raises; a result on `meta` says that all later layers ran there."""
    model = in_two_places(make_tiny_model(family), 2)
    assert layer_device(model.model.layers[1]).type == "cpu"
    assert layer_device(model.model.layers[2]).type == "meta"
    upper = reading(model, form)
    # Whether a gate is open can't be asked of a device without numbers.
    context = upper.context(random_nodes(model, 3), 3, closed_too=True)
    assert context is not None
    assert [context.keys[layer].device.type for layer in range(3)] == ["cpu", "cpu", "meta"]
    assert [context.values[layer].device.type for layer in range(3)] == ["cpu", "cpu", "meta"]
    assert context.keys[2].shape == context.keys[1].shape
    assert upper.adapter.injections["2"].gate.device.type == "meta"
    hidden: list[torch.device] = []
    for layer in model.model.layers:
        layer.register_forward_hook(lambda _, __, output: hidden.append(output.device))
    cache = upper.cache()
    with torch.no_grad():
        states = model.model.embed_tokens(TOKENS[None])
        positions = torch.arange(13)[None]
        rotations = Rotations(model.model.rotary_emb, states, positions)
        for layer in model.model.layers:
            named = layer_keywords(layer, mask=None, positions=positions, rotation=rotations.of(layer), cache=cache)
            states = layer(states, **named, tree_context=context)
    assert [device.type for device in hidden] == ["cpu", "cpu", "meta", "meta"]
    assert [layer.keys.device.type for layer in cache.layers] == ["cpu", "cpu", "meta", "meta"]


@pytest.mark.parametrize("form", ["merged", "additive"])
def test_hooks_change_nothing(form: Any) -> None:
    """The map is one that accelerate takes; hooks stand between the modules as where layers lie on several GPUs."""
    expected = answers(make_tiny_model("llama"), form)
    places = dict.fromkeys([*ENDS, *(f"model.layers.{layer}" for layer in range(4))], "cpu")
    hooked = dispatch_model(make_tiny_model("llama"), places, force_hooks=True)
    assert hasattr(hooked.model.layers[1].self_attn.q_proj, "_hf_hook")
    for one, other in zip(answers(hooked, form), expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_an_index_knows_which_of_its_layers_were_spilled() -> None:
    facts = facts_from_config(make_tiny_model("llama").config.to_dict() | {"architectures": None}, "tiny")
    parts: dict[str, Any] = dict.fromkeys(("name", "family", "model", "tokenizer", "weights_hash", "tokenizer_hash"))
    base = loading.BaseModel(
        **parts, device=torch.device("cpu"), dtype=torch.float32, quantize="4bit", window=9, facts=facts
    )
    assert base.quantize_of(4) == "4bit"
    spilled = spread(ModelSizes(GB // 10, GB, 4, GB), gpus(4), 64 * GB)
    assert spilled.first_spilled == 1
    part = loading.BaseModel(**{**base.__dict__, "spread": spilled})
    assert (part.quantize_of(1), part.quantize_of(2)) == ("4bit", "4bit below layer 1")
    assert loading.BaseModel(**{**part.__dict__, "quantize": "none"}).quantize_of(4) == "none"


def test_loading_asks_for_the_spread_that_was_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = facts_from_config(make_tiny_model("llama").config.to_dict() | {"architectures": None}, "tiny")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("sharedllm_cli.model.placement.runs_flash", lambda device: True)
    monkeypatch.setattr(loading, "model_sizes", lambda *_: ModelSizes(GB, GB, 4, GB))
    free = {"cuda:0": 5 * GB, "cuda:1": 5 * GB, "cpu": 0}
    monkeypatch.setattr(loading, "free_bytes", lambda device: free[str(device)])
    placed = place(facts, device="auto", dtype="bfloat16", quantize="none", attention="auto")
    settled, found = loading._settle(facts, placed)
    assert found is not None
    assert found.layers == {"cuda:0": 2, "cuda:1": 2}
    assert settled.device == torch.device("cuda", 0), "tokens go in where the embeddings lie"
    alone = place(facts, device="cuda:1", dtype="bfloat16", quantize="none", attention="auto")
    with pytest.raises(ResourceError):
        loading._settle(facts, alone)
    free["cuda:1"] = 40 * GB
    settled, found = loading._settle(facts, placed)
    assert (settled.device, found) == (torch.device("cuda", 1), None), "the GPU that holds it whole"
    free["cuda:0"] = 40 * GB
    assert loading._settle(facts, placed) == (placed, None)
