"""What kind of document some bytes are: content decides, then the suffix where content is plain text.

A mail begins with its header (RFC 5322), an Office file is a zip with certain members.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from io import BytesIO
from pathlib import PurePath

from sharedllm_cli.documents.sources import SUFFIXES
from sharedllm_cli.errors import DocumentError

_TO_PDF = "save it as a PDF first"
_IMAGE, _RECOGNISED = "an image", "--ocr recognises its text"
# Where, what is found there, what it is, and what to do about it.
_REFUSED: tuple[tuple[int, bytes, str, str | None], ...] = (
    (0, b"{\\rtf", "a rich text file", "save it as docx or as a PDF, e.g. soffice --convert-to docx FILE"),
    (0, b"%!PS", "a PostScript file", "convert it to a PDF with ps2pdf"),
    (0, b"AT&TFORM", "a DjVu file", "convert it to a PDF with ddjvu"),
    (60, b"BOOKMOBI", "a Mobipocket book", "convert it to an epub first"),
    (0, b"\x7fELF", "a program", None),
    (0, b"MZ", "a program", None),
    (0, b"\x89PNG\r\n", _IMAGE, _RECOGNISED),
    (0, b"\xff\xd8\xff", _IMAGE, _RECOGNISED),
    (0, b"GIF8", _IMAGE, _RECOGNISED),
    (0, b"II*\x00", _IMAGE, _RECOGNISED),
    (0, b"MM\x00*", _IMAGE, _RECOGNISED),
    (8, b"WEBP", _IMAGE, _RECOGNISED),
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
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# In an old container: the name of a stream, what the file is, and what to do about it.
_IN_OLE: tuple[tuple[str, str, str | None], ...] = (
    ("EncryptedPackage", "an Office file with a password", "open it in its program and save it without the password"),
    ("WordDocument", "an old Word file (doc)", "save it as docx or as a PDF, e.g. soffice --convert-to docx FILE"),
    ("PowerPoint Document", "an old PowerPoint file (ppt)", "save it as pptx or as a PDF"),
    ("Workbook", "an old Excel file (xls)", "save it as xlsx, e.g. soffice --convert-to xlsx FILE"),
    ("Book", "an old Excel file (xls)", "save it as xlsx, e.g. soffice --convert-to xlsx FILE"),
    ("__substg1.0_", "an Outlook email (msg)", "save it as eml, or print it as a PDF"),
)
_IN_ZIP: tuple[tuple[str, str], ...] = (
    ("word/document.xml", "docx"),
    ("xl/workbook.xml", "xlsx"),
    ("ppt/presentation.xml", "pptx"),
)
_REFUSED_IN_ZIP: tuple[tuple[str, str, str], ...] = (
    ("xl/workbook.bin", "a binary Excel workbook (xlsb)", "save it as xlsx"),
    ("Index/Document.iwa", "a document of Apple's Pages, Numbers or Keynote", "export it as a PDF or an Office file"),
    ("Index.zip", "a document of Apple's Pages, Numbers or Keynote", "export it as a PDF or an Office file"),
)
_MAIN_PARTS = {"wordprocessingml": "docx", "spreadsheetml": "xlsx", "presentationml": "pptx"}
_OPEN_DOCUMENT = {"text": "odt", "spreadsheet": "ods", "presentation": "odp", "graphics": "odp"}
_TYPES_BYTES = 1 << 20
"""Bytes of a package's list of types that are looked at."""
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
    "docx": "a Word document",
    "xlsx": "an Excel workbook",
    "pptx": "a PowerPoint presentation",
    "odt": "an OpenDocument text",
    "ods": "an OpenDocument sheet",
    "odp": "an OpenDocument presentation",
    "csv": "a table",
    "mail": "an email",
    "saved page": "a saved web page",
    "notebook": "a notebook",
    "image": "an image",
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


def sniff(data: bytes, name: str, *, images: bool = False) -> str | None:
    """The kind of what is no text, a mail and a saved page among them; None for what may be text.

    Raises DocumentError for what is surely something else. With `images` these are documents, of the kind `image`.
    """
    head = data[:1024]
    if _begins_as_pdf(head):
        return "pdf"
    if head.startswith(_ZIP):
        return _sniff_zip(data, name)
    if images and _refused(head) == (_IMAGE, _RECOGNISED):
        return "image"
    refuse(head, name)
    if head.startswith(b"bplist00") and b"WebMainResource" in data:
        raise DocumentError(
            f"{name} is a web page saved in one file (Safari), which can't be read",
            hint="open it in a browser and save it as HTML alone, or print it as a PDF",
        )
    if head.startswith(_OLE):
        raise _old_office(data, name)
    if (mail := _mail_kind(data, name)) is not None:
        return mail
    # Mail and print systems put bytes before the header of a PDF; a text that speaks of PDFs has no such bytes.
    if b"%PDF-" in head and (b"\0" in data[:65536] or suffix_kind(name) == "pdf"):
        return "pdf"
    page = _HTML.match(head.decode("latin-1"))
    return "pdf" if suffix_kind(name) == "pdf" and not page and _PDF_OBJECT.search(data) else None


def _begins_as_pdf(head: bytes) -> bool:
    return head.lstrip().removeprefix(b"\xef\xbb\xbf").startswith(b"%PDF-")


def refuse(head: bytes, name: str, *, images: bool = False) -> None:
    """Raise DocumentError for a file whose first kilobyte is that of a kind that can't be read; `images` can."""
    found = _refused(head)
    if found is not None and not (images and found[0] == _IMAGE):
        raise DocumentError(f"{name} is {found[0]}, which can't be read", hint=found[1])


def _refused(head: bytes) -> tuple[str, str | None] | None:
    """What a file of a kind that can't be read as text is, and what to do about it."""
    if _begins_as_pdf(head) or head.startswith(_ZIP):
        return None
    for place, magic, what, hint in _REFUSED:
        if head.startswith(magic, place) and not (magic == b"MZ" and b"\0" not in head):
            return what, hint
    return None


def _old_office(data: bytes, name: str) -> DocumentError:
    """The error of a file in the container of old Office programs, by the names of its streams."""
    for stream, what, hint in _IN_OLE:
        if stream.encode("utf-16-le") in data:
            return DocumentError(f"{name} is {what}, which can't be read", hint=hint)
    return DocumentError(f"{name} is an old Office file, which can't be read", hint=_TO_PDF)


def _sniff_zip(data: bytes, name: str) -> str:
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            names = set(archive.namelist())
            kind = _packaged(archive, names)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as failure:
        what = _WORDS.get(suffix_kind(name) or "", "an archive or epub").split(" ", 1)[-1]
        raise DocumentError(f"{name} is a damaged {what}", hint="download it again") from failure
    if kind is not None:
        return kind
    if "META-INF/container.xml" in names or suffix_kind(name) == "epub":
        return "epub"
    for member, what, hint in _REFUSED_IN_ZIP:
        if member in names:
            raise DocumentError(f"{name} is {what}, which can't be read", hint=hint)
    raise DocumentError(f"{name} is an archive, which can't be read", hint="unpack it and give the folder")


def _packaged(archive: zipfile.ZipFile, names: set[str]) -> str | None:
    """The kind of an Office or OpenDocument file; None for any other archive."""
    kind = next((kind for member, kind in _IN_ZIP if member in names), None)
    if kind is not None or "[Content_Types].xml" in names:
        return kind or _main_part(_beginning(archive, "[Content_Types].xml"))
    if "content.xml" not in names:
        return None
    said = _beginning(archive, "mimetype") or _beginning(archive, "META-INF/manifest.xml")
    found = re.search(r"opendocument\.(text|spreadsheet|presentation|graphics)", said)
    return _OPEN_DOCUMENT[found[1]] if found else None


def _main_part(types: str) -> str | None:
    """The kind of an Office file whose parts have other names than usual, by the type of its main part."""
    found = re.search(r"(wordprocessingml|spreadsheetml|presentationml)\.\w+\.main\+xml", types)
    return _MAIN_PARTS[found[1]] if found else None


def _beginning(archive: zipfile.ZipFile, member: str) -> str:
    try:
        with archive.open(member) as stream:
            return stream.read(_TYPES_BYTES).decode("utf-8", "replace")
    except (KeyError, RuntimeError, EOFError, zlib.error):
        return ""


def suffix_kind(name: str) -> str | None:
    """The kind that a name's suffix promises."""
    return SUFFIXES.get(PurePath(name).suffix.lower())


def remarks(name: str, kind: str) -> tuple[str, ...]:
    """One sentence where a document is of another kind than its name says; else none."""
    promised = suffix_kind(name)
    if promised is None or kind == promised or (kind == "mail" and promised == "text"):
        return ()
    return (f"{name} is {_WORDS[kind]}, not {_WORDS[promised]}, and is read as such",)


def text_kind(text: str, name: str) -> str:
    """`html`, `markdown`, `rst`, `csv`, `notebook` or `text`: by its beginning, then by suffix."""
    promised = suffix_kind(name)
    if _HTML.match(text[:4096]):
        return "html"
    if promised == "notebook" and not text.lstrip().startswith("{"):
        return "text"
    return promised if promised in ("html", "markdown", "rst", "csv", "notebook") else "text"


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


def _mail_kind(data: bytes, name: str) -> str | None:
    """`mail`, or `saved page` for a page that a browser saved in one file; None for all that is no mail."""
    head = data[:HEADER_BYTES].removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    promised = suffix_kind(name)
    fields = _header(head)
    if not is_mail(head) and not (promised in ("mail", "saved page") and fields.keys() & _ADDRESSES):
        return None
    related = fields.get("content-type", "").strip().lower().startswith("multipart/related")
    return "saved page" if related and _is_saved_page(fields, name) else "mail"


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
