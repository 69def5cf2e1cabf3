"""What is stored of one document, proved once and read as far as it is asked for."""

from __future__ import annotations

from pathlib import Path

from sharedllm_cli.documents.pages import Document
from sharedllm_cli.index import proving, usage
from sharedllm_cli.index.leaves import Leaves, leaves_from
from sharedllm_cli.index.manifest import FORMAT_VERSION, Key, LeavesKey, part_name
from sharedllm_cli.index.proving import Proved
from sharedllm_cli.index.text import document_from, text_key
from sharedllm_cli.index.usage import Usage, usage_of_bundle


class StoredDocument:
    """The text and leaves in a document's folder, be they bundled or in folders of their own."""

    def __init__(self, proved: Proved, content_hash: str) -> None:
        self._proved = proved
        self._content_hash = content_hash

    @property
    def folder(self) -> Path:
        return self._proved.folder

    @property
    def usage(self) -> Usage | None:
        """How the document was called last."""
        proved = self._proved
        return proved.usage or (usage_of_bundle(proved.bundle) if proved.bundle else None)

    def text(self) -> Document | None:
        """The document as it was read; None where this release would read it otherwise, or it isn't there."""
        files = self._files(text_key(self._content_hash))
        return None if files is None else document_from(files)

    def leaves(self, key: LeavesKey) -> Leaves | None:
        """The leaves with a key, None where there are none."""
        files = self._files(key)
        return None if files is None else leaves_from(files, key.tree)

    def mark_used(self) -> None:
        """Note that the index was used now."""
        usage.mark_used(self.folder)

    def _files(self, key: Key) -> dict[str, bytes] | None:
        """The files of the part with a key. Raises StoredIndexError for a part that only has its name."""
        name, bundle = part_name(key), self._proved.bundle
        bundled = bundle is not None and name in bundle.manifests
        manifest = bundle.manifests[name] if bundle and bundled else self._proved.manifests.get(name)
        if manifest is None or manifest.format_version != FORMAT_VERSION:
            return None
        if manifest.key != key.identity():
            if key.kind == "text":
                return None
            raise proving.foreign(self.folder, name, "was made for something else")
        return bundle.part_files(name) if bundle and bundled else proving.read_part(self.folder, manifest)
