"""A mail, a mailbox and a saved page are known by their header and read by parts; no letter is taken for a mail."""

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


PARTS = HEADER + (
    'Subject: The tuner\r\nDate: Mon, 3 Jun 2024 08:12:00 +0200\r\nContent-Type: multipart/mixed; boundary="x"\r\n\r\n'
    "--x\r\nContent-Type: multipart/alternative; boundary=y\r\n\r\n"
    "--y\r\nContent-Type: text/plain\r\n\r\nHe comes on Thursday.\r\n"
    "--y\r\nContent-Type: text/html\r\n\r\n<p>He comes on <b>Thursday</b>.</p>\r\n--y--\r\n"
    "--x\r\nContent-Type: text/csv; name=costs.csv\r\nContent-Disposition: attachment; filename=costs.csv\r\n"
    "Content-Transfer-Encoding: base64\r\n\r\n{}\r\n"
    "--x\r\nContent-Type: application/zip\r\nContent-Disposition: attachment; filename=all.zip\r\n\r\nPK\r\n--x--\r\n"
)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (f"{HEADER}Content-Transfer-Encoding: BASE64\r\n\r\n{CODED}", "a.eml"),
        (
            (
                f"{HEADER}content-transfer-encoding: quoted-printable\n\nThe "
                f"tuner comes on Thur=\nsday at half past=20nine."
            ),
            "a.txt",
        ),
        (f"{HEADER}Content-Type: text/html\r\n\r\n<style>p</style><p>{BODY}</p>", "a.eml"),
        (f"1234\n{HEADER}Content-Transfer-Encoding: base64\n\n{CODED}", "1.emlx"),
        (f"{HEADER}Content-Type: text/plain; charset=utf-8\r\n\r\n{BODY}", "a.eml"),
        (f"{HEADER}Content-Type: text/plain\r\n\r\n{BODY}", "a"),
    ],
)
def test_a_mail_is_its_header_and_its_text(data: str, name: str) -> None:
    document = read(data, name)
    assert document.text == "From: Ida <i@x.example>\n\nThe tuner comes on Thursday at half past nine."
    assert (document.kind, document.warnings, document.paged) == ("mail", (), False)


def test_of_several_forms_one_is_read_and_what_is_carried_is_named() -> None:
    table = base64.b64encode(b"item,price\nTuning,95\n").decode()
    document = read(PARTS.format(table), "a.eml")
    assert document.text == (
        "The tuner\n\nFrom: Ida <i@x.example>\nDate: Monday 3 June 2024, 08:12\n\nHe comes on Thursday."
    )
    assert [file.name for file in document.attachments] == ["costs.csv"]
    assert document.warnings == ("attachments not read in a.eml: all.zip (archive)",)
    assert [one.title for one in document.outline] == ["The tuner"]


def test_the_marked_up_form_is_read_where_it_says_more() -> None:
    rows = "<table><tr><th>port</th><th>m</th></tr><tr><td>Hull</td><td>6.4</td></tr></table>"
    data = (
        f"{HEADER}Content-Type: multipart/alternative; boundary=y\r\n\r\n--y\r\nContent-Type: text/plain\r\n\r\n"
        f"port m Hull 6.4\r\n--y\r\nContent-Type: text/html\r\n\r\n{rows}\r\n--y--\r\n"
    )
    assert read(data, "a.eml").text.endswith("port | m\nHull | 6.4")


def test_encoded_words_and_folded_lines_of_the_header() -> None:
    data = (
        "Message-ID: <1@x.example>\r\nFrom: =?utf-8?b?SsO8cmdlbg==?= <j@x.example>\r\n"
        "Subject: =?iso-8859-1?q?Fa=E7ade?=\r\n of the mill\r\n\r\nText.\r\n"
    )
    assert read(data, "a.eml").text == "Façade of the mill\n\nFrom: Jürgen <j@x.example>\n\nText."


def test_each_message_of_a_mailbox_is_a_part_by_its_name() -> None:
    one = f"{HEADER}Subject: First\nDate: Mon, 3 Jun 2024 08:12:00 +0200\n\nOne.\n>From here on.\n"
    two = f"{HEADER}Subject: Second\nContent-Transfer-Encoding: base64\n\n{CODED}\n"
    begins = "From ida@x.example Mon Jun  3 08:12:00 2024\n"
    document = read(f"{begins}{one}\n{begins}{two}", "box.mbox")
    assert [(page.part, page.part_title) for page in document.pages] == [
        (1, "First, Monday 3 June 2024, 08:12, Ida <i@x.example>"),
        (2, "Second, Ida <i@x.example>"),
    ]
    assert "From here on." in document.text
    assert "half past nine" in document.text
    assert [(entry.title, entry.page) for entry in document.outline] == [("First", 1), ("Second", 2)]


def test_a_mail_within_a_mail_and_one_that_is_locked() -> None:
    inner = f"{HEADER}Subject: Older\r\n\r\nThe older text.\r\n"
    data = (
        f"{HEADER}Subject: Newer\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\nSee below.\r\n"
        f"--y\r\nContent-Type: message/rfc822\r\n\r\n{inner}\r\n--y--\r\n"
    )
    assert read(data, "a.eml").text.endswith(
        "See below.\n\nAttached message:\n\nOlder\n\nFrom: Ida <i@x.example>\n\nThe older text."
    )
    locked = f"{HEADER}Subject: S\r\nContent-Type: application/pkcs7-mime\r\n\r\nMIIB\r\n"
    assert read(locked, "a.eml").warnings == ("a.eml: the message 'S' is encrypted",)


@pytest.mark.parametrize(
    "body",
    [
        "Content-Type: multipart/mixed\n\nno boundary",
        "Content-Type: multipart/mixed; boundary=x\n\n--x\n--x--",
        "Content-Transfer-Encoding: base64\n\n!!!!",
        "Content-Type: text/plain; charset=no-such\n\nText.",
        "Date: the day before\nTo: <<>>,,\n\nText.",
        "Content-Type: message/rfc822\n\n" * 40 + "Text.",
    ],
)
def test_a_damaged_mail_is_read_as_far_as_it_goes(body: str) -> None:
    assert read(HEADER.replace("\r", "") + body, "a.eml").text.startswith("From: Ida <i@x.example>")


def test_parts_nested_without_an_end_are_named_and_the_other_messages_read() -> None:
    deep = "".join(f'Content-Type: multipart/mixed; boundary="b{one}"\n\n--b{one}\n' for one in range(2000))
    line = "From a@b.example Mon Jan  1 00:00:00 2024\n"
    first, second = (
        "From: Ida <i@x.example>\nSubject: The bed\n",
        "From: Jo <j@x.example>\nSubject: Hours\n\nUntil nine.",
    )
    document = read(f"{line}{first}{deep}\n\n{line}{second}", "a.mbox")
    assert "The bed\n\nFrom: Ida <i@x.example>" in document.text
    assert document.text.endswith("Hours\n\nFrom: Jo <j@x.example>\n\nUntil nine.")
    assert document.warnings == ("a.mbox: the parts of the message 'The bed' are nested too deep to be read",)


@pytest.mark.parametrize("field", ["(" * 40_000, '"' * 40_001, "a@b.example, " * 4_000])
def test_a_field_without_an_end_leaves_the_text(field: str) -> None:
    text = read(
        f"From: Ida <i@x.example>\nDate: 3 Jun 2024\nMIME-Version: 1.0\nTo: {field}\n\nUntil nine.", "a.eml"
    ).text
    assert text.startswith("From: Ida <i@x.example>\nTo: ")
    assert text.endswith("Until nine.")
    assert len(text) < 21_000


def test_a_saved_page_is_a_page() -> None:
    data = (
        "From: <Saved by Blink>\r\nSnapshot-Content-Location: https://x.example\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/related;\r\n\tboundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        "<html><title>Hours</title><h1>Hours</h1><p>Until ni=\r\nne.</p>\r\n--x--"
    )
    document = read(data, "p.mhtml")
    assert (document.text, document.kind, document.warnings) == ("Hours\n\nUntil nine.", "saved page", ())
    assert read(data, "p").kind == "saved page"


def test_a_page_saved_by_safari_is_refused() -> None:
    with pytest.raises(DocumentError, match="saved in one file \\(Safari"):
        read(b"bplist00\xd1\x01\x02_\x10\x0fWebMainResource" + b"\0" * 40, "p.webarchive")


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
