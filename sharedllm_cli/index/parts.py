"""One document's folder and the parts in it: how a part is found, proved, written, published and removed.

    book-pdf-0123456789abcdef/      a document's folder: slug of its name, first 16 characters of its content hash
        text/                       a finished part: its files and manifest.json
        leaves-<12>/  trees-<12>/   more parts, each complete in itself
        stamps.json  usage.json  second.json    bookkeeping (stamps.py, usage.py, second_pages.py)
        .<part>.lock                held while that part is written
        .<part>.unfinished/         a part under way; .<part>.journal.jsonl says how far a build came
        .<part>.old/                a part that is being replaced

Only a finished part has a name without a dot, and it gets it by a rename: whatever is killed leaves nothing that looks
whole. Nothing is deleted but files that carry the names this room writes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from sharedllm_cli import durable
from sharedllm_cli.errors import StoredIndexError, UsageError
from sharedllm_cli.home import INDEX_ELSEWHERE
from sharedllm_cli.index.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    PART_NAME,
    FileFact,
    ForeignManifestError,
    Key,
    Manifest,
    TreesKey,
    UnreadableManifestError,
    fingerprint,
    new_manifest,
    part_name,
    read_manifest,
)
from sharedllm_cli.index.second_pages import SECOND, read_second
from sharedllm_cli.index.stamps import STAMPS, DamagedFileError, Stamps, stamp_of
from sharedllm_cli.index.usage import USAGE, Usage, read_usage
from sharedllm_cli.progress import Reporter

FOLDER_NAME = re.compile(r".+-[0-9a-f]{16}")
_WORK_NAME = re.compile(rf"\.(?P<part>{PART_NAME.pattern})\.(?P<state>unfinished|old|lock|journal\.jsonl)")
_BESIDE_NAME = re.compile(r"\.(?:stamps|usage|second)\.json\.\d+\.new")
_FILE_NAME = re.compile(
    r"manifest\.json|text\.txt|pages\.jsonl|document\.json|(?:tokens|lexical|states)\.safetensors|lexical-terms\.json"
    r"|keys-values-\d{5}\.safetensors(?:\.partial)?"
)


def is_document_folder(path: Path) -> bool:
    """Whether a folder is one of ours: by its name, and by something in it that only this room writes."""
    if not FOLDER_NAME.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
        return False
    if (path / USAGE).is_file() or leftovers(path):
        return True
    return any((part / MANIFEST).is_file() for part in finished_parts(path))


def finished_parts(folder: Path) -> list[Path]:
    """The folders of the finished parts, `text` first."""
    found = (path for path in _listed(folder) if PART_NAME.fullmatch(path.name))
    return sorted((path for path in found if path.is_dir() and not path.is_symlink()), key=_text_first)


def _text_first(part: Path) -> tuple[bool, str]:
    return part.name != "text", part.name


def _listed(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(folder.iterdir())
    return []


def leftovers(folder: Path) -> dict[str, list[Path]]:
    """What killed or running writers left in a folder: part name to unfinished folders, old ones and journals."""
    found: dict[str, list[Path]] = {}
    for path in _listed(folder):
        match = _WORK_NAME.fullmatch(path.name)
        if match and match["state"] != "lock":
            found.setdefault(match["part"], []).append(path)
    return found


def shown_name(folder: Path) -> str:
    """What the user calls the document of a folder."""
    usage = _usage_or_none(folder)
    return usage.name if usage else folder.name


def _usage_or_none(folder: Path) -> Usage | None:
    with suppress(DamagedFileError):
        return read_usage(folder)
    return None


def damaged(folder: Path, path: Path) -> StoredIndexError:
    """The error of a file that is not what was written."""
    usage = _usage_or_none(folder)
    name = usage.name if usage else folder.name
    source = shlex.quote((usage.path or usage.name) if usage else "DOCUMENT")
    relative = path.relative_to(folder) if path.is_relative_to(folder) else path
    return StoredIndexError(
        f"the index of {name} is damaged (file {folder.name}/{relative.as_posix()})",
        hint=f"rebuild it with: sharedllm index --reindex {source} (or ask with --reindex)",
    )


def _foreign(folder: Path, part: Path, what: str) -> StoredIndexError:
    return StoredIndexError(
        f"{folder.name}/{part.name} {what}",
        hint="move it away, rebuild with --reindex, or choose another --index-dir",
    )


def prove(folder: Path, part: Path, content_hash: str | None, stamps: Stamps) -> Manifest:
    """The manifest of a finished part whose every file is what was written.

    Raises StoredIndexError for a damaged part, one of another document, or one of a newer format. A part of an older
    format is returned unproved: it is to be rebuilt, not read.
    """
    try:
        manifest = read_manifest(part)
    except ForeignManifestError:
        raise _foreign(folder, part, "was not written by sharedllm") from None
    except UnreadableManifestError:
        raise damaged(folder, part / MANIFEST) from None
    if manifest.format_version > FORMAT_VERSION:
        raise StoredIndexError(
            f"the index of {shown_name(folder)} has format version {manifest.format_version}; "
            f"this release reads {FORMAT_VERSION}",
            hint="update sharedllm, or rebuild the index with --reindex",
        )
    if content_hash is not None and manifest.content_hash != content_hash:
        raise _foreign(folder, part, "belongs to another document")
    if manifest.format_version == FORMAT_VERSION:
        if part.name != manifest.part_name:
            raise _foreign(folder, part, f"holds another part ({manifest.part_name})")
        try:
            stamps.check(part, manifest)
        except DamagedFileError as problem:
            raise damaged(folder, problem.path) from None
    return manifest


def prove_all(folder: Path, content_hash: str | None) -> None:
    """Prove every finished part and the bookkeeping of a folder; milliseconds when nothing changed.

    Raises StoredIndexError as `prove` does.
    """
    try:
        read_usage(folder)
        read_second(folder)
        stamps = Stamps(folder)
    except DamagedFileError as problem:
        raise damaged(folder, problem.path) from None
    for part in finished_parts(folder):
        prove(folder, part, content_hash, stamps)
    stamps.save()


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
        raise _foreign(folder, part, "was made for something else")
    return manifest


def wider_trees(folder: Path, key: TreesKey) -> TreesKey | None:
    """The key of finished trees that differ in their layers alone and hold those asked for among them (METHOD 5).

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


@contextmanager
def writer(folder: Path, name: str, reporter: Reporter) -> Iterator[None]:
    """Hold the lock of a part; waits for another process, with a note."""
    lock = FileLock(folder / f".{name}.lock", mode=durable.PRIVATE_FILE)
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
    path = folder / f".{name}.lock"
    if not path.exists():
        return False
    lock = FileLock(path, mode=durable.PRIVATE_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def unfinished_folder(folder: Path, name: str) -> Path:
    return folder / f".{name}.unfinished"


def journal_path(folder: Path, name: str) -> Path:
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
        written = {file: stamp_of(beside / file) for file in manifest.files}
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
    for path in _listed(part):
        if _FILE_NAME.fullmatch(path.name) and not path.is_dir():
            path.unlink()
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


def _delete_leftovers(folder: Path, name: str) -> None:
    for path in leftovers(folder).get(name, []):
        if path.is_dir():
            delete_folder(path)
        else:
            path.unlink()


def _delete_part(folder: Path, name: str) -> None:
    with durable.writing(folder, INDEX_ELSEWHERE):
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
    with _locked(folder, sorted(names)):
        for name in names:
            _delete_part(folder, name)
        with durable.writing(folder, INDEX_ELSEWHERE):
            for path in _listed(folder):
                match = _WORK_NAME.fullmatch(path.name)
                ours = path.name in (STAMPS, USAGE, SECOND) or _BESIDE_NAME.fullmatch(path.name)
                if ours or (match and match["state"] == "lock"):
                    path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


@contextmanager
def _locked(folder: Path, names: list[str]) -> Iterator[None]:
    with ExitStack() as held:
        for name in names:
            lock = FileLock(folder / f".{name}.lock", mode=durable.PRIVATE_FILE)
            try:
                with durable.writing(folder, INDEX_ELSEWHERE):
                    lock.acquire(timeout=0)
            except Timeout:
                raise UsageError(
                    f"the index of {shown_name(folder)} is being written by another process",
                    hint="try again when it has finished",
                ) from None
            held.callback(lock.release)
        yield


def folder_bytes(folder: Path) -> int:
    """Size of everything of ours in a document's folder, finished or not."""
    parts = [*finished_parts(folder), *(path for paths in leftovers(folder).values() for path in paths)]
    files = [folder / STAMPS, folder / USAGE, folder / SECOND]
    for part in parts:
        files += _listed(part) if part.is_dir() else [part]
    return sum(path.stat().st_size for path in files if path.is_file())
