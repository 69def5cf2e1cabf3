"""Laws of the two encodings, each node alone or each chunk once: held against the plain model, and never mixed."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from index_samples import TREE, Progress, all_nodes, leaves_key, load_lower, sample_document, text_and_leaves, trees_key
from tiny_models import make_tiny_model

from sharedllm_cli.config import STORED_DTYPES, Encoding, StoredDtype, TreeConfig
from sharedllm_cli.context.tree import ChunkTree, Node
from sharedllm_cli.index import layout
from sharedllm_cli.index.leaves import Leaves, build_leaves
from sharedllm_cli.index.manifest import TreesKey, fingerprint, part_name
from sharedllm_cli.index.nodes import LiveNodes, StoredNodes
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.model.lower import LowerModel

ONCE = replace(TREE, encoding="chunk")
LAYERS = 3
WINDOWED: list[tuple[str, dict[str, Any]]] = [
    ("mistral", {"sliding_window": 7}),
    ("qwen2", {"sliding_window": 7, "use_sliding_window": True, "max_window_layers": 0}),
]
BASES: list[tuple[str, dict[str, Any]]] = [(family, {}) for family in ("llama", "mistral", "qwen2", "qwen3")] + WINDOWED


def once_key(stored_dtype: StoredDtype = "int8", **changes: Any) -> TreesKey:
    document = sample_document()
    return trees_key(document, stored_dtype, leaves=leaves_key(document, ONCE), **changes)


def built(store: IndexStore, lower: Any, tokenizer: Any, key: TreesKey, **more: Any) -> tuple[Leaves, StoredNodes]:
    document = sample_document()
    leaves = text_and_leaves(store, document, tokenizer, key.leaves.tree)
    return leaves, store.build_trees(document.content_hash, key, leaves, lower, **more)


# -- an account that shares no code with the package: the plain model, one sequence at a time ------------------------


@cache
def plain(model: Any, tokens: tuple[int, ...]) -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
    """Keys and values [KV, l, D] of the bottom layers, and the last token's normed state after one layer."""
    with torch.no_grad():
        states = model(torch.tensor([tokens]), output_hidden_states=True).hidden_states
        keys, values = [], []
        for layer, state in zip(model.model.layers[:LAYERS], states, strict=False):
            attention, normed = layer.self_attn, layer.input_layernorm(state)
            key = attention.k_proj(normed).view(len(tokens), 2, 8)
            if hasattr(attention, "k_norm"):
                key = attention.k_norm(key)
            keys.append(key.transpose(0, 1))
            values.append(attention.v_proj(normed).view(len(tokens), 2, 8).transpose(0, 1))
        return keys, values, model.model.norm(states[1][0, -1])


def spans(length: int, level: int) -> list[tuple[int, int]]:
    """First and end token of the nodes of a level: halves of halves, the left half rounded down."""
    found = [(0, length)]
    for _ in range(level):
        found = [half for a, b in found for half in ((a, a + (b - a) // 2), (a + (b - a) // 2, b))]
    return found


def expected(model: Any, tokens: list[int], node: Node, encoding: Encoding) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Keys and values [M, KV, k, D] of a node of a chunk's tokens, and its vector."""
    start, end = spans(len(tokens), node.level)[node.index]
    ratio = 4 if node.level == 0 else (16, 8, 4)[node.level - 1]
    places = [min((i + 1) * ratio, end - start) - 1 for i in range(-(-(end - start) // ratio))]
    keys, values, vector = plain(model, tuple(tokens[start:end]))
    if encoding == "chunk":
        keys, values, _ = plain(model, tuple(tokens))
        places = [start + place for place in places]
    return torch.stack([key[:, places] for key in keys]), torch.stack([value[:, places] for value in values]), vector


@pytest.mark.parametrize("encoding", ["node", "chunk"])
@pytest.mark.parametrize(("family", "changes"), BASES)
@pytest.mark.parametrize("last", [5, 9, 27])
def test_every_node_is_what_the_plain_model_gives(
    byte_tokenizer: Any, family: str, changes: dict[str, Any], encoding: Encoding, last: int
) -> None:
    model = make_tiny_model(family, **changes)
    document = sample_document(characters=400)
    document = replace(document, text="".join(filter(str.isascii, document.text))[: 2 * 64 + last])
    leaves = build_leaves(document, byte_tokenizer, replace(TREE, encoding=encoding))
    assert [tree.length for tree in leaves.trees] == [64, 64, last]
    nodes = all_nodes(leaves)
    live = LiveNodes(LowerModel(model, LAYERS), leaves, batch_tokens=128)
    found, vectors = live.compressed(nodes), live.node_vectors(nodes)
    first = 0
    for node, vector in zip(nodes, vectors, strict=True):
        start = leaves.chunk_starts[node.chunk]
        tokens = leaves.tokens.ids[start : start + leaves.trees[node.chunk].length].tolist()
        keys, values, state = expected(model, tokens, node, encoding)
        end = first + keys.shape[2]
        torch.testing.assert_close(found.keys[:, :, first:end], keys, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.values[:, :, first:end], values, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(vector, state, atol=3e-3, rtol=3e-3)
        first = end
    assert first == found.keys.shape[2]


def test_only_what_stands_before_a_node_in_its_chunk_tells_the_encodings_apart(lower: Any, byte_tokenizer: Any) -> None:
    alone, once = (
        LiveNodes(lower, build_leaves(sample_document(), byte_tokenizer, tree)).compressed for tree in (TREE, ONCE)
    )
    for level, index in ChunkTree(64, TREE).stored_nodes():
        node = [Node(1, level, index)]
        by_layer = (alone(node).keys - once(node).keys).abs().amax(dim=(1, 2, 3))
        assert by_layer[0] < 1e-4, "the first layer's keys see no other token"
        assert (by_layer[1:] < 1e-4).all() if index == 0 else (by_layer[1:] > 1e-2).all()


# -- disk and memory ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored_dtype", STORED_DTYPES)
@pytest.mark.parametrize("shuffled", [False, True])
def test_disk_equals_memory(
    store: IndexStore, lower: Any, byte_tokenizer: Any, stored_dtype: StoredDtype, shuffled: bool
) -> None:
    leaves, stored = built(store, lower, byte_tokenizer, once_key(stored_dtype))
    nodes = all_nodes(leaves)
    if shuffled:
        random.Random(0).shuffle(nodes)
        nodes = nodes[:17]
    live = LiveNodes(lower, leaves, stored_dtype=stored_dtype)
    from_disk, from_memory = stored.compressed(nodes), live.compressed(nodes)
    assert torch.equal(from_disk.keys, from_memory.keys)
    assert torch.equal(from_disk.values, from_memory.values)
    assert torch.equal(from_disk.chunks, from_memory.chunks)
    assert torch.equal(stored.node_vectors(nodes), live.node_vectors(nodes))


class Recording:
    """A lower model that remembers how many tokens each call ran, and may be short of memory or stop at a call."""

    def __init__(self, lower: Any, *, most_tokens: int = 10**9, stop_at: int = 0) -> None:
        self._lower = lower
        self._most_tokens = most_tokens
        self._stop_at = stop_at
        self.shapes: list[tuple[int, int]] = []
        self.vector_rows: set[int] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lower, name)

    def encode(self, token_ids: torch.Tensor, kept: torch.Tensor) -> Any:
        if token_ids.numel() > self._most_tokens:
            raise RuntimeError("CUDA out of memory")
        self.shapes.append((token_ids.shape[0], token_ids.shape[1]))
        if len(self.shapes) == self._stop_at:
            raise KeyboardInterrupt
        return self._lower.encode(token_ids, kept)

    def last_token_vectors(self, token_ids: torch.Tensor) -> torch.Tensor:
        self.vector_rows.add(token_ids.shape[0])
        found: torch.Tensor = self._lower.last_token_vectors(token_ids)
        return found

    @property
    def tokens(self) -> int:
        return sum(rows * length for rows, length in self.shapes)


def test_a_build_runs_every_token_once_and_a_few_nodes_only_their_chunks(
    store: IndexStore, lower: Any, byte_tokenizer: Any
) -> None:
    building, reading, alone = Recording(lower), Recording(lower), Recording(lower)
    leaves, _ = built(store, building, byte_tokenizer, once_key())
    assert building.tokens == leaves.token_count
    built(store, alone, byte_tokenizer, trees_key(sample_document()))
    short = leaves.trees[-1].length
    assert short < 8, "one node alone, whatever the encoding"
    assert alone.tokens == 3 * (leaves.token_count - short) + short
    assert (TREE.passes, ONCE.passes) == (3, 1)
    LiveNodes(reading, leaves).compressed([Node(4, 3, 7), Node(1, 1, 0), Node(4, 2, 0)])
    assert reading.shapes == [(2, 64)]


def test_vectors_are_computed_alike_however_many_are_asked(store: IndexStore, lower: Any, byte_tokenizer: Any) -> None:
    """Products of one row and of eight are rounded differently: how many nodes are asked must not show."""
    building, reading = Recording(lower), Recording(lower)
    leaves, stored = built(store, building, byte_tokenizer, once_key())
    for nodes in ([Node(4, 3, 7)], [Node(1, 1, 0), Node(2, 3, 1), Node(2, 3, 2)], all_nodes(leaves)):
        live = LiveNodes(reading, leaves, batch_tokens=100)
        assert torch.equal(live.node_vectors(nodes), stored.node_vectors(nodes))
    assert building.vector_rows == reading.vector_rows
    assert len(reading.vector_rows) == 1


def test_too_large_batches_are_halved_down_to_a_chunk(store: IndexStore, lower: Any, byte_tokenizer: Any) -> None:
    short, progress = Recording(lower, most_tokens=130), Progress()
    leaves, stored = built(store, short, byte_tokenizer, once_key("float32"), reporter=progress)
    assert any("not enough memory" in note for note in progress.notes)
    assert max(rows for rows, _ in short.shapes) == 2
    nodes = all_nodes(leaves)
    torch.testing.assert_close(stored.compressed(nodes).keys, LiveNodes(lower, leaves).compressed(nodes).keys)


def test_an_interrupted_build_goes_on_to_the_same_bytes(
    root: Path, lower: Any, byte_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "SHARD_BYTES", 20_000)
    _, whole = built(IndexStore(root / "whole"), lower, byte_tokenizer, once_key())
    store, key = IndexStore(root / "again"), once_key()
    with pytest.raises(KeyboardInterrupt):
        built(store, Recording(lower, stop_at=3), byte_tokenizer, key)
    assert not store.has_trees(sample_document().content_hash, key)
    going_on = Recording(lower)
    leaves, resumed = built(store, going_on, byte_tokenizer, key)
    assert going_on.tokens < leaves.token_count / 2
    files = sorted(path.name for path in whole.part.glob("*.safetensors"))
    assert len(files) == 3
    for name in files:
        assert (resumed.part / name).read_bytes() == (whole.part / name).read_bytes(), name


def test_an_unfinished_build_of_one_encoding_is_not_gone_on_with_in_the_other(
    store: IndexStore, lower: Any, byte_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "SHARD_BYTES", 20_000)
    with pytest.raises(KeyboardInterrupt):
        built(store, Recording(lower, stop_at=3), byte_tokenizer, once_key())
    progress = Progress()
    built(store, lower, byte_tokenizer, trees_key(sample_document()), reporter=progress)
    assert not any("going on" in note for note in progress.notes)


# -- fingerprints ----------------------------------------------------------------------------------------------------


def test_the_encoding_shapes_the_trees_and_nothing_else(store: IndexStore, lower: Any, byte_tokenizer: Any) -> None:
    document = sample_document()
    assert fingerprint(once_key().leaves) == fingerprint(leaves_key(document))
    assert fingerprint(once_key()) != fingerprint(trees_key(document))
    leaves, stored = built(store, lower, byte_tokenizer, trees_key(document))
    again = store.read_leaves(document.content_hash, once_key().leaves)
    assert again is not None
    assert again.trees[0].config.encoding == "chunk", "text and leaves stay, and their trees are the ones asked for"
    other = store.build_trees(document.content_hash, once_key(), again, lower)
    assert other.part != stored.part
    nodes = all_nodes(leaves)
    assert not torch.equal(other.compressed(nodes).keys, stored.compressed(nodes).keys)
    assert torch.equal(
        stored.compressed(nodes).keys, LiveNodes(lower, leaves, stored_dtype="int8").compressed(nodes).keys
    )


def test_keys_written_before_there_was_a_choice_are_those_of_nodes_alone() -> None:
    document = sample_document()
    before = {
        **leaves_key(document).splitting(),
        "ratios": [16, 8, 4],
        "weights_hash": "0" * 64,
        "lower_layers": 3,
        "encoding": "per-node",
        "stored_dtype": "int8",
        "quantize": "none",
    }
    assert set(leaves_key(document).splitting()) == {"text_hash", "tokenizer_hash", "chunk_tokens", "height"}
    assert trees_key(document).identity() == before
    assert once_key().identity() == before | {"encoding": "per-chunk"}


@pytest.mark.parametrize("present", ["node", "chunk"])
def test_trees_of_one_encoding_never_serve_the_other_and_it_is_said_in_words(
    store: IndexStore, lower: Any, byte_tokenizer: Any, present: Encoding
) -> None:
    document = sample_document()
    there, asked = trees_key(document), once_key(lower_layers=2)
    words = "each node encoded alone, now each chunk encoded once"
    if present == "chunk":
        there, asked = once_key(), trees_key(document, lower_layers=2)
        words = "each chunk encoded once, now each node encoded alone"
    leaves, _ = built(store, lower, byte_tokenizer, there)
    for key in (replace(asked, lower_layers=3), asked):
        assert not store.has_trees(document.content_hash, key)
        assert store.open_trees(document.content_hash, key, leaves) is None
        explained = store.explain_new(None, document.content_hash, [key])
        assert explained is not None
        assert f"another encoding ({words})" in explained


def test_trees_of_a_larger_m_serve_a_smaller_one(
    store: IndexStore, lower: Any, lower_folder: Path, byte_tokenizer: Any
) -> None:
    leaves, deep = built(store, lower, byte_tokenizer, once_key())
    served = store.open_trees(sample_document().content_hash, once_key(lower_layers=2), leaves)
    assert served is not None
    assert served.part == deep.part
    nodes = all_nodes(leaves)
    shallow = LiveNodes(load_lower(lower_folder, 2), leaves, stored_dtype="int8")
    assert torch.equal(served.compressed(nodes).keys, shallow.compressed(nodes).keys)


@pytest.mark.parametrize("tree", [TREE, replace(ONCE, ratios=(8, 8, 4)), TreeConfig(64, 2, (8, 4), "chunk")])
def test_leaves_of_other_trees_than_the_key_names_are_no_trees(
    store: IndexStore, lower: Any, byte_tokenizer: Any, tree: TreeConfig
) -> None:
    document = sample_document()
    leaves = text_and_leaves(store, document, byte_tokenizer, tree)
    with pytest.raises(ValueError, match="other trees"):
        store.build_trees(document.content_hash, once_key(), leaves, lower)
    assert not store.has_trees(document.content_hash, once_key())
    folder = store.folder(document.content_hash)
    assert folder is not None
    assert not (folder / part_name(once_key())).exists()
