"""All indexes under a root folder: what there is, whether it is whole, and what could go.

What `sharedllm indexes list · show · verify · rm · prune` asks. Reads manifests; opens no tensor and no model, and
never touches what this room has not written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sharedllm_cli import durable
from sharedllm_cli.errors import UsageError
from sharedllm_cli.index import folders
from sharedllm_cli.index.bookkeeping import (
    CARRIED,
    SECOND,
    STAMPS,
    USAGE,
    Stamps,
    Usage,
    known_usage,
    last_used,
    read_second,
    read_usage,
)
from sharedllm_cli.index.bundle import BUNDLE, ForeignBundleError, has_bundle, read_bundle
from sharedllm_cli.index.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    DamagedFileError,
    Manifest,
    UnreadableManifestError,
    read_manifest,
)
from sharedllm_cli.progress import Reporter, Task

_SHORTEST_PREFIX = 4
_DAY_SECONDS = 86400
_UNFINISHED = "was not finished; the next `sharedllm index` goes on, `sharedllm indexes prune` deletes it"
_NEVER_FINISHED = (
    "is missing: its writer was killed, or somebody emptied the folder; the next `sharedllm index` makes it"
)


@dataclass(frozen=True)
class PartEntry:
    """One part of a document's index. `complete` is False for an unfinished build; `problem`: what is wrong with it.

    `key` and `facts` are the manifest's: number of tokens, chunk size, model, M, stored type, …
    """

    name: str
    kind: str
    complete: bool
    bytes: int
    made: str | None
    format_version: int | None
    key: dict[str, Any]
    facts: dict[str, Any]
    problem: str | None = None

    @property
    def model(self) -> str | None:
        """Name of the base model of trees or states."""
        name = self.facts.get("base_name")
        return None if name is None else str(name)


@dataclass(frozen=True)
class Entry:
    """The index of one document. Dates are ISO 8601 in UTC; `tokens` is None while no leaves are stored.

    `pages` is 0 for a format without pages.

    `source` is the file it was asked for last, `elsewhere` those before, with the same content then.
    """

    name: str
    folder: Path
    content_hash: str | None
    source: str | None
    pages: int | None
    tokens: int | None
    bytes: int
    parts: tuple[PartEntry, ...]
    made: str | None
    used: str | None
    elsewhere: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every part is finished and has a readable manifest."""
        return bool(self.parts) and all(part.complete and part.problem is None for part in self.parts)


@dataclass(frozen=True)
class Problem:
    """Something `verify` found: a file, relative to the document's folder, and what is wrong with it.

    `unfinished` is a build that the next `sharedllm index` goes on with; everything else calls for a new one.
    """

    file: str
    what: str
    unfinished: bool = False


@dataclass(frozen=True)
class Prunable:
    """Something that could be deleted and why: a whole document's index (`part` is None), one part of it, or what an
    interrupted writer left of a part (`leftover`).
    """

    entry: Entry
    part: str | None
    why: str
    bytes: int
    leftover: bool = False


def entries(root: Path) -> list[Entry]:
    """Every document's index under a root, by name, those that somebody emptied too; all else there is passed over."""
    if not root.is_dir():
        return []
    ours = (path for path in sorted(root.iterdir()) if folders.is_document_folder(path) or folders.was_emptied(path))
    found = [_entry(folder) for folder in ours]
    return sorted(found, key=lambda entry: (entry.name.casefold(), entry.folder.name))


def _entry(folder: Path) -> Entry:
    usage: Usage | None = None
    with suppress(DamagedFileError):
        usage = known_usage(folder)
    found = (*_bundled(folder), *map(_finished, folders.finished_parts(folder)), *_unfinished(folder))
    facts = {part.kind: part.facts for part in reversed(found) if part.complete}
    text = facts.get("text", {})
    used = last_used(folder)
    dates = [part.made for part in found if part.made]
    return Entry(
        name=usage.name if usage else str(text.get("name", folder.name)),
        folder=folder,
        content_hash=usage.content_hash if usage else _hash_of(folder),
        source=usage.path if usage else text.get("path"),
        pages=text.get("pages") if text.get("paged", True) else 0,
        tokens=facts.get("leaves", {}).get("tokens"),
        bytes=folders.folder_bytes(folder),
        parts=found,
        made=min(dates, default=None),
        used=None if used is None else datetime.fromtimestamp(used, UTC).isoformat(timespec="seconds"),
        elsewhere=usage.elsewhere if usage else (),
    )


def _hash_of(folder: Path) -> str | None:
    return next((manifest.content_hash for manifest in folders.manifests(folder)), None)


def _bundled(folder: Path) -> list[PartEntry]:
    """The parts in a folder's bundle; the bundle itself where it can't be read."""
    try:
        bundle = read_bundle(folder)
    except (DamagedFileError, ForeignBundleError) as problem:
        return [_whole_bundle(folder, None, problem.what)]
    if bundle is None:
        return []
    if bundle.format_version != FORMAT_VERSION:
        return [_whole_bundle(folder, bundle.format_version, _other_version(bundle.format_version))]
    return [
        _part_entry(name, manifest, sum(fact.size for fact in manifest.files.values()))
        for name, manifest in bundle.manifests.items()
    ]


def _part_entry(name: str, manifest: Manifest, size: int) -> PartEntry:
    version = manifest.format_version
    problem = None if version == FORMAT_VERSION else _other_version(version)
    kind, key, facts = _kind(name), dict(manifest.key), dict(manifest.facts)
    return PartEntry(name, kind, True, size, manifest.made_at, version, key, facts, problem)


def _whole_bundle(folder: Path, version: int | None, problem: str) -> PartEntry:
    size = (folder / BUNDLE).stat().st_size
    return PartEntry(folders.BUNDLE_PART, folders.BUNDLE_PART, True, size, None, version, {}, {}, problem)


def _other_version(version: int) -> str:
    return f"has format version {version}, this release reads {FORMAT_VERSION}"


def _finished(part: Path) -> PartEntry:
    size = sum(path.stat().st_size for path in part.iterdir() if path.is_file())
    try:
        manifest = read_manifest(part)
    except UnreadableManifestError as problem:
        return PartEntry(part.name, _kind(part.name), True, size, None, None, {}, {}, problem.message)
    return _part_entry(part.name, manifest, size)


def _kind(name: str) -> str:
    return name.partition("-")[0]


def _unfinished(folder: Path) -> list[PartEntry]:
    found = []
    for name, paths in folders.leftovers(folder).items():
        files = [file for path in paths for file in (path.iterdir() if path.is_dir() else [path]) if file.is_file()]
        size = sum(file.stat().st_size for file in files)
        found.append(PartEntry(name, _kind(name), False, size, None, None, {}, {}))
    return found


def find(root: Path, text: str) -> Entry:
    """The one index that a user means: by folder or document name, source path, the file itself, or hash prefix.

    Raises UsageError where none or several fit.
    """
    known = entries(root)
    path = Path(text).expanduser()
    absolute = str(path.absolute())
    content_hash = None
    with suppress(OSError):
        content_hash = durable.sha256_of(path)
    prefix = text.lower() if len(text) >= _SHORTEST_PREFIX else None
    rules: tuple[Callable[[Entry], bool], ...] = (
        lambda entry: entry.folder.name == text or str(entry.folder) == absolute,
        lambda entry: content_hash is not None and entry.content_hash == content_hash,
        lambda entry: entry.source == absolute,
        lambda entry: entry.name == text,
        lambda entry: prefix is not None and (entry.content_hash or "").startswith(prefix),
    )
    for rule in rules:
        fitting = [entry for entry in known if rule(entry)]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            folders = ", ".join(entry.folder.name for entry in fitting)
            raise UsageError(f"{text!r} matches {len(fitting)} indexes", hint=f"name one of them: {folders}")
    raise UsageError(f"there is no index of {text!r}", hint="sharedllm indexes list shows what there is")


def verify(entry: Entry, reporter: Reporter) -> list[Problem]:
    """Read every byte of a document's index and compare it with the manifests; an empty list: all is whole."""
    folder = entry.folder
    problems = [*_bookkeeping_problems(folder), *_leftover_problems(folder)]
    stamps = None if any(problem.file == STAMPS for problem in problems) else Stamps(folder)
    found = folders.finished_parts(folder)
    if not any(part.kind in ("text", folders.BUNDLE_PART) and part.complete for part in entry.parts):
        if any(part.complete for part in entry.parts) or (folder / STAMPS).exists() or (folder / USAGE).exists():
            problems.append(Problem("text", "is missing"))
        elif not problems:
            problems.append(Problem("text", _NEVER_FINISHED, True))
    lost = stamps.parts() - {part.name for part in found} - {"text"} if stamps else set()
    problems += [Problem(name, "is missing") for name in sorted(lost)]
    with reporter.task(f"verifying {entry.name}", entry.bytes, "bytes") as task:
        problems += _bundle_problems(entry, task)
        for part in found:
            problems += _part_problems(part, entry.content_hash, stamps, task)
    if stamps:
        stamps.save()
    return problems


def _bookkeeping_problems(folder: Path) -> list[Problem]:
    problems = []
    readers: dict[str, Callable[[Path], object]] = {STAMPS: Stamps, USAGE: read_usage, SECOND: read_second}
    for name, read in readers.items():
        try:
            read(folder)
        except DamagedFileError as problem:
            problems.append(Problem(name, problem.what))
    return problems


def _leftover_problems(folder: Path) -> list[Problem]:
    return [
        Problem(name, _UNFINISHED, True)
        for name in folders.leftovers(folder)
        if not folders.is_being_written(folder, name)
    ]


def _bundle_problems(entry: Entry, task: Task) -> list[Problem]:
    try:
        bundle = read_bundle(entry.folder)
        task.advance(0 if bundle is None else sum(map(len, bundle.files.values())))
    except (DamagedFileError, ForeignBundleError) as problem:
        return [Problem(BUNDLE, problem.what)]
    if bundle is not None and bundle.format_version != FORMAT_VERSION:
        return [Problem(BUNDLE, _other_version(bundle.format_version))]
    if bundle is not None and entry.content_hash not in (None, bundle.content_hash):
        return [Problem(BUNDLE, "belongs to another document")]
    return []


def _part_problems(part: Path, content_hash: str | None, stamps: Stamps | None, task: Task) -> list[Problem]:
    try:
        manifest = read_manifest(part)
    except UnreadableManifestError:
        return [Problem(f"{part.name}/{MANIFEST}", "is missing, damaged, or was not written by sharedllm")]
    problems = _manifest_problems(part, manifest, content_hash)
    for name, fact in manifest.files.items():
        path, label = part / name, f"{part.name}/{name}"
        try:
            stamp = durable.stamp_of(path)
            digest = durable.sha256_of(path, task.advance)
        except OSError:
            problems.append(Problem(label, "is missing or can't be read"))
            continue
        if stamp[0] != fact.size:
            problems.append(Problem(label, f"has {stamp[0]} bytes instead of {fact.size}"))
        elif digest != fact.sha256:
            problems.append(Problem(label, "differs from what was written"))
        elif stamps:
            stamps.remember(part, name, stamp)
    known = {MANIFEST, *manifest.files}
    strange = sorted(path.name for path in part.iterdir() if path.name not in known and not path.name.startswith("."))
    return [*problems, *(Problem(f"{part.name}/{name}", "does not belong to the index") for name in strange)]


def _manifest_problems(part: Path, manifest: Manifest, content_hash: str | None) -> list[Problem]:
    label = f"{part.name}/{MANIFEST}"
    if manifest.format_version != FORMAT_VERSION:
        return [Problem(label, _other_version(manifest.format_version))]
    problems = []
    if content_hash is not None and manifest.content_hash != content_hash:
        problems.append(Problem(label, "belongs to another document"))
    if part.name != manifest.part_name:
        problems.append(Problem(label, f"belongs to another part ({manifest.part_name})"))
    return problems


def carried(root: Path, entry: Entry) -> list[Entry]:
    """The indexes of what a document carries and no file holds: they go with its own."""
    beginning = f"{entry.name}{CARRIED}"
    return [
        one
        for one in entries(root)
        if one.source is None and one.name.startswith(beginning)
        if not any(Path(path).exists() for path in one.elsewhere)
    ]


def remove(entry: Entry) -> None:
    """Delete a document's index, whole or damaged. Raises UsageError while another process writes it."""
    folders.delete_document(entry.folder)


def prunable(root: Path, older_than_days: float | None = None) -> list[Prunable]:
    """What could go: unfinished builds that nobody works on, parts of an older format, indexes of documents whose
    file is gone or has changed, and, where days are given, indexes not used for longer. Nothing is deleted.
    """
    found = []
    for entry in entries(root):
        why = _reason(entry, older_than_days)
        if why and not any(folders.is_being_written(entry.folder, part.name) for part in entry.parts):
            found.append(Prunable(entry, None, why, entry.bytes))
            inside = carried(root, entry) if entry.source is not None else []
            found += [Prunable(one, None, f"{entry.name} carried it", one.bytes) for one in inside]
            continue
        for part in entry.parts:
            if not part.complete and not folders.is_being_written(entry.folder, part.name):
                found.append(Prunable(entry, part.name, "its building was interrupted", part.bytes, leftover=True))
            elif part.complete and part.format_version is not None and part.format_version < FORMAT_VERSION:
                found.append(Prunable(entry, part.name, f"has format version {part.format_version}", part.bytes))
    return found


def _reason(entry: Entry, older_than_days: float | None) -> str | None:
    """Why a whole document's index could go, None where it should stay."""
    if folders.was_emptied(entry.folder) and not folders.leftovers(entry.folder):
        return "has nothing in it"
    if entry.source is not None and (why := _source_reason(Path(entry.source), entry.content_hash)):
        others = (_source_reason(Path(other), entry.content_hash) for other in entry.elsewhere)
        if all(others):
            return why
    used = last_used(entry.folder)
    if older_than_days is not None and used is not None:
        days = (datetime.now(UTC).timestamp() - used) / _DAY_SECONDS
        if days > older_than_days:
            return f"was not used for {days:.0f} days"
    return None


def _source_reason(path: Path, content_hash: str | None) -> str | None:
    """Why the file that an index was made of no longer calls for it; None where it does or can't be read."""
    with suppress(OSError):
        if not path.exists():
            return f"{path} is gone"
        if content_hash and durable.sha256_of(path) != content_hash:
            return f"{path} has changed"
    return None


def prune(items: Sequence[Prunable]) -> None:
    """Delete what `prunable` found, or some of it. Raises UsageError while another process writes it."""
    for item in items:
        if item.part is None:
            remove(item.entry)
        elif item.leftover:
            folders.delete_leftovers(item.entry.folder, item.part)
        else:
            folders.delete_part(item.entry.folder, item.part)
        folder = item.entry.folder
        if not (folders.finished_parts(folder) or has_bundle(folder) or folders.leftovers(folder)):
            remove(item.entry)
