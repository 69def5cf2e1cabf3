"""The index of a document as the engine uses it: read what is there, write what is missing, refuse what is damaged.

Each document has a folder (folders.py draws it). Opening it proves every finished part of the folder, by stamps where
nothing changed, so that damage anywhere is refused before it is used. A part of an older format is rebuilt with a note,
one of a newer format refused. The text and leaves of a small document are a bundle, in one file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharedllm_cli import durable
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.documents.readers import Limits, Probe
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.errors import StoredIndexError
from sharedllm_cli.home import INDEX_ELSEWHERE
from sharedllm_cli.index import bookkeeping, folders
from sharedllm_cli.index.bookkeeping import Usage
from sharedllm_cli.index.bundle import BUNDLE, Bundle, has_bundle, is_small
from sharedllm_cli.index.folders import Folders
from sharedllm_cli.index.leaves import LeafStates, Leaves, leaves_files, states_files, states_from
from sharedllm_cli.index.manifest import (
    FORMAT_VERSION,
    DamagedFileError,
    Key,
    LeavesKey,
    Manifest,
    StatesKey,
    TreesKey,
    part_name,
)
from sharedllm_cli.index.stored import (
    Proved,
    StoredDocument,
    damaged,
    find_part,
    prove_all,
    prove_bundle,
    read_part,
    text_facts,
    text_files,
    text_key,
)
from sharedllm_cli.progress import Reporter, Silent

if TYPE_CHECKING:
    import torch

    from sharedllm_cli.index.encoding import Encoder
    from sharedllm_cli.index.explain import KnownPaths
    from sharedllm_cli.index.nodes import StoredNodes

Part = tuple[Key, Mapping[str, bytes], Mapping[str, Any]]
"""What is stored as one part: its key, its files, and facts for its manifest."""


class IndexStore:
    """The indexes under one root folder, which need not exist and may hold other things."""

    def __init__(self, root: Path | str, reporter: Reporter | None = None) -> None:
        self.root = Path(root).expanduser().absolute()
        self._reporter: Reporter = reporter or Silent()
        self._folders = Folders(self.root)
        self._known_paths: KnownPaths | None = None  # made when somebody first asks why an index is new

    def folder(self, content_hash: str) -> Path | None:
        """The folder of a document's index, None where there is none."""
        found = self._folders.find(content_hash)
        ours = (path for path in found if len(found) == 1 or folders.is_document_folder(path))
        return next(ours, found[0] if found else None)

    def probe(self, source: SourceFile, password: str | None, limits: Limits | None = None) -> Probe:
        """A first look at a document. Where its file has not changed since it was indexed, it is not read for its hash.

        A bundled document keeps no stamp: its file is hashed as fast. It is read apart, within `limits`.
        """
        return Probe(source, password=password, content_hash=self._known_hash(source), limits=limits or Limits())

    def _known_hash(self, source: SourceFile) -> str | None:
        if source.path is None:
            return None
        with suppress(OSError, DamagedFileError):
            asked = (str(source.path.absolute()), tuple(durable.stamp_of(source.path)))
            for folder in self._folders.named(source.name):
                known = bookkeeping.read_usage(folder) if (folder / bookkeeping.USAGE).is_file() else None
                if known and (known.path, known.stamp) == asked:
                    return known.content_hash
        return None

    def bytes(self, content_hash: str) -> int:
        """Size of everything that belongs to a document's index; 0 where there is none."""
        folder = self.folder(content_hash)
        return folders.folder_bytes(folder) if folder else 0

    def open(self, content_hash: str, name: str | None = None, path: str | None = None) -> StoredDocument | None:
        """What is stored of a document, proved; None where nothing is. Parts of an older format are noted.

        Raises StoredIndexError where any part of the document's index is damaged, foreign, or of a newer format; it
        calls the document by this name and path where they are given.
        """
        folder = self.folder(content_hash)
        if folder is None:
            return None
        called = None if name is None else Usage(name, path, content_hash)
        proved = prove_all(folder, content_hash, called)
        self._note_older(proved)
        return StoredDocument(proved, content_hash)

    def read_text(self, content_hash: str) -> Document | None:
        """The document as it was read, None where it isn't stored (or only in an older format). Raises as `open`."""
        stored = self.open(content_hash)
        document = stored.text() if stored else None
        if stored and document:
            stored.mark_used()
        return document

    def write_text(self, document: Document) -> None:
        """Store a document as read. Raises ResourceError or UsageError where it can't be written."""
        self.write(document)

    def write(
        self,
        document: Document,
        key: LeavesKey | None = None,
        leaves: Leaves | None = None,
        stamp: Sequence[int] = (),
    ) -> Path:
        """Store a document as read, and its leaves with it: a small document's take one file, written once.

        `stamp` is its file's from before it was read.
        Returns the document's folder. Raises ResourceError or UsageError where it can't be written.
        """
        content_hash = document.content_hash
        folder = self.folder(content_hash) or self._made_folder(content_hash, document.name)
        text: Part = (text_key(content_hash, document.recognised_by), text_files(document), text_facts(document))
        added = [text] if key is None or leaves is None else [text, _leaves_part(key, leaves)]
        if not (folder / "text").is_dir() and (has_bundle(folder) or is_small(text[1])):
            self._bundle(folder, Bundle(content_hash, document.name, _absolute(document.path)), added)
        else:
            for part in added:
                self._write_part(folder, content_hash, part)
        self.seen(content_hash, document.name, document.path, stamp=stamp)
        return folder

    def seen(
        self,
        content_hash: str,
        name: str,
        path: str | None,
        stored: StoredDocument | None = None,
        stamp: Sequence[int] = (),
    ) -> None:
        """Remember under which name and path the document was asked for last; `stored`: where it is already open."""
        folder = stored.folder if stored else self.folder(content_hash)
        if folder is not None:
            known, absolute = stored.usage if stored else folders.usage_or_none(folder), _absolute(path)
            kept = tuple(stamp) or (known.stamp if known and known.path == absolute else ())
            latest = Usage(name, absolute, content_hash, stamp=() if has_bundle(folder) else kept)
            bookkeeping.write_usage(folder, known, latest)
            if self._known_paths:
                self._known_paths.add(absolute, folder)

    def seen_too(self, content_hash: str, path: str) -> None:
        """Remember that another file has a document's content; the document keeps its name."""
        if folder := self.folder(content_hash):
            with suppress(DamagedFileError):
                bookkeeping.add_path(folder, bookkeeping.known_usage(folder), str(_absolute(path)))

    def read_second(self, content_hash: str, made_by: str) -> dict[int, str | None]:
        """The second extraction of a document's pages, as far as it is kept. StoredIndexError where it is damaged."""
        folder = self.folder(content_hash)
        try:
            return {} if folder is None else bookkeeping.read_second(folder, made_by)
        except DamagedFileError as problem:
            raise damaged(problem.path.parent, problem.path) from None

    def write_second(self, content_hash: str, pages: Mapping[int, str | None], made_by: str) -> None:
        """Keep the second extraction of pages. The text must be stored before."""
        bookkeeping.write_second(self._present_folder(content_hash), pages, made_by)

    def read_leaves(self, content_hash: str, key: LeavesKey) -> Leaves | None:
        """The stored leaves with a key, None where there are none. Raises as `open`."""
        stored = self.open(content_hash)
        return stored.leaves(key) if stored else None

    def write_leaves(self, content_hash: str, key: LeavesKey, leaves: Leaves) -> None:
        """Store a document's leaves. The text must be stored before."""
        folder, part = self._present_folder(content_hash), _leaves_part(key, leaves)
        if has_bundle(folder):
            self._bundle(folder, None, [part])
        else:
            self._write_part(folder, content_hash, part)

    def read_states(self, content_hash: str, key: StatesKey) -> LeafStates | None:
        """Stored late-interaction states, None where there are none."""
        found = self._found(content_hash, key)
        return states_from(read_part(*found)) if found else None

    def write_states(self, content_hash: str, key: StatesKey, states: LeafStates) -> None:
        """Store late-interaction states. The text must be stored before."""
        facts = {"base_name": key.base_name, "tokens": len(states.states)}
        self._write_part(self._present_folder(content_hash), content_hash, (key, states_files(states), facts))

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
        with folders.writer(folder, part_name(key), reporter):
            if find_part(folder, key, content_hash) is not None:
                folders.clear_leftovers(folder, part_name(key))  # of one that was cut off after it had its name
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
        return key if (folder / part_name(key)).is_dir() else folders.wider_trees(folder, key)

    def explain_new(self, path: str | None, content_hash: str, keys: Sequence[Key] = ()) -> str | None:
        """Why parts with these keys have to be made though the document was indexed before; None where it was not."""
        from sharedllm_cli.index.explain import KnownPaths, explain

        folder = self.folder(content_hash)
        if folder is not None:
            return explain(folder, keys)
        self._known_paths = self._known_paths or KnownPaths(self.root)
        return None if path is None else self._known_paths.explain(str(_absolute(path)), content_hash)

    def discard(self, content_hash: str) -> None:
        """Delete everything stored of a document, damaged or not; what others put into its folder stays.

        Raises UsageError while another process writes it.
        """
        folder = self.folder(content_hash)
        if folder is not None:
            folders.delete_document(folder)

    def _found(self, content_hash: str, key: Key) -> tuple[Path, Manifest] | None:
        folder = self.folder(content_hash)
        manifest = find_part(folder, key, content_hash) if folder else None
        return None if folder is None or manifest is None else (folder, manifest)

    def _write_part(self, folder: Path, content_hash: str, part: Part) -> None:
        key, files, facts = part
        with folders.writer(folder, part_name(key), self._reporter):
            if find_part(folder, key, content_hash) is not None:
                folders.clear_leftovers(folder, part_name(key))
            else:
                folders.write_part(folder, key, content_hash, files, facts)

    def _bundle(self, folder: Path, new: Bundle | None, added: Sequence[Part]) -> None:
        """Put parts into the bundle of a folder, or into a `new` one; those that are there stay."""
        with folders.writer(folder, folders.BUNDLE_PART, self._reporter):
            folders.clear_leftovers(folder, folders.BUNDLE_PART)
            there = prove_bundle(folder, new.content_hash if new else None)
            bundle = there if there is not None and there.format_version == FORMAT_VERSION else new
            if bundle is None:  # deleted since it was looked for
                raise _no_text(folder.name)
            for key, files, facts in added:
                bundle = bundle.with_missing(key, files, facts)
            if bundle is not there:
                with durable.writing(folder, INDEX_ELSEWHERE):
                    # What a power cut makes of the rename is an index of before, or none: the document is read again.
                    durable.replace_bytes(folder / BUNDLE, bundle.to_bytes(), sync_name=False)

    def _present_folder(self, content_hash: str) -> Path:
        folder = self.folder(content_hash)
        if folder is None:
            raise _no_text(content_hash[:16])
        return folder

    def _made_folder(self, content_hash: str, name: str) -> Path:
        with durable.writing(self.root, INDEX_ELSEWHERE):
            return self._folders.make(content_hash, name)

    def _note_older(self, proved: Proved) -> None:
        versions = {name: manifest.format_version for name, manifest in proved.manifests.items()}
        if proved.bundle:
            versions[BUNDLE] = proved.bundle.format_version
        for name, version in versions.items():
            if version < FORMAT_VERSION:
                self._reporter.note(
                    f"{name} of {folders.shown_name(proved.folder)} has format version {version}, now {FORMAT_VERSION}:"
                    " it is rebuilt"
                )


def _no_text(document: str) -> StoredIndexError:
    return StoredIndexError(f"the index has no text of the document {document}", hint="index it again")


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).absolute())


def _leaves_part(key: LeavesKey, leaves: Leaves) -> Part:
    facts = {"tokens": leaves.token_count, "chunks": len(leaves.trees), "leaves": leaves.leaf_count}
    return key, leaves_files(leaves), facts
