"""The text of an epub: each item of its spine is a part, with its title in the table of contents.

A part is cut where a page of the print edition begins, if the book marks them. A page's number is given only where the
marks prove it: text before the first mark of a part has that of the page before it where the two numbers follow each
other, a heading that of the page which begins below it, and any other text none.

An epub is a zip of XHTML from anywhere: nothing is unpacked to disk, no entity or address outside it is followed, and
no more is unpacked than a book can hold.
"""

from __future__ import annotations

import lzma
import posixpath
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from urllib.parse import unquote

from lxml import etree

from sharedllm_cli.documents import metadata
from sharedllm_cli.documents.encodings import decode
from sharedllm_cli.documents.markup import html_reader
from sharedllm_cli.documents.markup.html_reader import MarkupText
from sharedllm_cli.documents.markup.html_text import PAGE_MARK
from sharedllm_cli.documents.metadata import Metadata
from sharedllm_cli.documents.pages import ExtractedPage, Extraction, OutlineEntry
from sharedllm_cli.errors import DocumentError

LARGEST_MEMBER = 64 << 20
LARGEST_WHOLE = 512 << 20
"""Bytes that are unpacked at most, of one member and of all: the text of a thousand books."""

_FONT_OBFUSCATION = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")

# Each way of packing has an error of its own (bzip2: OSError), and so have a missing, an encrypted and a cut member.
_UNPACKING_FAILS = (
    KeyError,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
LONGEST_HEADING = 200
"""Characters before the first mark of a part that may be no more than its heading."""
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100, "d": 500, "m": 1000}
_SENTENCE_ENDS = tuple(".!?…:;,\"'”’»)")


_READABLE = ("application/xhtml+xml", "text/html", "image/svg+xml", "application/x-dtbook+xml", "text/x-oeb1-document")
"""Media types of a part that has text; a part of another one, such as a picture, may name another in its place."""
_PICTURE = re.compile(r"<(?:\w+:)?(?:img|image|picture|object|video|canvas)\b", re.IGNORECASE)


class _DamagedMemberError(Exception):
    """A member that is missing or can't be unpacked."""


@dataclass(frozen=True)
class _Package:
    """The spine's members in reading order, and where the table of contents lies."""

    spine: tuple[str, ...]
    navigation: str | None
    ncx: str | None
    metadata: Metadata = ()


def extract(data: bytes, name: str) -> Extraction:
    """Everything readable in an epub. Raises DocumentError for one that is damaged, protected or too large."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            return _Book(archive, name).extract()
    except (zipfile.BadZipFile, NotImplementedError, OSError) as failure:
        raise DocumentError(f"{name} is a damaged epub", hint="download it again") from failure


class _Book:
    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self.archive = archive
        self.name = name
        self.unpacked = 0

    def extract(self) -> Extraction:
        package = self._package()
        locked = self._locked(package)
        titles = self._titles(package)
        marks = self._print_pages(package)
        pages: list[ExtractedPage] = []
        label: str | None = None
        warnings: list[str] = []
        pictures: list[int] = []
        for number, member in enumerate(package.spine, 1):
            if member in locked:
                warnings.append(f"{self.name}: part {number} ({member}) is encrypted and is not read")
                pages.append(ExtractedPage("", part=number))
                label = None
                continue
            try:
                text, remarks = decode(self._read(member), f"{self.name}, {member}")
                warnings += remarks
                found = html_reader.from_xhtml(text, print_pages=marks.get(member, {}))
                if not found.text.strip() and _PICTURE.search(text):
                    pictures.append(number)
            except (_DamagedMemberError, etree.LxmlError):
                warnings.append(f"{self.name}: part {number} ({member}) is missing or damaged")
                found = html_reader.MarkupText("", ())
            except DocumentError as failure:
                if self.unpacked > LARGEST_WHOLE:
                    raise
                warnings.append(failure.message)
                found = html_reader.MarkupText("", ())
            title = next((title for title, _, target in titles if target == member), None)
            pieces, label = _cut(found, number, title, label)
            pages += pieces
        warnings += _only_pictures(self.name, pictures, len(package.spine))
        number_of = {member: number for number, member in reversed(list(enumerate(package.spine, 1)))}
        outline = tuple(
            OutlineEntry(title, level, number_of[target]) for title, level, target in titles if target in number_of
        )
        return Extraction(
            tuple(pages),
            True,
            reflow=False,
            layout=True,
            outline=outline,
            warnings=tuple(warnings),
            metadata=package.metadata,
        )

    def _read(self, member: str) -> bytes:
        """One member's bytes, within the bounds; _DamagedMemberError where there is none or it can't be unpacked."""
        try:
            with self.archive.open(member) as stream:
                data = stream.read(LARGEST_MEMBER + 1)
        except _UNPACKING_FAILS as failure:
            raise _DamagedMemberError(member) from failure
        self.unpacked += len(data)
        if len(data) > LARGEST_MEMBER or self.unpacked > LARGEST_WHOLE:
            self.unpacked = LARGEST_WHOLE + 1
            raise DocumentError(f"{self.name} unpacks to more than a book can contain")
        return data

    def _xml(self, member: str) -> etree._Element:
        """A member's root element, read without entities, schemas or network."""
        parser = etree.XMLParser(
            resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=True, remove_comments=True
        )
        try:
            root = etree.fromstring(self._read(member), parser)
        except (_DamagedMemberError, etree.LxmlError, ValueError) as failure:
            raise DocumentError(f"{self.name} is a damaged epub ({member})", hint="download it again") from failure
        if root is None:
            raise DocumentError(f"{self.name} is a damaged epub ({member})", hint="download it again")
        return root

    def _package(self) -> _Package:
        container = self._xml("META-INF/container.xml")
        path = next((_attribute(item, "full-path") for item in container.iter("{*}rootfile")), "")
        root = self._xml(path)
        folder = posixpath.dirname(path)
        manifest: dict[str, str] = {}
        instead: dict[str, str] = {}
        navigation = ncx = None
        for item in root.iter("{*}item"):
            member = _member(folder, _attribute(item, "href"))
            manifest[_attribute(item, "id")] = member
            if _attribute(item, "media-type") not in _READABLE:
                instead[_attribute(item, "id")] = _attribute(item, "fallback")
            if "nav" in _attribute(item, "properties").split():
                navigation = member
            if _attribute(item, "media-type") == "application/x-dtbncx+xml":
                ncx = member
        listed = [_attribute(item, "idref") for item in root.iter("{*}itemref")]
        order = [manifest.get(_with_text(item, manifest, instead)) for item in listed]
        spine = tuple(member for member in order if member is not None)
        if not spine:
            raise DocumentError(f"{self.name} is a damaged epub: it lists no chapters", hint="download it again")
        return _Package(spine, navigation, ncx, metadata.of_package(root))

    def _locked(self, package: _Package) -> frozenset[str]:
        """The parts that are encrypted, and no more than obfuscated fonts. Raises DocumentError where all are."""
        if "META-INF/encryption.xml" not in self.archive.namelist():
            return frozenset()
        locked: set[str] = set()
        for entry in self._xml("META-INF/encryption.xml").iter("{*}EncryptedData"):
            method = next((_attribute(item, "Algorithm") for item in entry.iter("{*}EncryptionMethod")), "")
            members = {unquote(_attribute(item, "URI")) for item in entry.iter("{*}CipherReference")}
            if method not in _FONT_OBFUSCATION:
                locked |= members & set(package.spine)
        if locked == set(package.spine):
            raise DocumentError(f"{self.name} is copy-protected (DRM), so its text can't be read")
        return frozenset(locked)

    def _titles(self, package: _Package) -> list[tuple[str, int, str]]:
        """The table of contents as (title, level, member); empty where there is none, or a damaged one."""
        try:
            if package.navigation:
                return self._from_navigation(package.navigation)
            return self._from_ncx(package.ncx) if package.ncx else []
        except DocumentError:
            return []

    def _print_pages(self, package: _Package) -> dict[str, dict[str, str]]:
        """The labels of the print edition's pages by member and the id they point to; empty without a sound list."""
        listed: list[tuple[str, str, str]] = []
        try:
            if package.navigation:
                root, folder = self._xml(package.navigation), posixpath.dirname(package.navigation)
                tables = [nav for nav in root.iter("{*}nav") if "page-list" in _attribute(nav, "type").split()]
                listed = [(_text(a), folder, _attribute(a, "href")) for nav in tables for a in nav.iter("{*}a")]
            if package.ncx and not listed:
                root, folder = self._xml(package.ncx), posixpath.dirname(package.ncx)
                for target in root.iter("{*}pageTarget"):
                    title = next((_text(label) for label in target.iter("{*}navLabel")), _attribute(target, "value"))
                    listed += [(title, folder, _attribute(content, "src")) for content in target.iter("{*}content")]
        except DocumentError:
            return {}
        found: dict[str, dict[str, str]] = {}
        for title, folder, address in listed:
            if 0 < len(title) <= html_reader.LONGEST_LABEL and address:
                found.setdefault(_member(folder, address), {}).setdefault(unquote(address.partition("#")[2]), title)
        return found

    def _from_navigation(self, member: str) -> list[tuple[str, int, str]]:
        root, folder = self._xml(member), posixpath.dirname(member)
        tables = [nav for nav in root.iter("{*}nav") if "toc" in _attribute(nav, "type").split()]
        others = [nav for nav in root.iter("{*}nav") if _attribute(nav, "type") and nav not in tables]
        elsewhere = {link for nav in others for link in nav.iter("{*}a")}
        links = [link for link in (tables[0] if tables else root).iter("{*}a") if link not in elsewhere]
        return [
            (
                _text(link),
                max(1, sum(1 for above in link.iterancestors() if etree.QName(above).localname == "ol")),
                _member(folder, _attribute(link, "href")),
            )
            for link in links
            if _text(link)
        ]

    def _from_ncx(self, member: str) -> list[tuple[str, int, str]]:
        root, folder = self._xml(member), posixpath.dirname(member)
        titles: list[tuple[str, int, str]] = []
        for point in root.iter("{*}navPoint"):
            title = next((_text(label) for label in point.iter("{*}navLabel")), "")
            source = next((_attribute(content, "src") for content in point.iter("{*}content")), "")
            level = 1 + sum(1 for above in point.iterancestors() if etree.QName(above).localname == "navPoint")
            if title and source:
                titles.append((title, level, _member(folder, source)))
        return titles


def _attribute(element: etree._Element, name: str) -> str:
    """An attribute by its local name, whatever its namespace; empty where there is none."""
    return next((str(value) for key, value in element.attrib.items() if etree.QName(key).localname == name), "")


def _with_text(item: str, manifest: Mapping[str, str], instead: Mapping[str, str]) -> str:
    """The item itself, or the first of those named in its place that has text."""
    met, found = {item}, item
    while found in instead:
        found = instead[found]
        if found not in manifest or found in met:
            return item
        met.add(found)
    return found


def _only_pictures(name: str, parts: Sequence[int], of: int) -> tuple[str, ...]:
    """The warning that names the parts which show pictures and have no text."""
    if not parts:
        return ()
    shown = ", ".join(map(str, parts[:8])) + (", …" if len(parts) > 8 else "")
    which = f"part {shown} of {of} shows" if len(parts) == 1 else f"{len(parts)} of {of} parts ({shown}) show"
    return (f"{name}: {which} pictures and no text",)


def _text(element: etree._Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _member(folder: str, address: str) -> str:
    """The archive's member that an address names; one that leads out of the archive names none."""
    return posixpath.normpath(posixpath.join(folder, unquote(address.partition("#")[0])))


def _cut(found: MarkupText, part: int, title: str | None, before: str | None) -> tuple[list[ExtractedPage], str | None]:
    """A part's text as the print pages in it, and the label of the last one; `before` is that of the part before it."""
    whole = ExtractedPage(found.text, part=part, part_title=title)
    if not found.pages:
        return [whole], None
    first, *rest = found.text.split(PAGE_MARK)
    pages: list[ExtractedPage] = []
    gap = ""
    for label, text in zip((None, *found.pages), (first, *rest), strict=True):
        words = text.strip()
        gap += text[: len(text) - len(text.lstrip())]
        pages.append(replace(whole, raw=words, label=label, seam=_seam(gap) if pages else None))
        if words:
            gap = text[len(text.rstrip()) :]
    opening, marked, *others = pages
    if not opening.raw:
        return pages[1:], found.pages[-1]
    if _is_heading(opening.raw, marked.seam or ""):
        marked = replace(marked, raw=f"{opening.raw}{marked.seam}{marked.raw}", seam=None)
        return [marked, *others], found.pages[-1]
    goes_on = before is not None and _follows(before, marked.label or "")
    return [replace(opening, label=before if goes_on else None), marked, *others], found.pages[-1]


def _seam(gap: str) -> str:
    """White space as it stands between two pieces of text that are read as one."""
    return "\n\n" if gap.count("\n") > 1 else "\n" if "\n" in gap else gap[:1]


def _is_heading(opening: str, seam: str) -> bool:
    """Whether what stands before the first mark of a part is no more than its heading."""
    return "\n" in seam and len(opening) <= LONGEST_HEADING and not opening.endswith(_SENTENCE_ENDS)


def _follows(label: str, other: str) -> bool:
    first, second = _number(label), _number(other)
    return first is not None and second == first + 1


def _number(label: str) -> int | None:
    """A printed number, in digits or Roman; None for any other label."""
    if label.isascii() and label.isdigit():
        return int(label)
    values = [_ROMAN.get(letter, 0) for letter in label.lower()]
    if not all(values):
        return None
    return sum(-here if here < after else here for here, after in zip(values, [*values[1:], 0], strict=True))
