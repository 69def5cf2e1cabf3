"""Files that are private to their user and that a crash leaves either whole or absent.

Knows nothing of indexes: bytes, folders, and what the operating system can refuse.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sharedllm_cli.errors import ResourceError, UsageError

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
_READ_BYTES = 1 << 20
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Translate what the operating system refuses while `folder` is written.

    Raises ResourceError for a full disk and UsageError for a folder that may not be written.
    """
    try:
        yield
    except OSError as problem:
        if problem.errno in _FULL:
            raise ResourceError(
                f"the disk is full: the index in {folder} can't be written",
                hint="free some space, or choose another disk with --index-dir",
            ) from problem
        if problem.errno in _FORBIDDEN:
            raise UsageError(
                f"the index folder {folder} can't be written: {problem.strerror}",
                hint="choose another folder with --index-dir",
            ) from problem
        raise


def make_private_folder(folder: Path) -> None:
    """Create a folder, and those above it that are missing, for this user alone; one that exists stays as it is."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a private file and wait until it is on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def append_line(path: Path, line: bytes) -> None:
    """Add a line to a private file and wait until it is on the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, PRIVATE_FILE), "ab") as file:
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def replace_bytes(path: Path, data: bytes) -> None:
    """Write a private file beside `path` and rename it into place: readers see the old one or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        write_bytes(beside, data)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until a folder's entries are on the disk, on systems that can open a folder."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256_of(path: Path, advance: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a file's bytes, in hex; `advance` is told the bytes read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
            if advance:
                advance(len(piece))
    return digest.hexdigest()


def sha256_of_bytes(data: bytes) -> str:
    """SHA-256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def canonical_json(value: Any) -> bytes:
    """The one spelling of a JSON value that hashes are taken of: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def sealed(value: dict[str, Any]) -> bytes:
    """A JSON object as a readable file that carries its own SHA-256 under `seal`."""
    seal = sha256_of_bytes(canonical_json(value))
    return _spelled({**value, "seal": seal})


def unsealed(data: bytes) -> dict[str, Any] | None:
    """The object of a sealed file, or None where a single byte differs from what `sealed` wrote."""
    try:
        value = json.loads(data)
    except ValueError:
        return None
    if not isinstance(value, dict) or _spelled(value) != data:
        return None
    seal = value.pop("seal", None)
    return value if seal == sha256_of_bytes(canonical_json(value)) else None


def carries_seal(data: bytes) -> bool:
    """Whether a file looks as if `sealed` had written it, whole or not; an empty one does."""
    return not data or b'"seal"' in data or not data.startswith(b"{")


def _spelled(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=True).encode("ascii") + b"\n"


def available_bytes(folder: Path) -> int:
    """Free space of the disk that holds a folder."""
    return shutil.disk_usage(folder).free
