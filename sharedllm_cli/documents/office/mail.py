"""Mails (eml, emlx), mailboxes (mbox) and pages that a browser saved in one file (mhtml), by Python's own `email`.

A mail is its subject, its header as a reader sees it, and its text: the plain form where there is one, else the HTML
form by the reader of web pages. What it carries are documents of their own. Each message of a mailbox is a part, named
by subject, date and sender; messages that are carried by a mail stand below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from email import errors, message_from_bytes, policy
from email.headerregistry import Address
from email.message import EmailMessage, Message
from email.parser import BytesHeaderParser
from functools import lru_cache
from pathlib import Path

from sharedllm_cli.answer import NotRead
from sharedllm_cli.documents.attachments import MOST_BYTES, MOST_FILES, told_apart
from sharedllm_cli.documents.encodings import decode
from sharedllm_cli.documents.formats import declared_encoding
from sharedllm_cli.documents.markup import html_reader
from sharedllm_cli.documents.metadata import of_html
from sharedllm_cli.documents.normalise import normalise
from sharedllm_cli.documents.office.number_formats import DAYS, MONTHS
from sharedllm_cli.documents.pages import AttachedFile, ExtractedPage, Extraction, OutlineEntry
from sharedllm_cli.documents.sources import SUFFIXES, kind_of, told
from sharedllm_cli.durable import sha256_of_bytes
from sharedllm_cli.errors import DocumentError

MOST_MESSAGES = 20_000
MOST_PARTS = 1_000
"""Parts of one mail that are looked at."""
DEEPEST = 20
LONGEST_NAME = 120
LONGEST_SUBJECT = 200
LONGEST_FIELD = 20_000
"""Characters of a field of a header that are read."""
MOST_QUOTES = 1_000
"""Python's library takes the square of them."""
_BEGINS = re.compile(rb"^From [^\n]*\d\d:\d\d[^\n]*\r?\n", re.MULTILINE)
_ESCAPED = re.compile(rb"^>(>*From )", re.MULTILINE)
_LENGTH = re.compile(rb"\A\d{1,12}[ \t]*\r?\n")
_SHOWN = ("From", "To", "Cc", "Date")


@dataclass
class _Mail:
    """What is read of a message and of those that it carries."""

    subject: str = ""
    sender: str = ""
    date: str = ""
    text: str = ""
    files: list[AttachedFile] = field(default_factory=list)
    beside: list[NotRead] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


def extract(data: bytes, name: str) -> Extraction:
    """Everything readable in a mail, a mailbox or a saved page. Raises DocumentError for one without a text."""
    messages = _messages(data)
    warnings: list[str] = []
    if len(messages) > MOST_MESSAGES:
        warnings.append(f"{name}: the first {MOST_MESSAGES:,} of {len(messages):,} messages are read")
        messages = messages[:MOST_MESSAGES]
    mails = [_mail(message, name) for message in messages]
    files: dict[str, AttachedFile] = {}
    size = 0
    beside: dict[str, NotRead] = {}
    for mail in mails:
        warnings += mail.told
        for file in mail.files:
            if file.content_hash not in files and len(files) < MOST_FILES and size + len(file.data) <= MOST_BYTES:
                files[file.content_hash] = file
                size += len(file.data)
            elif file.content_hash not in files:
                beside.setdefault(file.name, NotRead(file.name, f"{name} › {file.name}", kind_of(Path(file.name))))
        beside.update({one.name: one for one in mail.beside})
    if beside:
        warnings.append(told(name, list(beside.values())).replace("not read in", "attachments not read in"))
    several = len(mails) > 1
    pages = tuple(
        ExtractedPage(mail.text, part=place if several else None, part_title=_title(mail) if several else None)
        for place, mail in enumerate(mails, 1)
    )
    outline = tuple(OutlineEntry(mail.subject, 1, place) for place, mail in enumerate(mails, 1) if mail.subject)
    return Extraction(
        pages,
        several,
        reflow=False,
        layout=True,
        outline=outline,
        warnings=tuple(dict.fromkeys(warnings)),
        attachments=tuple(told_apart(list(files.values()))),
    )


def saved_page(data: bytes, name: str) -> Extraction:
    """The page of a file in which a browser saved it whole. Raises DocumentError where it holds none."""
    message = _parsed(data)
    for part in _parts(message):
        if part.get_content_type() in ("text/html", "application/xhtml+xml"):
            html, warnings = decode(_payload(part), name, declared=_charset(part))
            found = html_reader.from_html(html)
            return Extraction(
                (ExtractedPage(found.text),),
                False,
                reflow=False,
                layout=True,
                outline=found.outline,
                warnings=tuple(warnings),
                metadata=of_html(html),
            )
    raise DocumentError(f"{name} is a saved web page without a page in it", hint="save it again as HTML")


def _messages(data: bytes) -> list[EmailMessage]:
    """The messages of a mailbox, in order; of any other file the one that it is."""
    data = _LENGTH.sub(b"", data.removeprefix(b"\xef\xbb\xbf"))
    if not data.startswith(b"From "):
        return [_parsed(data)]
    starts = [
        match.start()
        for match in _BEGINS.finditer(data)
        if not match.start() or data[max(0, match.start() - 4) : match.start()].replace(b"\r", b"").endswith(b"\n\n")
    ]
    if not starts or starts[0]:
        starts = [0, *starts]
    ends = [*starts[1:], len(data)]
    pieces = (data[start:end].partition(b"\n")[2] for start, end in zip(starts, ends, strict=True))
    return [_parsed(_ESCAPED.sub(rb"\1", piece)) for piece in pieces if piece.strip()] or [_parsed(data)]


class _TooDeepDefect(errors.MessageDefect):
    """Parts within parts beyond what is looked at."""


class _Headers(policy.EmailPolicy):
    """A field's form is found once for all that look at it, and within bounds."""

    def header_fetch_parse(self, name: str, value: str) -> str:
        return _header(name, str(value))


@lru_cache(maxsize=4096)
def _header(name: str, value: str) -> str:
    held = value if len(value) <= LONGEST_FIELD else value[:LONGEST_FIELD].rpartition(",")[0] or value[:LONGEST_FIELD]
    if held.count('"') > MOST_QUOTES:
        return " ".join(held.split())
    try:
        found: str = _AS_USUAL.header_fetch_parse(name, held)
        return found
    except RecursionError:  # comments in comments
        return " ".join(held.split())


_AS_USUAL = policy.default.clone(refold_source="none")
_POLICY = _Headers(refold_source="none")


def _parsed(data: bytes) -> EmailMessage:
    try:
        message = message_from_bytes(data, policy=_POLICY)
    except RecursionError:
        message = BytesHeaderParser(policy=_POLICY).parsebytes(data)
        message.set_payload("")
        message.defects.append(_TooDeepDefect())
    assert isinstance(message, EmailMessage)
    return message


def _mail(message: EmailMessage, name: str, level: int = 0) -> _Mail:
    found = _Mail(_field(message, "Subject")[:LONGEST_SUBJECT], _people(message, "From"), _day(message))
    header = [f"{key}: {value}" for key in _SHOWN if (value := _people(message, key) if key != "Date" else found.date)]
    blocks = [found.subject, "\n".join(header)]
    try:
        blocks += _body(message, name, found, level)
    except (errors.MessageError, LookupError, ValueError, AssertionError, AttributeError, RecursionError) as failure:
        found.told.append(f"{name}: the message {found.subject!r:.80} is damaged ({type(failure).__name__})")
    if any(isinstance(one, _TooDeepDefect) for one in message.defects):
        found.told.append(f"{name}: the parts of the message {found.subject!r:.80} are nested too deep to be read")
    found.text = "\n\n".join(filter(str.strip, blocks))
    return found


def _body(message: EmailMessage, name: str, found: _Mail, level: int) -> Iterator[str]:
    """The texts of a message in their order; what it carries goes to `found`."""
    chosen = _chosen(message)
    for part in chosen:
        kind = part.get_content_type()
        file = _file_name(part)
        if kind in ("multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"):
            found.told.append(f"{name}: the message {found.subject!r:.80} is encrypted")
        elif kind == "message/rfc822":
            inner = next(iter(part.get_payload()), None) if part.is_multipart() else None
            if isinstance(inner, EmailMessage) and level < DEEPEST:
                carried = _mail(inner, name, level + 1)
                found.files += carried.files
                found.beside += carried.beside
                found.told += carried.told
                yield f"Attached message:\n\n{carried.text}"
        elif kind.startswith("text/") and not _is_attached(part, file):
            yield _text(part, name, found)
        elif file or kind.startswith(("text/", "application/")):
            _carry(part, file, name, found)


def _chosen(message: EmailMessage) -> list[EmailMessage]:
    """The parts that a reader sees or is offered: of several forms of the same text the plain one, else the HTML."""
    found: list[EmailMessage] = []
    waiting: list[Message] = [message]
    while waiting and len(found) < MOST_PARTS:
        part = waiting.pop()
        if not isinstance(part, EmailMessage):
            continue
        kind = part.get_content_type()
        if kind in ("multipart/encrypted", "message/rfc822") or not part.is_multipart():
            found.append(part)
            continue
        inner = [one for one in part.get_payload() if isinstance(one, EmailMessage)][:MOST_PARTS]
        if kind == "multipart/alternative" and inner:
            inner = [_best(inner)]
        waiting += reversed(inner)
    return found


def _best(forms: Sequence[EmailMessage]) -> EmailMessage:
    """Of several forms of a text the plain one, unless it is empty or only says that there is another."""
    plain = next((one for one in forms if one.get_content_type() == "text/plain"), None)
    others = [one for one in forms if one is not plain and one.get_content_type() != "text/calendar"]
    if plain is None or not others:
        return plain or forms[-1]
    words = len(_payload(plain).split())
    marked = next((one for part in others for one in part.walk() if one.get_content_type() == "text/html"), None)
    if marked is None or not isinstance(marked, EmailMessage):
        return plain
    shown = html_reader.from_html(decode(_payload(marked), "", declared=_charset(marked))[0]).text
    # Tables are rows only in the marked-up form, and what is struck out is so only there.
    fuller = words * 2 < len(shown.split()) or " | " in shown or "[struck out: " in shown
    return others[-1] if fuller else plain


def _text(part: EmailMessage, name: str, found: _Mail) -> str:
    text, warnings = decode(_payload(part) or b" ", name, declared=_charset(part))
    found.told += warnings
    kind = part.get_content_type()
    if kind == "text/html":
        return html_reader.from_html(text).text
    if kind == "text/calendar":
        return ""
    if str(part.get_param("format", "")).lower() == "flowed":
        spaceless = str(part.get_param("delsp", "")).lower() == "yes"
        text = re.sub(r"(?<!^--) \r?\n(?!>)", "" if spaceless else " ", text)
    return normalise([text], running=False, reflow=True, layout=True).text


def _carry(part: EmailMessage, file: str, name: str, found: _Mail) -> None:
    """A file that a mail carries: a document of its own where its kind can be read."""
    file = file or _unnamed(part)
    kind = part.get_content_type()
    if kind in ("application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"):
        return
    if Path(file).suffix.lower() not in SUFFIXES:
        if not kind.startswith("image/") or not part.get("Content-ID"):
            found.beside.append(NotRead(file, f"{name} › {file}", kind_of(Path(file))))
        return
    data = _payload(part)
    if data.strip():
        found.files.append(AttachedFile(file, sha256_of_bytes(data), data))


def _is_attached(part: EmailMessage, file: str) -> bool:
    if part.get_content_disposition() == "attachment":
        return True
    return bool(file) and part.get_content_disposition() != "inline"


def _file_name(part: EmailMessage) -> str:
    """The name of a part's own, without folders and control characters; empty where it has none."""
    name = re.split(r"[\\/]", part.get_filename("") or "")[-1]
    name = "".join(letter for letter in name if letter.isprintable()).strip(" .")
    return name[-LONGEST_NAME:]


def _unnamed(part: EmailMessage) -> str:
    endings = {"text/plain": ".txt", "text/html": ".html", "application/pdf": ".pdf", "text/csv": ".csv"}
    return f"unnamed{endings.get(part.get_content_type(), '')}"


def _payload(part: EmailMessage) -> bytes:
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _charset(part: EmailMessage) -> str | None:
    named = part.get_content_charset()
    return named or declared_encoding(_payload(part)[:4096])


def _field(message: EmailMessage, key: str) -> str:
    """A field of the header in words; one that breaks the rules as it stands."""
    try:
        value = str(message.get(key, ""))
    except (ValueError, IndexError, AttributeError, TypeError, KeyError, errors.MessageError):
        value = next((str(held) for name, held in message.raw_items() if name.lower() == key.lower()), "")
    return " ".join(value.encode("utf-8", "replace").decode("utf-8").split())


def _people(message: EmailMessage, key: str) -> str:
    """Names with their addresses, as a mail program shows them."""
    try:
        held = message.get(key)
        addresses: Sequence[Address] = getattr(held, "addresses", ())
    except (ValueError, IndexError, AttributeError, TypeError, KeyError, errors.MessageError):
        return _field(message, key)
    named = [f"{one.display_name} <{one.addr_spec}>" if one.display_name else one.addr_spec for one in addresses]
    return ", ".join(named) or _field(message, key)


def _day(message: EmailMessage) -> str:
    """The date and time of a message, in words."""
    try:
        moment = getattr(message.get("Date"), "datetime", None)
    except (ValueError, IndexError, AttributeError, TypeError, KeyError, errors.MessageError):
        moment = None
    if moment is None:
        return _field(message, "Date")
    day = f"{DAYS[moment.weekday()]} {moment.day} {MONTHS[moment.month - 1]} {moment.year}"
    return f"{day}, {moment.hour:02d}:{moment.minute:02d}"


def _title(mail: _Mail) -> str:
    """What names a message: subject, date, sender."""
    return ", ".join(filter(None, (mail.subject or "no subject", mail.date, mail.sender)))


def _parts(message: EmailMessage) -> Iterator[EmailMessage]:
    for count, part in enumerate(message.walk()):
        if count > MOST_PARTS:
            return
        if isinstance(part, EmailMessage):
            yield part
