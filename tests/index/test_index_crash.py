"""Laws of interruption: what is killed leaves nothing that looks whole, and the next run ends in the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from index_samples import Progress, sample_document, text_and_leaves, trees_key
from killed_builds import MOMENTS

from sharedllm_cli.context.tree import Node
from sharedllm_cli.index import catalog, folders, layout
from sharedllm_cli.index.leaves import Leaves
from sharedllm_cli.index.manifest import part_name
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Silent

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "SHARD_BYTES", 20_000)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, lower_folder: Path) -> Path:
    """A folder with one root for each moment at which a build was killed."""
    folder = tmp_path_factory.mktemp("killed")
    script = Path(__file__).with_name("killed_builds.py")
    run = subprocess.run(
        [sys.executable, str(script), str(folder), str(lower_folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return folder


def tree_bytes(folder: Path, name: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / name).glob("*.safetensors"))}


@pytest.mark.parametrize("moment", [moment for moment in MOMENTS if moment not in ("text", "bundle")])
def test_a_killed_build_goes_on_to_the_same_bytes(
    killed: Path, moment: str, store: IndexStore, lower: Any, byte_tokenizer: Any
) -> None:
    document, key = sample_document(), trees_key(sample_document())
    leaves = text_and_leaves(store, document, byte_tokenizer)
    whole = store.build_trees(document.content_hash, key, leaves, lower)

    again = IndexStore(killed / moment)
    assert again.read_text(document.content_hash) == document
    assert again.open_trees(document.content_hash, key, leaves) is None
    assert not again.has_trees(document.content_hash, key)
    entry = catalog.find(killed / moment, document.name)
    assert not entry.complete
    assert any(problem.unfinished for problem in catalog.verify(entry, Silent()))

    progress = Progress()
    resumed = again.build_trees(document.content_hash, key, leaves, lower, progress)
    assert any("resuming the unfinished index" in note for note in progress.notes)
    assert progress.done == leaves.token_count
    name = part_name(key)
    assert tree_bytes(resumed.part.parent, name) == tree_bytes(whole.part.parent, name)
    assert catalog.verify(catalog.find(killed / moment, document.name), Silent()) == []
    assert not folders.leftovers(resumed.part.parent)


@pytest.mark.parametrize("moment", ["text", "bundle"])
def test_a_killed_text_is_not_there(killed: Path, moment: str) -> None:
    document = sample_document()
    root = killed / moment
    store = IndexStore(root)
    assert store.read_text(document.content_hash) is None
    [entry] = catalog.entries(root)
    assert not entry.complete
    assert {problem.unfinished for problem in catalog.verify(entry, Silent())} == {True}
    found = catalog.prunable(root)
    assert [item.leftover for item in found] == [True]
    catalog.prune(found)
    assert [path.name for path in root.iterdir() if path.name != ".bundle.lock"] == []


class Counting:
    """A lower model that counts its calls and may stop at one."""

    def __init__(self, lower: Any, stop_at: int | None = None) -> None:
        self._lower = lower
        self._stop_at = stop_at
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lower, name)

    def encode(self, token_ids: torch.Tensor, kept: torch.Tensor) -> Any:
        self.calls += 1
        if self.calls == self._stop_at:
            raise KeyboardInterrupt
        return self._lower.encode(token_ids, kept)


def interrupted(store: IndexStore, lower: Any, tokenizer: Any) -> tuple[Leaves, int]:
    """A build stopped in its third shard; returns the leaves and the calls that a whole build takes."""
    document = sample_document()
    leaves = text_and_leaves(store, document, tokenizer)
    per_shard = 3
    with pytest.raises(KeyboardInterrupt):
        store.build_trees(
            document.content_hash, trees_key(document), leaves, Counting(lower, stop_at=2 * per_shard + 2)
        )
    return leaves, per_shard


def test_an_interrupted_build_keeps_its_shards(store: IndexStore, lower: Any, byte_tokenizer: Any) -> None:
    document = sample_document()
    leaves, per_shard = interrupted(store, lower, byte_tokenizer)
    whole, rest = Counting(lower), Counting(lower)
    store.build_trees(document.content_hash, trees_key(document), leaves, rest)
    other = IndexStore(store.root / "other")
    text_and_leaves(other, document, byte_tokenizer)
    other.build_trees(document.content_hash, trees_key(document), leaves, whole)
    assert rest.calls == whole.calls - 2 * per_shard


def test_a_shard_damaged_meanwhile_is_made_again(store: IndexStore, lower: Any, byte_tokenizer: Any) -> None:
    document = sample_document()
    leaves, _ = interrupted(store, lower, byte_tokenizer)
    folder = store.folder(document.content_hash)
    assert folder is not None
    shard = folders.unfinished_folder(folder, part_name(trees_key(document))) / "keys-values-00001.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    store.build_trees(document.content_hash, trees_key(document), leaves, lower)
    assert catalog.verify(catalog.find(store.root, document.name), Silent()) == []


def test_shards_of_another_dtype_of_computation_are_not_mixed_in(
    store: IndexStore, lower: Any, byte_tokenizer: Any
) -> None:
    document = sample_document()
    leaves, _ = interrupted(store, lower, byte_tokenizer)

    class Half(Counting):
        dtype = torch.bfloat16

    progress = Progress()
    store.build_trees(document.content_hash, trees_key(document), leaves, Half(lower), progress)
    assert not any("going on" in note for note in progress.notes)


def test_the_second_writer_waits_and_does_nothing_twice(store: IndexStore, lower: Any, byte_tokenizer: Any) -> None:
    document = sample_document()
    leaves = text_and_leaves(store, document, byte_tokenizer)
    started, go_on = threading.Event(), threading.Event()

    class Slow(Counting):
        def encode(self, token_ids: torch.Tensor, kept: torch.Tensor) -> Any:
            started.set()
            assert go_on.wait(60)
            return super().encode(token_ids, kept)

    slow, second, progress = Slow(lower), Counting(lower), Progress()

    built = {}

    def build(model: Any, reporter: Any) -> None:
        mine = IndexStore(store.root)
        built[model] = mine.build_missing_trees(document.content_hash, trees_key(document), leaves, model, reporter)

    first_thread = threading.Thread(target=build, args=(slow, Silent()))
    first_thread.start()
    assert started.wait(60)
    assert catalog.prunable(store.root) == []
    with pytest.raises(Exception, match="being written"):
        catalog.remove(catalog.find(store.root, document.name))
    second_thread = threading.Thread(target=build, args=(second, progress))
    second_thread.start()
    while not progress.notes:
        second_thread.join(0.01)
    assert "waiting" in progress.notes[0]
    go_on.set()
    first_thread.join(60)
    second_thread.join(60)
    assert slow.calls > 0
    assert second.calls == 0
    assert built == {slow: True, second: False}
    nodes = store.open_trees(document.content_hash, trees_key(document), leaves)
    assert nodes is not None
    assert nodes.compressed([Node(0, 1, 0)]).keys.shape[2] == 2
