"""What kind of document some bytes are: content decides, then the suffix where content is plain text.

A mail begins with its header (RFC 5322). It is read where its body is plain text; where it is encoded or of several
parts (RFC 2045), the file's text is that of the wire, and it is refused.
"""

from __future__ import annotations

import re
import zipfile
from io import BytesIO
from pathlib import PurePath

from sharedllm_cli.documents.sources import SUFFIXES
from sharedllm_cli.errors import DocumentError

_TO_PDF = "save it as a PDF first"
# Where, what is found there, what it is, and what to do about it.
_REFUSED: tuple[tuple[int, bytes, str, str | None], ...] = (
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file (doc, xls, ppt) or an Outlook email (msg)", _TO_PDF),
    (0, b"{\\rtf", "a rich text file", _TO_PDF),
    (0, b"%!PS", "a PostScript file", "convert it to a PDF with ps2pdf"),
    (0, b"AT&TFORM", "a DjVu file", "convert it to a PDF with ddjvu"),
    (60, b"BOOKMOBI", "a Mobipocket book", "convert it to an epub first"),
    (0, b"\x7fELF", "a program", None),
    (0, b"MZ", "a program", None),
    (0, b"\x89PNG\r\n", "an image", "make it a searchable PDF with OCR, e.g. with ocrmypdf"),
    (0, b"\xff\xd8\xff", "an image", "make it a searchable PDF with OCR, e.g. with ocrmypdf"),
    (0, b"GIF8", "an image", None),
    (0, b"II*\x00", "an image", "make it a searchable PDF with OCR, e.g. with ocrmypdf"),
    (0, b"MM\x00*", "an image", "make it a searchable PDF with OCR, e.g. with ocrmypdf"),
    (8, b"WEBP", "an image", None),
    (4, b"ftyp", "a film, sound or image file", None),
    (0, b"ID3", "a sound file", None),
    (0, b"OggS", "a sound file", None),
    (0, b"\x1f\x8b", "a compressed file (gzip)", "unpack it first"),
    (0, b"BZh", "a compressed file (bzip2)", "unpack it first"),
    (0, b"\xfd7zXZ\x00", "a compressed file (xz)", "unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "a compressed file (zstd)", "unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "an archive", "unpack it first"),
    (0, b"Rar!\x1a\x07", "an archive", "unpack it first"),
    (257, b"ustar", "an archive", "unpack it first"),
    (0, b"SQLite format 3\x00", "a database", None),
    (0, b"GGUF", "the weights of a model", None),
)
_IN_ZIP: tuple[tuple[str, str], ...] = (
    ("word/document.xml", "a Word document"),
    ("xl/workbook.xml", "an Excel workbook"),
    ("ppt/presentation.xml", "a PowerPoint presentation"),
    ("content.xml", "an OpenDocument file"),
)
# A comment matches in one way alone (no `.*?`): else the ways to try double with each comment before what is no page.
_COMMENT = r"<!--[^-]*(?:-(?!->)[^-]*)*-->"
_HTML = re.compile(
    rf"\s*(?:<\?xml[^>]*>\s*)?(?:{_COMMENT}\s*)*<(?:!doctype\s+html|html[\s>]|head[\s>]|body[\s>])",
    re.IGNORECASE,
)
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_PDF_OBJECT = re.compile(rb"\b\d+\s+\d+\s+obj\b")
_WORDS = {
    "pdf": "a PDF",
    "epub": "an epub",
    "html": "a web page",
    "markdown": "Markdown",
    "rst": "reStructuredText",
    "text": "plain text",
}
HEADER_BYTES = 65536
"""A header is looked for in so many bytes, of which spam filters and mailing lists fill a lot."""
_LINE_END = re.compile(r"\r\n|\r|\n")
_FIELD = re.compile(r"([!-9;-~]+):[ \t]?(.*)")
_POST_MARK = re.compile(r"From \S+ .*\d{4}|>?\d+\s*")
"""Before the header: the line of a mailbox (mbox), or the length of a mail of Apple's (emlx)."""
_OF_MAIL_ALONE = frozenset({"message-id", "mime-version", "return-path", "delivered-to", "dkim-signature"})
"""Fields that no one writes by hand: a memo has From, To, Date and Subject as well."""
_ADDRESSES = frozenset({"from", "sender", "to", "return-path"})
_ENCODED = ("base64", "quoted-printable")
_ENCODED_LATER = re.compile(
    rb"^content-transfer-encoding:\s*(?:base64|quoted-printable)|^content-type:\s*multipart/",
    re.IGNORECASE | re.MULTILINE,
)
_SAVE = "open it in a mail program and save its text, or print it as a PDF"


def sniff(data: bytes, name: str) -> str | None:
    """`pdf`, `epub`, or None for what may be text; DocumentError for what is surely something else."""
    head = data[:1024]
    if _begins_as_pdf(head):
        return "pdf"
    if head.startswith(_ZIP):
        return _sniff_zip(data, name)
    refuse(head, name)
    if head.startswith(b"bplist00") and b"WebMainResource" in data:
        raise _saved_page(name, "Safari")
    if problem := _mail_refusal(data, name):
        raise problem
    # Mail and print systems put bytes before the header of a PDF; a text that speaks of PDFs has no such bytes.
    if b"%PDF-" in head and (b"\0" in data[:65536] or suffix_kind(name) == "pdf"):
        return "pdf"
    page = _HTML.match(head.decode("latin-1"))
    return "pdf" if suffix_kind(name) == "pdf" and not page and _PDF_OBJECT.search(data) else None


def _begins_as_pdf(head: bytes) -> bool:
    return head.lstrip().removeprefix(b"\xef\xbb\xbf").startswith(b"%PDF-")


def refuse(head: bytes, name: str) -> None:
    """Raise DocumentError for a file whose first kilobyte is that of a kind that can't be read."""
    if _begins_as_pdf(head) or head.startswith(_ZIP):
        return
    for place, magic, what, hint in _REFUSED:
        if head.startswith(magic, place) and not (magic == b"MZ" and b"\0" not in head):
            raise DocumentError(f"{name} is {what}, which can't be read", hint=hint)


def _sniff_zip(data: bytes, name: str) -> str:
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as failure:
        raise DocumentError(f"{name} is a damaged archive or epub", hint="download it again") from failure
    if "META-INF/container.xml" in names or suffix_kind(name) == "epub":
        return "epub"
    for member, what in _IN_ZIP:
        if member in names:
            raise DocumentError(f"{name} is {what}, which can't be read", hint=_TO_PDF)
    raise DocumentError(f"{name} is an archive, which can't be read", hint="unpack it and give the folder")


def suffix_kind(name: str) -> str | None:
    """The kind that a name's suffix promises."""
    return SUFFIXES.get(PurePath(name).suffix.lower())


def remarks(name: str, kind: str) -> tuple[str, ...]:
    """One sentence where a document is of another kind than its name says, or is a mail; else none."""
    if kind == "mail":
        return (f"{name} is an email: its header is read as text, too",)
    promised = suffix_kind(name)
    if promised is None or kind == promised:
        return ()
    return (f"{name} is {_WORDS[kind]}, not {_WORDS[promised]}, and is read as such",)


def text_kind(text: str, name: str) -> str:
    """`html`, `mail`, `markdown`, `rst` or `text`: by its beginning, then by suffix."""
    promised = suffix_kind(name)
    if _HTML.match(text[:4096]):
        return "html"
    if is_mail(text):
        return "mail"
    return promised if promised in ("html", "markdown", "rst") else "text"


def declared_encoding(data: bytes) -> str | None:
    """The encoding that an HTML page declares in its head, if it looks like one."""
    head = data[:4096]
    if not _HTML.match(head.decode("latin-1")):
        return None
    found = re.search(
        rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)|<\?xml[^>]+encoding\s*=\s*[\"']([\w.:-]+)", head, re.I
    )
    return (found[1] or found[2]).decode("ascii", "replace") if found else None


def is_mail(text: str) -> bool:
    """Whether a text begins with the header of a mail."""
    fields = _header(text[:HEADER_BYTES])
    return bool(fields.keys() & _OF_MAIL_ALONE and fields.keys() & _ADDRESSES)


def _mail_refusal(data: bytes, name: str) -> DocumentError | None:
    """Why a file that is a mail or a saved page can't be read; None for a plain mail, and for all that is no mail."""
    head = data[:HEADER_BYTES].removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    if not is_mail(head):
        return None
    fields = _header(head)
    content = fields.get("content-type", "text/plain").strip().lower()
    encoding = fields.get("content-transfer-encoding", "").strip().lower()
    if content.startswith("multipart/related") and _is_saved_page(fields, name):
        return _saved_page(name, "MHTML")
    if encoding in _ENCODED:
        return _mail(name, f"whose text is encoded ({encoding})")
    if content.startswith("multipart/"):
        return _mail(name, "of several parts")
    if not content.startswith("text/plain"):
        return _mail(name, f"of the type {content.partition(';')[0].strip()}")
    if head.startswith("From ") and _ENCODED_LATER.search(data):
        return _mail(name, "or several emails, some of them encoded")
    return None


def _saved_page(name: str, kind: str) -> DocumentError:
    """The error of a page that a browser saved with its pictures in one file."""
    return DocumentError(
        f"{name} is a web page saved in one file ({kind}), which can't be read",
        hint="open it in a browser and save it as HTML alone, or print it as a PDF",
    )


def _mail(name: str, what: str) -> DocumentError:
    return DocumentError(f"{name} is an email {what}, which can't be read", hint=_SAVE)


def _is_saved_page(fields: dict[str, str], name: str) -> bool:
    saved = fields.get("from", "").lstrip().startswith("<Saved by") or "snapshot-content-location" in fields
    return saved or name.lower().endswith((".mht", ".mhtml"))


def _header(text: str) -> dict[str, str]:
    """The fields of the header that a text begins with, names in small letters; empty where it begins with none."""
    lines = _LINE_END.split(text.lstrip("\r\n"))
    if lines and _POST_MARK.fullmatch(lines[0]):
        del lines[0]
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        if not line.strip():
            break
        if line[0] in " \t" and name:
            fields[name] += " " + line.strip()
        elif found := _FIELD.fullmatch(line):
            name = found[1].lower()
            fields.setdefault(name, found[2])
        else:
            return {}
    return fields
