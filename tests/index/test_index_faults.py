"""Laws of a failing disk: whichever call fails, what is there later is what was made, or is refused or made anew.

Also of single bits, and of several processes at one index. tests/campaigns/ tries more of each, for longer.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from failing_disk import FAULTS, FailingDisk, PowerCut
from index_samples import TREE, all_nodes, leaves_key, sample_document, trees_key

from sharedllm_cli.errors import ResourceError, StoredIndexError
from sharedllm_cli.index import catalog, folders, layout
from sharedllm_cli.index.leaves import build_leaves
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Silent

DOCUMENT = sample_document()
KEY, TREES = leaves_key(DOCUMENT), trees_key(DOCUMENT)
TRIED_OF_TREES = 12
"""Calls of a build of trees at which the disk fails here."""


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "SHARD_BYTES", 20_000)


@pytest.fixture(params=["bundle", "folders"])
def kept_as(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "folders":
        monkeypatch.setattr("sharedllm_cli.index.bundle.SMALL_BYTES", 0)
    return str(request.param)


def written(root: Path, leaves: Any, lower: Any = None) -> None:
    """A document as `ask` and `index` store it, asked for again under another path."""
    store = IndexStore(root)
    store.write(DOCUMENT, KEY, leaves)
    store.seen(DOCUMENT.content_hash, DOCUMENT.name, "/elsewhere/log.txt")
    store.write_second(DOCUMENT.content_hash, {1: "raw one"}, "a library")
    if lower is not None:
        store.build_missing_trees(DOCUMENT.content_hash, TREES, leaves, lower)


def opened(root: Path, leaves: Any, lower: Any = None) -> None:
    """What is stored is what was made; what is not there can be made; what is refused is so with exit code 5."""
    store = IndexStore(root)
    try:
        stored = store.open(DOCUMENT.content_hash)
        if stored is not None and (text := stored.text()) is not None:
            assert text == DOCUMENT
            found = stored.leaves(KEY)
            assert found is None or found.tokens.ids.tolist() == leaves.tokens.ids.tolist()
    except StoredIndexError:
        store.discard(DOCUMENT.content_hash)
    written(root, leaves, lower)
    whole = IndexStore(root)
    assert whole.read_text(DOCUMENT.content_hash) == DOCUMENT
    assert whole.read_leaves(DOCUMENT.content_hash, KEY) is not None
    if lower is not None:
        assert whole.open_trees(DOCUMENT.content_hash, TREES, leaves) is not None
    (entry,) = catalog.entries(root)
    assert catalog.verify(entry, Silent()) == []
    folders.delete_document(entry.folder)
    assert [path.name for path in root.iterdir() if not path.name.endswith(".lock")] == []


def tried(root: Path, fault: str, at: int, leaves: Any, lower: Any = None) -> None:
    disk = FailingDisk(root, fault, at)
    with disk(), suppress(PowerCut if fault == "power cut" else ResourceError):
        written(root, leaves, lower)
    if fault == "power cut":
        disk.lose_what_was_not_synced()
    opened(root, leaves, lower)


def calls_of(root: Path, leaves: Any, lower: Any = None) -> int:
    with FailingDisk(root)() as disk:
        written(root, leaves, lower)
    return disk.calls


@pytest.mark.parametrize("fault", FAULTS)
def test_a_text_survives_every_failure(fault: str, kept_as: str, tmp_path: Path, byte_tokenizer: Any) -> None:
    leaves = build_leaves(DOCUMENT, byte_tokenizer, TREE)
    calls = calls_of(tmp_path / "counted", leaves)
    assert calls >= 10
    for at in range(calls):
        tried(tmp_path / str(at), fault, at, leaves)


@pytest.mark.parametrize("fault", FAULTS)
def test_trees_survive_a_failure(fault: str, tmp_path: Path, byte_tokenizer: Any, lower: Any) -> None:
    leaves = build_leaves(DOCUMENT, byte_tokenizer, TREE)
    first = calls_of(tmp_path / "text", leaves)
    calls = calls_of(tmp_path / "counted", leaves, lower)
    for at in range(first, calls, max(1, (calls - first) // TRIED_OF_TREES)):
        tried(tmp_path / str(at), fault, at, leaves, lower)


def test_the_disk_loses_what_was_not_synced(tmp_path: Path) -> None:
    """The stand-in itself: a write without fsync would be seen to tear."""
    with FailingDisk(tmp_path)() as disk:
        for name in ("synced", "not"):
            descriptor = os.open(tmp_path / name, os.O_WRONLY | os.O_CREAT)
            os.write(descriptor, b"words")
            if name == "synced":
                os.fsync(descriptor)
            os.close(descriptor)
    assert disk.lose_what_was_not_synced() == 1
    assert [(tmp_path / name).read_bytes() for name in ("synced", "not")] == [b"words", b""]


def test_nodes_of_an_index_that_failed_are_those_of_one_that_did_not(
    tmp_path: Path, byte_tokenizer: Any, lower: Any
) -> None:
    leaves = build_leaves(DOCUMENT, byte_tokenizer, TREE)
    written(tmp_path / "whole", leaves, lower)
    first = calls_of(tmp_path / "text", leaves)
    disk = FailingDisk(tmp_path / "cut", "power cut", first + 9)
    with disk(), suppress(PowerCut):
        written(tmp_path / "cut", leaves, lower)
    assert disk.off
    disk.lose_what_was_not_synced()
    written(tmp_path / "cut", leaves, lower)
    found = []
    for name in ("whole", "cut"):
        nodes = IndexStore(tmp_path / name).open_trees(DOCUMENT.content_hash, TREES, leaves)
        assert nodes is not None
        compressed = nodes.compressed(all_nodes(leaves))
        found.append((compressed.keys.tolist(), compressed.values.tolist()))
    assert found[0] == found[1]


FLIPS = 60
"""Bits of each file that are flipped here, one at a time."""


def test_a_flipped_bit_anywhere_is_refused_or_changes_no_answer(
    kept_as: str, tmp_path: Path, byte_tokenizer: Any, lower: Any
) -> None:
    leaves = build_leaves(DOCUMENT, byte_tokenizer, TREE)
    written(tmp_path, leaves, lower)
    whole = answers(tmp_path, leaves)
    random_places = random.Random(23)
    refused = 0
    for path in sorted(path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"):
        data = path.read_bytes()
        for _ in range(FLIPS):
            place = random_places.randrange(len(data) * 8)
            flipped = bytearray(data)
            flipped[place // 8] ^= 1 << place % 8
            path.write_bytes(flipped)
            with suppress(StoredIndexError):
                refused += 1
                assert answers(tmp_path, leaves) == whole, (path, place)
                refused -= 1
            path.write_bytes(data)
    assert answers(tmp_path, leaves) == whole
    assert refused > FLIPS


def answers(root: Path, leaves: Any) -> tuple[Any, ...]:
    """All that a question reads of an index."""
    store = IndexStore(root)
    stored = store.open(DOCUMENT.content_hash)
    assert stored is not None
    found = stored.leaves(KEY)
    nodes = store.open_trees(DOCUMENT.content_hash, TREES, leaves)
    assert found is not None
    assert nodes is not None
    compressed = nodes.compressed(all_nodes(leaves))
    numbers = (compressed.keys.numpy().tobytes(), compressed.values.numpy().tobytes())
    return stored.text(), found.tokens.ids.tobytes(), found.lexical.to_arrays()[0], numbers


def test_two_writers_and_ten_readers_see_nothing_or_the_whole(
    kept_as: str, tmp_path: Path, byte_tokenizer: Any, lower: Any
) -> None:
    leaves = build_leaves(DOCUMENT, byte_tokenizer, TREE)
    written(tmp_path / "alone", leaves, lower)
    whole = answers(tmp_path / "alone", leaves)
    finished = threading.Event()

    def write(_: int) -> int:
        written(tmp_path / "shared", leaves, lower)
        return 1

    def read(_: int) -> int:
        seen = 0
        while not finished.is_set() or seen == 0:
            store = IndexStore(tmp_path / "shared")
            stored = store.open(DOCUMENT.content_hash)
            if stored is not None and stored.text() is not None:
                assert stored.text() == DOCUMENT
                seen += 1
        return seen

    def run(work: Callable[[int], int], count: int, pool: ThreadPoolExecutor) -> list[Any]:
        return [pool.submit(work, number) for number in range(count)]

    with ThreadPoolExecutor(12) as pool:
        readers, writers = run(read, 10, pool), run(write, 2, pool)
        try:
            assert [done.result(timeout=120) for done in writers] == [1, 1]
        finally:
            finished.set()
        assert min(done.result(timeout=120) for done in readers) > 0
    assert answers(tmp_path / "shared", leaves) == whole
    (entry,) = catalog.entries(tmp_path / "shared")
    assert catalog.verify(entry, Silent()) == []


@pytest.mark.parametrize("age", [0.0, 3600.0])
def test_what_killed_writers_left_goes_with_the_next_one(age: float, tmp_path: Path, byte_tokenizer: Any) -> None:
    leaves = build_leaves(DOCUMENT, byte_tokenizer, TREE)
    store = IndexStore(tmp_path)
    store.write_text(DOCUMENT)
    folder = store.folder(DOCUMENT.content_hash)
    assert folder is not None
    for name in (".bundle.safetensors.77000001.new", ".usage.json.77000002.new"):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    store.write_leaves(DOCUMENT.content_hash, KEY, leaves)
    left = [path.name for path in folder.iterdir() if path.name.endswith(".new")]
    assert left == ([] if age else [".usage.json.77000002.new"])
