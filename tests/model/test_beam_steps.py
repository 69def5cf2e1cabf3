"""Answers side by side are those that would be written one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_recorded import TOKENS, prefilled

from sharedllm_cli.model.cache import ROOM
from sharedllm_cli.model.upper import UpperModel, beam_steps


def logits_after(upper: UpperModel, tree: Any, ids: list[int]) -> torch.Tensor:
    return upper.decode_step(torch.tensor([*TOKENS.tolist(), *ids]), tree, upper.cache())


@pytest.mark.parametrize("with_tree", [False, True])
@pytest.mark.parametrize("form", ["merged", "additive"])
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_each_branch_goes_on_from_its_own_words(family: str, form: Any, with_tree: bool, kernel: str) -> None:
    upper, tree, _, cache = prefilled(family, form)
    upper.model.set_attn_implementation(kernel)
    if not with_tree:
        tree = None
        _, cache = upper.prefill(TOKENS, None)
    step = beam_steps(upper, tree, cache)
    told: list[list[int]] = [[]]
    for tokens, parents in (([5, 9, 11], [0, 0, 0]), ([7, 8], [2, 0]), ([6, 12, 13, 14], [1, 1, 0, 1])):
        logits = step(torch.tensor(tokens), torch.tensor(parents))
        told = [[*told[parent], token] for parent, token in zip(parents, tokens, strict=True)]
        for row, ids in zip(logits, told, strict=True):
            torch.testing.assert_close(row, logits_after(upper, tree, ids), rtol=1e-4, atol=1e-4)
    assert cache.get_seq_length() == len(TOKENS), "the running text's cache stays as it was"
    torch.testing.assert_close(upper.decode_step(torch.tensor([5]), tree, cache), logits_after(upper, tree, [5]))


def test_more_words_than_there_was_room_for(family: str) -> None:
    upper, tree, _, cache = prefilled(family)
    step = beam_steps(upper, tree, cache)
    told: list[list[int]] = [[]]
    for place in range(ROOM // 4 + 3):
        parents = [3, 3, 0, 1] if place else [0, 0, 0, 0]
        tokens = [40 + place, 41 + place, 42 + place, 43 + place]
        logits = step(torch.tensor(tokens), torch.tensor(parents))
        told = [[*told[parent], token] for parent, token in zip(parents, tokens, strict=True)]
    for row, ids in zip(logits, told, strict=True):
        torch.testing.assert_close(row, logits_after(upper, tree, ids), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(upper.decode_step(torch.tensor([5]), tree, cache), logits_after(upper, tree, [5]))


def test_the_running_text_is_held_once() -> None:
    upper, tree, first, cache = prefilled("llama")
    held = [layer.keys.data_ptr() for layer in cache.layers]
    upper.token_nlls(first, [7, 8, 9], tree, cache)  # what `ask` weighs before it goes on
    step = beam_steps(upper, tree, cache)
    step(torch.tensor([5, 9, 11]), torch.tensor([0, 0, 0]))
    forked = step.__self__._cache  # type: ignore[attr-defined]
    assert [layer.keys.data_ptr() for layer in forked.layers] == held
    assert [layer.keys.shape[2] for layer in forked.layers] == [len(TOKENS) + 3] * len(held)
    assert [layer.keys.shape[2] for layer in cache.layers] == [len(TOKENS)] * len(held)
    assert not any(layer.keys.requires_grad for layer in (*cache.layers, *forked.layers))


@pytest.mark.parametrize("form", ["merged", "additive"])
def test_a_sliding_window_forgets_for_each_branch_alone(form: Any) -> None:
    upper, tree, _, cache = prefilled("mistral", form, sliding_window=8)
    step = beam_steps(upper, tree, cache)
    told: list[list[int]] = [[]]
    for tokens, parents in (([5, 9], [0, 0]), ([7, 8, 6], [1, 0, 1]), ([6, 12], [2, 2])):
        logits = step(torch.tensor(tokens), torch.tensor(parents))
        told = [[*told[parent], token] for parent, token in zip(parents, tokens, strict=True)]
        for row, ids in zip(logits, told, strict=True):
            torch.testing.assert_close(row, logits_after(upper, tree, ids), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(upper.decode_step(torch.tensor([5]), tree, cache), logits_after(upper, tree, [5]))


def test_flash_attention_is_back_when_a_step_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    upper, _, _, _ = prefilled("llama")
    _, cache = upper.prefill(TOKENS, None)
    config, kernels = upper.model.config, []

    def chosen(kernel: str) -> None:
        kernels.append(kernel)
        config._attn_implementation_internal = kernel

    monkeypatch.setattr(upper.model, "set_attn_implementation", chosen)
    config._attn_implementation_internal = "flash_attention_2"
    logits = beam_steps(upper, None, cache)(torch.tensor([5, 9]), torch.tensor([0, 0]))
    assert kernels == ["sdpa", "flash_attention_2"]
    config._attn_implementation_internal = "sdpa"
    torch.testing.assert_close(logits[1], logits_after(upper, None, [9]), rtol=1e-4, atol=1e-4)
