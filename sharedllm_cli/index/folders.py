"""The folders of documents under a root, and the parts in each: found, written, published and removed.

    book-pdf-0123456789abcdef/      a document's folder: slug of its name, first 16 characters of its content hash
        text/                       a finished part: its files and manifest.json
        leaves-<12>/  trees-<12>/   more parts, each complete in itself
        bundle.safetensors          text and leaves of a small document instead, in one file (bundle.py)
        stamps.json  usage.json  second.json    bookkeeping.py
        .<part>.lock                held while that part is written; for bundles .bundle.lock beside the folders
        .<part>.unfinished/         a part under way; .<part>.journal.jsonl says how far a build came
        .<part>.old/                a part that is being replaced

Only a finished part has a name without a dot, and it gets it by a rename: whatever is killed leaves nothing that looks
whole. Nothing is deleted but files that carry the names this room writes.
"""

from __future__ import annotations

import os
import re
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from sharedllm_cli import durable
from sharedllm_cli.errors import UsageError
from sharedllm_cli.home import INDEX_ELSEWHERE
from sharedllm_cli.index.bookkeeping import SECOND, STAMPS, USAGE, Stamps, Usage, known_usage
from sharedllm_cli.index.bundle import BUNDLE, peek
from sharedllm_cli.index.manifest import (
    MANIFEST,
    PART_NAME,
    DamagedFileError,
    FileFact,
    Key,
    Manifest,
    TreesKey,
    UnreadableManifestError,
    new_manifest,
    part_name,
    read_manifest,
)
from sharedllm_cli.progress import Reporter

HASH_CHARACTERS = 16
"""So much of a content hash ends a folder's name."""
_SLUG_CHARACTERS = 40
_SETTLED_NANOSECONDS = 20_000_000
"""A root that changed less than this ago may change again without another time of change."""
_NEVER = -1
FOLDER_NAME = re.compile(r".+-[0-9a-f]{16}")
BUNDLE_PART = "bundle"
"""What a bundle is called where it is written or deleted as a whole."""
_BUNDLE_WAIT_SECONDS = 5.0
"""So long whoever deletes waits for the writer of some bundle, which takes milliseconds."""
_ABANDONED_SECONDS = 60.0
_BUNDLE_BESIDE = re.compile(rf"\.{re.escape(BUNDLE)}\.\d+\.new")
_WORK_NAME = re.compile(rf"\.(?P<part>{PART_NAME.pattern})\.(?P<state>unfinished|old|lock|journal\.jsonl)")
_BESIDE_NAME = re.compile(rf"\.(?:(?:stamps|usage|second)\.json|\.(?:{PART_NAME.pattern})\.journal\.jsonl)\.\d+\.new")
_FILE_NAME = re.compile(
    r"manifest\.json|text\.txt|pages\.jsonl|document\.json|(?:tokens|lexical|states)\.safetensors|lexical-terms\.json"
    r"|keys-values-\d{5}\.safetensors(?:\.partial)?"
)


def is_document_folder(path: Path) -> bool:
    """Whether a folder is one of ours: by its name, and by something in it that only this room writes."""
    if not FOLDER_NAME.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
        return False
    if (path / USAGE).is_file() or (path / BUNDLE).is_file() or leftovers(path):
        return True
    return any((part / MANIFEST).is_file() for part in finished_parts(path))


def was_emptied(path: Path) -> bool:
    """Whether a folder has the name of a document's and at most bookkeeping, locks and empty parts in it."""
    if not FOLDER_NAME.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
        return False
    empty = {part.name for part in finished_parts(path) if not names_in(part)}
    return all(name in empty or name in (STAMPS, SECOND) or _WORK_NAME.fullmatch(name) for name in names_in(path))


def finished_parts(folder: Path, names: Sequence[str] | None = None) -> list[Path]:
    """The folders of the finished parts, `text` first; `names` are those in the folder, where the caller has them."""
    found = (folder / name for name in (names_in(folder) if names is None else names) if PART_NAME.fullmatch(name))
    return sorted((path for path in found if path.is_dir() and not path.is_symlink()), key=_text_first)


def _text_first(part: Path) -> tuple[bool, str]:
    return part.name != "text", part.name


def names_in(folder: Path) -> list[str]:
    """The names of all that is in a folder, sorted; none where there is no such folder."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(os.listdir(folder))
    return []


def manifests(folder: Path) -> list[Manifest]:
    """What made the parts of a folder, bundled ones too, as far as that can be read; none of them is proved."""
    bundle = peek(folder)
    found = [] if bundle is None else [*bundle.manifests.values()]
    for part in finished_parts(folder):
        with suppress(UnreadableManifestError):
            found.append(read_manifest(part))
    return found


def leftovers(folder: Path) -> dict[str, list[Path]]:
    """What killed or running writers left in a folder: part name to unfinished folders, old ones and journals."""
    found: dict[str, list[Path]] = {}
    for name in names_in(folder):
        match = _WORK_NAME.fullmatch(name)
        if match and match["state"] != "lock":
            found.setdefault(match["part"], []).append(folder / name)
        elif _BUNDLE_BESIDE.fullmatch(name):
            found.setdefault(BUNDLE_PART, []).append(folder / name)
    return found


def shown_name(folder: Path) -> str:
    """What the user calls the document of a folder."""
    usage = usage_or_none(folder)
    return usage.name if usage else folder.name


def usage_or_none(folder: Path) -> Usage | None:
    """How the document of a folder was called, None where that is not known or damaged."""
    with suppress(DamagedFileError):
        return known_usage(folder)
    return None


def wider_trees(folder: Path, key: TreesKey) -> TreesKey | None:
    """The key of finished trees that differ in their layers alone and hold those asked for among them
    (docs/method.md §5).

    Those of the fewest layers; None where there are none. Nothing is proved: opening them does.
    """
    wider: list[TreesKey] = []
    for part in finished_parts(folder):
        with suppress(UnreadableManifestError):
            manifest = read_manifest(part)
            first, end = manifest.key.get("first_layer", 0), manifest.key.get("lower_layers", 0)
            stored = replace(key, first_layer=first, lower_layers=end)
            if first <= key.first_layer and key.lower_layers <= end and manifest.key == stored.identity():
                wider.append(stored)
    return min(wider, key=lambda stored: len(stored.layers), default=None)


def _lock(folder: Path, name: str) -> FileLock:
    """The lock of a part. All bundles share one: each is written in a moment, and a lock is a file."""
    path = folder.parent / f".{name}.lock" if name == BUNDLE_PART else folder / f".{name}.lock"
    return FileLock(path, mode=durable.PRIVATE_FILE)


@contextmanager
def writer(folder: Path, name: str, reporter: Reporter) -> Iterator[None]:
    """Hold the lock of a part; waits for another process, with a note."""
    lock = _lock(folder, name)
    with durable.writing(folder, INDEX_ELSEWHERE):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            reporter.note(f"another process is writing the index of {shown_name(folder)}; waiting for it")
            lock.acquire(poll_interval=0.1)
    try:
        yield
    finally:
        lock.release()


def is_being_written(folder: Path, name: str) -> bool:
    """Whether some process holds the lock of a part."""
    lock = _lock(folder, name)
    if not Path(lock.lock_file).exists():
        return False
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def unfinished_folder(folder: Path, name: str) -> Path:
    """Where a part is written before it has its name."""
    return folder / f".{name}.unfinished"


def journal_path(folder: Path, name: str) -> Path:
    """The list of finished shards of a build, one JSON line each."""
    return folder / f".{name}.journal.jsonl"


def write_part(
    folder: Path, key: Key, content_hash: str, files: Mapping[str, bytes], facts: Mapping[str, object]
) -> Manifest:
    """Write a small part whole and publish it. The caller holds its lock."""
    name = part_name(key)
    beside = unfinished_folder(folder, name)
    with durable.writing(folder, INDEX_ELSEWHERE):
        delete_folder(beside)
        durable.make_private_folder(beside)
        for file, data in files.items():
            durable.write_bytes(beside / file, data)
    facts_of_files = {file: FileFact(len(data), durable.sha256_of_bytes(data)) for file, data in files.items()}
    return publish(folder, new_manifest(key, content_hash, facts, facts_of_files), name)


def publish(folder: Path, manifest: Manifest, name: str) -> Manifest:
    """Give the finished files of `.<name>.unfinished` their manifest and their name. The caller holds the lock."""
    beside, target, old = unfinished_folder(folder, name), folder / name, folder / f".{name}.old"
    with durable.writing(folder, INDEX_ELSEWHERE):
        durable.write_bytes(beside / MANIFEST, manifest.to_bytes())
        durable.sync_folder(beside)
        written = {file: durable.stamp_of(beside / file) for file in manifest.files}
        delete_folder(old)
        if target.exists():
            target.rename(old)
        beside.rename(target)
        durable.sync_folder(folder)
        delete_folder(old)
    # The bytes were hashed on their way to the disk, so they count as read whole.
    with suppress(DamagedFileError):
        stamps = Stamps(folder)
        stamps.forget(name)
        for file, stamp in written.items():
            stamps.remember(target, file, stamp)
        stamps.save()
    return manifest


def delete_folder(part: Path) -> None:
    """Delete what this room wrote in a part's folder, and the folder itself when nothing else is in it."""
    if part.is_symlink() or not part.is_dir():
        return
    for name in names_in(part):
        if _FILE_NAME.fullmatch(name) and not (part / name).is_dir():
            (part / name).unlink()
    with suppress(OSError):
        part.rmdir()


def delete_part(folder: Path, name: str) -> None:
    """Delete a part, finished or not, with its leftovers. Raises UsageError while another process writes it."""
    with _locked(folder, [name]):
        _delete_part(folder, name)


def delete_leftovers(folder: Path, name: str) -> None:
    """Delete what an interrupted writer of a part left. Raises UsageError while another process writes it."""
    with _locked(folder, [name]), durable.writing(folder, INDEX_ELSEWHERE):
        _delete_leftovers(folder, name)


def clear_leftovers(folder: Path, name: str) -> None:
    """Delete what killed writers left of a part, and of the bookkeeping long ago, as far as the folder can be written.

    The caller holds the part's lock; bookkeeping has none, so what was written just now may be somebody's.
    """
    with suppress(OSError):
        _delete_leftovers(folder, name)
        for path in (folder / name for name in names_in(folder) if _BESIDE_NAME.fullmatch(name)):
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()


def _delete_leftovers(folder: Path, name: str) -> None:
    for path in leftovers(folder).get(name, []):
        if path.is_dir():
            delete_folder(path)
        else:
            path.unlink()


def _delete_part(folder: Path, name: str) -> None:
    with durable.writing(folder, INDEX_ELSEWHERE):
        if name == BUNDLE_PART:
            (folder / BUNDLE).unlink(missing_ok=True)
        else:
            delete_folder(folder / name)
        _delete_leftovers(folder, name)
        with suppress(DamagedFileError):
            stamps = Stamps(folder)
            stamps.forget(name)
            stamps.save()


def delete_document(folder: Path) -> None:
    """Delete every part and the bookkeeping of a document, and its folder when nothing else is in it.

    Raises UsageError while another process writes one of the parts.
    """
    names = {part.name for part in finished_parts(folder)} | set(leftovers(folder))
    if (folder / BUNDLE).is_file():
        names.add(BUNDLE_PART)
    with _locked(folder, sorted(names)):
        for name in names:
            _delete_part(folder, name)
        with durable.writing(folder, INDEX_ELSEWHERE):
            for name in names_in(folder):
                match = _WORK_NAME.fullmatch(name)
                ours = name in (STAMPS, USAGE, SECOND) or _BESIDE_NAME.fullmatch(name)
                if ours or (match and match["state"] == "lock"):
                    (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


@contextmanager
def _locked(folder: Path, names: list[str]) -> Iterator[None]:
    with ExitStack() as held:
        for name in names:
            lock = _lock(folder, name)
            try:
                with durable.writing(folder, INDEX_ELSEWHERE):
                    lock.acquire(timeout=_BUNDLE_WAIT_SECONDS if name == BUNDLE_PART else 0)
            except Timeout:
                raise UsageError(
                    f"the index of {shown_name(folder)} is being written by another process",
                    hint="try again when it has finished",
                ) from None
            held.callback(lock.release)
        yield


def folder_bytes(folder: Path) -> int:
    """Size of everything of ours in a document's folder, finished or not."""
    total = 0
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            work = _WORK_NAME.fullmatch(entry.name)
            if entry.is_dir(follow_symlinks=False):
                if PART_NAME.fullmatch(entry.name) or work:
                    total += sum(path.stat().st_size for path in os.scandir(entry.path) if path.is_file())
            elif entry.name in (BUNDLE, STAMPS, USAGE, SECOND) or work or _BUNDLE_BESIDE.fullmatch(entry.name):
                total += entry.stat().st_size
    return total


_MOST_NAMESAKES = 4


class Folders:
    """The folders under one root by the beginning of the content hash that ends their names.

    A question over a thousand documents looks a thousand folders up, so the root is listed once, and again only when it
    has changed. A folder that another process makes within the same moment of the file system's clock may be missed
    once; its document is then read again, and nothing worse.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[str, list[str]] = {}
        self._beginning: dict[str, list[str]] = {}
        self._listed = _NEVER
        self._made = _NEVER
        self._settled = False

    def find(self, content_hash: str) -> list[Path]:
        """The folders that carry a document's hash, by name; there may be none, and some may be of other programs."""
        ending = content_hash[:HASH_CHARACTERS]
        found = self._present(ending)
        if not found and not (self._settled and self._listed == self._changed()):
            self._list()
            found = self._present(ending)
        return found

    def make(self, content_hash: str, name: str) -> Path:
        """Make the folder of a document that is known by this name."""
        ending = content_hash[:HASH_CHARACTERS]
        folder = self._root / f"{slug(name)}-{ending}"
        before = self._changed()
        durable.make_private_folder(folder)
        self._note(folder.name, ending)
        if before == self._listed:  # nothing but this has changed since, so it need not be listed again
            self._listed = self._made = self._changed()
        return folder

    def named(self, name: str) -> list[Path]:
        """The first few folders of documents that were first known by this name."""
        if not (self._settled and self._listed == self._changed()):
            self._list()
        return [self._root / folder for folder in self._beginning.get(slug(name), ())[:_MOST_NAMESAKES]]

    def _present(self, ending: str) -> list[Path]:
        found = (self._root / name for name in self._names.get(ending, ()))
        return [path for path in found if path.is_dir()]

    def _changed(self) -> int:
        try:
            return os.stat(self._root).st_mtime_ns
        except OSError:
            return _NEVER

    def _list(self) -> None:
        self._listed = self._changed()
        self._settled = self._listed == self._made or time.time_ns() - self._listed > _SETTLED_NANOSECONDS
        self._names, self._beginning = {}, {}
        try:
            names = sorted(os.listdir(self._root))
        except OSError:
            return
        for name in names:
            _, hyphen, ending = name.rpartition("-")
            if hyphen and len(ending) == HASH_CHARACTERS:
                self._note(name, ending)

    def _note(self, name: str, ending: str) -> None:
        self._names.setdefault(ending, []).append(name)
        self._beginning.setdefault(name[: -len(ending) - 1], []).append(name)


def slug(name: str) -> str:
    """A document's name as part of a folder's: lower-case ASCII letters, digits and hyphens, at most 40."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_SLUG_CHARACTERS].strip("-") or "document"
