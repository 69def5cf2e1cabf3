"""Laws of finding folders: thousands of documents are looked up with one listing, and nothing new stays unseen."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from index_samples import leaves_key, sample_document

from sharedllm_cli.index import folders
from sharedllm_cli.index.folders import Folders
from sharedllm_cli.index.leaves import build_leaves
from sharedllm_cli.index.store import IndexStore


def digest(number: int) -> str:
    return f"{number:016x}" + "0" * 48


@pytest.fixture
def listings(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every listing of the root itself."""
    found: list[Any] = []
    listdir, scandir = os.listdir, os.scandir

    def counted(whole: Any) -> Any:
        def listed(path: Any = ".") -> Any:
            if not isinstance(path, int) and Path(path) == root:  # a number: an open folder that pytest removes
                found.append(path)
            return whole(path)

        return listed

    monkeypatch.setattr(os, "listdir", counted(listdir))
    monkeypatch.setattr(os, "scandir", counted(scandir))
    return found


def test_a_thousand_folders_are_found_and_made_with_one_listing(root: Path, listings: list[Any]) -> None:
    first = Folders(root)
    made = [first.make(digest(number), f"note {number}") for number in range(1000) if not first.find(digest(number))]
    assert len(made) == 1000
    assert len(listings) <= 1
    listings.clear()
    second = Folders(root)
    assert [second.find(digest(number)) for number in range(1000)] == [[folder] for folder in made]
    assert len(listings) == 1


def test_what_others_make_or_delete_meanwhile_is_seen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = Folders(root), Folders(root)
    assert mine.find(digest(1)) == []
    theirs = other.make(digest(1), "one")
    assert mine.find(digest(1)) == [theirs]
    assert mine.find(digest(2)) == []
    theirs = other.make(digest(2), "two")
    assert mine.find(digest(2)) == [theirs]
    shutil.rmtree(theirs)
    assert mine.find(digest(2)) == []


def test_an_unsettled_root_is_listed_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file system's clock ticks slowly a root changes without showing it."""
    monkeypatch.setattr(folders, "_SETTLED_NANOSECONDS", 1e15)
    Folders(root).make(digest(0), "zero")
    changed = os.stat(root).st_mtime_ns
    mine = Folders(root)
    assert mine.find(digest(1)) == []
    theirs = root / f"one-{digest(1)[:16]}"
    theirs.mkdir()
    os.utime(root, ns=(changed, changed))
    assert mine.find(digest(1)) == [theirs]
    monkeypatch.setattr(folders, "_SETTLED_NANOSECONDS", -1)
    settled = Folders(root)
    assert settled.find(digest(2)) == []
    listed = os.stat(root).st_mtime_ns
    (root / f"two-{digest(2)[:16]}").mkdir()
    os.utime(root, ns=(listed, listed))
    assert settled.find(digest(2)) == [], "the time of change is what tells"


def test_of_several_folders_of_one_hash_ours_is_taken(store: IndexStore) -> None:
    document = sample_document()
    foreign = store.root / f"a-{document.content_hash[:16]}"
    foreign.mkdir(parents=True)
    (store.root / f"b-{document.content_hash[:16]}").mkdir()
    store.write_text(document)
    assert store.folder(document.content_hash) == foreign, "the only one of ours, since it was there"
    assert folders.is_document_folder(foreign)
    other = sample_document("other.txt")
    store.write_text(other)
    (store.root / f"a-{other.content_hash[:16]}").mkdir()
    again = IndexStore(store.root)
    found = again.folder(other.content_hash)
    assert found is not None
    assert found.name.startswith("other-txt-")


def test_looking_why_files_are_new_reads_the_root_once(
    store: IndexStore, byte_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Path] = []
    usage_or_none = folders.usage_or_none

    def counted(folder: Path) -> Any:
        looked.append(folder)
        return usage_or_none(folder)

    monkeypatch.setattr(folders, "usage_or_none", counted)
    documents = [sample_document(f"{number}.txt", path=str(tmp_path / f"{number}.txt")) for number in range(60)]
    for document in documents:
        assert store.explain_new(document.path, document.content_hash) is None
        store.write(document, leaves_key(document), build_leaves(document, byte_tokenizer, leaves_key(document).tree))
    assert len(looked) <= 2 * len(documents)
    looked.clear()
    again = IndexStore(store.root)
    changed = [sample_document(one.name, 600, path=one.path) for one in documents]
    for document in changed:
        assert "another content" in (again.explain_new(document.path, document.content_hash) or "")
    assert len(looked) <= 2 * len(documents)
    fresh = sample_document("fresh.txt", path=str(tmp_path / "fresh.txt"))
    again.write_text(fresh)
    assert "another content" in (again.explain_new(fresh.path, digest(7)) or "")
