"""Text files of any encoding are read; what is no document is refused in one line."""

from __future__ import annotations

import hashlib
import io
import sys
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdf_making import make_pdf

from sharedllm_cli.documents import readers
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.errors import DocumentError


def read(data: bytes, name: str = "made.txt") -> Document:
    return readers.read(SourceFile(name, Path(name)), data=data)


WESTERN = "Le garçon a été très déçu par la réponse – « voilà » – et l’élève aussi. Öl für Straßen."
RUSSIAN = "Привет, как дела? Это длинный текст на русском языке, который читают люди, когда им нечего делать."
JAPANESE = "日本語のテキストです。今日は天気がいいですね。散歩に行きましょう。"


OLD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        *[(WESTERN, name) for name in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252")],
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "utf-16"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "utf-8"),
        ("naïve café", "latin-1"),
        ("plain", "ascii"),
    ],
)
def test_encodings(text: str, encoding: str) -> None:
    document = read(text.encode(encoding))
    assert document.text == text
    assert document.warnings == ()
    assert document.kind == "text"


@pytest.mark.parametrize(
    ("declared", "encoding", "text"),
    [
        ("iso-8859-1", "cp1252", "it\u2019s \u201cquoted\u201d for 5\u00a0\u20ac"),
        ("us-ascii", "cp1252", "na\u00efve"),
        ("ISO-8859-1", "utf-8", "it\u2019s na\u00efve"),
        ("windows-1252", "utf-8", "na\u00efve"),
        ("windows-1252", "cp1252", "na\u00efve"),
        ("iso-8859-1", "latin-1", "a\x81b na\u00efve"),
        ("iso-8859-9", "cp1254", "\u015f\u2026"),
        ("iso-8859-5", "iso-8859-5", RUSSIAN),
        ("tis-620", "cp874", "\u0e01\u2026"),
        ("gb2312", "gb18030", "\u9555\u4e02"),
        ("shift_jis", "cp932", "\u2460\u9ad9"),
        ("euc-kr", "cp949", "\ub620\ubc29"),
    ],
)
def test_a_page_is_read_as_browsers_read_what_it_declares(declared: str, encoding: str, text: str) -> None:
    page = f"<html><head><meta charset={declared}></head><body>{text}</body></html>"
    document = read(page.encode(encoding), "x.html")
    assert document.text == text.replace("\x81", "\ufffd").replace("\u00a0", " ")
    assert document.warnings == ()


@pytest.mark.parametrize(
    "declared",
    [
        "undefined",
        "punycode",
        "idna",
        "utf-7",
        "unicode_escape",
        "raw-unicode-escape",
        "hex",
        "rot13",
        "zlib",
        "no-such",
        "utf-16",
        "UTF-16LE",
        "utf-16be",
        "u16",
        "utf-32",
        "utf_32_be",
    ],
)
def test_what_a_page_can_not_be_encoded_in_is_passed_over(declared: str) -> None:
    """A page whose declaration can be read as ASCII is in no UTF-16, whatever it declares: HTML takes it for UTF-8."""
    page = f"<html><head><meta charset={declared}></head><body>A na\u00efve page with \\u0041 and +AGE-.</body></html>"
    for ending in ("", " "):  # of an even and an odd number of bytes
        document = read((page + ending).encode(), "x.html")
        assert document.text == "A na\u00efve page with \\u0041 and +AGE-."
        assert document.warnings == ()


def test_a_page_in_utf16_is_still_read() -> None:
    page = f"<html><head><meta charset=utf-16></head><body>{RUSSIAN}</body></html>"
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        assert read(page.encode(encoding), "x.html").text == RUSSIAN


def test_one_bad_byte_in_utf8_is_told_and_the_rest_kept() -> None:
    document = read(("Größe und Länge äöü ß " * 20).encode() + b"\xff end")
    assert document.text.startswith("Größe und Länge")
    assert "1 character could not be decoded as utf-8" in document.warnings[0]


def test_a_text_without_pages_is_one_page_and_says_so() -> None:
    document = read(b"One.\n\nTwo.\n")
    assert not document.paged
    assert [(page.number, page.label, page.start, page.end) for page in document.pages] == [(1, None, 0, 10)]


def test_form_feeds_are_page_breaks() -> None:
    document = read(b"page one\n\fpage two\n\f")
    assert document.paged
    assert [document.text[page.start : page.end].strip() for page in document.pages] == ["page one", "page two"]


def test_hard_wrapped_text_is_joined_and_indented_code_is_not() -> None:
    prose = "The first paragraph of this page is set in lines of nearly equal length, and goes\non in the next line."
    document = read(f"{prose}\n\n    def f():\n        return 1\n\n{prose}\n".encode())
    assert "nearly equal length, and goes on in the next line." in document.text
    assert "\n    def f():\n        return 1\n" in document.text


def test_logs_keep_their_lines() -> None:
    log = "\n".join(f"2024-01-{day:02} 12:00:00 INFO the server handled {day} requests" for day in range(1, 20))
    assert read(log.encode()).text == log


@pytest.mark.parametrize(
    ("data", "name", "what"),
    [
        (b"\x7fELF\x02\x01" + bytes(50), "prog.txt", "a program"),
        (b"MZ\x90\x00\x03" + bytes(50), "setup.exe", "a program"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "scan.png", "an image"),
        (b"\xff\xd8\xff\xe0" + bytes(50), "photo.pdf", "an image"),
        (b"\x1f\x8b\x08" + bytes(50), "book.txt.gz", "a compressed file"),
        (OLD + bytes(50), "old.doc", "an old Office file"),
        (OLD + bytes(600) + "WordDocument".encode("utf-16-le"), "old.doc", r"an old Word file \(doc\)"),
        (OLD + bytes(600) + "Workbook".encode("utf-16-le"), "old.xls", r"an old Excel file \(xls\)"),
        (OLD + bytes(600) + "EncryptedPackage".encode("utf-16-le"), "new.docx", "an Office file with a password"),
        (b"{\\rtf1 hello}", "letter.rtf", "a rich text file"),
        (b"%!PS-Adobe-3.0\n", "print.ps", "PostScript"),
        (bytes(range(256)) * 8, "data.bin", "binary"),
        (b"PK\x03\x04 broken", "broken.epub", "damaged"),
    ],
)
def test_what_is_no_document_is_refused_in_one_line(data: bytes, name: str, what: str) -> None:
    with pytest.raises(DocumentError, match=what) as caught:
        read(data, name)
    assert name in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 3


def archive(*members: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as made:
        for member in members:
            made.writestr(member, "x")
    return target.getvalue()


@pytest.mark.parametrize(
    ("member", "what"),
    [
        ("word/document.xml", "is damaged"),
        ("xl/workbook.xml", "is damaged"),
        ("notes.txt", "an archive"),
        ("xl/workbook.bin", "a binary Excel workbook"),
        ("Index/Document.iwa", "Apple's Pages"),
    ],
)
def test_zips_that_are_no_books(member: str, what: str) -> None:
    with pytest.raises(DocumentError, match=what):
        read(archive(member), "thing.zip")


def test_content_tells_before_the_suffix() -> None:
    assert read(make_pdf([["really a PDF"]]), "renamed.txt").kind == "pdf"
    assert read(b"<!DOCTYPE html><p>a page</p>", "saved.pdf").kind == "html"
    assert read("<html><p>wide</p></html>".encode("utf-16"), "x.txt").text == "wide"
    assert read(b"Files begin with %PDF-1.7, says the norm.", "note.txt").kind == "text"
    assert read(b"MZ is a country code", "note.txt").kind == "text"
    assert read(b"# Head\n\nwords", "x.md").text == "Head\n\nwords"


def test_comments_before_a_page_are_passed_over_at_once() -> None:
    comments = "<!-- the licence -->\n" * 60
    assert read(f"{comments}<html><p>a page</p></html>".encode(), "x.txt").kind == "html"
    started = time.perf_counter()
    assert read(f"{comments}no page".encode(), "x.txt").kind == "text"
    assert read(b"<!--" * 900 + b" no page", "x.txt").kind == "text"
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("data", [b"", b" \n\t\n", b"\xef\xbb\xbf", "\u200b\u00a0".encode()])
def test_empty_is_an_error(data: bytes) -> None:
    with pytest.raises(DocumentError, match=r"empty|no text"):
        read(data)


def test_html_without_words_is_an_error() -> None:
    with pytest.raises(DocumentError, match="no text"):
        read(b"<html><script>x</script></html>", "x.html")


def test_the_hash_is_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"some words")
    digest = hashlib.sha256(b"some words").hexdigest()
    assert readers.Probe(SourceFile("a.txt", path)).content_hash == digest
    document = readers.read(SourceFile("a.txt", path))
    assert document.content_hash == digest
    assert document.path == str(path)


def test_standard_input_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_pdf([["piped words"]])

    class Input:
        buffer = io.BytesIO(data)

    monkeypatch.setattr(sys, "stdin", Input)
    probe = readers.Probe(SourceFile("standard input", None))
    digest = probe.content_hash
    probe.forget()  # which it can't
    document = probe.read()
    assert document.kind == "pdf"
    assert document.path is None
    assert document.content_hash == digest


def test_a_file_gone_or_unreadable_is_told(tmp_path: Path) -> None:
    for action in (readers.read, lambda source: readers.Probe(source).content_hash):
        with pytest.raises(DocumentError, match="does not exist"):
            action(SourceFile("gone.txt", tmp_path / "gone.txt"))
        with pytest.raises(DocumentError, match="can't be read"):
            action(SourceFile("folder", tmp_path))


@given(
    st.binary(max_size=200) | st.text(max_size=100).map(str.encode),
    st.sampled_from(["x.txt", "x.md", "x.rst", "x.html", "x.pdf", "x.epub", "x"]),
)
@settings(max_examples=150, deadline=None)
def test_any_bytes_give_a_document_or_a_document_error(data: bytes, name: str) -> None:
    try:
        document = read(data, name)
    except DocumentError as failure:
        assert "\n" not in failure.message  # noqa: PT017
        return
    assert document.text.strip()
    document.text.encode("utf-8")
    assert document.pages[-1].end == len(document.text)
