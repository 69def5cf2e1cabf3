"""Laws of bundles: a small document's text and leaves are one private file, proved whole before anything is used."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_samples import Progress, leaves_key, sample_document, text_and_leaves, trees_key
from safetensors import numpy as safetensors_numpy

from sharedllm_cli import durable
from sharedllm_cli.config import TreeConfig
from sharedllm_cli.errors import StoredIndexError, UsageError
from sharedllm_cli.index import bundle, catalog, folders, manifest
from sharedllm_cli.index.bundle import BUNDLE, Bundle, read_bundle
from sharedllm_cli.index.leaves import LeafStates, Leaves, build_leaves, leaves_files
from sharedllm_cli.index.manifest import FORMAT_VERSION, DamagedFileError, StatesKey, part_name
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.index.stored import text_files
from sharedllm_cli.progress import Silent

DOCUMENT = sample_document(path="/notes/Gulls & Log.txt")
HASH = DOCUMENT.content_hash
KEY = leaves_key(DOCUMENT)


@pytest.fixture
def leaves(store: IndexStore, byte_tokenizer: Any) -> Leaves:
    """The leaves of a document that is bundled in the store."""
    return text_and_leaves(store, DOCUMENT, byte_tokenizer)


def folder_of(store: IndexStore, content_hash: str = HASH) -> Path:
    folder = store.folder(content_hash)
    assert folder is not None
    return folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix != ".lock"}


def same(one: Leaves | None, other: Leaves) -> bool:
    return one is not None and leaves_files(one) == leaves_files(other)


def test_text_and_leaves_are_one_private_file_that_safetensors_reads(store: IndexStore, leaves: Leaves) -> None:
    folder = folder_of(store)
    assert names(folder) == {BUNDLE}
    assert (folder / BUNDLE).stat().st_mode & 0o777 == 0o600
    data = (folder / BUNDLE).read_bytes()
    found = {name: array.tobytes() for name, array in safetensors_numpy.load(data).items()}
    assert found.pop("sha256").hex() == durable.sha256_of_bytes(data[:-32])
    text = {f"text/{name}": file for name, file in text_files(DOCUMENT).items()}
    assert found == text | {f"{part_name(KEY)}/{name}": file for name, file in leaves_files(leaves).items()}
    again = IndexStore(store.root)
    assert again.read_text(HASH) == DOCUMENT
    assert same(again.read_leaves(HASH, KEY), leaves)
    assert store.bytes(HASH) == len(data)


def test_both_are_written_at_once_and_synced_once(
    store: IndexStore, byte_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(descriptor), sync(descriptor)))
    made = build_leaves(DOCUMENT, byte_tokenizer, KEY.tree)
    folder = store.write(DOCUMENT, KEY, made)
    assert len(synced) == 1
    assert names(folder) == {BUNDLE}
    assert same(store.read_leaves(HASH, KEY), made)


def test_a_larger_document_has_a_folder_for_each_part(
    store: IndexStore, byte_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(map(len, text_files(DOCUMENT).values()))
    for limit, bundled in ((size + 1, True), (size, False)):
        monkeypatch.setattr(bundle, "SMALL_BYTES", limit)
        text_and_leaves(store, DOCUMENT, byte_tokenizer)
        assert (BUNDLE in names(folder_of(store))) is bundled
        assert ("text" in names(folder_of(store))) is not bundled
        store.discard(HASH)


# Refusal


def test_every_byte_counts(store: IndexStore, leaves: Leaves) -> None:
    folder = folder_of(store)
    data = (folder / BUNDLE).read_bytes()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        (folder / BUNDLE).write_bytes(changed)
        with pytest.raises(DamagedFileError):
            read_bundle(folder)
    for torn in (b"", data[:40], data[:-1], data + b"\0"):
        (folder / BUNDLE).write_bytes(torn)
        with pytest.raises(DamagedFileError):
            read_bundle(folder)


@pytest.mark.parametrize("place", [0, 9, 0.2, 0.5, 0.999])
def test_damage_is_refused_before_anything_is_used_and_says_what_to_run(
    store: IndexStore, leaves: Leaves, place: float
) -> None:
    folder = folder_of(store)
    data = bytearray((folder / BUNDLE).read_bytes())
    data[place if isinstance(place, int) else int(len(data) * place)] ^= 2
    (folder / BUNDLE).write_bytes(data)
    with pytest.raises(StoredIndexError, match=f"{folder.name}/{BUNDLE}") as raised:
        IndexStore(store.root).open(HASH, "Gulls & Log.txt", "notes/Gulls & Log.txt")
    assert raised.value.exit_code == 5
    assert "the index of Gulls & Log.txt is damaged" in raised.value.message
    assert "sharedllm index --reindex 'notes/Gulls & Log.txt'" in (raised.value.hint or "")
    with pytest.raises(StoredIndexError, match="damaged"):
        store.write_leaves(HASH, KEY, leaves)
    [entry] = catalog.entries(store.root)
    assert not entry.complete
    [problem] = catalog.verify(entry, Silent())
    assert (problem.file, problem.what) == (BUNDLE, "differs from what was written")
    store.discard(HASH)
    assert not folder.exists()


def test_what_is_damaged_is_named_as_far_as_it_says_itself(store: IndexStore, leaves: Leaves) -> None:
    path = folder_of(store) / BUNDLE
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(StoredIndexError, match=r"the index of Gulls & Log\.txt is damaged") as raised:
        store.read_text(HASH)
    assert "/notes/Gulls & Log.txt" in (raised.value.hint or "")
    path.write_bytes(whole[:8] + b"[" + whole[9:])
    with pytest.raises(StoredIndexError, match=f"the index of {path.parent.name} is damaged"):
        store.read_text(HASH)


def rewritten(path: Path, **changes: Any) -> None:
    found = read_bundle(path.parent)
    assert found is not None
    path.write_bytes(replace(found, **changes).to_bytes())


def test_what_is_not_ours_or_of_another_document_is_refused(store: IndexStore, leaves: Leaves) -> None:
    path = folder_of(store) / BUNDLE
    rewritten(path, content_hash="f" * 64)
    with pytest.raises(StoredIndexError, match="another document"):
        store.read_text(HASH)
    assert catalog.verify(replace(catalog.entries(store.root)[0], content_hash=HASH), Silent())
    path.write_bytes(safetensors_numpy.save({"weights": np.zeros(9)}))
    with pytest.raises(StoredIndexError, match="not written by sharedllm"):
        store.read_text(HASH)
    assert [one.what for one in catalog.verify(catalog.entries(store.root)[0], Silent())] == [
        "was not written by sharedllm"
    ]


def test_a_newer_format_is_refused_and_an_older_one_made_anew(store: IndexStore, leaves: Leaves) -> None:
    path = folder_of(store) / BUNDLE
    rewritten(path, format_version=FORMAT_VERSION + 1)
    with pytest.raises(StoredIndexError, match=f"format version {FORMAT_VERSION + 1}"):
        store.read_text(HASH)
    rewritten(path, format_version=FORMAT_VERSION + 1, manifests={}, files={})
    path.write_bytes(Bundle(HASH, "log.txt", None, format_version=FORMAT_VERSION - 1).to_bytes())
    assert [(item.part, item.why) for item in catalog.prunable(store.root)] == [
        ("bundle", f"has format version {FORMAT_VERSION - 1}")
    ]
    assert catalog.verify(catalog.entries(store.root)[0], Silent())
    progress = Progress()
    again = IndexStore(store.root, progress)
    assert again.read_text(HASH) is None
    assert any("made anew" in note for note in progress.notes)
    again.write(DOCUMENT, KEY, leaves)
    assert again.read_text(HASH) == DOCUMENT
    assert same(again.read_leaves(HASH, KEY), leaves)


# More parts


def test_other_leaves_come_beside_those_that_are_there(store: IndexStore, leaves: Leaves, byte_tokenizer: Any) -> None:
    tree = TreeConfig(32, 2, (8, 4))
    key = leaves_key(DOCUMENT, tree)
    assert store.read_leaves(HASH, key) is None
    assert "chunk size" in (store.explain_new(None, HASH, [key]) or "")
    other = build_leaves(DOCUMENT, byte_tokenizer, tree)
    store.write_leaves(HASH, key, other)
    assert names(folder_of(store)) == {BUNDLE}
    assert same(store.read_leaves(HASH, key), other)
    assert same(store.read_leaves(HASH, KEY), leaves)
    assert store.read_text(HASH) == DOCUMENT
    assert store.explain_new(None, HASH, [key, KEY]) is None


def test_a_text_of_a_later_reading_takes_the_place_of_the_earlier_and_leaves_stay(
    store: IndexStore, leaves: Leaves, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sharedllm_cli.index.stored.READING_VERSION", "next")
    assert store.read_text(HASH) is None
    store.write_text(DOCUMENT)
    assert store.read_text(HASH) == DOCUMENT
    assert same(store.read_leaves(HASH, KEY), leaves)
    assert names(folder_of(store)) == {BUNDLE}


def test_trees_and_states_come_beside_a_bundle(store: IndexStore, leaves: Leaves, lower: Any) -> None:
    before = (folder_of(store) / BUNDLE).read_bytes()
    key = trees_key(DOCUMENT)
    store.build_trees(HASH, key, leaves, lower)
    states = np.zeros((leaves.token_count, 4), dtype=np.float16)
    states_key = StatesKey(KEY, "tiny", "0" * 64, 2)
    store.write_states(HASH, states_key, LeafStates(states, np.array([0, len(states)], dtype=np.int32)))
    assert (folder_of(store) / BUNDLE).read_bytes() == before
    again = IndexStore(store.root)
    assert again.read_text(HASH) == DOCUMENT
    assert again.has_trees(HASH, key)
    assert again.read_states(HASH, states_key) is not None
    [entry] = catalog.entries(store.root)
    assert [part.kind for part in entry.parts] == ["text", "leaves", "states", "trees"]
    assert entry.complete
    assert (entry.tokens, entry.bytes) == (leaves.token_count, store.bytes(HASH))
    assert catalog.verify(entry, Silent()) == []
    shard = next(folder_of(store).glob("trees-*/*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(StoredIndexError, match="trees-"):
        again.read_text(HASH)


def test_an_index_of_folders_is_read_as_it_is_and_stays_so(
    store: IndexStore, byte_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the release before bundles has written of a small document."""
    with monkeypatch.context() as before:
        before.setattr(bundle, "SMALL_BYTES", 0)
        leaves = text_and_leaves(store, DOCUMENT, byte_tokenizer)
    written = names(folder_of(store))
    assert {"text/text.txt", "text/manifest.json", "usage.json"} <= written
    assert BUNDLE not in written
    again = IndexStore(store.root)
    stored = again.open(HASH, DOCUMENT.name, DOCUMENT.path)
    assert stored is not None
    assert stored.text() == DOCUMENT
    assert same(stored.leaves(KEY), leaves)
    again.write(DOCUMENT, KEY, leaves)
    key = leaves_key(DOCUMENT, TreeConfig(32, 2, (8, 4)))
    again.write_leaves(HASH, key, build_leaves(DOCUMENT, byte_tokenizer, key.tree))
    assert BUNDLE not in names(folder_of(store))
    assert f"{part_name(key)}/manifest.json" in names(folder_of(store))


# Bookkeeping


def test_a_bundle_says_how_its_document_is_called_until_that_changes(store: IndexStore, leaves: Leaves) -> None:
    folder = folder_of(store)
    [entry] = catalog.entries(store.root)
    assert (entry.name, entry.source, entry.content_hash) == (DOCUMENT.name, DOCUMENT.path, HASH)
    store.seen(HASH, DOCUMENT.name, DOCUMENT.path)
    assert names(folder) == {BUNDLE}
    store.seen(HASH, "moved.txt", "/notes/moved.txt")
    [entry] = catalog.entries(store.root)
    assert (entry.name, entry.source, entry.elsewhere) == ("moved.txt", "/notes/moved.txt", (DOCUMENT.path,))
    for number in range(2 * parts_known()):
        store.seen_too(HASH, f"/copies/{number}.txt")
    [entry] = catalog.entries(store.root)
    assert entry.name == "moved.txt"
    assert len(entry.elsewhere) == parts_known() - 1
    assert entry.elsewhere[:2] == (DOCUMENT.path, "/copies/0.txt")


def parts_known() -> int:
    from sharedllm_cli.index.bookkeeping import MOST_PATHS

    return MOST_PATHS


def test_the_last_use_of_a_bundle_is_known(store: IndexStore, leaves: Leaves) -> None:
    long_ago = time.time() - 40 * 86400
    os.utime(folder_of(store) / BUNDLE, (long_ago, long_ago))
    before = catalog.entries(store.root)[0].used
    store.read_text(HASH)
    after = catalog.entries(store.root)[0].used
    assert before is not None
    assert after is not None
    assert before < after[:10], "by its day"
    [item] = catalog.prunable(store.root, None)
    assert "is gone" in item.why
    catalog.prune([item])
    assert catalog.entries(store.root) == []
    assert [path.name for path in store.root.iterdir()] == [".bundle.lock"]


def test_of_two_writers_the_second_waits_and_writes_nothing_twice(
    store: IndexStore, byte_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = build_leaves(DOCUMENT, byte_tokenizer, KEY.tree)
    writes: list[Path] = []
    replace_bytes = durable.replace_bytes
    go_on, progress = threading.Event(), Progress()

    def slow(path: Path, data: bytes, **options: Any) -> None:
        writes.append(path)
        assert go_on.wait(60)
        replace_bytes(path, data, **options)

    monkeypatch.setattr(durable, "replace_bytes", slow)
    stores = [IndexStore(store.root), IndexStore(store.root, progress)]
    threads = [threading.Thread(target=one.write, args=(DOCUMENT, KEY, made)) for one in stores]
    threads[0].start()
    while not writes:
        threads[0].join(0.01)
    monkeypatch.setattr(folders, "_BUNDLE_WAIT_SECONDS", 0)
    with pytest.raises(UsageError, match="being written"):
        folders.delete_part(folder_of(store), folders.BUNDLE_PART)
    threads[1].start()
    while not progress.notes:
        threads[1].join(0.01)
    assert "waiting" in progress.notes[0]
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert len(writes) == 1
    assert same(store.read_leaves(HASH, KEY), made)


def test_the_versions_of_libraries_are_looked_up_once_for_all_documents(
    store: IndexStore, byte_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    manifest._versions.cache_clear()
    monkeypatch.setattr(manifest.metadata, "version", lambda library: (looked.append(library), "1")[1])
    for number in range(3):
        text_and_leaves(store, sample_document(f"{number}.txt"), byte_tokenizer)
    manifest._versions.cache_clear()
    assert len(looked) == len(set(looked)) > 0
