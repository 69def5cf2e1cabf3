"""A cache that grows in place gives what transformers' own gives, and never changes what it has handed out."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_models import make_tiny_model
from transformers import DynamicCache

from sharedllm_cli.model.cache import ROOM, GrowingLayer, fork, growing_cache, take_back
from sharedllm_cli.model.compat import call_model

TOKENS = torch.arange(20, 40)


def states(length: int, seed: int, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 2, length, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("inference", [False, True])
def test_logits_are_those_of_transformers_cache(family: str, inference: bool) -> None:
    model = make_tiny_model(family)
    with torch.inference_mode(inference), torch.no_grad():
        found = []
        for cache in (DynamicCache(config=model.config), growing_cache(model.config)):
            parts = [call_model(model, TOKENS[None, :9], cache).logits]
            parts += [call_model(model, TOKENS[None, at : at + 1], cache).logits for at in range(9, 20)]
            found.append(torch.cat(parts, dim=1))
    assert torch.equal(*found)


def test_a_token_is_written_where_there_is_room_and_the_buffer_grows_where_there_is_none() -> None:
    layer, all_keys = GrowingLayer(), states(3 * ROOM, 0)
    places = [0]
    with torch.no_grad():
        layer.update(all_keys[:, :, :5], all_keys[:, :, :5])
        for at in range(5, 3 * ROOM):
            keys, values = layer.update(all_keys[:, :, at : at + 1], -all_keys[:, :, at : at + 1])
            if keys.data_ptr() != places[-1]:  # one that was freed may come again later, never at once
                places.append(keys.data_ptr())
    assert torch.equal(keys, all_keys)
    assert torch.equal(values[:, :, 5:], -all_keys[:, :, 5:])
    assert len(places) == 1 + 3, "copied whenever the room is used up, and only then"


@torch.no_grad()
def test_what_was_handed_out_stays_until_it_is_taken_back() -> None:
    layer = GrowingLayer()
    first, _ = layer.update(states(4, 0), states(4, 1))
    kept = first.clone()
    layer.update(states(2, 2), states(2, 3))
    assert torch.equal(first, kept)
    layer.crop(-3)
    assert layer.get_seq_length() == 3
    again, values = layer.update(states(1, 4), states(1, 5))
    assert torch.equal(again, torch.cat([kept[:, :, :3], states(1, 4)], dim=2))
    assert torch.equal(values, torch.cat([states(4, 1)[:, :, :3], states(1, 5)], dim=2))


@torch.no_grad()
def test_a_copy_grows_alone() -> None:
    cache = growing_cache(make_tiny_model("llama").config)
    cache.update(states(4, 0), states(4, 1), 0)
    other = copy.deepcopy(cache)
    mine, _ = cache.update(states(1, 2), states(1, 2), 0)
    theirs, _ = other.update(states(1, 3), states(1, 3), 0)
    assert torch.equal(mine[:, :, 4:], states(1, 2))
    assert torch.equal(theirs[:, :, 4:], states(1, 3))
    assert torch.equal(mine[:, :, :4], theirs[:, :, :4])


@torch.no_grad()
def test_rows_that_were_repeated_or_reordered_are_not_written_over() -> None:
    layer = GrowingLayer()
    layer.update(states(4, 0), states(4, 1))
    layer.batch_repeat_interleave(3)
    keys, _ = layer.update(states(1, 2, batch=3), states(1, 3, batch=3))
    assert torch.equal(keys[:, :, :4], states(4, 0).expand(3, -1, -1, -1))
    layer.reorder_cache(torch.tensor([2, 1, 0]))
    keys, values = layer.update(states(1, 4, batch=3), states(1, 5, batch=3))
    assert torch.equal(keys[:, :, 4:5], states(1, 2, batch=3).flip(0))
    assert torch.equal(values[:, :, 5:], states(1, 5, batch=3))
    layer.reset()
    assert layer.get_seq_length() == 0
    assert torch.equal(layer.update(states(2, 6), states(2, 7))[0], states(2, 6))


def test_what_was_begun_in_inference_mode_goes_on_outside_of_it() -> None:
    layer = GrowingLayer()
    with torch.inference_mode():
        layer.update(states(4, 0), states(4, 1))
    with torch.no_grad():
        keys, _ = layer.update(states(1, 2), states(1, 3))
    assert torch.equal(keys, torch.cat([states(4, 0), states(1, 2)], dim=2))


def test_gradients_flow_as_through_transformers_cache() -> None:
    found = []
    for layer in (DynamicCache().layer_class_to_replicate(), GrowingLayer()):
        given = [states(3, 0).requires_grad_(), states(2, 1).requires_grad_()]
        layer.update(given[0], given[0])
        layer.update(states(1, 2), states(1, 2))
        keys, values = layer.update(given[1], given[1])
        (keys.pow(2).sum() + values.pow(3).sum()).backward()
        found.append([tensor.grad for tensor in given])
    for expected, got in zip(*found, strict=True):
        assert expected is not None
        assert got is not None
        assert torch.equal(expected, got)


def test_what_reads_may_learn_while_keys_and_values_do_not() -> None:
    layer, query = GrowingLayer(), torch.ones(8, requires_grad=True)
    keys, _ = layer.update(states(3, 0), states(3, 1))
    read = (keys * query).sum()
    layer.update(states(1, 2), states(1, 3))
    read.backward()
    assert torch.equal(query.grad, states(3, 0).sum(dim=(0, 1, 2)))


@torch.no_grad()
def test_other_batches_and_types_are_refused_or_promoted_as_transformers_does() -> None:
    layer = GrowingLayer()
    layer.update(states(3, 0, batch=3), states(3, 1, batch=3))
    with pytest.raises(RuntimeError, match="must match"):
        layer.update(states(1, 2), states(1, 3))
    keys, _ = layer.update(states(1, 2, batch=3).double(), states(1, 3, batch=3).double())
    assert keys.dtype == torch.float64


def test_layers_with_a_sliding_window_stay_transformers_own() -> None:
    config = make_tiny_model("mistral").config
    assert {type(layer) is GrowingLayer for layer in growing_cache(config).layers} == {True}
    config.sliding_window = 8
    assert {type(layer) is GrowingLayer for layer in growing_cache(config).layers} == {False}


@torch.no_grad()
def test_a_step_that_broke_off_between_layers_is_taken_back_where_it_came() -> None:
    cache = growing_cache(make_tiny_model("llama").config)
    for layer in range(len(cache.layers)):
        cache.update(states(4, layer), states(4, layer), layer)
    cache.update(states(2, 9), states(2, 9), 0)
    take_back(cache, 4)
    assert [layer.get_seq_length() for layer in cache.layers] == [4] * len(cache.layers)
    assert all(torch.equal(layer.keys, states(4, place)) for place, layer in enumerate(cache.layers))


@torch.no_grad()
def test_a_fork_goes_on_in_the_same_room() -> None:
    cache = growing_cache(make_tiny_model("llama").config)
    for layer in range(len(cache.layers)):
        cache.update(states(4, layer), states(4, layer), layer)
    other = fork(cache)
    for place, layer in enumerate(other.layers):
        keys, _ = other.update(states(1, 9), states(1, 9), place)
        assert torch.equal(keys, torch.cat([states(4, place), states(1, 9)], dim=2))
        assert layer.keys.data_ptr() == cache.layers[place].keys.data_ptr()
        assert torch.equal(cache.layers[place].keys, states(4, place))


@torch.no_grad()
def test_a_cache_holds_its_own_type_and_gives_the_type_that_comes() -> None:
    layer, plain = GrowingLayer(stored=torch.float32), GrowingLayer()
    for length, seed in ((5, 0), (1, 1), (ROOM + 3, 2)):
        new = states(length, seed).bfloat16()
        found, expected = layer.update(new, -new), plain.update(new, -new)
        assert [one.dtype for one in found] == [torch.bfloat16] * 2
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    assert layer.keys is not None
    assert (layer.keys.dtype, layer.get_seq_length()) == (torch.float32, ROOM + 9)
    exact = states(1, 3)
    assert torch.equal(layer.update(exact, exact)[0][:, :, -1:], exact), "what comes in the stored type is not rounded"
    assert layer.fork().update(exact, exact)[0].dtype == torch.float32
