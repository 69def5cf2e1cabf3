"""The zip of an Office or OpenDocument file: its members within bounds, its XML without anything from elsewhere.

Nothing is unpacked to disk, no entity is expanded, no address is followed, no program in the file is looked at.
"""

from __future__ import annotations

import lzma
import posixpath
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO
from urllib.parse import unquote

from lxml import etree

from sharedllm_cli.errors import DocumentError

LARGEST_MEMBER = 64 << 20
LARGEST_WHOLE = 512 << 20
"""Bytes that are unpacked at most, of one member and of all."""
MOST_MEMBERS = 65_536
_UNPACKING_FAILS = (
    KeyError,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    struct.error,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


class MissingMemberError(Exception):
    """A member that is not there, is encrypted, or can't be unpacked or parsed."""


class Package:
    """An opened file. `name` is what the user calls it; members are named without a slash before them."""

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        self._unpacked = 0
        try:
            self._archive = zipfile.ZipFile(BytesIO(data))
            members = self._archive.namelist()
        except (*_UNPACKING_FAILS, NotImplementedError) as failure:
            raise self.damaged() from failure
        if len(members) > MOST_MEMBERS:
            raise self._too_large()
        self.members = frozenset(members)
        self._by_fold = {member.casefold(): member for member in members}

    def damaged(self, member: str = "") -> DocumentError:
        """The error of a file that can't be read as what it is."""
        where = f" ({member})" if member else ""
        hint = "open it in the program that made it and save it anew"
        return DocumentError(f"{self.name} is damaged{where}", hint=hint)

    def _too_large(self) -> DocumentError:
        return DocumentError(f"{self.name} unpacks to more than a document can contain")

    def has(self, member: str) -> bool:
        """Whether there is such a member, in any capitals: the names of a package differ in no more."""
        return member.casefold() in self._by_fold

    def read(self, member: str) -> bytes:
        """One member's bytes. MissingMemberError where it can't be had; DocumentError above the bounds."""
        with self.stream(member) as stream:
            try:
                data = stream.read(LARGEST_MEMBER + 1)
            except _UNPACKING_FAILS as failure:
                raise MissingMemberError(member) from failure
        self._unpacked += len(data)
        if len(data) > LARGEST_MEMBER or self._unpacked > LARGEST_WHOLE:
            raise self._too_large()
        return data

    @contextmanager
    def stream(self, member: str) -> Iterator[IO[bytes]]:
        """A member to be read piece by piece; the caller bounds what he reads."""
        try:
            stream = self._archive.open(self._by_fold.get(member.casefold(), member))
        except _UNPACKING_FAILS as failure:
            raise MissingMemberError(member) from failure
        with stream:
            yield stream

    def xml(self, member: str) -> etree._Element:
        """A member's root element. MissingMemberError where there is none or it is damaged."""
        try:
            root = etree.fromstring(self.read(member), parser())
        except (etree.LxmlError, ValueError) as failure:
            raise MissingMemberError(member) from failure
        if root is None or _declares_entities(root):
            raise MissingMemberError(member)
        return root

    def optional(self, member: str) -> etree._Element | None:
        """A member's root element, None where it can't be had."""
        try:
            return self.xml(member)
        except MissingMemberError:
            return None

    def relations(self, member: str) -> dict[str, tuple[str, str]]:
        """What a member names by id: the last word of the relation's type, and the member; nothing outside the file."""
        folder, own = posixpath.split(member)
        root = self.optional(posixpath.join(folder, "_rels", f"{own}.rels"))
        found: dict[str, tuple[str, str]] = {}
        for relation in () if root is None else root.iter("{*}Relationship"):
            if str(relation.get("TargetMode", "")).casefold() != "external":
                kind = str(relation.get("Type", "")).rpartition("/")[2]
                found[str(relation.get("Id", ""))] = (kind, inner_path(folder, str(relation.get("Target", ""))))
        return found


def parser() -> etree.XMLParser:
    """A parser that expands no entity, loads no schema, fetches nothing and mends what is slightly broken."""
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        recover=True,
        remove_comments=True,
        remove_pis=True,
    )


def inner_path(folder: str, target: str) -> str:
    """The member that an address names; one that leads out of the package names none."""
    path = unquote(target.partition("#")[0])
    return posixpath.normpath(path.lstrip("/") if path.startswith("/") else posixpath.join(folder, path))


def local(element: etree._Element) -> str:
    """An element's name without its namespace; empty for what is no element."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def attribute(element: etree._Element | None, name: str, otherwise: str = "") -> str:
    """An attribute by its local name, whatever its namespace."""
    if element is None:
        return otherwise
    return next((str(value) for key, value in element.attrib.items() if str(key).rpartition("}")[2] == name), otherwise)


def child(element: etree._Element | None, *path: str) -> etree._Element | None:
    """The first child of that local name, its first child of the next, and so on; None where there is none."""
    for name in path:
        if element is None:
            return None
        element = next((one for one in element if local(one) == name), None)
    return element


def number(text: str, otherwise: int = 0) -> int:
    """A whole number of the file's; what is none, or is too long for one, is `otherwise`."""
    text = text.strip()
    bare = text[1:] if text[:1] in "+-" else text
    return int(text) if bare.isascii() and bare.isdigit() and len(bare) < 12 else otherwise


def _declares_entities(root: etree._Element) -> bool:
    declared = root.getroottree().docinfo.internalDTD
    return declared is not None and next(iter(declared.iterentities()), None) is not None
