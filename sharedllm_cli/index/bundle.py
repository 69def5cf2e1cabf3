"""A small document's parts in one file: `bundle.safetensors`, in place of a folder for each part.

    text/text.txt, leaves-<12>/tokens.safetensors, …    uint8 tensors: the files that the parts' folders would hold
    __metadata__                                        format, content hash, name, path, and what made each part
    sha256                                              the last 32 bytes: the SHA-256 of all bytes before them

A few hundred words in folders take nine files of a disk block each, and opening them takes longer than reading them.
One file is read whole and proved by its one checksum before anything of it is used, so that it needs no stamps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from sharedllm_cli import durable
from sharedllm_cli.index.manifest import (
    FORMAT,
    FORMAT_VERSION,
    PART_NAME,
    DamagedFileError,
    FileFact,
    Key,
    Kind,
    Manifest,
    new_manifest,
    part_name,
)

BUNDLE = "bundle.safetensors"
SMALL_BYTES = 65536
"""Text parts of fewer bytes are bundled (some 30,000 characters, which are kept twice). Larger ones have leaves of a
hundred kB and more, beside which the 50 kB and the milliseconds that folders cost no longer count."""
_CHECKSUM = "sha256"
_DIGEST_BYTES = 32
_LONGEST_HEADER = 1 << 20
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError)


class ForeignBundleError(Exception):
    """A file of that name which some other program wrote."""

    what = "was not written by sharedllm"


@dataclass(frozen=True)
class Bundle:
    """The parts in a bundle. `files` maps `<part>/<file>` to bytes; `manifests` are by part name.

    `name` and `path` are those of the first time that the document was asked for. Of a bundle of another format version
    only the version and the content hash are known.
    """

    content_hash: str
    name: str
    path: str | None
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    files: Mapping[str, bytes | memoryview] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def part_files(self, part: str) -> dict[str, bytes]:
        """The files of a part by their names."""
        return {name: bytes(self.files[f"{part}/{name}"]) for name in self.manifests[part].files}

    def with_missing(self, key: Key, files: Mapping[str, bytes], facts: Mapping[str, Any]) -> Bundle:
        """The same and the part with a key, which may take the place of another one; itself where it is there."""
        part = part_name(key)
        if part in self.manifests and self.manifests[part].key == key.identity():
            return self
        sizes = {name: FileFact(len(data), "") for name, data in files.items()}
        manifest = new_manifest(key, self.content_hash, facts, sizes)
        kept = {label: data for label, data in self.files.items() if label.partition("/")[0] != part}
        added = {f"{part}/{name}": data for name, data in files.items()}
        return replace(self, manifests={**self.manifests, part: manifest}, files={**kept, **added})

    def to_bytes(self) -> bytes:
        """The whole file."""
        header: dict[str, Any] = {"__metadata__": self._metadata()}
        position = 0
        for label, size in [*((label, len(data)) for label, data in self.files.items()), (_CHECKSUM, _DIGEST_BYTES)]:
            header[label] = {"dtype": "U8", "shape": [size], "data_offsets": [position, position + size]}
            position += size
        spelled = json.dumps(header, separators=(",", ":")).encode("ascii")
        spelled += b" " * (-len(spelled) % 8)
        body = b"".join([len(spelled).to_bytes(8, "little"), spelled, *self.files.values()])
        return body + bytes.fromhex(durable.sha256_of_bytes(body))

    def _metadata(self) -> dict[str, str]:
        parts = {
            part: {"key": dict(manifest.key), "facts": dict(manifest.facts), "made": dict(manifest.made)}
            for part, manifest in self.manifests.items()
        }
        known = {
            "format": FORMAT,
            "format_version": str(self.format_version),
            "content_hash": self.content_hash,
            "name": self.name,
            "parts": json.dumps(parts, separators=(",", ":"), allow_nan=False),
        }
        return known if self.path is None else {**known, "path": self.path}


def has_bundle(folder: Path) -> bool:
    """Whether there is a bundle in a document's folder, whole or not."""
    return (folder / BUNDLE).is_file()


def is_small(text_files: Mapping[str, bytes]) -> bool:
    """Whether a document with these files of its text part is to be bundled."""
    return sum(map(len, text_files.values())) < SMALL_BYTES


def read_bundle(folder: Path) -> Bundle | None:
    """The bundled parts of a document's folder, proved; None where there is no such file.

    Raises DamagedFileError where one byte of it differs, ForeignBundleError where another program wrote it.
    """
    path = folder / BUNDLE
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise DamagedFileError(path, f"can't be read: {problem.strerror}") from None
    content = memoryview(data)[:-_DIGEST_BYTES]
    if len(data) <= _DIGEST_BYTES or bytes.fromhex(durable.sha256_of_bytes(content)) != data[-_DIGEST_BYTES:]:
        if _is_foreign(data):
            raise ForeignBundleError
        raise DamagedFileError(path, "differs from what was written")
    try:
        return _unbundled(data)
    except _MALFORMED as problem:
        raise DamagedFileError(path, f"lacks {problem}") from None


def _is_foreign(data: bytes) -> bool:
    """Whether a file is whole safetensors of another making; a damaged bundle still has its checksum's name."""
    header = _header(data)
    return header is not None and _CHECKSUM not in header and header.get("__metadata__", {}).get("format") != FORMAT


def _header(data: bytes) -> dict[str, Any] | None:
    length = int.from_bytes(data[:8], "little")
    with suppress(ValueError):
        header = json.loads(data[8 : 8 + length]) if length <= _LONGEST_HEADER else None
        if isinstance(header, dict) and isinstance(header.get("__metadata__", {}), dict):
            return header
    return None


def _unbundled(data: bytes) -> Bundle:
    header = json.loads(data[8 : (start := 8 + int.from_bytes(data[:8], "little"))])
    known = header.pop("__metadata__")
    if known["format"] != FORMAT:
        raise ForeignBundleError
    found = _described(known)
    if found.format_version != FORMAT_VERSION:
        return found
    view = memoryview(data)
    files: dict[str, memoryview] = {}
    sizes: dict[str, dict[str, FileFact]] = {}
    for label, tensor in header.items():
        first, end = tensor["data_offsets"]
        part, slash, name = label.partition("/")
        if slash:
            files[label] = view[start + first : start + end]
            sizes.setdefault(part, {})[name] = FileFact(end - first, "")
    return replace(found, manifests=_manifests(known, sizes), files=files)


def _described(known: Mapping[str, str]) -> Bundle:
    return Bundle(known["content_hash"], known["name"], known.get("path"), format_version=int(known["format_version"]))


def _manifests(known: Mapping[str, str], sizes: Mapping[str, Mapping[str, FileFact]]) -> dict[str, Manifest]:
    return {
        part: Manifest(
            _kind(part), known["content_hash"], made["key"], made["facts"], sizes.get(part, {}), made["made"]
        )
        for part, made in json.loads(known["parts"]).items()
    }


def _kind(part: str) -> Kind:
    if not PART_NAME.fullmatch(part):
        raise ValueError(f"a part that is named {part}")
    return cast(Kind, part.partition("-")[0])


def peek(folder: Path) -> Bundle | None:
    """What a bundle says of its document, unproved and without its parts' files; None where it says nothing.

    For words to the user: which document is damaged, and when it was indexed.
    """
    with suppress(OSError, *_MALFORMED), open(folder / BUNDLE, "rb") as file:
        length = file.read(8)
        size = int.from_bytes(length, "little")
        header = _header(length + file.read(size)) if size <= _LONGEST_HEADER else None
        if header is not None:
            known = header["__metadata__"]
            found = _described(known)
            with suppress(*_MALFORMED):
                return replace(found, manifests=_manifests(known, {}))
            return found
    return None
