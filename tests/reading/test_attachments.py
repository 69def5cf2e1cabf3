"""The documents that a PDF carries are opened as documents of their own; what can't be read is named."""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from open_documents import TREE
from pypdf import PdfReader, PdfWriter

from sharedllm_cli.documents import attachments, readers
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Silent
from sharedllm_cli.reading.library import Library, Shelf

sys.path.insert(0, str(Path(__file__).parents[1] / "documents"))
from pdf_making import image_pdf, make_pdf


def carrying(outer: bytes, files: dict[str, bytes]) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(BytesIO(outer)))
    for name, data in files.items():
        writer.add_attachment(name, data)
    target = BytesIO()
    writer.write(target)
    return target.getvalue()


COVER = make_pdf([["Tender for the hall, in two parts."]])
ROOF = make_pdf([["The guarantee on the roof is twelve years."]])


@pytest.fixture
def reporter() -> Silent:
    return Silent()


def opened(folder: Path, data: bytes, tokenizer: Any, reporter: Silent, name: str = "tender.pdf") -> Library:
    path = folder / name
    path.write_bytes(data)
    return Shelf(IndexStore(folder / "indexes", reporter), lambda: tokenizer, "bytes", TREE, reporter).open([str(path)])


def test_attached_documents_are_read_and_found_again(tmp_path: Path, byte_tokenizer: Any, reporter: Silent) -> None:
    data = carrying(COVER, {"roof.pdf": ROOF, "../../notes.txt": b"The key is with the porter.", "sums.xls": b"PK"})
    for hit in (False, True):
        reporter.warnings.clear()
        library = opened(tmp_path, data, byte_tokenizer, reporter)
        names = [document.name for document in library.documents]
        assert sorted(names) == ["tender.pdf", "tender.pdf › notes.txt", "tender.pdf › roof.pdf"]
        texts = {document.name: document.document.text for document in library.documents}
        assert texts["tender.pdf › roof.pdf"] == "The guarantee on the roof is twelve years."
        assert [document.text_hit for document in library.documents] == [hit] * 3
        assert [document.attached for document in library.documents] == [False, True, True]
        assert reporter.warnings == ["attachments not read in tender.pdf: sums.xls (Excel)"]


def test_what_a_mail_carries_is_read_and_found_again(tmp_path: Path, byte_tokenizer: Any, reporter: Silent) -> None:
    mail = (
        b"Message-ID: <1@x.example>\nFrom: ida@x.example\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\n"
        b"The costs are below.\n--x\nContent-Type: text/csv\nContent-Disposition: attachment; filename=costs.csv\n\n"
        b"item,price\nTuning,95\n--x--\n"
    )
    for hit in (False, True):
        library = opened(tmp_path, mail, byte_tokenizer, reporter, name="tuner.eml")
        texts = {document.name: document.document.text for document in library.documents}
        assert texts["tuner.eml › costs.csv"] == "Row | item | price\n2 | Tuning | 95"
        assert [document.text_hit for document in library.documents] == [hit] * 2
    IndexStore(tmp_path / "indexes", reporter).discard(library.documents[1].content_hash)
    again = opened(tmp_path, mail, byte_tokenizer, reporter, name="tuner.eml")
    assert [document.text_hit for document in again.documents] == [True, False]


def test_an_attachment_whose_index_is_gone_is_read_again(tmp_path: Path, byte_tokenizer: Any, reporter: Silent) -> None:
    data = carrying(COVER, {"roof.pdf": ROOF})
    library = opened(tmp_path, data, byte_tokenizer, reporter)
    IndexStore(tmp_path / "indexes", reporter).discard(library.documents[1].content_hash)
    again = opened(tmp_path, data, byte_tokenizer, reporter)
    assert [document.text_hit for document in again.documents] == [True, False]
    assert again.documents[1].document.text == "The guarantee on the roof is twelve years."


def test_the_documents_of_a_cover_without_text_are_read(tmp_path: Path, byte_tokenizer: Any, reporter: Silent) -> None:
    library = opened(tmp_path, carrying(image_pdf(), {"roof.pdf": ROOF}), byte_tokenizer, reporter)
    assert [document.name for document in library.documents] == ["tender.pdf › roof.pdf"]
    assert [name for name, _ in library.failures] == ["tender.pdf"]


def test_attachments_of_attachments_and_damaged_ones_are_named(
    tmp_path: Path, byte_tokenizer: Any, reporter: Silent
) -> None:
    inner = carrying(ROOF, {"deep.pdf": COVER})
    library = opened(tmp_path, carrying(COVER, {"roof.pdf": inner, "bad.pdf": b"%PDF-1.4"}), byte_tokenizer, reporter)
    assert [document.name for document in library.documents] == ["tender.pdf", "tender.pdf › roof.pdf"]
    assert any("deep.pdf" in warning for warning in reporter.warnings)
    assert any("bad.pdf" in warning for warning in reporter.warnings)


def test_no_more_is_unpacked_than_the_bounds_allow(
    tmp_path: Path, reporter: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "MOST_FILES", 1)
    (tmp_path / "tender.pdf").write_bytes(carrying(COVER, {"one.txt": b"One is read.", "two.txt": b"Two is not."}))
    document = readers.read(SourceFile("tender.pdf", tmp_path / "tender.pdf"), reporter=reporter)
    assert [file.name for file in document.attachments] == ["one.txt"]
    assert reporter.warnings == ["attachments not read in tender.pdf: two.txt (txt)"]


def test_the_portfolio_of_the_case_is_read(tmp_path: Path, byte_tokenizer: Any, reporter: Silent) -> None:
    path = Path(__file__).parents[3] / "shared" / "cases" / "pdf-portfolio" / "tender-portfolio.pdf"
    if not path.is_file():
        pytest.skip("the shared cases are not here")
    library = opened(tmp_path, path.read_bytes(), byte_tokenizer, reporter)
    assert any("The guarantee on the roof is twelve years" in one.document.text for one in library.documents)
