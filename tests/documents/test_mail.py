"""A mail and a saved page are known by their header; what is encoded is refused, and no letter is taken for a mail."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from sharedllm_cli.documents import readers
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.errors import DocumentError

HEADER = "Received: from mx.example\r\n\tby mail.example\r\nMessage-ID: <1@x.example>\r\nFrom: Ida <i@x.example>\r\n"
BODY = "The tuner comes on Thursday at half past nine.\r\n"
CODED = base64.b64encode(BODY.encode()).decode()


def read(data: str | bytes, name: str) -> Document:
    return readers.read(SourceFile(name, Path(name)), data=data.encode() if isinstance(data, str) else data)


@pytest.mark.parametrize(
    ("data", "name", "what"),
    [
        (f"{HEADER}Content-Transfer-Encoding: BASE64\r\n\r\n{CODED}", "a.eml", "an email whose text is encoded"),
        (f"{HEADER}content-transfer-encoding: quoted-printable\n\nx=3D1", "a.txt", "encoded (quoted-printable)"),
        (f"{HEADER}Content-Type: multipart/mixed;\r\n boundary=x\r\n\r\n--x", "a", "a is an email of several parts"),
        (f"{HEADER}Content-Type: text/html\r\n\r\n<p>{BODY}</p>", "a.eml", "an email of the type text/html"),
        (f"From ida@x.example Mon Jun  3 08:12:00 2024\n{HEADER}\n{BODY}\nFrom ida@x.example Mon Jun  3 2024\n"
         f"{HEADER}Content-Type: multipart/mixed\n\n--x", "box.mbox", "or several emails, some of them encoded"),
        (f"1234\n{HEADER}Content-Transfer-Encoding: base64\n\n{CODED}", "1.emlx", "is an email"),
        ("From: <Saved by Blink>\r\nSnapshot-Content-Location: https://x.example\r\nMIME-Version: 1.0\r\n"
         "Content-Type: multipart/related;\r\n\tboundary=x\r\n\r\n--x", "p.mhtml", "a web page saved in one file (MH"),
        (b"bplist00\xd1\x01\x02_\x10\x0fWebMainResource" + b"\0" * 40, "p.webarchive", "saved in one file (Safari)"),
    ],
)  # fmt: skip
def test_what_is_encoded_is_refused_by_its_kind(data: str | bytes, name: str, what: str) -> None:
    with pytest.raises(DocumentError) as raised:
        read(data, name)
    assert what in raised.value.message
    assert "PDF" in (raised.value.hint or "")


@pytest.mark.parametrize("name", ["a.eml", "a.txt", "a"])
def test_a_plain_mail_is_read_with_a_remark(name: str) -> None:
    document = read(f"{HEADER}Content-Type: text/plain; charset=utf-8\r\n\r\n{BODY}", name)
    assert "half past nine" in document.text
    assert document.kind == "mail"
    assert document.warnings == (f"{name} is an email: its header is read as text, too",)


@pytest.mark.parametrize(
    "text",
    [
        "From: Anna\nTo: Bert\nDate: 3 June\nSubject: The tuner\n\nDear Bert, he comes on Thursday.",
        "From: the beginning it was clear that nobody would come.\n\nReceived: nothing.",
        "---\nfrom: x\nreceived: y\n---\n\nText of a note.",
        "Title: Notes\nReceived: 3 June\nA line without a field.\nFrom: Bert\n\nText.",
        "Message-ID: names a mail.\nThis line is none of a header\nFrom: is another field.\n\nSo they say.",
        "Received: 3 June\nFrom: Bert\n\nThe letter went on for pages.",
        "Chapter 1\n\nMIME-Version: 1.0\nFrom: x@y.example\nContent-Transfer-Encoding: base64\n\nis how a mail begins.",
    ],
)
def test_a_letter_a_memo_and_front_matter_are_no_mail(text: str) -> None:
    document = read(text, "a.txt")
    assert (document.kind, document.warnings) == ("text", ())


@pytest.mark.parametrize(
    ("data", "name", "told"),
    [
        (
            "<!DOCTYPE html><html><p>Sign in to see the objects and 3 objectives.</p></html>",
            "r.pdf",
            "a web page, not a PDF",
        ),
        ("A text about 4 0 objections.", "r.pdf", "plain text, not a PDF"),
        ("<html><p>Text of a page.</p></html>", "r.txt", "a web page, not plain text"),
        ("<html><p>Text of a page.</p></html>", "r.md", "a web page, not Markdown"),
        ("<html><p>Text of a page.</p></html>", "r.epub", "a web page, not an epub"),
    ],
)
def test_another_kind_than_the_name_says(data: str, name: str, told: str) -> None:
    assert read(data, name).warnings == (f"{name} is {told}, and is read as such",)


def test_a_pdf_under_another_name() -> None:
    from pdf_making import make_pdf

    data = make_pdf([["A page of a report."]])
    assert read(data, "r.txt").warnings == ("r.txt is a PDF, not plain text, and is read as such",)
    assert read(data, "r").warnings == read(data, "r.pdf").warnings == ()


def test_the_remark_goes_with_the_name() -> None:
    document = read("<html><p>Text of a page.</p></html>", "r.pdf")
    renamed = readers.named(document, SourceFile("r.html", Path("r.html")))
    assert (renamed.name, renamed.warnings) == ("r.html", ())
    assert readers.named(renamed, SourceFile("r.pdf", Path("r.pdf"))).warnings == document.warnings
