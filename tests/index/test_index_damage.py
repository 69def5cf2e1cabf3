"""Laws of refusal: one changed byte anywhere is found by `verify` and refused on opening; so is what is not ours.

Of folders with a folder for each part, as larger documents have them; test_index_bundle.py has those of bundles.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_samples import TREE, all_nodes, leaves_key, sample_document, text_and_leaves, trees_key

from sharedllm_cli import durable
from sharedllm_cli.config import TreeConfig
from sharedllm_cli.errors import StoredIndexError
from sharedllm_cli.index import catalog, folders, layout
from sharedllm_cli.index.leaves import LeafStates, build_leaves
from sharedllm_cli.index.manifest import FORMAT_VERSION, MANIFEST, StatesKey, part_name, read_manifest, sealed, unsealed
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Silent

FILES = [
    "stamps.json",
    "usage.json",
    "text/manifest.json",
    "text/text.txt",
    "text/pages.jsonl",
    "text/document.json",
    "leaves/manifest.json",
    "leaves/tokens.safetensors",
    "leaves/lexical-terms.json",
    "leaves/lexical.safetensors",
    "states/manifest.json",
    "states/states.safetensors",
    "trees/manifest.json",
    "trees/keys-values-00000.safetensors",
    "trees/keys-values-00001.safetensors",
]
SETTLED_SECONDS = 0.02
DOCUMENT = sample_document()
STATES_KEY = StatesKey(leaves_key(DOCUMENT), "tiny", "0" * 64, 2)


@pytest.fixture(autouse=True, scope="module")
def no_bundles() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sharedllm_cli.index.bundle.SMALL_BYTES", 0)
        yield


@pytest.fixture(scope="module")
def whole_root(tmp_path_factory: pytest.TempPathFactory, byte_tokenizer: Any, lower: Any) -> Path:
    """An index with all four parts, stamped."""
    root = tmp_path_factory.mktemp("whole") / "indexes"
    store = IndexStore(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "SHARD_BYTES", 45_000)
        leaves = text_and_leaves(store, DOCUMENT, byte_tokenizer)
        states = np.zeros((leaves.token_count, 4), dtype=np.float16)
        store.write_states(
            DOCUMENT.content_hash, STATES_KEY, LeafStates(states, np.array([0, len(states)], dtype=np.int32))
        )
        store.build_trees(DOCUMENT.content_hash, trees_key(DOCUMENT), leaves, lower)
    return root


@pytest.fixture
def copy(whole_root: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> IndexStore:
    """A copy of the whole index, proved and stamped in its new place."""
    monkeypatch.setattr("sharedllm_cli.durable._SETTLED_NANOSECONDS", SETTLED_SECONDS * 1e9)
    shutil.copytree(whole_root, root)
    time.sleep(2 * SETTLED_SECONDS)
    store = IndexStore(root)
    assert store.read_text(DOCUMENT.content_hash) == DOCUMENT
    return store


def folder_of(store: IndexStore) -> Path:
    folder = store.folder(DOCUMENT.content_hash)
    assert folder is not None
    return folder


def path_of(store: IndexStore, name: str) -> Path:
    """The file of `trees/…` in the folder `trees-<fingerprint>`."""
    part, _, file = name.rpartition("/")
    names = {key.kind: part_name(key) for key in (leaves_key(DOCUMENT), trees_key(DOCUMENT), STATES_KEY)}
    return folder_of(store) / names.get(part, part) / file


def flip(path: Path, place: float, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[min(len(data) - 1, int(len(data) * place))] ^= 1 << bit
    with path.open("r+b") as file:
        file.write(data)


def test_the_list_of_files_is_complete(copy: IndexStore) -> None:
    folder = folder_of(copy)
    found = {path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert found == {path_of(copy, name) for name in FILES}


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_found_and_refused(copy: IndexStore, name: str) -> None:
    path = path_of(copy, name)
    relative = path.relative_to(folder_of(copy)).as_posix()
    before, data = path.stat(), path.read_bytes()
    for place in (0.0, 0.37, 1.0):
        flip(path, place, bit=int(place * 5))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(StoredIndexError) as raised:
            IndexStore(copy.root).read_text(DOCUMENT.content_hash)
        assert raised.value.exit_code == 5
        assert "--reindex" in (raised.value.hint or "")
        assert relative in raised.value.message or "written by sharedllm" in raised.value.message
        problems = catalog.verify(catalog.entries(copy.root)[0], Silent())
        assert relative in {problem.file for problem in problems}
        path.write_bytes(data)
        assert catalog.verify(catalog.entries(copy.root)[0], Silent()) == []


@pytest.mark.parametrize(
    "gone", [["trees"], ["leaves"], ["states"], ["text"], ["usage.json", "text", "leaves", "states", "trees"]]
)
@pytest.mark.parametrize("wholly", [True, False])
def test_a_part_that_somebody_deleted_is_missed(copy: IndexStore, gone: list[str], wholly: bool) -> None:
    assert catalog.verify(catalog.entries(copy.root)[0], Silent()) == []
    for name in gone:
        path = path_of(copy, f"{name}/x").parent if "." not in name else path_of(copy, name)
        if path.is_dir():
            shutil.rmtree(path)
            if not wholly:
                path.mkdir()
        else:
            path.unlink()
    (entry,) = catalog.entries(copy.root)
    problems = catalog.verify(entry, Silent())
    assert len(problems) >= len([name for name in gone if "." not in name])
    assert not any(problem.unfinished for problem in problems)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_size_is_refused(copy: IndexStore, name: str) -> None:
    path = path_of(copy, name)
    data = path.read_bytes()
    for change in (data[:-1], b"", data + b"\0", None):
        if change is not None:
            path.write_bytes(change)
        elif "/" in name:
            path.unlink()
        else:
            # bookkeeping that is missing only costs work
            continue
        with pytest.raises(StoredIndexError):
            IndexStore(copy.root).read_text(DOCUMENT.content_hash)
        assert catalog.verify(catalog.entries(copy.root)[0], Silent())


def test_every_byte_of_a_manifest_counts(copy: IndexStore) -> None:
    data = path_of(copy, "text/manifest.json").read_bytes()
    assert unsealed(data) is not None
    for place in range(len(data)):
        for bit in (0, 3, 5):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            assert unsealed(bytes(changed)) is None, (place, bit)


def test_a_byte_flipped_after_opening_is_refused_when_read(copy: IndexStore, byte_tokenizer: Any) -> None:
    leaves = build_leaves(DOCUMENT, byte_tokenizer, TREE)
    nodes = copy.open_trees(DOCUMENT.content_hash, trees_key(DOCUMENT), leaves)
    assert nodes is not None
    flip(path_of(copy, "trees/keys-values-00000.safetensors"), 0.9)
    with pytest.raises(StoredIndexError, match="damaged"):
        nodes.compressed(all_nodes(leaves))


@pytest.mark.parametrize("tensor", ["values", "scales", "node_vectors", "checksums"])
def test_a_nodes_checksum_covers_all_its_bytes(copy: IndexStore, byte_tokenizer: Any, tensor: str) -> None:
    path = path_of(copy, "trees/keys-values-00000.safetensors")
    data = bytearray(path.read_bytes())
    header = int.from_bytes(data[:8], "little")
    start, end = json.loads(data[8 : 8 + header])[tensor]["data_offsets"]
    data[8 + header + (start if tensor == "checksums" else (start + end) // 2)] ^= 4
    path.write_bytes(data)
    leaves = build_leaves(DOCUMENT, byte_tokenizer, TREE)
    manifest = read_manifest(path.parent)
    from sharedllm_cli.index.nodes import StoredNodes

    shape = layout.LowerShape(**manifest.facts["shape"])
    places = layout.TreesLayout(leaves.trees, manifest.facts["chunks_per_shard"])
    nodes = StoredNodes(path.parent, places, leaves, shape, "int8")
    read = nodes.node_vectors if tensor == "node_vectors" else nodes.compressed
    with pytest.raises(StoredIndexError, match="damaged"):
        read(all_nodes(leaves))


def test_an_untouched_index_is_opened_without_hashing_its_trees(
    copy: IndexStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    monkeypatch.setattr("sharedllm_cli.durable.sha256_of", lambda path: hashed.append(path) or "")
    assert IndexStore(copy.root).read_text(DOCUMENT.content_hash) == DOCUMENT
    assert hashed == []


def test_a_touched_file_is_hashed_once_and_trusted_again(copy: IndexStore, monkeypatch: pytest.MonkeyPatch) -> None:
    path = path_of(copy, "trees/keys-values-00001.safetensors")
    os.utime(path)
    time.sleep(2 * SETTLED_SECONDS)
    hashed: list[Path] = []
    whole = durable.sha256_of

    def counted(path: Path, advance: Callable[[int], None] | None = None) -> str:
        hashed.append(path)
        return whole(path, advance)

    monkeypatch.setattr("sharedllm_cli.durable.sha256_of", counted)
    for _ in range(2):
        assert IndexStore(copy.root).read_text(DOCUMENT.content_hash) == DOCUMENT
    assert hashed == [path]


def test_a_lost_stamp_costs_a_hash_and_nothing_else(copy: IndexStore) -> None:
    (folder_of(copy) / "stamps.json").unlink()
    assert IndexStore(copy.root).read_text(DOCUMENT.content_hash) == DOCUMENT
    assert (folder_of(copy) / "stamps.json").is_file()
    assert catalog.verify(catalog.entries(copy.root)[0], Silent()) == []


def test_discarding_heals_and_spares_what_others_put_there(copy: IndexStore) -> None:
    folder = folder_of(copy)
    (folder / "notes.md").write_text("mine")
    (folder / "text" / "cover.png").write_text("mine too")
    flip(path_of(copy, "text/text.txt"), 0.5)
    copy.discard(DOCUMENT.content_hash)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "notes.md",
        "text/cover.png",
    }
    shutil.rmtree(folder)
    assert copy.read_text(DOCUMENT.content_hash) is None
    copy.write_text(DOCUMENT)
    assert copy.read_text(DOCUMENT.content_hash) == DOCUMENT


def rewrite_manifest(part: Path, **changes: Any) -> None:
    (part / MANIFEST).write_bytes(replace(read_manifest(part), **changes).to_bytes())


def test_a_newer_format_is_refused(copy: IndexStore) -> None:
    rewrite_manifest(folder_of(copy) / "text", format_version=FORMAT_VERSION + 1)
    with pytest.raises(StoredIndexError, match=f"format version {FORMAT_VERSION + 1}") as raised:
        IndexStore(copy.root).read_text(DOCUMENT.content_hash)
    assert raised.value.hint
    assert catalog.verify(catalog.entries(copy.root)[0], Silent())


def test_an_older_format_is_made_anew_with_a_note(copy: IndexStore) -> None:
    from index_samples import Progress

    text = folder_of(copy) / "text"
    rewrite_manifest(text, format_version=FORMAT_VERSION - 1)
    progress = Progress()
    store = IndexStore(copy.root, progress)
    assert [item.part for item in catalog.prunable(copy.root)] == ["text"]
    assert store.read_text(DOCUMENT.content_hash) is None
    assert any("is rebuilt" in note for note in progress.notes)
    store.write_text(DOCUMENT)
    assert store.read_text(DOCUMENT.content_hash) == DOCUMENT
    assert read_manifest(text).format_version == FORMAT_VERSION


def test_a_text_of_an_earlier_reading_is_made_anew(copy: IndexStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sharedllm_cli.index.stored.READING_VERSION", "next")
    assert copy.read_text(DOCUMENT.content_hash) is None
    copy.write_text(DOCUMENT)
    assert copy.read_text(DOCUMENT.content_hash) == DOCUMENT
    # the text came out the same, so its leaves and trees go on serving
    assert copy.has_trees(DOCUMENT.content_hash, trees_key(DOCUMENT))


def test_the_index_of_another_program_is_refused_with_a_hint(copy: IndexStore) -> None:
    (folder_of(copy) / "text" / MANIFEST).write_text('{"format": "something else"}')
    with pytest.raises(StoredIndexError, match="not written by sharedllm") as raised:
        copy.read_text(DOCUMENT.content_hash)
    assert raised.value.hint


def test_a_manifest_that_was_cut_off_is_called_damaged(copy: IndexStore) -> None:
    path = folder_of(copy) / "text" / MANIFEST
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StoredIndexError, match="is damaged"):
        copy.read_text(DOCUMENT.content_hash)


def test_a_part_of_another_document_is_refused(copy: IndexStore, byte_tokenizer: Any) -> None:
    other = sample_document("other.txt")
    text_and_leaves(copy, other, byte_tokenizer)
    theirs, ours = copy.folder(other.content_hash), folder_of(copy)
    assert theirs is not None
    shutil.rmtree(ours / "text")
    shutil.copytree(theirs / "text", ours / "text")
    with pytest.raises(StoredIndexError, match="another document") as raised:
        copy.read_text(DOCUMENT.content_hash)
    assert raised.value.hint


def test_a_part_under_another_ones_name_is_refused(copy: IndexStore) -> None:
    other = trees_key(DOCUMENT, weights_hash="1" * 64)
    folder = folder_of(copy)
    (folder / part_name(trees_key(DOCUMENT))).rename(folder / part_name(other))
    with pytest.raises(StoredIndexError, match="another part"):
        copy.read_text(DOCUMENT.content_hash)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"weights_hash": "1" * 64, "base_name": "large"}, r"another model \(tiny, now large\)"),
        ({"weights_hash": "1" * 64}, r"the weights of tiny have changed"),
        ({"lower_layers": 4}, r"number of lower layers \(3, now 4\)"),
        ({"stored_dtype": "float16"}, r"stored type \(int8, now float16\)"),
        ({"quantize": "4bit"}, r"quantization \(none, now 4bit\)"),
        ({"leaves": leaves_key(DOCUMENT, TreeConfig(32, 3, (16, 8, 4)))}, r"chunk size \(64, now 32\)"),
        ({"leaves": leaves_key(DOCUMENT, TreeConfig(64, 2, (8, 4)))}, r"height.*ratios \(16,8,4, now 8,4\)"),
        ({"leaves": replace(leaves_key(DOCUMENT), tokenizer_hash="new")}, "another tokenizer"),
    ],
)
def test_another_configuration_is_another_part_and_says_why(
    copy: IndexStore, changes: dict[str, Any], why: str
) -> None:
    key = trees_key(DOCUMENT, **changes)
    assert part_name(key) != part_name(trees_key(DOCUMENT))
    assert not copy.has_trees(DOCUMENT.content_hash, key)
    explained = copy.explain_new(DOCUMENT.path, DOCUMENT.content_hash, [key])
    assert explained is not None
    assert re.search(why, explained), explained


def test_what_is_there_needs_no_explanation(copy: IndexStore) -> None:
    keys = [leaves_key(DOCUMENT), trees_key(DOCUMENT)]
    assert copy.explain_new(None, DOCUMENT.content_hash, keys) is None
    renamed = trees_key(DOCUMENT, base_name="the same weights by another name")
    assert copy.explain_new(None, DOCUMENT.content_hash, [renamed]) is None
    assert copy.explain_new("/never/seen.txt", "f" * 64, keys) is None


def test_a_changed_file_says_so(store: IndexStore, tmp_path: Path) -> None:
    path = str(tmp_path / "log.txt")
    store.write_text(sample_document(path=path))
    changed = sample_document(characters=500, path=path)
    explained = store.explain_new(path, changed.content_hash)
    assert explained is not None
    assert "another content" in explained


def test_files_are_private(copy: IndexStore, byte_tokenizer: Any, lower: Any) -> None:
    previous = os.umask(0)
    try:
        other = sample_document("open.txt")
        store = IndexStore(copy.root / "deeper" / "root")
        leaves = text_and_leaves(store, other, byte_tokenizer)
        store.build_trees(other.content_hash, trees_key(other), leaves, lower)
        assert store.read_text(other.content_hash) == other
    finally:
        os.umask(previous)
    for path in [store.root, *store.root.rglob("*")]:
        expected = 0o700 if path.is_dir() else 0o600
        assert path.stat().st_mode & 0o777 == expected, path


def test_nothing_in_the_index_is_pickled(copy: IndexStore) -> None:
    suffixes = {path.suffix for path in folder_of(copy).rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".jsonl", ".safetensors", ".txt", ".lock"}
    assert all(path.stat().st_size == 0 for path in folder_of(copy).glob(".*.lock"))


def test_parts_are_named_as_documented(copy: IndexStore) -> None:
    folder = folder_of(copy)
    assert folder.name == f"gulls-log-txt-{DOCUMENT.content_hash[:16]}"
    assert [path.name.partition("-")[0] for path in folders.finished_parts(folder)] == [
        "text",
        "leaves",
        "states",
        "trees",
    ]
    assert copy.bytes(DOCUMENT.content_hash) == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["fingerprint", "key", "files", "part", "content_hash", "format_version"])
def test_a_manifest_that_lacks_something_is_refused_though_its_seal_fits(copy: IndexStore, name: str) -> None:
    path = path_of(copy, "trees/manifest.json")
    value = unsealed(path.read_bytes())
    assert value is not None
    del value[name]
    path.write_bytes(sealed(value))
    with pytest.raises(StoredIndexError):
        IndexStore(copy.root).open(DOCUMENT.content_hash)
    assert catalog.verify(catalog.entries(copy.root)[0], Silent())
