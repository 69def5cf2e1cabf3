"""Answers side by side are those that would be written one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_recorded import TOKENS, begun

from sharedllm_cli.model.branches import Branches
from sharedllm_cli.model.upper import UpperModel


def logits_after(upper: UpperModel, tree: Any, ids: list[int]) -> torch.Tensor:
    return upper.infer(torch.tensor([*TOKENS.tolist(), *ids]), tree, upper.cache())


@pytest.mark.parametrize("with_tree", [False, True])
@pytest.mark.parametrize("form", ["merged", "additive"])
def test_each_branch_goes_on_from_its_own_words(family: str, form: Any, with_tree: bool) -> None:
    upper, tree, _, cache = begun(family, form)
    if not with_tree:
        tree = None
        _, cache = upper.begin(TOKENS, None)
    branches = Branches(upper, tree, cache)
    told: list[list[int]] = [[]]
    for tokens, parents in (([5, 9, 11], [0, 0, 0]), ([7, 8], [2, 0]), ([6, 12, 13, 14], [1, 1, 0, 1])):
        logits = branches.step(torch.tensor(tokens), torch.tensor(parents))
        told = [[*told[parent], token] for parent, token in zip(parents, tokens, strict=True)]
        for row, ids in zip(logits, told, strict=True):
            torch.testing.assert_close(row, logits_after(upper, tree, ids), rtol=1e-4, atol=1e-4)
    assert cache.get_seq_length() == len(TOKENS), "the running text's cache stays as it was"
    torch.testing.assert_close(upper.infer(torch.tensor([5]), tree, cache), logits_after(upper, tree, [5]))
