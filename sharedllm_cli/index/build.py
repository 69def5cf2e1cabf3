"""Building the trees of a document: shard after shard, so that an interrupted run loses at most one.

A finished shard is synced, renamed into the unfinished part's folder, and entered in the journal. The next run keeps
the shards that the journal proves and goes on at the first that is missing; batches never cross a shard, so the result
is the same to the byte. The caller (store.py) holds the part's lock.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import torch as safetensors_torch
from torch import Tensor

from sharedllm_cli import durable
from sharedllm_cli.errors import ResourceError
from sharedllm_cli.home import INDEX_ELSEWHERE
from sharedllm_cli.index import folders
from sharedllm_cli.index.encoding import Encoder, NodeEncoder, encode_shared, lower_shape
from sharedllm_cli.index.layout import (
    LowerShape,
    TreesLayout,
    chunks_per_shard,
    predicted_bytes,
    shard_name,
    tensor_dtype,
)
from sharedllm_cli.index.leaves import Leaves
from sharedllm_cli.index.manifest import (
    FileFact,
    Manifest,
    TreesKey,
    canonical_json,
    fingerprint,
    new_manifest,
    part_name,
)
from sharedllm_cli.index.nodes import CHECKSUMS, SCALES, VALUES, VECTORS, slots_checksum
from sharedllm_cli.progress import Reporter, Task

_SPARE_BYTES = 2**20
"""Room asked for beside the predicted bytes: headers, manifest, journal."""


@dataclass(frozen=True)
class _Work:
    """Everything one build needs to know."""

    folder: Path
    content_hash: str
    key: TreesKey
    leaves: Leaves
    layout: TreesLayout
    shape: LowerShape
    computed: dict[str, str]

    @property
    def beside(self) -> Path:
        return folders.unfinished_folder(self.folder, part_name(self.key))

    @property
    def journal(self) -> Path:
        return folders.journal_path(self.folder, part_name(self.key))

    def header(self) -> dict[str, Any]:
        """What must be the same for a build to go on: other numbers must not be mixed into one part."""
        return {
            "fingerprint": fingerprint(self.key),
            "content_hash": self.content_hash,
            "chunks_per_shard": self.layout.chunks_per_shard,
            "computed": self.computed,
        }

    def shard_tokens(self, shard: int) -> int:
        return sum(self.leaves.trees[chunk].length for chunk in self.layout.shard_chunks(shard))


def build_trees(
    folder: Path,
    content_hash: str,
    key: TreesKey,
    leaves: Leaves,
    lower: Encoder,
    reporter: Reporter,
    *,
    batch_tokens: int | None = None,
    replicas: Sequence[Encoder] = (),
) -> Manifest:
    """Compute and publish the trees of a document, going on where an interrupted run stopped.

    Progress counts each token of the document once, though it may be encoded once a level. Raises ResourceError where
    disk or memory do not suffice, ValueError for leaves or a lower model that are not those of the key. `replicas` are
    lower models equal to `lower` on other devices: they share the work.
    """
    if any(tree.config != key.leaves.tree for tree in leaves.trees):
        raise ValueError("the leaves have other trees than the key names")
    if (lower.first_layer, lower.lower_layers) != (key.first_layer, key.lower_layers):
        raise ValueError("the lower model gives other layers than the key names")
    shape = lower_shape(lower)
    layout = TreesLayout(leaves.trees, chunks_per_shard(key.leaves.tree, shape, key.stored_dtype))
    computed = {"dtype": str(lower.dtype).removeprefix("torch."), "device": lower.device.type}
    work = _Work(folder, content_hash, key, leaves, layout, shape, computed)
    with durable.writing(folder, INDEX_ELSEWHERE):
        done = _resume(work)
        _check_space(work, done)
    encoder = NodeEncoder(lower, leaves, key.stored_dtype, reporter, batch_tokens)
    helpers = [NodeEncoder(one, leaves, key.stored_dtype, reporter, batch_tokens) for one in replicas]
    name = folders.shown_name(folder)
    if done:
        kept = sum(work.shard_tokens(shard) for shard in done)
        reporter.note(f"resuming the unfinished index of {name}: {kept} of {leaves.token_count} tokens are done")
    with reporter.task(f"indexing {name}", leaves.token_count, "tokens") as task:
        for shard in range(layout.shard_count):
            if shard in done:
                task.advance(work.shard_tokens(shard))
            else:
                done[shard] = _write_shard(work, shard, _encode_shard(work, shard, [encoder, *helpers], task))
    files = {shard_name(shard): fact for shard, fact in done.items()}
    manifest = new_manifest(key, content_hash, _facts(work), files)
    folders.publish(folder, manifest, part_name(key))
    folders.clear_leftovers(folder, part_name(key))
    return manifest


def _facts(work: _Work) -> dict[str, Any]:
    return {
        "base_name": work.key.base_name,
        "tokens": work.leaves.token_count,
        "chunks": len(work.leaves.trees),
        "nodes": int(work.layout.chunk_nodes[-1]),
        "slots": int(work.layout.chunk_slots[-1]),
        "chunks_per_shard": work.layout.chunks_per_shard,
        "shape": work.shape.facts(),
        "computed": work.computed,
    }


def _encode_shard(work: _Work, shard: int, encoders: Sequence[NodeEncoder], task: Task) -> dict[str, Tensor]:
    """The tensors of one shard."""
    nodes = work.layout.shard_nodes(shard)
    node_count, slot_count = work.layout.shard_size(shard)
    places = [work.layout.place(node) for node in nodes]
    shape = work.shape
    size = (slot_count, 2, len(shape.layers), shape.key_value_heads, shape.head_dim)
    values = torch.empty(size, dtype=tensor_dtype(work.key.stored_dtype))
    scales = torch.empty(values.shape[:-1], dtype=torch.float16) if work.key.stored_dtype == "int8" else None
    vectors = torch.empty(node_count, shape.hidden_size, dtype=torch.float16)
    lengths = [work.leaves.trees[node.chunk].span(node.level, node.index).length for node in nodes]
    encoded, reported = 0, 0
    for batch in encode_shared(encoders, nodes):
        slots = torch.cat([torch.arange(places[one].first_slot, places[one].end_slot) for one in batch.places])
        values[slots] = batch.packed.values
        if scales is not None and batch.packed.scales is not None:
            scales[slots] = batch.packed.scales
        if batch.vectors is not None:
            vectors[batch.places] = batch.vectors
        encoded += sum(lengths[number] for number in batch.places)
        so_far = work.shard_tokens(shard) * encoded // sum(lengths)
        task.advance(so_far - reported)
        reported = so_far
    if work.key.leaves.tree.encoding == "chunk":
        vectors = encoders[0].vectors(nodes)
    checksums = torch.empty(node_count, 2, dtype=torch.int64)
    for number, place in enumerate(places):
        span = slice(place.first_slot, place.end_slot)
        checksums[number, 0] = slots_checksum(values[span], None if scales is None else scales[span])
        checksums[number, 1] = slots_checksum(vectors[number], None)
    tensors = {VALUES: values, CHECKSUMS: checksums.to(torch.uint32), VECTORS: vectors}
    return tensors if scales is None else {**tensors, SCALES: scales}


def _write_shard(work: _Work, shard: int, tensors: dict[str, Tensor]) -> FileFact:
    """Write a shard beside, rename it, and enter it in the journal; each step is on the disk before the next."""
    data = safetensors_torch.save(tensors)
    name = shard_name(shard)
    fact = FileFact(len(data), durable.sha256_of_bytes(data))
    partial = work.beside / f"{name}.partial"
    with durable.writing(work.folder, INDEX_ELSEWHERE):
        durable.write_bytes(partial, data)
        partial.replace(work.beside / name)
        durable.sync_folder(work.beside)
        durable.append_line(work.journal, canonical_json(_entry(shard, fact)))
    return fact


def _resume(work: _Work) -> dict[int, FileFact]:
    """The shards of an interrupted run that are whole; where there are none, an empty folder and a new journal."""
    done: dict[int, FileFact] = {}
    for shard, fact in _journaled(work).items():
        path = work.beside / shard_name(shard)
        whole = path.is_file() and path.stat().st_size == fact.size and durable.sha256_of(path) == fact.sha256
        if whole:
            done[shard] = fact
    if not done:
        folders.delete_folder(work.beside)
        durable.make_private_folder(work.beside)
    # Written anew, so that a torn last line can't swallow the next one.
    lines = [work.header(), *(_entry(shard, fact) for shard, fact in done.items())]
    durable.replace_bytes(work.journal, b"".join(canonical_json(line) + b"\n" for line in lines))
    return done


def _entry(shard: int, fact: FileFact) -> dict[str, Any]:
    return {"shard": shard, "bytes": fact.size, "sha256": fact.sha256}


def _journaled(work: _Work) -> dict[int, FileFact]:
    """What the journal says is written; nothing where it is of another build. A torn last line is passed over."""
    try:
        lines = work.journal.read_bytes().split(b"\n")
        header = json.loads(lines[0])
    except (OSError, ValueError):
        return {}
    if header != work.header():
        return {}
    facts: dict[int, FileFact] = {}
    for line in lines[1:]:
        try:
            entry = json.loads(line)
            facts[int(entry["shard"])] = FileFact(int(entry["bytes"]), str(entry["sha256"]))
        except (ValueError, KeyError, TypeError):
            continue
    return {shard: fact for shard, fact in facts.items() if 0 <= shard < work.layout.shard_count}


def _check_space(work: _Work, done: dict[int, FileFact]) -> None:
    lengths = [tree.length for tree in work.leaves.trees]
    total = predicted_bytes(lengths, work.key.leaves.tree, work.shape, work.key.stored_dtype)
    needed = total - sum(fact.size for fact in done.values()) + _SPARE_BYTES
    available = durable.available_bytes(work.folder)
    if available < needed:
        raise ResourceError(
            f"the index of {folders.shown_name(work.folder)} needs {needed / 1e6:.0f} MB of disk, "
            f"{available / 1e6:.0f} MB are available in {work.folder.parent}",
            hint="free some space, choose another disk with --index-dir, or store less with --stored-dtype int8",
        )
