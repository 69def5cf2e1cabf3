"""The first fine grain that landed opens: its key, fingerprint and bytes stay as they are.

`fine/` was written by the `index` of an engine with `grains="fine"` and a tiny llama of four layers; the document's
other trees were deleted.
"""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.config import FINE_TREE
from sharedllm_cli.context.tree import Node
from sharedllm_cli.documents.readers import read
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.errors import StoredIndexError
from sharedllm_cli.index import catalog
from sharedllm_cli.index.leaves import build_leaves
from sharedllm_cli.index.manifest import LeavesKey, TreesKey, text_hash
from sharedllm_cli.index.nodes import StoredNodes
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Silent

STORY = "Old Marten lights the northern beacon at dusk. The key hangs in the chapel.\n" * 3
CHECKSUM = 3068668409
"""CRC-32 of all keys and values in float32."""


@pytest.fixture
def stored(tmp_path: Path) -> IndexStore:
    shutil.copytree(Path(__file__).with_name("fine"), tmp_path / "indexes")
    return IndexStore(tmp_path / "indexes")


def opened(stored: IndexStore, tmp_path: Path, byte_tokenizer: Any, **changes: Any) -> StoredNodes | None:
    """The stored fine grain of the document as it is read today."""
    (tmp_path / "story.txt").write_text(STORY)
    document = read(SourceFile("story.txt", tmp_path / "story.txt"))
    key = json.loads(next(stored.root.glob("*/trees-*/manifest.json")).read_text("utf-8"))["key"]
    leaves_key = LeavesKey(text_hash(document), key["tokenizer_hash"], FINE_TREE)
    made = {"reader": key["reader"]} | changes
    trees_key = TreesKey(leaves_key, "tiny", key["weights_hash"], 4, "int8", "none", **made)
    return stored.open_trees(document.content_hash, trees_key, build_leaves(document, byte_tokenizer, FINE_TREE))


def test_its_keys_and_values_are_read(stored: IndexStore, tmp_path: Path, byte_tokenizer: Any) -> None:
    nodes = opened(stored, tmp_path, byte_tokenizer)
    assert nodes is not None
    found = nodes.compressed([Node(0, 1, 0), Node(0, 1, 1)])
    assert found.layers == range(4)
    assert found.keys.shape[2] == len(STORY.strip())
    numbers = found.keys.contiguous().numpy().tobytes() + found.values.contiguous().numpy().tobytes()
    assert zlib.crc32(numbers) == CHECKSUM
    (entry,) = catalog.entries(stored.root)
    assert catalog.verify(entry, Silent()) == []


def test_another_adapters_or_system_prompts_is_not_taken(
    stored: IndexStore, tmp_path: Path, byte_tokenizer: Any
) -> None:
    assert opened(stored, tmp_path, byte_tokenizer, reader="0" * 64) is None


def test_damage_is_refused(stored: IndexStore, tmp_path: Path, byte_tokenizer: Any) -> None:
    path = next(stored.root.glob("*/trees-*/keys-values-*"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StoredIndexError):
        opened(stored, tmp_path, byte_tokenizer)
