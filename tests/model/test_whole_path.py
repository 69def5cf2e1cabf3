"""The whole path of the method against an independent float64 account of it, with random open gates.

Tree, downsampling, rotation, cross-attention, several chunks and documents, cached decoding; every family of Llama.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from reference import Reference, preserved, split
from tiny_models import make_tiny_model

from sharedllm_cli.config import InjectionConfig, TreeConfig
from sharedllm_cli.context.search import leaf_scores, search
from sharedllm_cli.context.tree import ChunkTree, Node, chunk_lengths
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.lower import CompressedNodes, LowerModel
from sharedllm_cli.model.upper import UpperModel

TREE = TreeConfig(chunk_tokens=19, height=2, ratios=(4, 2))


def open_randomly(adapter: Adapter) -> None:
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if name.endswith("gate"):
                parameter.copy_(noise * 0.5 + 0.2)
            else:
                parameter.add_(noise.to(parameter.dtype) * 0.05)


def compressed(
    lower: LowerModel, trees: list[ChunkTree], tokens: list[list[int]], nodes: list[Node]
) -> CompressedNodes:
    parts = []
    for node in nodes:
        tree, span = trees[node.chunk], trees[node.chunk].span(node.level, node.index)
        kept = torch.from_numpy(tree.kept(node.level, node.index))
        encoded = lower.encode(torch.tensor([tokens[node.chunk][span.start : span.end]]), kept)
        chunks = torch.full((len(kept),), node.chunk)
        parts.append(CompressedNodes(encoded.keys[0], encoded.values[0], chunks))
    return CompressedNodes(
        torch.cat([part.keys for part in parts], dim=2),
        torch.cat([part.values for part in parts], dim=2),
        torch.cat([part.chunks for part in parts]),
    )


def decode_in_steps(upper: UpperModel, tokens: list[int], context: Any) -> torch.Tensor:
    """Logits of every position: six tokens at once, then three, then one at a time through the cache."""
    cache, rows, done = upper.cache(), [], 0
    with torch.no_grad():
        for count in [6, 3] + [1] * (len(tokens) - 9):
            rows.append(upper.forward(torch.tensor([tokens[done : done + count]]), context, cache)[0])
            done += count
    return torch.cat(rows)


FORMS = [("merged", 0, 3, "layer"), ("merged", 1, 4, "head"), ("additive", 0, 2, "layer"), ("additive", 1, 3, "layer")]


@pytest.mark.parametrize(("form", "first_layer", "lower_layers", "gates"), FORMS)
def test_whole_path_equals_the_reference(
    llama_like: str, form: Any, first_layer: int, lower_layers: int, gates: Any
) -> None:
    compare_with_reference(make_tiny_model(llama_like, seed=3).double(), form, first_layer, lower_layers, gates, None)


@pytest.mark.parametrize("form", ["merged", "additive"])
def test_whole_path_with_a_sliding_window(form: Any) -> None:
    """A window shorter than nodes and running text bounds self-attention, never the reading of the tree."""
    model = make_tiny_model("mistral", seed=3, sliding_window=5).double()
    compare_with_reference(model, form, 0, 3, "layer", 5)


def compare_with_reference(
    model: Any, form: Any, first_layer: int, lower_layers: int, gates: Any, window: int | None
) -> None:
    random = np.random.default_rng(5)
    # Two documents: chunks of 19, 19, 9 tokens, and one of 3, which is too short to split.
    tokens = [random.integers(0, 256, length).tolist() for length in chunk_lengths(47, 19) + chunk_lengths(3, 19)]
    values = [random.normal(size=4) for _ in range(3)] + [random.normal(size=1)]
    running = random.integers(0, 256, 13).tolist()

    injection = InjectionConfig(form, lower_layers, first_layer, gates)
    adapter = Adapter.untrained(model, "tiny", injection, TREE).double()
    open_randomly(adapter)
    trees = [ChunkTree(len(chunk), TREE) for chunk in tokens]
    nodes = search(trees, leaf_scores(trees, values))
    lower = LowerModel(model, lower_layers)
    upper = UpperModel(model, adapter)
    context = upper.context(compressed(lower, trees, tokens, nodes), len(tokens))
    assert context is not None
    found = decode_in_steps(upper, running, context)
    upper.remove()

    reference = Reference.of(model)
    reference.window = window
    reference.form, reference.first_layer, reference.lower_layers = form, first_layer, lower_layers
    reference.injected = {
        name.removeprefix("injections."): tensor.detach().double().numpy()
        for name, tensor in adapter.state_dict().items()
    }
    memory: list[list[tuple[int, np.ndarray, np.ndarray]]] = [[] for _ in range(lower_layers)]
    for chunk, (chunk_tokens, scores) in enumerate(zip(tokens, values, strict=True)):
        parts = split(chunk_tokens, 2)
        kept = preserved(scores.tolist(), 2) if len(chunk_tokens) >= 4 else [(0, 0)]
        for level, index in kept:
            encoded = reference.encode_node(parts[level, index], {0: 2, 1: 4, 2: 2}[level])
            for layer, (keys, stored) in enumerate(encoded):
                memory[layer] += [(chunk, key, value) for key, value in zip(keys, stored, strict=True)]
    expected = reference.logits(running, memory, len(tokens))
    plain = reference_without_tree(reference, running)

    assert np.abs(expected - plain).max() > 1e-3, "the tree has to matter for the comparison to mean anything"
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-5, rtol=2e-5)


def reference_without_tree(reference: Reference, running: list[int]) -> np.ndarray:
    form, first = reference.form, reference.first_layer
    reference.form, reference.first_layer = "none", reference.lower_layers
    logits = reference.logits(running, [], 0)
    reference.form, reference.first_layer = form, first
    return logits
