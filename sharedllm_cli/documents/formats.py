"""What kind of document some bytes are: content tells first, the suffix where content is plain text."""

from __future__ import annotations

import re
import zipfile
from io import BytesIO
from pathlib import PurePath

from sharedllm_cli.documents import mail
from sharedllm_cli.documents.sources import SUFFIXES
from sharedllm_cli.errors import DocumentError

_TO_PDF = "save it as a PDF first"
# Where, what is found there, what it is, and what to do about it.
_REFUSED: tuple[tuple[int, bytes, str, str | None], ...] = (
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file (doc, xls, ppt) or a mail of Outlook (msg)", _TO_PDF),
    (0, b"{\\rtf", "a rich text file", _TO_PDF),
    (0, b"%!PS", "a PostScript file", "turn it into a PDF with ps2pdf"),
    (0, b"AT&TFORM", "a DjVu file", "turn it into a PDF with ddjvu"),
    (60, b"BOOKMOBI", "a Mobipocket book", "turn it into an epub first"),
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


def sniff(data: bytes, name: str) -> str | None:
    """`pdf`, `epub`, or None for what may be text; DocumentError for what is surely something else."""
    head = data[:1024]
    if _begins_as_pdf(head):
        return "pdf"
    if head.startswith(_ZIP):
        return _sniff_zip(data, name)
    refuse(head, name)
    if head.startswith(b"bplist00") and b"WebMainResource" in data:
        raise mail.saved_page(name, "Safari")
    if problem := mail.refusal(data, name):
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
        raise DocumentError(f"{name} is a damaged archive or epub", hint="fetch it again") from failure
    if "META-INF/container.xml" in names or suffix_kind(name) == "epub":
        return "epub"
    for member, what in _IN_ZIP:
        if member in names:
            raise DocumentError(f"{name} is {what}, which can't be read", hint=_TO_PDF)
    raise DocumentError(f"{name} is an archive, which can't be read", hint="unpack it and name the folder")


def suffix_kind(name: str) -> str | None:
    """The kind that a name's suffix promises."""
    return SUFFIXES.get(PurePath(name).suffix.lower())


def remarks(name: str, kind: str) -> tuple[str, ...]:
    """One sentence where a document is of another kind than its name says, or is a mail; else none."""
    if kind == "mail":
        return (f"{name} is a mail: its header is read as text, too",)
    promised = suffix_kind(name)
    if promised is None or kind == promised:
        return ()
    return (f"{name} is {_WORDS[kind]}, not {_WORDS[promised]}, and is read as such",)


def text_kind(text: str, name: str) -> str:
    """`html`, `mail`, `markdown`, `rst` or `text`: by its beginning, then by suffix."""
    promised = suffix_kind(name)
    if _HTML.match(text[:4096]):
        return "html"
    if mail.is_mail(text):
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
