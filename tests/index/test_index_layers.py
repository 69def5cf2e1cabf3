"""Laws of trees that begin above layer 0: the same numbers, fewer of them, and found by whoever asks for no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from index_samples import TREE, all_nodes, load_lower, sample_document, text_and_leaves, trees_key

from sharedllm_cli.config import STORED_DTYPES, StoredDtype
from sharedllm_cli.context.tree import Node
from sharedllm_cli.index.catalog import entries, verify
from sharedllm_cli.index.encoding import lower_shape
from sharedllm_cli.index.layout import LowerShape, predicted_bytes
from sharedllm_cli.index.manifest import fingerprint, part_name, read_manifest
from sharedllm_cli.index.nodes import JoinedNodes, LiveNodes, StoredNodes
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Silent

DOCUMENT = sample_document()


def span_key(first: int, end: int, stored_dtype: StoredDtype = "int8", **changes: Any) -> Any:
    return trees_key(DOCUMENT, stored_dtype, first_layer=first, lower_layers=end, **changes)


@pytest.fixture
def build(store: IndexStore, lower_folder: Path, byte_tokenizer: Any) -> Any:
    """Store trees of layers `first`..`end` − 1 of one document."""
    leaves = text_and_leaves(store, DOCUMENT, byte_tokenizer)

    def built(first: int, end: int, stored_dtype: StoredDtype = "int8") -> tuple[Any, StoredNodes]:
        lower = load_lower(lower_folder, end, first)
        key = span_key(first, end, stored_dtype)
        return leaves, store.build_trees(DOCUMENT.content_hash, key, leaves, lower)

    return built


@pytest.mark.parametrize("stored_dtype", STORED_DTYPES)
def test_disk_equals_memory_and_the_upper_part_of_all_layers(
    build: Any, lower_folder: Path, stored_dtype: StoredDtype
) -> None:
    leaves, stored = build(2, 4, stored_dtype)
    nodes = all_nodes(leaves)
    from_disk = stored.compressed(nodes)
    live, whole = (
        LiveNodes(load_lower(lower_folder, 4, first), leaves, stored_dtype=stored_dtype).compressed(nodes)
        for first in (2, 0)
    )
    assert (from_disk.layers, live.layers, whole.layers) == (range(2, 4), range(2, 4), range(4))
    for found in (from_disk, live):
        assert torch.equal(found.keys, whole.keys[2:])
        assert torch.equal(found.values, whole.values[2:])
        assert torch.equal(found.chunks, whole.chunks)
    vectors = LiveNodes(load_lower(lower_folder, 4), leaves, stored_dtype=stored_dtype).node_vectors(nodes)
    assert torch.equal(stored.node_vectors(nodes), vectors), "a node's vector is of layer 1, wherever keys begin"


@pytest.mark.parametrize("stored_dtype", ["int8", "float32"])
@pytest.mark.parametrize(("there", "asked"), [((0, 4), (2, 4)), ((0, 4), (1, 3)), ((1, 4), (2, 3)), ((1, 4), (1, 3))])
def test_trees_serve_all_layers_that_lie_within_theirs(
    build: Any,
    store: IndexStore,
    lower_folder: Path,
    stored_dtype: StoredDtype,
    there: tuple[int, int],
    asked: tuple[int, int],
) -> None:
    leaves, stored = build(*there, stored_dtype)
    key = span_key(*asked, stored_dtype)
    assert store.has_trees(DOCUMENT.content_hash, key)
    served = store.open_trees(DOCUMENT.content_hash, key, leaves)
    assert served is not None
    assert served.part == stored.part
    nodes = all_nodes(leaves)
    live = LiveNodes(load_lower(lower_folder, asked[1], asked[0]), leaves, stored_dtype=stored_dtype).compressed(nodes)
    found = served.compressed(nodes)
    assert found.layers == live.layers == range(*asked)
    assert torch.equal(found.keys, live.keys)
    assert torch.equal(found.values, live.values)


@pytest.mark.parametrize("asked", [(0, 3), (0, 4), (0, 2), (1, 4), (0, 1), (2, 4)])
def test_trees_serve_no_layer_that_they_lack(build: Any, store: IndexStore, asked: tuple[int, int]) -> None:
    leaves, stored = build(1, 3)
    key = span_key(*asked)
    assert not store.has_trees(DOCUMENT.content_hash, key)
    assert store.open_trees(DOCUMENT.content_hash, key, leaves) is None
    assert store.explain_new(None, DOCUMENT.content_hash, [key]), "and the reason is told"
    if asked[0] < 1:
        told = store.explain_new(None, DOCUMENT.content_hash, [key])
        assert told is not None
        assert f"another first layer (1, now {asked[0]})" in told
    shape = LowerShape(**read_manifest(stored.part).facts["shape"])
    with pytest.raises(ValueError, match="are asked of trees"):
        StoredNodes(stored.part, stored._layout, leaves, shape, "int8", layers=range(*asked))


def test_of_several_that_serve_the_fewest_layers_do(build: Any, store: IndexStore) -> None:
    build(0, 4)
    leaves, narrow = build(1, 4)
    assert leaves is not None
    found = store.open_trees(DOCUMENT.content_hash, span_key(2, 4), leaves)
    assert found is not None
    assert found.part == narrow.part


def test_what_is_not_stored_takes_no_room(build: Any, lower_folder: Path) -> None:
    """Everything of a part but its nodes' vectors, checksums and headers falls by the layers' share."""
    sizes = {}
    for first in (0, 2):
        leaves, stored = build(first, 4, "float32")
        sizes[first] = sum(path.stat().st_size for path in stored.part.glob("*.safetensors"))
    lengths = [tree.length for tree in leaves.trees]
    shapes = {first: lower_shape(load_lower(lower_folder, 4, first)) for first in (0, 2)}
    predicted = {first: predicted_bytes(lengths, TREE, shape, "float32") for first, shape in shapes.items()}
    assert sizes[0] - sizes[2] == pytest.approx(predicted[0] - predicted[2], abs=200)
    slots = sum(tree.kept_count(*place) for tree in leaves.trees for place in tree.stored_nodes())
    numbers = 2 * shapes[0].key_value_heads * shapes[0].head_dim
    assert predicted[0] - predicted[2] == slots * 2 * numbers * 4


def test_the_fingerprint_of_all_layers_is_what_it_was_before_there_was_a_choice() -> None:
    """Written down by the release before: every index on disk stays what it is."""
    whole = "6657da45dda63628387ccba1565388d3a612d2e2bc0cd44b7d6bb95b578ae826"
    other = "7d4f7e446e3419414c58f9fc4a886f080a9820684030daf9aa0ecfaa753319e4"
    assert fingerprint(trees_key(DOCUMENT)) == fingerprint(span_key(0, 3)) == whole
    assert fingerprint(span_key(0, 25, "float16", quantize="4bit")) == other
    assert fingerprint(span_key(1, 3)) not in (whole, fingerprint(span_key(2, 3)))


def test_a_manifest_names_the_first_layer_only_where_there_is_one_to_name(build: Any, store: IndexStore) -> None:
    manifests = {first: read_manifest(build(first, 3)[1].part) for first in (0, 1)}
    for first, manifest in manifests.items():
        assert manifest.part_name == part_name(span_key(first, 3))
        for told in (manifest.key, manifest.facts["shape"]):
            assert told.get("first_layer") == (first or None)
    assert [problem for entry in entries(store.root) for problem in verify(entry, Silent())] == []


def test_a_lower_model_of_other_layers_than_the_key_builds_nothing(
    build: Any, store: IndexStore, lower_folder: Path
) -> None:
    leaves, _ = build(0, 2)
    for first, end in ((0, 4), (1, 3)):
        with pytest.raises(ValueError, match="other layers"):
            store.build_trees(DOCUMENT.content_hash, span_key(1, 4), leaves, load_lower(lower_folder, end, first))


def test_trees_of_different_layers_are_not_read_together(build: Any) -> None:
    leaves, lower_half = build(0, 2)
    _, upper_half = build(2, 4)
    count = len(leaves.trees)
    node = Node(0, 1, 0)
    for others in ([lower_half, upper_half], [upper_half, lower_half]):
        with pytest.raises(ValueError, match="can't be read together"):
            JoinedNodes(others, [count, count]).compressed([node, node._replace(chunk=count)])
