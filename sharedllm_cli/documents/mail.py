"""Is a text a mail, or a page that a browser saved as one? And can it be read as it stands?

A mail begins with its header (RFC 5322). Where its body is plain text it can be read; where it is encoded or of several
parts (RFC 2045) the file's text is that of the wire, and no reader's.
"""

from __future__ import annotations

import re

from sharedllm_cli.errors import DocumentError

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


def is_mail(text: str) -> bool:
    """Whether a text begins with the header of a mail."""
    fields = _header(text[:HEADER_BYTES])
    return bool(fields.keys() & _OF_MAIL_ALONE and fields.keys() & _ADDRESSES)


def refusal(data: bytes, name: str) -> DocumentError | None:
    """Why a file that is a mail or a saved page can't be read; None for a plain mail, and for all that is no mail."""
    head = data[:HEADER_BYTES].removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    if not is_mail(head):
        return None
    fields = _header(head)
    content = fields.get("content-type", "text/plain").strip().lower()
    encoding = fields.get("content-transfer-encoding", "").strip().lower()
    if content.startswith("multipart/related") and _is_saved_page(fields, name):
        return saved_page(name, "MHTML")
    if encoding in _ENCODED:
        return _mail(name, f"whose text is encoded ({encoding})")
    if content.startswith("multipart/"):
        return _mail(name, "of several parts")
    if not content.startswith("text/plain"):
        return _mail(name, f"of the type {content.partition(';')[0].strip()}")
    if head.startswith("From ") and _ENCODED_LATER.search(data):
        return _mail(name, "or several, with encoded ones among them")
    return None


def saved_page(name: str, kind: str) -> DocumentError:
    """The error of a page that a browser saved with its pictures in one file."""
    return DocumentError(
        f"{name} is a web page saved in one file ({kind}), which can't be read",
        hint="open it in a browser and save it as HTML alone, or print it as a PDF",
    )


def _mail(name: str, what: str) -> DocumentError:
    return DocumentError(f"{name} is a mail {what}, which can't be read", hint=_SAVE)


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
