"""The index of a document as the engine uses it: read what is there, write what is missing, refuse what is damaged.

Each document has a folder (parts.py draws it). Reading the text opens the door: every finished part of the folder is
proved then, by stamps where nothing changed, so that damage anywhere is refused before it is used. A part of an older
format is rebuilt with a note, one of a newer format refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sharedllm_cli import durable
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.errors import StoredIndexError
from sharedllm_cli.home import INDEX_ELSEWHERE
from sharedllm_cli.index import explain, parts, second_pages, usage
from sharedllm_cli.index.leaves import Leaves, leaves_files, leaves_from
from sharedllm_cli.index.manifest import (
    FORMAT_VERSION,
    Key,
    LeavesKey,
    Manifest,
    StatesKey,
    TreesKey,
    part_name,
    read_manifest,
)
from sharedllm_cli.index.stamps import DamagedFileError
from sharedllm_cli.index.states import LeafStates, states_files, states_from
from sharedllm_cli.index.text import document_from, text_facts, text_files, text_key
from sharedllm_cli.progress import Reporter, Silent

if TYPE_CHECKING:
    import torch

    from sharedllm_cli.index.encoding import Encoder
    from sharedllm_cli.index.nodes import StoredNodes

_SLUG_CHARACTERS = 40
Bytes = bytes
"""The type, for annotations inside the class whose method `bytes` hides its name."""


class IndexStore:
    """The indexes under one root folder, which need not exist and may hold other things."""

    def __init__(self, root: Path | str, reporter: Reporter | None = None) -> None:
        self.root = Path(root).expanduser().absolute()
        self._reporter: Reporter = reporter or Silent()

    def folder(self, content_hash: str) -> Path | None:
        """The folder of a document's index, None where there is none."""
        ending = f"-{content_hash[:16]}"
        if not self.root.is_dir():
            return None
        named = [path for path in sorted(self.root.iterdir()) if path.name.endswith(ending) and path.is_dir()]
        return next((path for path in named if parts.is_document_folder(path)), named[0] if named else None)

    def bytes(self, content_hash: str) -> int:
        """Size of everything that belongs to a document's index; 0 where there is none."""
        folder = self.folder(content_hash)
        return parts.folder_bytes(folder) if folder else 0

    def read_text(self, content_hash: str) -> Document | None:
        """The document as it was read, None where it isn't stored (or only in an older format, which is noted).

        Raises StoredIndexError where any part of the document's index is damaged, foreign, or of a newer format.
        """
        folder = self.folder(content_hash)
        if folder is None:
            return None
        parts.prove_all(folder, content_hash)
        self._note_older(folder)
        key = text_key(content_hash)
        manifest = parts.find_part(folder, key, content_hash)
        if manifest is None:
            return None
        usage.mark_used(folder)
        return document_from(_read_whole(folder, key, manifest))

    def write_text(self, document: Document) -> None:
        """Store a document as read. Raises ResourceError or UsageError where it can't be written."""
        folder = self._made_folder(document.content_hash, document.name)
        key = text_key(document.content_hash)
        with parts.writer(folder, part_name(key), self._reporter):
            if parts.find_part(folder, key, document.content_hash) is None:
                parts.write_part(folder, key, document.content_hash, text_files(document), text_facts(document))
        self.seen(document.content_hash, document.name, document.path)

    def seen(self, content_hash: str, name: str, path: str | None) -> None:
        """Remember under which name and path the document was asked for last."""
        folder = self.folder(content_hash)
        if folder is not None:
            absolute = None if path is None else str(Path(path).absolute())
            usage.write_usage(folder, name, absolute, content_hash)

    def read_second(self, content_hash: str, made_by: str) -> dict[int, str | None]:
        """The second extraction of a document's pages, as far as it is kept. StoredIndexError where it is damaged."""
        folder = self.folder(content_hash)
        try:
            return {} if folder is None else second_pages.read_second(folder, made_by)
        except DamagedFileError as problem:
            raise parts.damaged(problem.path.parent, problem.path) from None

    def write_second(self, content_hash: str, pages: Mapping[int, str | None], made_by: str) -> None:
        """Keep the second extraction of pages. The text must be stored before."""
        second_pages.write_second(self._present_folder(content_hash), pages, made_by)

    def read_leaves(self, content_hash: str, key: LeavesKey) -> Leaves | None:
        """The stored leaves with a key, None where there are none. Raises StoredIndexError where they are damaged."""
        found = self._found(content_hash, key)
        return leaves_from(_read_whole(found[0], key, found[1]), key.tree) if found else None

    def write_leaves(self, content_hash: str, key: LeavesKey, leaves: Leaves) -> None:
        """Store a document's leaves. The text must be stored before."""
        facts = {"tokens": leaves.token_count, "chunks": len(leaves.trees), "leaves": leaves.leaf_count}
        self._write(content_hash, key, leaves_files(leaves), facts)

    def read_states(self, content_hash: str, key: StatesKey) -> LeafStates | None:
        """Stored late-interaction states, None where there are none."""
        found = self._found(content_hash, key)
        return states_from(_read_whole(found[0], key, found[1])) if found else None

    def write_states(self, content_hash: str, key: StatesKey, states: LeafStates) -> None:
        """Store late-interaction states. The text must be stored before."""
        self._write(content_hash, key, states_files(states), {"base_name": key.base_name, "tokens": len(states.states)})

    def open_trees(
        self,
        content_hash: str,
        key: TreesKey,
        leaves: Leaves,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> StoredNodes | None:
        """The stored trees with a key, memory-mapped, their numbers given as `dtype` (float32) on `device`.

        Trees of more layers serve too: those of the key are handed out of them. None where there are none or their
        building was interrupted. Raises StoredIndexError where they are damaged.
        """
        stored = self._serving(content_hash, key)
        found = self._found(content_hash, stored) if stored else None
        if stored is None or found is None:
            return None
        import torch

        from sharedllm_cli.index.layout import LowerShape, TreesLayout
        from sharedllm_cli.index.nodes import StoredNodes

        folder, manifest = found
        layout = TreesLayout(leaves.trees, manifest.facts["chunks_per_shard"])
        shape = LowerShape(**manifest.facts["shape"])
        return StoredNodes(
            folder / manifest.part_name,
            layout,
            leaves,
            shape,
            key.stored_dtype,
            layers=key.layers,
            device=device,
            dtype=dtype or torch.float32,
        )

    def build_trees(
        self,
        content_hash: str,
        key: TreesKey,
        leaves: Leaves,
        lower: Encoder,
        reporter: Reporter | None = None,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        batch_tokens: int | None = None,
        replicas: Sequence[Encoder] = (),
    ) -> StoredNodes:
        """`build_missing_trees`, and open them."""
        self.build_missing_trees(
            content_hash, key, leaves, lower, reporter, batch_tokens=batch_tokens, replicas=replicas
        )
        nodes = self.open_trees(content_hash, key, leaves, device=device, dtype=dtype)
        assert nodes is not None
        return nodes

    def build_missing_trees(
        self,
        content_hash: str,
        key: TreesKey,
        leaves: Leaves,
        lower: Encoder,
        reporter: Reporter | None = None,
        *,
        batch_tokens: int | None = None,
        replicas: Sequence[Encoder] = (),
    ) -> bool:
        """Build the trees of a document, or finish an interrupted build, or wait for another process that does.

        `replicas` are equal lower models on other devices, which share the work. Returns whether anything was built
        here. The text must be stored before. Raises ResourceError where disk or
        memory do not suffice.
        """
        from sharedllm_cli.index.build import build_trees

        reporter = reporter or self._reporter
        folder = self._present_folder(content_hash)
        with parts.writer(folder, part_name(key), reporter):
            if parts.find_part(folder, key, content_hash) is not None:
                return False
            build_trees(
                folder, content_hash, key, leaves, lower, reporter, batch_tokens=batch_tokens, replicas=replicas
            )
        return True

    def has_trees(self, content_hash: str, key: TreesKey) -> bool:
        """Whether finished trees that serve a key are stored (of its layers or more); they are not proved."""
        return self._serving(content_hash, key) is not None

    def _serving(self, content_hash: str, key: TreesKey) -> TreesKey | None:
        """The key of the stored trees to open for a key: its own, or one of more layers."""
        folder = self.folder(content_hash)
        if folder is None:
            return None
        return key if (folder / part_name(key)).is_dir() else parts.wider_trees(folder, key)

    def explain_new(self, path: str | None, content_hash: str, keys: Sequence[Key] = ()) -> str | None:
        """Why parts with these keys have to be made though the document was indexed before; None where it was not."""
        folder = self.folder(content_hash)
        if folder is not None:
            return explain.explain(folder, keys)
        return None if path is None else explain.explain_content(self.root, str(Path(path).absolute()), content_hash)

    def discard(self, content_hash: str) -> None:
        """Delete everything stored of a document, damaged or not; what others put into its folder stays.

        Raises UsageError while another process writes it.
        """
        folder = self.folder(content_hash)
        if folder is not None:
            parts.delete_document(folder)

    def _found(self, content_hash: str, key: Key) -> tuple[Path, Manifest] | None:
        folder = self.folder(content_hash)
        manifest = parts.find_part(folder, key, content_hash) if folder else None
        return None if folder is None or manifest is None else (folder, manifest)

    def _write(self, content_hash: str, key: Key, files: Mapping[str, Bytes], facts: Mapping[str, object]) -> None:
        folder = self._present_folder(content_hash)
        with parts.writer(folder, part_name(key), self._reporter):
            if parts.find_part(folder, key, content_hash) is None:
                parts.write_part(folder, key, content_hash, files, facts)

    def _present_folder(self, content_hash: str) -> Path:
        folder = self.folder(content_hash)
        if folder is None:
            raise StoredIndexError(f"no text is stored of the document {content_hash[:16]}", hint="index it again")
        return folder

    def _made_folder(self, content_hash: str, name: str) -> Path:
        folder = self.folder(content_hash) or self.root / f"{slug(name)}-{content_hash[:16]}"
        with durable.writing(folder, INDEX_ELSEWHERE):
            durable.make_private_folder(folder)
        return folder

    def _note_older(self, folder: Path) -> None:
        for part in parts.finished_parts(folder):
            version = read_manifest(part).format_version
            if version < FORMAT_VERSION:
                self._reporter.note(
                    f"{part.name} of {parts.shown_name(folder)} has format version {version}, now {FORMAT_VERSION}: "
                    "it is made anew"
                )


def _read_whole(folder: Path, key: Key, manifest: Manifest) -> dict[str, bytes]:
    """All files of a part, each proved by its hash whatever its stamp says."""
    part = folder / part_name(key)
    files: dict[str, bytes] = {}
    for name, fact in manifest.files.items():
        try:
            files[name] = (part / name).read_bytes()
        except OSError:
            raise parts.damaged(folder, part / name) from None
        if durable.sha256_of_bytes(files[name]) != fact.sha256:
            raise parts.damaged(folder, part / name)
    return files


def slug(name: str) -> str:
    """A document's name as part of a folder's: lower-case ASCII letters, digits and hyphens, at most 40."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_SLUG_CHARACTERS].strip("-") or "document"
