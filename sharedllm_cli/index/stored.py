"""What is stored of a document: proved to be what was written, then read as far as it is asked for.

The text part is plain files: `text.txt` is UTF-8; `pages.jsonl` has one page a line; `document.json` the rest. With it
a question needs no PDF. What is not what was written is an error that names the document and how to rebuild its index.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sharedllm_cli import durable
from sharedllm_cli.documents.pages import READING_VERSION, Attachment, Document, OutlineEntry, Page
from sharedllm_cli.errors import StoredIndexError
from sharedllm_cli.index import bookkeeping, folders
from sharedllm_cli.index.bookkeeping import (
    SECOND,
    STAMPS,
    USAGE,
    Stamps,
    Usage,
    read_second,
    read_usage,
    usage_of_bundle,
)
from sharedllm_cli.index.bundle import BUNDLE, Bundle, ForeignBundleError, read_bundle
from sharedllm_cli.index.leaves import Leaves, leaves_from
from sharedllm_cli.index.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    DamagedFileError,
    ForeignManifestError,
    Key,
    LeavesKey,
    Manifest,
    TextKey,
    UnreadableManifestError,
    fingerprint,
    part_name,
    read_manifest,
)

TEXT, PAGES, FACTS = "text.txt", "pages.jsonl", "document.json"
# A PDF can yield half of a surrogate pair; what was read is kept as it was read.
_ENCODING = ("utf-8", "surrogatepass")


def damaged(folder: Path, path: Path, called: Usage | None = None) -> StoredIndexError:
    """The error of a file that is not what was written; `called` names the document where the caller knows it."""
    usage = called or folders.usage_or_none(folder)
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
        f"the index of {folders.shown_name(folder)} has format version {version}; this release reads {FORMAT_VERSION}",
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
    names = folders.names_in(folder)
    bundle = prove_bundle(folder, content_hash, called) if BUNDLE in names else None
    try:
        usage = read_usage(folder) if USAGE in names else None
        if SECOND in names:
            read_second(folder)
        stamps = Stamps(folder) if STAMPS in names else None
    except DamagedFileError as problem:
        raise damaged(folder, problem.path, called) from None
    found: dict[str, Manifest] = {}
    if stored := folders.finished_parts(folder, names):
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


def text_key(content_hash: str, recognised_by: str | None = None) -> TextKey:
    """The key of the text that this release reads from a document's bytes, and what recognised pictures in it."""
    return TextKey(content_hash, ", ".join(filter(None, [READING_VERSION, recognised_by])))


def text_files(document: Document) -> dict[str, bytes]:
    """The files of the text part."""
    facts = {
        "name": document.name,
        "path": document.path,
        "kind": document.kind,
        "content_hash": document.content_hash,
        "paged": document.paged,
        "outline": [asdict(entry) for entry in document.outline],
        "warnings": list(document.warnings),
        "metadata": [list(fact) for fact in document.metadata],
        "furniture": [list(span) for span in document.furniture],
        "recognised_by": document.recognised_by,
        "pictures": None if document.pictures is None else list(document.pictures),
        "attachments": [[one.name, one.content_hash] for one in document.attachments],
        "reading_version": READING_VERSION,
    }
    lines = (json.dumps(asdict(page), ensure_ascii=False) + "\n" for page in document.pages)
    return {
        TEXT: document.text.encode(*_ENCODING),
        PAGES: "".join(lines).encode(*_ENCODING),
        FACTS: json.dumps(facts, ensure_ascii=False, indent=1).encode(*_ENCODING),
    }


def text_facts(document: Document) -> dict[str, Any]:
    """The text's facts for its manifest."""
    return {
        "name": document.name,
        "path": document.path,
        "kind": document.kind,
        "pages": document.page_count if document.parts else len(document.pages),
        "paged": document.paged,
        "characters": len(document.text),
    }


def document_from(files: Mapping[str, bytes]) -> Document:
    """The document that `text_files` wrote, equal in every field."""
    facts = json.loads(files[FACTS].decode(*_ENCODING))
    pages = (json.loads(line) for line in files[PAGES].decode(*_ENCODING).split("\n") if line)
    return Document(
        name=facts["name"],
        path=facts["path"],
        kind=facts["kind"],
        content_hash=facts["content_hash"],
        text=files[TEXT].decode(*_ENCODING),
        pages=tuple(Page(**page) for page in pages),
        paged=facts["paged"],
        outline=tuple(OutlineEntry(**entry) for entry in facts["outline"]),
        warnings=tuple(facts["warnings"]),
        metadata=tuple((kind, value) for kind, value in facts.get("metadata", ())),
        furniture=tuple((start, end) for start, end in facts.get("furniture", ())),
        recognised_by=facts.get("recognised_by"),
        pictures=_pictures(facts),
        attachments=tuple(Attachment(name, content_hash) for name, content_hash in facts.get("attachments", ())),
    )


def _pictures(facts: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The pages that are pictures. Older releases did not note them, and only a PDF can have any."""
    noted = facts.get("pictures", None if facts["kind"] == "pdf" else ())
    return None if noted is None else tuple(noted)


class StoredDocument:
    """The text and leaves in a document's folder, be they bundled or in folders of their own."""

    def __init__(self, proved: Proved, content_hash: str) -> None:
        self._proved = proved
        self._content_hash = content_hash

    @property
    def folder(self) -> Path:
        """The document's folder."""
        return self._proved.folder

    @property
    def usage(self) -> Usage | None:
        """How the document was called last."""
        proved = self._proved
        return proved.usage or (usage_of_bundle(proved.bundle) if proved.bundle else None)

    def text(self) -> Document | None:
        """The document as it was read; None where this release would read it otherwise, or it isn't there.

        A text whose pictures were recognised serves whether that is asked for or not (`Document.serves`).
        """
        plain = text_key(self._content_hash)
        manifest = self._manifest(plain)
        recorded = str(manifest.key.get("reader_version", "")) if manifest else ""
        _, _, recognised_by = recorded.partition(", ")
        files = self._files(text_key(self._content_hash, recognised_by))
        return None if files is None else document_from(files)

    def leaves(self, key: LeavesKey) -> Leaves | None:
        """The leaves with a key, None where there are none."""
        files = self._files(key)
        return None if files is None else leaves_from(files, key.tree)

    def mark_used(self) -> None:
        """Note that the index was used now."""
        bookkeeping.mark_used(self.folder)

    def _files(self, key: Key) -> dict[str, bytes] | None:
        """The files of the part with a key. Raises StoredIndexError for a part that only has its name."""
        name, bundle, manifest = part_name(key), self._proved.bundle, self._manifest(key)
        if manifest is None or manifest.format_version != FORMAT_VERSION:
            return None
        if manifest.key != key.identity():
            if key.kind == "text":
                return None
            raise foreign(self.folder, name, "was made for something else")
        bundled = bundle is not None and name in bundle.manifests
        return bundle.part_files(name) if bundle and bundled else read_part(self.folder, manifest)

    def _manifest(self, key: Key) -> Manifest | None:
        name, bundle = part_name(key), self._proved.bundle
        bundled = bundle is not None and name in bundle.manifests
        return bundle.manifests[name] if bundle and bundled else self._proved.manifests.get(name)
