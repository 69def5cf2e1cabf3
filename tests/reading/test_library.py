"""Documents are read once, each content once; a bad one is told and the rest go on."""

from __future__ import annotations

import builtins
import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from open_documents import TREE, opened

from sharedllm_cli.documents import readers
from sharedllm_cli.documents.pages import Document, OutlineEntry
from sharedllm_cli.errors import DocumentError, StoredIndexError
from sharedllm_cli.index import manifest as manifest_module
from sharedllm_cli.index.bookkeeping import USAGE, read_usage
from sharedllm_cli.index.bundle import BUNDLE
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Silent
from sharedllm_cli.reading.library import Shelf


class Notes(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    @property
    def warned(self) -> list[str]:
        return self.warnings

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def shelf(tmp_path: Path, byte_tokenizer: Any, notes: Notes) -> Shelf:
    return Shelf(IndexStore(tmp_path / "indexes", notes), lambda: byte_tokenizer, "bytes", TREE, notes)


def written(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def contents(folder: Path) -> dict[Path, bytes]:
    found = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert found
    return found


def test_what_was_read_once_is_opened_without_reading_the_file_again(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "bees.txt", "The bees fly from clover to clover.")
    first = shelf.open([path]).documents[0]
    monkeypatch.setattr(readers.Probe, "read", lambda *_, **__: pytest.fail("read again"))
    again = shelf.open([path]).documents[0]
    assert (first.text_hit, again.text_hit) == (False, True)
    assert again.document == first.document
    assert again.leaves.tokens.ids.tolist() == first.leaves.tokens.ids.tolist()


def test_leaves_of_another_stemmer_are_made_anew_with_a_note(
    shelf: Shelf, tmp_path: Path, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "bees.txt", "The university of the bees.")
    with monkeypatch.context() as before:
        before.setattr(manifest_module, "stemmer_version", lambda: "snowballstemmer 2.2.0")
        shelf.open([path])
        assert shelf.open([path]).documents[0].text_hit
    monkeypatch.setattr(manifest_module, "stemmer_version", lambda: "snowballstemmer 3.1.1")
    again = shelf.open([path]).documents[0]
    assert not again.text_hit
    assert len(notes.notes) == 1
    assert notes.notes[0].startswith("bees.txt is split again: it was indexed on ")
    assert notes.notes[0].endswith("with another stemmer (snowballstemmer 2.2.0, now snowballstemmer 3.1.1)")
    assert shelf.open([path]).documents[0].text_hit


def test_leaves_from_before_the_stemmer_was_recorded_are_made_anew(
    shelf: Shelf, tmp_path: Path, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "bees.txt", "The university of the bees.")
    with monkeypatch.context() as before:
        before.setattr(manifest_module.LeavesKey, "identity", lambda key: {**key.splitting(), "terms_version": "1"})
        shelf.open([path])
    assert not shelf.open([path]).documents[0].text_hit
    assert "an earlier way of finding words and another stemmer (not recorded, now " in notes.notes[0]


def test_a_content_is_read_once_whatever_its_names(shelf: Shelf, tmp_path: Path, notes: Notes) -> None:
    paths = [written(tmp_path, name, "The bees fly.") for name in ("one.txt", "two.txt")]
    assert [opened.name for opened in shelf.open(paths).documents] == ["one.txt"]
    assert notes.notes == ["two.txt has the same content as one.txt and is read once"]


def test_a_thousand_notes_are_looked_up_in_one_listing_and_opened_by_a_file_each(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted on fewer: the listings of the root, and the files of the index that are opened for each document."""
    count = 40
    root = tmp_path / "indexes"
    notes = tmp_path / "notes"
    notes.mkdir()
    for number in range(count):
        written(notes, f"{number}.txt", f"Note {number} tells of the bees and of clover.")
    opened_files, listings = watched(root, monkeypatch)
    first = shelf.open([str(notes)]).documents
    # One, but for the lock that is made there, after which the time of change is not trusted for a moment.
    assert len(listings) < count / 4
    opened_files.clear()
    listings.clear()
    again = shelf.open([str(notes)]).documents
    assert all(opened.text_hit for opened in again)
    assert [opened.document for opened in again] == [opened.document for opened in first]
    assert len(listings) <= 1
    assert sorted(opened_files) == sorted(str(opened.index_path / BUNDLE) for opened in again)
    assert len({id(opened.leaves.trees[0]) for opened in again}) < count, "notes of one length share a tree"


def watched(root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    """Files below a root that are opened, and listings of the root itself, from now on."""
    opened_files: list[str] = []
    listings: list[str] = []
    whole_open, listdir = io.open, os.listdir

    def counted_open(path: Any, *arguments: Any, **options: Any) -> Any:
        if not isinstance(path, int) and Path(path).is_relative_to(root) and not str(path).endswith(".lock"):
            opened_files.append(str(path))
        return whole_open(path, *arguments, **options)

    def counted_listdir(path: Any = ".") -> Any:
        if Path(path) == root:
            listings.append(str(path))
        return listdir(path)

    monkeypatch.setattr(io, "open", counted_open)
    monkeypatch.setattr(builtins, "open", counted_open)
    monkeypatch.setattr(os, "listdir", counted_listdir)
    return opened_files, listings


def test_twins_are_remembered_without_a_word_on_disk_for_each_question(shelf: Shelf, tmp_path: Path) -> None:
    paths = [written(tmp_path, name, "The bees fly.") for name in ("one.txt", "two.txt")]
    folder = shelf.open(paths).documents[0].index_path
    usage = read_usage(folder)
    assert usage is not None
    assert (usage.name, usage.path, usage.elsewhere) == ("one.txt", paths[0], (paths[1],))
    before = (folder / USAGE).stat().st_ino
    assert [opened.name for opened in shelf.open(paths).documents] == ["one.txt"]
    assert (folder / USAGE).stat().st_ino == before, "it was not written again"


def test_a_damaged_index_names_the_document_as_it_was_asked_for(shelf: Shelf, tmp_path: Path) -> None:
    path = written(tmp_path, "bees.txt", "The bees fly from clover to clover.")
    bundle = shelf.open([path]).documents[0].index_path / BUNDLE
    data = bytearray(bundle.read_bytes())
    data[8] ^= 1
    bundle.write_bytes(data)
    with pytest.raises(StoredIndexError, match=r"the index of bees\.txt is damaged") as raised:
        shelf.open([path])
    assert f"--reindex {path}" in (raised.value.hint or "")


def test_a_bad_document_is_told_and_the_rest_go_on(shelf: Shelf, tmp_path: Path) -> None:
    good, empty = written(tmp_path, "good.txt", "The bees fly."), written(tmp_path, "empty.txt", "")
    library = shelf.open([empty, good, str(tmp_path / "missing.txt")])
    assert [opened.name for opened in library.documents] == ["good.txt"]
    assert sorted(Path(name).name for name, _ in library.failures) == ["empty.txt", "missing.txt"]
    with pytest.raises(DocumentError, match="empty"):
        shelf.open([empty])


def test_what_a_folder_holds_besides_is_told_once_and_kept(shelf: Shelf, tmp_path: Path, notes: Notes) -> None:
    folder = tmp_path / "club"
    folder.mkdir()
    for name in ("minutes.txt", "contract.doc", "boats.numbers"):
        written(folder, name, "The bees fly.")
    library = shelf.open([str(folder)])
    assert [(file.name, file.kind) for file in library.not_read] == [
        ("boats.numbers", "Numbers"),
        ("contract.doc", "Word"),
    ]
    assert notes.warned == [f"not read in {folder}: boats.numbers (Numbers), contract.doc (Word)"]
    assert library.failures == []


def test_a_kind_that_is_not_the_name_s_is_told_under_the_name_of_today(
    shelf: Shelf, tmp_path: Path, notes: Notes
) -> None:
    text = "<html><p>The bees fly.</p></html>"
    for name, told in (("a.pdf", 1), ("a.html", 0), ("b.pdf", 1)):
        notes.warned.clear()
        document = shelf.open([written(tmp_path, name, text)]).documents[0].document
        assert len(notes.warned) == len(document.warnings) == told
        assert all(name in warning for warning in document.warnings)


def test_another_tree_splits_the_stored_text_anew(shelf: Shelf, tmp_path: Path, byte_tokenizer: Any) -> None:
    path = written(tmp_path, "bees.txt", "The bees fly from clover to clover. " * 30)
    first = shelf.open([path]).documents[0]
    larger = type(TREE)(512, 2, (8, 4))
    shelf = Shelf(IndexStore(tmp_path / "indexes"), lambda: byte_tokenizer, "bytes", larger, Silent())
    other = shelf.open([path]).documents[0]
    assert not other.text_hit
    assert other.chunks < first.chunks
    assert other.tokens == first.tokens


def test_sizes_add_up(shelf: Shelf, tmp_path: Path) -> None:
    texts = ["The bees fly. " * 40, "The lamp is lit.\fIt burns oil."]
    library = shelf.open([written(tmp_path, f"{place}.txt", text) for place, text in enumerate(texts)])
    assert library.tokens == sum(len(opened.document.text) for opened in library.documents)
    assert library.chunks == sum(opened.chunks for opened in library.documents) > 2
    assert [opened.pages for opened in library.documents] == [0, 2]


def test_reindex_reads_first_and_discards_then(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be read any more (no password, no memory, an interruption) leaves the index as it was."""
    path = written(tmp_path, "bees.txt", "The bees fly from clover to clover.")
    folder = shelf.open([path]).documents[0].index_path
    before = contents(folder)
    for step, problem in {
        "documents.readers.Probe.read": DocumentError("bees.txt is encrypted"),
        "documents.normalise.normalise": MemoryError(),
        "reading.library.build_leaves": KeyboardInterrupt(),
    }.items():

        def refuse(*_: object, problem: BaseException = problem, **__: object) -> None:
            raise problem

        with monkeypatch.context() as patched:
            patched.setattr(f"sharedllm_cli.{step}", refuse)
            with pytest.raises(type(problem)):
                shelf.open([path], reindex=True)
        assert contents(folder) == before
    assert shelf.open([path]).documents[0].text_hit


def test_reindex_reads_each_content_once(
    shelf: Shelf, tmp_path: Path, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [written(tmp_path, name, "The bees fly.") for name in ("one.txt", "two.txt")]
    shelf.open(paths)
    notes.notes.clear()
    calls: list[str] = []
    whole_read, whole_discard = readers.Probe.read, IndexStore.discard

    def read(probe: readers.Probe, reporter: Any) -> Document:
        calls.append(f"read {probe.source.name}")
        return whole_read(probe, reporter)

    def discard(store: IndexStore, content_hash: str) -> None:
        calls.append("discard")
        whole_discard(store, content_hash)

    monkeypatch.setattr(readers.Probe, "read", read)
    monkeypatch.setattr(IndexStore, "discard", discard)
    opened = shelf.open(paths, reindex=True).documents
    assert calls == ["read one.txt", "discard"]
    assert [(one.name, one.text_hit) for one in opened] == [("one.txt", False)]
    assert notes.notes == ["two.txt has the same content as one.txt and is read once"]


def test_reindex_heals_a_damaged_index(shelf: Shelf, tmp_path: Path) -> None:
    path = written(tmp_path, "bees.txt", "The bees fly from clover to clover.")
    first = shelf.open([path]).documents[0]
    bundle = first.index_path / BUNDLE
    bundle.write_bytes(bundle.read_bytes().replace(b"bees", b"wasp"))
    with pytest.raises(StoredIndexError):
        shelf.open([path])
    again = shelf.open([path], reindex=True).documents[0]
    assert again.document == first.document
    assert shelf.open([path]).documents[0].text_hit


def test_a_passage_has_the_heading_above_it_and_of_several_the_first_and_the_last() -> None:
    text = "Roof\n\nIt leaks.\n\nLight\n\nTwo lamps.\n\nDanger\n\nSnow.\n"
    book = opened([text], "hut.md", paged=False)
    outline = tuple(OutlineEntry(title, 1, 1) for title in ("Roof", "Light", "Danger"))
    book = replace(book, document=replace(book.document, outline=outline))
    lamps, snow = text.index("Two"), text.index("Snow")
    assert book.heading_over(lamps, lamps + 9) == "Light"
    assert book.heading_over(lamps, snow + 4) == "Light – Danger"
    assert book.heading_over(0, snow + 4) == "Roof – Danger"
    assert opened([text], "hut.md", paged=False).heading_over(lamps, snow) is None
