"""A PDF's quotes are held against another library's text of the page, which is made once; others have one text only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from open_documents import TREE, opened
from reportlab.pdfgen import canvas

from sharedllm_cli.answer import OWN_TEXT, SECOND_EXTRACTION, Source
from sharedllm_cli.documents.pdf import witness
from sharedllm_cli.errors import StoredIndexError
from sharedllm_cli.index import folders
from sharedllm_cli.index.bookkeeping import MOST_PAGES, SECOND, read_second, write_second
from sharedllm_cli.index.manifest import DamagedFileError
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Silent
from sharedllm_cli.reading.library import OpenDocument, Shelf
from sharedllm_cli.reading.sources import checked, sources
from sharedllm_cli.retrieval.passages import Passage

LINES = ("The lamp is lit at dusk.", "It burns whale oil.")


@pytest.fixture
def store(tmp_path: Path) -> IndexStore:
    return IndexStore(tmp_path / "indexes")


@pytest.fixture
def book(tmp_path: Path, store: IndexStore, byte_tokenizer: Any) -> OpenDocument:
    sheet = canvas.Canvas(str(tmp_path / "book.pdf"))
    for line in LINES:
        sheet.drawString(72, 700, line)
        sheet.showPage()
    sheet.save()
    return Shelf(store, lambda: byte_tokenizer, "bytes", TREE, Silent()).open([str(tmp_path / "book.pdf")]).documents[0]


def quoted(document: OpenDocument) -> list[Source]:
    pages = document.document.pages
    return sources([document], [Passage(0, page.start, page.end, 1.0, 0) for page in pages])


def told(found: Sequence[Source]) -> list[tuple[bool, str]]:
    return [(source.verified, source.checked) for source in found]


def never(*_: object, **__: object) -> Any:
    raise AssertionError("extracted again")


def test_a_page_is_extracted_once_and_found_in_the_index_then(
    book: OpenDocument, store: IndexStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(quoted(book)) == [(True, OWN_TEXT)] * 2
    assert told(checked(quoted(book)[:1], [book], store, None)) == [(True, SECOND_EXTRACTION)]
    assert list(read_second(book.index_path)) == [1], "only the pages that are shown"
    assert told(checked(quoted(book), [book], store, None)) == [(True, SECOND_EXTRACTION)] * 2
    monkeypatch.setattr(witness, "extract", never)
    assert told(checked(quoted(book), [book], store, None)) == [(True, SECOND_EXTRACTION)] * 2
    assert (book.index_path / SECOND).stat().st_mode & 0o777 == 0o600


def test_a_quote_that_the_other_library_does_not_hold(book: OpenDocument, store: IndexStore) -> None:
    changed = [replace(source, quote=source.quote.replace("dusk", "dawn")) for source in quoted(book)]
    assert told(checked(changed, [book], store, None)) == [(False, SECOND_EXTRACTION), (True, SECOND_EXTRACTION)]


def test_a_file_that_is_gone_or_has_changed_is_no_witness(book: OpenDocument, store: IndexStore) -> None:
    book = replace(book, data=None)  # as it is opened from its index
    path = Path(book.path or "")
    path.write_bytes(path.read_bytes() + b"\n")
    assert told(checked(quoted(book), [book], store, None)) == [(True, OWN_TEXT)] * 2
    path.unlink()
    assert told(checked(quoted(book), [book], store, None)) == [(True, OWN_TEXT)] * 2
    assert read_second(book.index_path) == {}, "and nothing is concluded from it"


def test_a_document_just_read_is_checked_without_its_file(book: OpenDocument, store: IndexStore) -> None:
    Path(book.path or "").unlink()
    assert told(checked(quoted(book), [book], store, None)) == [(True, SECOND_EXTRACTION)] * 2


def test_a_page_that_the_other_library_can_t_read(
    book: OpenDocument, store: IndexStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness, "extract", lambda _, raws, **__: dict.fromkeys(raws))
    assert told(checked(quoted(book), [book], store, None)) == [(True, OWN_TEXT)] * 2
    monkeypatch.setattr(witness, "extract", never)
    assert told(checked(quoted(book), [book], store, None)) == [(True, OWN_TEXT)] * 2, "nor is it tried again"


def test_other_formats_have_one_text(store: IndexStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness, "extract", never)
    notes = opened([LINES[0]], "notes.md", paged=False)
    assert told(checked(quoted(notes), [notes], store, None)) == [(True, OWN_TEXT)]


def test_an_index_that_can_t_be_written_does_no_harm(
    book: OpenDocument, store: IndexStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(IndexStore, "write_second", full)
    assert told(checked(quoted(book), [book], store, None)) == [(True, SECOND_EXTRACTION)] * 2


def test_other_versions_of_the_libraries_extract_anew(book: OpenDocument) -> None:
    write_second(book.index_path, {1: "one"}, "pypdf 1")
    assert read_second(book.index_path, "pypdf 1") == {1: "one"}
    assert read_second(book.index_path, "pypdf 2") == {}
    write_second(book.index_path, {2: None}, "pypdf 2")
    assert read_second(book.index_path) == {2: None}


def test_the_pages_asked_of_last_are_kept(book: OpenDocument) -> None:
    write_second(book.index_path, dict.fromkeys(range(100), "x"), "a")
    write_second(book.index_path, {50: "y", 200: "z"}, "a")
    kept = read_second(book.index_path)
    assert len(kept) == MOST_PAGES
    assert list(kept)[-3:] == [99, 50, 200]
    write_second(book.index_path, {1: "x" * 600_000}, "a")
    assert read_second(book.index_path) == {}


def test_damage_is_refused_and_deletion_takes_it_along(
    book: OpenDocument, store: IndexStore, tmp_path: Path, byte_tokenizer: Any
) -> None:
    checked(quoted(book), [book], store, None)
    before = folders.folder_bytes(book.index_path)
    file = book.index_path / SECOND
    assert before > file.stat().st_size > 0
    file.write_bytes(file.read_bytes().replace(b"dusk", b"dawn"))
    with pytest.raises(DamagedFileError):
        read_second(book.index_path)
    with pytest.raises(StoredIndexError, match=r"second\.json"):
        store.read_second(book.content_hash, "x")
    with pytest.raises(StoredIndexError, match=r"second\.json"):
        Shelf(store, lambda: byte_tokenizer, "bytes", TREE, Silent()).open([str(tmp_path / "book.pdf")])
    store.discard(book.content_hash)
    assert not book.index_path.exists()
