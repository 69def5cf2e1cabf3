"""How often a document's file is read and its PDF opened, from the first look at it to its checked quotes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from open_documents import TREE
from reportlab.pdfgen import canvas

from sharedllm_cli import durable
from sharedllm_cli.cli.call import Call, open_call
from sharedllm_cli.cli.preflight import probe_first
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.documents.process import ReaderProcess
from sharedllm_cli.documents.process_frames import Frame
from sharedllm_cli.index.bundle import SMALL_BYTES
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Silent
from sharedllm_cli.reading.library import Library, Shelf
from sharedllm_cli.reading.sources import checked, sources
from sharedllm_cli.retrieval.passages import Passage

counted: dict[str, int] = {}
watched: list[str] = []


def _count(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and watched and str(arguments[0]) == watched[0]:
        counted["reads"] += 1


sys.addaudithook(_count)  # for good: such a hook can't be taken away, and without a watched file it does nothing


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A PDF too long for a bundle, whose reads and opens are counted."""
    path = tmp_path / "book.pdf"
    sheet = canvas.Canvas(str(path))
    for page in range(40):
        for line in range(50):
            sheet.drawString(72, 760 - 14 * line, f"Day {page * 50 + line}: the lamp is lit at dusk by keeper {line}.")
        sheet.showPage()
    sheet.save()
    assert SMALL_BYTES < 40 * 50 * 50
    os.utime(path, (time.time() - 60,) * 2)
    monkeypatch.setattr(durable, "_SETTLED_NANOSECONDS", -1)
    ask = ReaderProcess.ask

    def counting(process: ReaderProcess, asked: Frame, told: Any) -> Frame:
        counted["opens"] += bool(asked.blobs)  # a file that was sent is opened
        return ask(process, asked, told)

    monkeypatch.setattr(ReaderProcess, "ask", counting)
    watched[:] = [str(path)]
    yield path
    watched.clear()


@pytest.fixture
def call(private_home: Path) -> Call:
    return open_call(Console(), {})


def asked(call: Call, book: Path, tokenizer: Any, **options: bool) -> tuple[Library, dict[str, int]]:
    """What `ask` does with a document but for the answer, and how much of it it took."""
    counted.update(reads=0, opens=0)
    probe = probe_first(call, [str(book)], **options)
    store = IndexStore(call.index_folder)
    library = Shelf(store, lambda: tokenizer, "bytes", TREE, Silent(), probe=probe).open([str(book)], **options)
    page = library.documents[0].document.pages[0]
    found = sources(library.documents, [Passage(0, page.start, page.start + 60, 1.0, 0)])
    assert checked(found, library.documents, store, None)
    return library, dict(counted)


def test_a_new_pdf_is_read_and_opened_once(call: Call, book: Path, byte_tokenizer: Any) -> None:
    library, took = asked(call, book, byte_tokenizer)
    assert took == {"reads": 1, "opens": 1}
    assert not library.documents[0].text_hit


def test_an_indexed_pdf_that_has_not_changed_is_not_read(call: Call, book: Path, byte_tokenizer: Any) -> None:
    first, _ = asked(call, book, byte_tokenizer)
    again, took = asked(call, book, byte_tokenizer)
    assert took == {"reads": 0, "opens": 0}
    assert again.documents[0].text_hit
    assert again.documents[0].document == first.documents[0].document
    assert asked(call, book, byte_tokenizer, reindex=True)[1] == {"reads": 1, "opens": 1}


def test_an_index_without_a_stamp_gets_one_from_the_next_question(call: Call, book: Path, byte_tokenizer: Any) -> None:
    library, _ = asked(call, book, byte_tokenizer)
    document = library.documents[0].document
    store = IndexStore(call.index_folder)
    usage = store.folder(document.content_hash) / "usage.json"  # type: ignore[operator]
    usage.unlink()
    store.seen(document.content_hash, document.name, document.path)
    assert b'"stamp"' not in usage.read_bytes(), "as earlier releases wrote it"
    assert [asked(call, book, byte_tokenizer)[1]["reads"] for _ in range(2)] == [1, 0]


def test_a_file_that_changed_or_may_change_unseen_is_read_again(
    call: Call, book: Path, byte_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(call, book, byte_tokenizer)
    times = (book.stat().st_atime_ns, book.stat().st_mtime_ns)
    book.write_bytes(book.read_bytes() + b"\n")
    os.utime(book, ns=times)  # another time of change would be noticed, too
    library, took = asked(call, book, byte_tokenizer)
    assert took["reads"] == 1
    assert not library.documents[0].text_hit
    monkeypatch.setattr(durable, "_SETTLED_NANOSECONDS", 1e18)
    book.write_bytes(book.read_bytes() + b"\n")
    asked(call, book, byte_tokenizer)
    assert asked(call, book, byte_tokenizer)[1]["reads"] == 1, "its stamp was too young to be kept"
