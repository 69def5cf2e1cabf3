"""An index that an earlier commit wrote (`stored/`) opens: names, keys, fingerprints and bytes stay as they are.

It holds a small document as a bundle with trees of layers 1 and 2 in int8, and one in folders with states.
"""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest
from index_samples import all_nodes, leaves_key, sample_document, trees_key

from sharedllm_cli.index import catalog, manifest
from sharedllm_cli.index.leaves import build_leaves
from sharedllm_cli.index.manifest import StatesKey
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Silent

SMALL = sample_document("gulls.txt", 250, "/documents/gulls.txt")
IN_FOLDERS = sample_document("log.txt", 250, "/documents/log.txt")
KEYS_AND_VALUES = [498204245, 3330907881]
"""CRC-32 of the nodes' keys and of their values in float32, as the code that wrote them read them."""


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IndexStore:
    """The index in a folder that may be written to, under the stemmer that its leaves were made with."""
    shutil.copytree(Path(__file__).parent / "stored", tmp_path / "stored")
    made = json.loads(next(tmp_path.glob("stored/log-*/leaves-*/manifest.json")).read_text("utf-8"))
    monkeypatch.setattr(manifest, "stemmer_version", lambda: made["key"]["stemmer"])
    monkeypatch.setattr(manifest, "TERMS_VERSION", made["key"]["terms_version"])
    monkeypatch.setattr("sharedllm_cli.index.stored.READING_VERSION", "4")  # as it was read then
    return IndexStore(tmp_path / "stored")


def test_an_index_of_before_is_whole(stored: IndexStore) -> None:
    entries = catalog.entries(stored.root)
    assert [entry.name for entry in entries] == ["gulls.txt", "log.txt"]
    assert [problem for entry in entries for problem in catalog.verify(entry, Silent())] == []


@pytest.mark.parametrize("document", [SMALL, IN_FOLDERS], ids=["bundle", "folders"])
def test_its_text_and_leaves_are_read(stored: IndexStore, document: Any, byte_tokenizer: Any) -> None:
    found = stored.open(document.content_hash)
    assert found is not None
    assert found.text() == document
    leaves, fresh = (
        found.leaves(leaves_key(document)),
        build_leaves(document, byte_tokenizer, leaves_key(document).tree),
    )
    assert leaves is not None
    assert leaves.tokens.ids.tolist() == fresh.tokens.ids.tolist()
    assert leaves.leaf_spans.tolist() == fresh.leaf_spans.tolist()
    assert leaves.lexical.to_arrays()[0] == fresh.lexical.to_arrays()[0]


def test_its_trees_states_and_second_pages_are_read(stored: IndexStore) -> None:
    leaves = stored.read_leaves(SMALL.content_hash, leaves_key(SMALL))
    assert leaves is not None
    nodes = stored.open_trees(SMALL.content_hash, trees_key(SMALL, first_layer=1), leaves)
    assert nodes is not None
    compressed = nodes.compressed(all_nodes(leaves))
    assert compressed.layers == range(1, 3)
    bits = (compressed.keys.contiguous().numpy().tobytes(), compressed.values.contiguous().numpy().tobytes())
    assert [zlib.crc32(part) for part in bits] == KEYS_AND_VALUES
    states = stored.read_states(IN_FOLDERS.content_hash, StatesKey(leaves_key(IN_FOLDERS), "tiny", "0" * 64, 2))
    assert states is not None
    assert states.leaf(1)[0].tolist() == [4.0, 5.0, 6.0, 0.0]
    assert stored.read_second(SMALL.content_hash, "pypdfium2 1") == {1: "raw one", 2: None}
