"""An index of every reading version that ever landed opens: whole, its trees serving, its text read anew where older.

`readings/reading-N/` was written by `sharedllm index /documents/log.txt --model /documents/tiny` at the last commit of
version N, and holds the text, leaves and trees of readings/log.txt. All are of format version 1, the only one there is.
"""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.config import TreeConfig
from sharedllm_cli.context.tree import Node
from sharedllm_cli.documents.pages import READING_VERSION
from sharedllm_cli.documents.readers import read
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.index import catalog, folders
from sharedllm_cli.index.leaves import build_leaves
from sharedllm_cli.index.manifest import FORMAT_VERSION, LeavesKey, TreesKey, text_hash
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Silent

READINGS = Path(__file__).with_name("readings")
VERSIONS = sorted(path.name.partition("-")[2] for path in READINGS.glob("reading-*"))
CHECKSUM = 2009501513
"""CRC-32 of all keys and values in float32: every version stored the same numbers."""


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stored(version: str, tmp_path: Path) -> IndexStore:
    shutil.copytree(READINGS / f"reading-{version}", tmp_path / "indexes")
    return IndexStore(tmp_path / "indexes")


DOCUMENT = read(SourceFile("log.txt", READINGS / "log.txt"))


def trees_key(store: IndexStore) -> TreesKey:
    """The key of the stored trees."""
    folder = store.folder(DOCUMENT.content_hash)
    assert folder is not None
    (key,) = (manifest.key for manifest in folders.manifests(folder) if manifest.kind == "trees")
    tree = TreeConfig(key["chunk_tokens"], key["height"], tuple(key["ratios"]))
    leaves = LeavesKey(text_hash(DOCUMENT), key["tokenizer_hash"], tree)
    return TreesKey(leaves, "tiny", key["weights_hash"], key["lower_layers"], key["stored_dtype"], key["quantize"])


def test_there_is_one_of_every_version() -> None:
    assert [str(number) for number in range(1, len(VERSIONS) + 1)] == VERSIONS
    assert int(READING_VERSION) - int(VERSIONS[-1]) <= 1, "store an index of the version before this one"
    assert FORMAT_VERSION == 1, "store an index of the format before this one"


def test_it_is_whole_and_its_text_is_read_anew_where_it_is_older(stored: IndexStore, version: str) -> None:
    (entry,) = catalog.entries(stored.root)
    assert (entry.name, entry.complete) == ("log.txt", True)
    assert catalog.verify(entry, Silent()) == []
    opened = stored.open(DOCUMENT.content_hash)
    assert opened is not None
    assert (opened.text() is None) == (version != READING_VERSION)


def test_its_trees_serve_the_document_as_it_is_read_today(stored: IndexStore, byte_tokenizer: Any) -> None:
    key = trees_key(stored)
    leaves = build_leaves(DOCUMENT, byte_tokenizer, key.leaves.tree)
    stored.write(DOCUMENT, key.leaves, leaves)
    nodes = stored.open_trees(DOCUMENT.content_hash, key, leaves)
    assert nodes is not None
    places = [place for tree in leaves.trees for place in tree.stored_nodes()]
    compressed = nodes.compressed([Node(0, *place) for place in places])
    numbers = compressed.keys.contiguous().numpy().tobytes() + compressed.values.contiguous().numpy().tobytes()
    assert zlib.crc32(numbers) == CHECKSUM
    (entry,) = catalog.entries(stored.root)
    assert catalog.verify(entry, Silent()) == []
