"""Laws of the catalogue: it finds what the user means, tells what could go, and touches nothing that isn't ours."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from index_samples import sample_document, text_and_leaves, trees_key

from sharedllm_cli import durable
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.errors import UsageError
from sharedllm_cli.index import catalog
from sharedllm_cli.index.bundle import BUNDLE
from sharedllm_cli.index.folders import slug
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Silent


def stored_file(store: IndexStore, path: Path, text: str) -> Document:
    """A file on disk and its text part."""
    path.write_text(text)
    sample = sample_document(path.name, path=str(path))
    document = Document(
        sample.name, str(path), "text", durable.sha256_of(path), sample.text, sample.pages, outline=sample.outline
    )
    store.write_text(document)
    return document


def test_entries_tell_what_is_there(store: IndexStore, lower: Any, byte_tokenizer: Any) -> None:
    document = sample_document()
    assert catalog.entries(store.root) == []
    leaves = text_and_leaves(store, document, byte_tokenizer)
    store.build_trees(document.content_hash, trees_key(document), leaves, lower)
    (entry,) = catalog.entries(store.root)
    assert (entry.name, entry.content_hash, entry.pages) == (document.name, document.content_hash, 3)
    assert entry.tokens == leaves.token_count
    assert entry.bytes == store.bytes(document.content_hash)
    assert entry.complete
    assert entry.made is not None
    assert entry.used is not None
    trees = next(part for part in entry.parts if part.kind == "trees")
    assert (trees.model, trees.key["lower_layers"], trees.key["chunk_tokens"]) == ("tiny", 3, 64)
    assert catalog.verify(entry, Silent()) == []


def test_an_index_is_found_by_what_a_user_would_type(store: IndexStore, tmp_path: Path) -> None:
    document = stored_file(store, tmp_path / "log.txt", "gulls")
    stored_file(store, tmp_path / "other.txt", "terns")
    copy = tmp_path / "copy of log.txt"
    copy.write_text("gulls")
    folder = store.folder(document.content_hash)
    assert folder is not None
    for text in ("log.txt", str(tmp_path / "log.txt"), str(copy), document.content_hash[:8], folder.name, str(folder)):
        assert catalog.find(store.root, text).content_hash == document.content_hash, text


def test_what_fits_none_or_several_is_refused(store: IndexStore, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        stored_file(store, tmp_path / name / "log.txt", name)
    with pytest.raises(UsageError, match="2 indexes") as raised:
        catalog.find(store.root, "log.txt")
    assert "log-txt-" in (raised.value.hint or "")
    with pytest.raises(UsageError, match="no index"):
        catalog.find(store.root, "nothing")


def test_what_is_prunable_and_why(store: IndexStore, tmp_path: Path) -> None:
    stays = stored_file(store, tmp_path / "stays.txt", "1")
    stored_file(store, tmp_path / "gone.txt", "2")
    stored_file(store, tmp_path / "changed.txt", "3")
    store.write_text(sample_document("standard input"))
    (tmp_path / "gone.txt").unlink()
    (tmp_path / "changed.txt").write_text("4")
    found = {item.entry.name: item.why for item in catalog.prunable(store.root)}
    assert set(found) == {"gone.txt", "changed.txt"}
    assert "gone" in found["gone.txt"]
    assert "changed" in found["changed.txt"]
    assert len(catalog.entries(store.root)) == 4

    folder = store.folder(stays.content_hash)
    assert folder is not None
    long_ago = time.time() - 40 * 86400
    os.utime(folder / BUNDLE, (long_ago, long_ago))
    old = {item.entry.name for item in catalog.prunable(store.root, older_than_days=30)}
    assert old == {"gone.txt", "changed.txt", "stays.txt"}
    store.read_text(stays.content_hash)
    assert "stays.txt" not in {item.entry.name for item in catalog.prunable(store.root, older_than_days=30)}

    catalog.prune(catalog.prunable(store.root))
    assert [entry.name for entry in catalog.entries(store.root)] == ["standard input", "stays.txt"]


def test_an_index_stays_while_one_of_several_files_holds_its_bytes(store: IndexStore, tmp_path: Path) -> None:
    document = stored_file(store, tmp_path / "first.txt", "gulls")
    copies = [tmp_path / "copy.txt", tmp_path / "other.txt"]
    for copy in copies:
        copy.write_text("gulls")
        store.seen(document.content_hash, copy.name, str(copy))
    (entry,) = catalog.entries(store.root)
    assert (entry.name, entry.elsewhere) == ("other.txt", (str(copies[0]), str(tmp_path / "first.txt")))
    copies[0].unlink()
    copies[1].write_text("terns")
    assert catalog.prunable(store.root) == []
    (tmp_path / "first.txt").unlink()
    (item,) = catalog.prunable(store.root)
    assert "other.txt has changed" in item.why


def test_other_files_in_the_root_are_neither_listed_nor_touched(store: IndexStore, tmp_path: Path) -> None:
    document = stored_file(store, tmp_path / "log.txt", "gulls")
    foreign = [store.root / "notes.txt", store.root / "photos-0123456789abcdef" / "text" / "text.txt"]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    (entry,) = catalog.entries(store.root)
    catalog.remove(entry)
    catalog.prune(catalog.prunable(store.root, older_than_days=0))
    assert store.folder(document.content_hash) is None
    assert all(path.read_text() == "mine" for path in foreign)


def test_the_same_bytes_under_another_path_share_an_index(store: IndexStore, tmp_path: Path) -> None:
    document = stored_file(store, tmp_path / "log.txt", "gulls")
    moved = tmp_path / "moved.txt"
    (tmp_path / "log.txt").rename(moved)
    assert catalog.prunable(store.root)
    store.seen(document.content_hash, moved.name, str(moved))
    assert catalog.prunable(store.root) == []
    assert [entry.name for entry in catalog.entries(store.root)] == ["moved.txt"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Book of Ä.PDF", "book-of-a-pdf"),
        ("論文", "document"),
        ("../../x", "x"),
        ("a" * 90, "a" * 40),
        ("-", "document"),
    ],
)
def test_slugs_are_safe_names(name: str, expected: str) -> None:
    assert slug(name) == expected


def test_a_root_that_cannot_be_written_is_a_usage_error(store: IndexStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UsageError, match="can't be written") as raised:
        store.write_text(sample_document())
    assert "--index-dir" in (raised.value.hint or "")


def test_a_folder_that_somebody_emptied_is_found_and_can_go(store: IndexStore, tmp_path: Path) -> None:
    document = stored_file(store, tmp_path / "log.txt", "gulls")
    stored_file(store, tmp_path / "whole.txt", "terns")
    folder = store.folder(document.content_hash)
    assert folder is not None
    for path in folder.iterdir():
        path.unlink()
    emptied, whole = catalog.entries(store.root)
    assert (emptied.folder, emptied.complete) == (folder, False)
    (problem,) = catalog.verify(emptied, Silent())
    assert problem.what.startswith("is missing: its writer was killed, or somebody emptied the folder")
    assert problem.unfinished
    assert catalog.verify(whole, Silent()) == []
    (item,) = catalog.prunable(store.root)
    assert (item.entry.folder, item.why) == (folder, "has nothing in it")
    catalog.prune([item])
    assert not folder.exists()
