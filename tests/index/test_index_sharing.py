"""Several devices share the batches of an index and give what one gives, to the bit and to the byte."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from index_samples import TREE, Progress, all_nodes, load_lower, sample_document, text_and_leaves, trees_key

from sharedllm_cli.config import TreeConfig
from sharedllm_cli.index import nodes as index_nodes
from sharedllm_cli.index.encoding import NodeEncoder, encode_shared
from sharedllm_cli.index.leaves import Leaves, build_leaves
from sharedllm_cli.index.nodes import copies_beside, joined
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Silent

DOCUMENT = sample_document(characters=1500)


@pytest.fixture
def lower(model_folder: Callable[..., Path]) -> Any:
    return load_lower(model_folder("llama"))


def encoders(count: int, lower: Any, leaves: Leaves, batch_tokens: int = 128) -> list[NodeEncoder]:
    replicas = [lower, *(lower.replica(torch.device("cpu")) for _ in range(count - 1))]
    return [NodeEncoder(one, leaves, "int8", Silent(), batch_tokens) for one in replicas]


@pytest.mark.parametrize("encoding", ["node", "chunk"])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_any_number_of_replicas_gives_what_one_gives(
    count: int, encoding: str, lower: Any, byte_tokenizer: Any
) -> None:
    tree = TreeConfig(64, 3, (16, 8, 4), encoding=encoding)  # type: ignore[arg-type]
    leaves = build_leaves(DOCUMENT, byte_tokenizer, tree)
    nodes = all_nodes(leaves)
    alone = list(encode_shared(encoders(1, lower, leaves), nodes))
    shared = list(encode_shared(encoders(count, lower, leaves), nodes))
    assert len(alone) == len(shared) > 7
    for one, other in zip(alone, shared, strict=True):
        assert one.places == other.places
        assert torch.equal(one.packed.values, other.packed.values)
        assert one.packed.scales is not None
        assert other.packed.scales is not None
        assert torch.equal(one.packed.scales, other.packed.scales)
        assert (one.vectors is None) == (other.vectors is None)
        assert one.vectors is None or (other.vectors is not None and torch.equal(one.vectors, other.vectors))


def test_the_work_is_shared_and_done_at_once(lower: Any, byte_tokenizer: Any) -> None:
    leaves = build_leaves(DOCUMENT, byte_tokenizer, TREE)
    found = encoders(2, lower, leaves)
    meeting = threading.Barrier(2, timeout=60)
    calls = [0, 0]

    def meet(place: int, encode: Callable[..., Any]) -> Callable[..., Any]:
        def met(*arguments: Any) -> Any:
            calls[place] += 1
            if calls[place] == 1:
                meeting.wait()  # passed only if both are at work at the same time
            return encode(*arguments)

        return met

    for place, encoder in enumerate(found):
        encoder._lower.encode = meet(place, encoder._lower.encode)  # type: ignore[method-assign]
    batches = list(encode_shared(found, all_nodes(leaves)))
    assert sum(calls) == len(batches)
    assert abs(calls[0] - calls[1]) <= 1


def test_a_replica_is_equal_and_apart(lower: Any) -> None:
    replica = lower.replica(torch.device("cpu"))
    tokens, kept = torch.arange(12)[None], torch.tensor([3, 7, 11])
    expected = lower.encode(tokens, kept)
    assert torch.equal(replica.encode(tokens, kept).keys, expected.keys)
    assert torch.equal(replica.node_vectors(tokens), lower.node_vectors(tokens))
    with torch.no_grad():
        for layer in replica._layers:
            layer.self_attn.k_proj.weight.zero_()
    assert torch.equal(lower.encode(tokens, kept).keys, expected.keys)


def test_a_replica_short_of_memory_halves_its_own_batches(lower: Any, byte_tokenizer: Any) -> None:
    leaves = build_leaves(DOCUMENT, byte_tokenizer, TREE)
    nodes = all_nodes(leaves)
    found = encoders(2, lower, leaves)
    encode = found[1]._lower.encode

    def short(tokens: Any, kept: Any) -> Any:
        if tokens.numel() > 64:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(tokens, kept)

    found[1]._lower.encode = short  # type: ignore[method-assign]
    batches = list(encode_shared(found, nodes))
    assert sorted(place for batch in batches for place in batch.places) == list(range(len(nodes)))


def test_an_index_built_by_several_is_the_same_to_the_byte(tmp_path: Path, lower: Any, byte_tokenizer: Any) -> None:
    parts = []
    for name, replicas in (("one", []), ("three", [lower.replica(torch.device("cpu")) for _ in range(2)])):
        store = IndexStore(tmp_path / name, Progress())
        leaves = text_and_leaves(store, DOCUMENT, byte_tokenizer)
        key = trees_key(DOCUMENT)
        nodes = store.build_trees(
            DOCUMENT.content_hash, key, leaves, lower, Progress(), batch_tokens=128, replicas=replicas
        )
        parts.append({path.name: path.read_bytes() for path in nodes.part.glob("*.safetensors")})
    assert parts[0] == parts[1]
    assert parts[0]


def test_slots_are_gathered_from_pinned_memory_for_cuda_alone(
    tmp_path: Path, lower: Any, byte_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pinning itself needs CUDA; that the slots written there are those of the plain way does not."""
    assert copies_beside(torch.device("cuda", 1))
    assert not copies_beside(torch.device("cpu"))
    assert not copies_beside(torch.device("mps"))
    store = IndexStore(tmp_path, Progress())
    leaves = text_and_leaves(store, DOCUMENT, byte_tokenizer)
    stored = store.build_trees(DOCUMENT.content_hash, trees_key(DOCUMENT), leaves, lower, Progress())
    nodes = all_nodes(leaves)
    plain = stored.compressed(nodes)
    empty, asked = torch.empty, []

    def unpinned(*size: Any, pin_memory: bool = False, **options: Any) -> Any:
        asked.append(pin_memory)
        return empty(*size, **options)

    monkeypatch.setattr(index_nodes, "copies_beside", lambda device: True)
    monkeypatch.setattr(torch, "empty", unpinned)
    found = stored.compressed(nodes)
    assert True in asked
    for one, other in zip(
        (found.keys, found.values, found.chunks), (plain.keys, plain.values, plain.chunks), strict=True
    ):
        assert torch.equal(one, other)
    parts = [torch.arange(6).view(2, 3), torch.arange(9).view(3, 3)]
    assert torch.equal(joined(parts, pinned=True), joined(parts, pinned=False))
