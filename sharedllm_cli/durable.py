"""Files that a crash leaves either whole or absent, and their hashes: the one way in which anything is stored.

Floor 0: knows bytes, folders, and what the operating system can refuse.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from sharedllm_cli.errors import ResourceError, UsageError

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
"""What the operating system says of a disk, or a user's share of it, that has no room left."""
_READ_BYTES = 1 << 20
_SETTLED_NANOSECONDS = 100_000_000
"""A file changed so recently could change again within one tick of the file system's clock: it gets no stamp yet."""
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
FAILING = frozenset(
    {errno.EIO, errno.ENXIO, errno.ENODEV, errno.EMFILE, errno.ENFILE, errno.ENOLCK}
    | {getattr(errno, name) for name in ("ESTALE", "ETIMEDOUT") if hasattr(errno, name)}
)
"""What it says where a disk, or the way to it, does not work, or where too many files are open."""
_calls = count()


@contextmanager
def writing(folder: Path, elsewhere: str = "choose another folder") -> Iterator[None]:
    """Translate what the operating system refuses while `folder` is written; `elsewhere` says how to write another.

    Raises ResourceError for a full or failing disk or a file larger than is allowed, UsageError for a folder that may
    not or can't be written.
    """
    try:
        yield
    except OSError as problem:
        if problem.errno in FULL:
            raise ResourceError(f"the disk of {folder} is full", hint=f"free some space, or {elsewhere}") from problem
        if problem.errno == errno.EFBIG:
            raise ResourceError(
                f"a file in {folder} would be larger than this shell or disk allows",
                hint=f"raise the limit (ulimit -f), or {elsewhere}",
            ) from problem
        if problem.errno in FAILING:
            reason = (problem.strerror or str(problem)).lower()
            raise ResourceError(f"{folder} can't be written: {reason}", hint=elsewhere) from problem
        if problem.errno in _FORBIDDEN:
            reason = (problem.strerror or str(problem)).lower()
            raise UsageError(f"{folder} can't be written: {reason}", hint=elsewhere) from problem
        raise


def make_private_folder(folder: Path) -> None:
    """Create a folder, and those above it that are missing, for this user alone; one that exists stays as it is."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        try:
            path.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        except FileNotFoundError as problem:  # its parent is there: one of the folders in which a system shows itself
            raise PermissionError(errno.EPERM, "no folder can be made there", str(path)) from problem


def write_bytes(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a private file and, with `sync`, wait until it is on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())


def append_line(path: Path, line: bytes) -> None:
    """Add a line to a private file and wait until it is on the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, PRIVATE_FILE), "ab") as file:
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def replace_bytes(path: Path, data: bytes, *, sync_name: bool = True) -> None:
    """Write a private file beside `path` and rename it into place: readers see the old one or the new one.

    `sync_name` as in `replacing`.
    """
    with replacing(path, sync_name=sync_name) as beside:
        write_bytes(beside, data, sync=False)  # `replacing` syncs it


@contextmanager
def replacing(path: Path, *, sync_name: bool = True) -> Iterator[Path]:
    """A place beside `path` to write a file to, which is flushed and renamed to `path` when the block ends.

    Where the block raises, nothing of it is left and `path` is as it was. With `sync_name` it also waits until the
    rename is on the disk; without, a power cut may leave `path` as it was before, but never a torn file.
    """
    # Of this process and this call: several threads may write one file, and the last one to rename wins.
    beside = path.with_name(f".{path.name}.{os.getpid()}{next(_calls):06}.new")
    try:
        yield beside
        sync_file(beside)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if sync_name:
        sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    with path.open("r+b") as file:  # some systems flush only what is open for writing
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until a folder's entries are on the disk, on systems that can open a folder."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256_of(path: Path, advance: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a file's bytes, in hex; `advance` gets the number of bytes read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
            if advance:
                advance(len(piece))
    return digest.hexdigest()


def sha256_of_bytes(data: bytes | memoryview) -> str:
    """SHA-256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_text(text: str) -> str:
    """SHA-256 of a text as UTF-8, in hex; of half a surrogate pair, as damaged files hold it, the three bytes count."""
    return sha256_of_bytes(text.encode("utf-8", "surrogatepass"))


def stamp_of(path: Path) -> list[int]:
    """What a file's content can't change without: size in bytes, time of change of content and status (ns), inode."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def is_settled(stamp: list[int]) -> bool:
    """Whether a stamp is old enough to be trusted later."""
    return time.time_ns() - max(stamp[1], stamp[2]) > _SETTLED_NANOSECONDS


def available_bytes(folder: Path) -> int:
    """Free space of the disk that holds a folder."""
    return shutil.disk_usage(folder).free
