"""Whether what lies in a document's folder is what was written: proved by stamps where nothing changed, else by hashes.

What is not is an error that says which document's index it is and how to rebuild it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sharedllm_cli import durable
from sharedllm_cli.errors import StoredIndexError
from sharedllm_cli.index import parts
from sharedllm_cli.index.bundle import BUNDLE, Bundle, ForeignBundleError, read_bundle
from sharedllm_cli.index.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    ForeignManifestError,
    Key,
    Manifest,
    UnreadableManifestError,
    fingerprint,
    part_name,
    read_manifest,
)
from sharedllm_cli.index.second_pages import SECOND, read_second
from sharedllm_cli.index.stamps import STAMPS, DamagedFileError, Stamps
from sharedllm_cli.index.usage import USAGE, Usage, read_usage


def damaged(folder: Path, path: Path, called: Usage | None = None) -> StoredIndexError:
    """The error of a file that is not what was written; `called` names the document where the caller knows it."""
    usage = called or parts.usage_or_none(folder)
    name = usage.name if usage else folder.name
    source = shlex.quote((usage.path or usage.name) if usage else "DOCUMENT")
    relative = path.relative_to(folder) if path.is_relative_to(folder) else path
    return StoredIndexError(
        f"the index of {name} is damaged (file {folder.name}/{relative.as_posix()})",
        hint=f"rebuild it with: sharedllm index --reindex {source} (or ask with --reindex)",
    )


def foreign(folder: Path, part: str, what: str) -> StoredIndexError:
    """The error of something that is whole and does not belong there."""
    return StoredIndexError(
        f"{folder.name}/{part} {what}",
        hint="move it away, rebuild with --reindex, or choose another --index-dir",
    )


def _newer(folder: Path, version: int) -> StoredIndexError:
    return StoredIndexError(
        f"the index of {parts.shown_name(folder)} has format version {version}; this release reads {FORMAT_VERSION}",
        hint="update sharedllm, or rebuild the index with --reindex",
    )


def prove(folder: Path, part: Path, content_hash: str | None, stamps: Stamps) -> Manifest:
    """The manifest of a finished part whose every file is what was written.

    Raises StoredIndexError for a damaged part, one of another document, or one of a newer format. A part of an older
    format is returned unproved: it is to be rebuilt, not read.
    """
    try:
        manifest = read_manifest(part)
    except ForeignManifestError:
        raise foreign(folder, part.name, "was not written by sharedllm") from None
    except UnreadableManifestError:
        raise damaged(folder, part / MANIFEST) from None
    if manifest.format_version > FORMAT_VERSION:
        raise _newer(folder, manifest.format_version)
    if content_hash is not None and manifest.content_hash != content_hash:
        raise foreign(folder, part.name, "belongs to another document")
    if manifest.format_version == FORMAT_VERSION:
        if part.name != manifest.part_name:
            raise foreign(folder, part.name, f"holds another part ({manifest.part_name})")
        try:
            stamps.check(part, manifest)
        except DamagedFileError as problem:
            raise damaged(folder, problem.path) from None
    return manifest


def prove_bundle(folder: Path, content_hash: str | None, called: Usage | None = None) -> Bundle | None:
    """The bundle of a folder, None where there is none. Raises StoredIndexError as `prove` does."""
    try:
        bundle = read_bundle(folder)
    except ForeignBundleError as problem:
        raise foreign(folder, BUNDLE, problem.what) from None
    except DamagedFileError as problem:
        raise damaged(folder, problem.path, called) from None
    if bundle is not None and bundle.format_version > FORMAT_VERSION:
        raise _newer(folder, bundle.format_version)
    if bundle is not None and content_hash not in (None, bundle.content_hash):
        raise foreign(folder, BUNDLE, "belongs to another document")
    return bundle


@dataclass(frozen=True)
class Proved:
    """A document's folder whose every file was proved: its bookkeeping, its bundle, its other parts by name."""

    folder: Path
    usage: Usage | None
    bundle: Bundle | None
    manifests: Mapping[str, Manifest]


def prove_all(folder: Path, content_hash: str | None, called: Usage | None = None) -> Proved:
    """Prove every finished part and the bookkeeping of a folder; milliseconds when nothing changed.

    Raises StoredIndexError as `prove` does.
    """
    names = parts.names_in(folder)
    bundle = prove_bundle(folder, content_hash, called) if BUNDLE in names else None
    try:
        usage = read_usage(folder) if USAGE in names else None
        if SECOND in names:
            read_second(folder)
        stamps = Stamps(folder) if STAMPS in names else None
    except DamagedFileError as problem:
        raise damaged(folder, problem.path, called) from None
    found: dict[str, Manifest] = {}
    if stored := parts.finished_parts(folder, names):
        stamps = stamps or Stamps(folder)
        for part in stored:
            found[part.name] = prove(folder, part, content_hash, stamps)
        stamps.save()
    return Proved(folder, usage, bundle, found)


def find_part(folder: Path, key: Key, content_hash: str) -> Manifest | None:
    """The proved manifest of the part with a key; None where there is none or it is of an older format."""
    part = folder / part_name(key)
    if not part.is_dir():
        return None
    try:
        stamps = Stamps(folder)
    except DamagedFileError as problem:
        raise damaged(folder, problem.path) from None
    manifest = prove(folder, part, content_hash, stamps)
    stamps.save()
    if manifest.format_version != FORMAT_VERSION or (key.kind == "text" and manifest.key != key.identity()):
        return None
    if manifest.fingerprint != fingerprint(key):
        raise foreign(folder, part.name, "was made for something else")
    return manifest


def read_part(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """All files of a part, each proved by its hash whatever its stamp says."""
    part = folder / manifest.part_name
    files: dict[str, bytes] = {}
    for name, fact in manifest.files.items():
        try:
            files[name] = (part / name).read_bytes()
        except OSError:
            raise damaged(folder, part / name) from None
        if durable.sha256_of_bytes(files[name]) != fact.sha256:
            raise damaged(folder, part / name)
    return files
