"""Laws of the stored trees: disk = memory, nothing depends on how they were asked for, sizes are as predicted."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from index_samples import TREE, Progress, all_nodes, leaves_key, load_lower, sample_document, text_and_leaves, trees_key

from sharedllm_cli.config import STORED_DTYPES, StoredDtype, TreeConfig
from sharedllm_cli.context.search import search
from sharedllm_cli.errors import ModelError, ResourceError
from sharedllm_cli.index import layout as layout_module
from sharedllm_cli.index import manifest as manifest_module
from sharedllm_cli.index.encoding import lower_shape
from sharedllm_cli.index.layout import TreesLayout, chunks_per_shard, pack, predicted_bytes, round_vectors, unpack
from sharedllm_cli.index.manifest import fingerprint
from sharedllm_cli.index.nodes import JoinedNodes, LiveNodes, StoredNodes
from sharedllm_cli.index.store import IndexStore


def built(store: IndexStore, lower: Any, tokenizer: Any, stored_dtype: StoredDtype = "int8") -> tuple[Any, StoredNodes]:
    document = sample_document()
    leaves = text_and_leaves(store, document, tokenizer)
    return leaves, store.build_trees(document.content_hash, trees_key(document, stored_dtype), leaves, lower)


@pytest.mark.parametrize("stored_dtype", STORED_DTYPES)
@pytest.mark.parametrize("choice", ["all", "searched", "shuffled"])
def test_disk_equals_memory(
    store: IndexStore, lower: Any, byte_tokenizer: Any, stored_dtype: StoredDtype, choice: str
) -> None:
    leaves, stored = built(store, lower, byte_tokenizer, stored_dtype)
    nodes = all_nodes(leaves)
    if choice == "searched":
        nodes = search(leaves.trees, lambda nodes: np.arange(len(nodes)) % 3)
    elif choice == "shuffled":
        random.Random(0).shuffle(nodes)
        nodes = nodes[:17]
    live = LiveNodes(lower, leaves, stored_dtype=stored_dtype)
    from_disk, from_memory = stored.compressed(nodes), live.compressed(nodes)
    assert torch.equal(from_disk.keys, from_memory.keys)
    assert torch.equal(from_disk.values, from_memory.values)
    assert torch.equal(from_disk.chunks, from_memory.chunks)
    assert torch.equal(stored.node_vectors(nodes), live.node_vectors(nodes))


@pytest.mark.parametrize("stored_dtype", STORED_DTYPES)
def test_trees_of_a_larger_m_serve_a_smaller_one(
    store: IndexStore, lower: Any, byte_tokenizer: Any, model_folder: Any, stored_dtype: StoredDtype
) -> None:
    leaves, deep = built(store, lower, byte_tokenizer, stored_dtype)
    document = sample_document()
    key = trees_key(document, stored_dtype, lower_layers=2)
    assert store.has_trees(document.content_hash, key)
    served = store.open_trees(document.content_hash, key, leaves)
    assert served is not None
    assert served.part == deep.part
    nodes = all_nodes(leaves)
    shallow = LiveNodes(load_lower(model_folder("llama"), 2), leaves, stored_dtype=stored_dtype)
    assert torch.equal(served.compressed(nodes).keys, shallow.compressed(nodes).keys)
    assert torch.equal(served.compressed(nodes).values, shallow.compressed(nodes).values)
    assert torch.equal(served.node_vectors(nodes), shallow.node_vectors(nodes))
    for other in ({"lower_layers": 4}, {"lower_layers": 2, "quantize": "4bit"}, {"lower_layers": 2, "base_name": "x"}):
        serves = store.has_trees(document.content_hash, trees_key(document, stored_dtype, **other))
        assert serves == ("base_name" in other), "nothing else may differ"


def test_several_documents_nodes_stand_in_memory_once(store: IndexStore, lower: Any, byte_tokenizer: Any) -> None:
    leaves, stored = built(store, lower, byte_tokenizer)
    nodes = all_nodes(leaves)
    second = [node._replace(chunk=node.chunk + len(leaves.trees)) for node in nodes]
    for alone in (stored, LiveNodes(lower, leaves, stored_dtype="int8")):
        joined = JoinedNodes([alone, alone], [len(leaves.trees)] * 2)
        room = joined.room([*nodes, *second])
        assert room == alone.room(nodes)._replace(slots=2 * alone.room(nodes).slots)
        onto = room.empty().fill_(float("nan"))
        found = joined.compressed([*nodes, *second], onto)
        assert found.keys.data_ptr() == onto.data_ptr()
        part = alone.compressed(nodes)
        assert torch.equal(onto, torch.stack([part.keys, part.values]).repeat(1, 1, 1, 2, 1))


@pytest.mark.parametrize(
    ("name", "another"), [("TERMS_VERSION", "another"), ("stemmer_version", lambda: "another 1.0")]
)
def test_other_words_of_the_leaves_leave_the_trees_as_they_are(
    name: str, another: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(trees_key(sample_document())), fingerprint(leaves_key(sample_document()))
    monkeypatch.setattr(manifest_module, name, another)
    after = fingerprint(trees_key(sample_document())), fingerprint(leaves_key(sample_document()))
    assert after[0] == before[0], "the trees know tokens, no terms"
    assert after[1] != before[1]


def test_a_node_is_what_the_lower_model_gives_for_its_tokens_alone(
    store: IndexStore, lower: Any, byte_tokenizer: Any
) -> None:
    leaves, stored = built(store, lower, byte_tokenizer, "float32")
    for node in all_nodes(leaves)[::5]:
        start, end = leaves.node_span(node)
        kept = torch.from_numpy(leaves.trees[node.chunk].kept(node.level, node.index))
        exact = lower.encode(torch.from_numpy(leaves.tokens.ids[start:end]).long()[None], kept)
        found = stored.compressed([node])
        torch.testing.assert_close(found.keys, exact.keys[0])
        torch.testing.assert_close(found.values, exact.values[0])
        torch.testing.assert_close(stored.node_vectors([node]), exact.vectors.half().float())
        assert found.chunks.tolist() == [node.chunk] * len(kept)


def test_several_documents_are_numbered_through(store: IndexStore, lower: Any, byte_tokenizer: Any) -> None:
    leaves, stored = built(store, lower, byte_tokenizer)
    count = len(leaves.trees)
    nodes = all_nodes(leaves)
    second = [node._replace(chunk=node.chunk + count) for node in nodes]
    joined = JoinedNodes([stored, stored], [count, count])
    alone, both = stored.compressed(nodes), joined.compressed([*nodes, *second])
    assert torch.equal(both.chunks, torch.cat([alone.chunks, alone.chunks + count]))
    assert torch.equal(both.keys, torch.cat([alone.keys, alone.keys], dim=2))
    assert torch.equal(joined.node_vectors(second), stored.node_vectors(nodes))


def test_int8_is_within_half_a_step_and_zero_stays_zero() -> None:
    torch.manual_seed(0)
    slots = torch.randn(5, 2, 3, 2, 8) * torch.logspace(-3, 3, 5).view(5, 1, 1, 1, 1)
    slots[0, 0, 0, 0] = 0
    slots[0, 0, 0, 1] = 1e-9
    packed = pack(slots, "int8")
    assert packed.scales is not None
    error = (unpack(packed) - slots).abs()
    # half a step, and at the ends of the range what rounding the scale to 11 bits takes off
    bound = packed.scales.float().unsqueeze(-1) * (0.5 + 127 / 2048) + 1e-7
    assert bool((error <= bound).all())
    assert packed.values.abs().max() <= 127
    assert bool((unpack(packed)[0, 0, 0] == 0).all())


@pytest.mark.parametrize("stored_dtype", ["int8", "float16"])
def test_numbers_beyond_the_stored_type_are_refused(stored_dtype: StoredDtype) -> None:
    with pytest.raises(ModelError):
        pack(torch.full((1, 2, 1, 1, 4), 1e9), stored_dtype)
    with pytest.raises(ModelError):
        pack(torch.full((1, 2, 1, 1, 4), float("nan")), stored_dtype)


def test_vectors_beyond_float16_keep_their_direction() -> None:
    vectors = torch.tensor([[1e6, -2e6, 5e5], [1.0, 2.0, 3.0]])
    rounded = round_vectors(vectors).float()
    assert bool(torch.isfinite(rounded).all())
    assert torch.cosine_similarity(rounded, vectors).min() > 0.999999
    assert torch.equal(rounded[1], vectors[1])


@pytest.mark.parametrize("lengths", [[64] * 5, [64, 64, 5], [3], [64, 9], []])
def test_places_tile_the_shards(lengths: list[int]) -> None:
    from sharedllm_cli.context.tree import ChunkTree, Node

    layout = TreesLayout([ChunkTree(length, TREE) for length in lengths], 2)
    for shard in range(layout.shard_count):
        nodes = layout.shard_nodes(shard)
        places = [layout.place(node) for node in nodes]
        assert [place.node for place in places] == list(range(len(nodes)))
        assert {place.shard for place in places} == {shard}
        assert all(before.end_slot == after.first_slot for before, after in pairwise(places))
        assert (len(nodes), places[-1].end_slot) == layout.shard_size(shard)
        assert places[0].first_slot == 0
    assert sum(len(layout.shard_nodes(shard)) for shard in range(layout.shard_count)) == layout.chunk_nodes[-1]
    if lengths == [64, 9]:
        with pytest.raises(KeyError):
            layout.place(Node(0, 0, 0))


@pytest.mark.parametrize("stored_dtype", STORED_DTYPES)
def test_predicted_bytes_are_written_but_for_headers(
    store: IndexStore, lower: Any, byte_tokenizer: Any, stored_dtype: StoredDtype
) -> None:
    leaves, stored = built(store, lower, byte_tokenizer, stored_dtype)
    files = list(stored.part.glob("*.safetensors"))
    written = sum(path.stat().st_size for path in files)
    predicted = predicted_bytes([tree.length for tree in leaves.trees], TREE, lower_shape(lower), stored_dtype)
    assert predicted < written < predicted + 600 * len(files)


def test_a_shard_is_at_most_64_megabytes_unless_one_chunk_is_more() -> None:
    shape = layout_module.LowerShape(15, 3, 64, 576)
    config = TreeConfig()
    count = chunks_per_shard(config, shape, "int8")
    assert predicted_bytes([512] * count, config, shape, "int8") <= 64 * 2**20
    assert predicted_bytes([512] * (count + 1), config, shape, "int8") > 64 * 2**20
    assert chunks_per_shard(config, layout_module.LowerShape(80, 64, 128, 8192), "float32") == 1


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of a chunk or two."""
    monkeypatch.setattr(layout_module, "SHARD_BYTES", 20_000)


@pytest.mark.usefixtures("small_shards")
def test_shards_do_not_show(store: IndexStore, lower: Any, byte_tokenizer: Any) -> None:
    leaves, stored = built(store, lower, byte_tokenizer)
    assert len(list(stored.part.glob("keys-values-*.safetensors"))) > 2
    nodes = all_nodes(leaves)
    assert torch.equal(
        stored.compressed(nodes).keys, LiveNodes(lower, leaves, stored_dtype="int8").compressed(nodes).keys
    )


@pytest.mark.usefixtures("small_shards")
def test_progress_counts_each_token_once(store: IndexStore, lower: Any, byte_tokenizer: Any) -> None:
    document = sample_document()
    leaves = text_and_leaves(store, document, byte_tokenizer)
    progress = Progress()
    store.build_trees(document.content_hash, trees_key(document), leaves, lower, progress, batch_tokens=64)
    assert progress.tasks == [("indexing Gulls & Log.txt", leaves.token_count, "tokens")]
    assert progress.done == leaves.token_count


class Forgetful:
    """A lower model on a machine that can hold few tokens at a time."""

    def __init__(self, lower: Any, most_tokens: int) -> None:
        self._lower = lower
        self._most_tokens = most_tokens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lower, name)

    def encode(self, token_ids: torch.Tensor, kept: torch.Tensor) -> Any:
        if token_ids.numel() > self._most_tokens:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")
        return self._lower.encode(token_ids, kept)


def test_too_large_batches_are_halved_and_said(store: IndexStore, lower: Any, byte_tokenizer: Any) -> None:
    document = sample_document()
    leaves = text_and_leaves(store, document, byte_tokenizer)
    progress = Progress()
    stored = store.build_trees(document.content_hash, trees_key(document), leaves, Forgetful(lower, 100), progress)
    assert any("not enough memory" in note for note in progress.notes)
    nodes = all_nodes(leaves)
    live = LiveNodes(lower, leaves, stored_dtype="int8").compressed(nodes)
    torch.testing.assert_close(stored.compressed(nodes).keys, live.keys, atol=0.05, rtol=0.02)


def test_a_node_that_does_not_fit_is_a_resource_error(store: IndexStore, lower: Any, byte_tokenizer: Any) -> None:
    document = sample_document()
    leaves = text_and_leaves(store, document, byte_tokenizer)
    with pytest.raises(ResourceError) as raised:
        store.build_trees(document.content_hash, trees_key(document), leaves, Forgetful(lower, 10))
    assert raised.value.hint


def test_a_full_disk_is_told_before_the_work(
    store: IndexStore, lower: Any, byte_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = sample_document()
    leaves = text_and_leaves(store, document, byte_tokenizer)
    monkeypatch.setattr("sharedllm_cli.durable.available_bytes", lambda folder: 1000)
    with pytest.raises(ResourceError, match="MB"):
        store.build_trees(document.content_hash, trees_key(document), leaves, Forgetful(lower, 0))


def test_other_errors_of_the_model_are_not_taken_for_lack_of_memory(
    store: IndexStore, lower: Any, byte_tokenizer: Any
) -> None:
    document = sample_document()
    leaves = text_and_leaves(store, document, byte_tokenizer)

    class Broken(Forgetful):
        def encode(self, token_ids: torch.Tensor, kept: torch.Tensor) -> Any:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        store.build_trees(document.content_hash, trees_key(document), leaves, Broken(lower, 0))


def test_stored_states_come_back(store: IndexStore, byte_tokenizer: Any, root: Path) -> None:
    from sharedllm_cli.index.leaves import LeafStates
    from sharedllm_cli.index.manifest import StatesKey

    document = sample_document()
    leaves = text_and_leaves(store, document, byte_tokenizer)
    key = StatesKey(leaves_key(document), "tiny", "0" * 64, 2)
    assert store.read_states(document.content_hash, key) is None
    ends = [leaves.leaf_span(leaf)[1] for leaf in range(leaves.leaf_count)]
    states = np.random.default_rng(0).normal(size=(leaves.token_count, 8)).astype(np.float16)
    store.write_states(document.content_hash, key, LeafStates(states, np.array([0, *ends], dtype=np.int32)))
    again = store.read_states(document.content_hash, key)
    assert again is not None
    assert np.array_equal(again.states, states)
    assert np.array_equal(again.leaf(1), states[ends[0] : ends[1]])
    with pytest.raises(ValueError, match="boundaries"):
        LeafStates(states, np.array([0, 1], dtype=np.int32))


def test_a_quantization_that_is_asked_no_more_is_told(store: IndexStore, byte_tokenizer: Any) -> None:
    from sharedllm_cli.index.leaves import LeafStates
    from sharedllm_cli.index.manifest import StatesKey

    document = sample_document()
    text_and_leaves(store, document, byte_tokenizer)
    key = StatesKey(leaves_key(document), "tiny", "0" * 64, 2)
    states = LeafStates(np.zeros((4, 8), dtype=np.float16), np.array([0, 4], dtype=np.int32))
    store.write_states(document.content_hash, replace(key, quantize="4bit"), states)
    told = store.explain_new(None, document.content_hash, [key])
    assert "another quantization (4bit, now none)" in (told or "")
