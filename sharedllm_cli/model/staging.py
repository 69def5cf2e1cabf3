"""A model folder appears whole or not at all: written beside its place, flushed to disk, renamed.

One process at a time builds a model of a name; what a killed one left behind goes before the next one starts.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sharedllm_cli.errors import ResourceError, UsageError
from sharedllm_cli.home import ensure_private, models_folder
from sharedllm_cli.progress import Reporter

_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def builder_lock(home: Path, name: str, reporter: Reporter) -> Iterator[None]:
    """Hold the right to build or remove the model of a name; waits for another process, and says that it does."""
    folder = ensure_private(models_folder(home))
    with writing(folder):
        lock = FileLock(folder / f".{name}.lock", mode=0o600)
        try:
            lock.acquire(timeout=0.2)
        except Timeout:
            reporter.note(f"another process is working on {name}; waiting for it")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def build_folder(home: Path, name: str, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a temporary folder, then make it the model folder of that name; returns the folder.

    The caller holds `builder_lock`. An interruption or error in `write` leaves nothing. Raises ResourceError for a
    full disk, UsageError for a folder that may not be written.
    """
    parent = ensure_private(models_folder(home))
    with writing(parent):
        remove_leftovers(home, name)
        temporary = Path(tempfile.mkdtemp(prefix=_prefix(name), dir=parent))
        try:
            write(temporary)
            for path in temporary.iterdir():
                path.chmod(0o600)
                _flush(path)
            _flush(temporary)
            return _publish(temporary, parent / name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(home: Path, name: str) -> None:
    """Delete what an interrupted build or removal of this model left; the caller holds `builder_lock`."""
    for path in models_folder(home).glob(_prefix(name) + "*"):
        shutil.rmtree(path, ignore_errors=True)


def take_away(home: Path, name: str) -> None:
    """Remove a model folder at once: it is renamed out of sight first, so that no half of it is ever seen."""
    parent = models_folder(home)
    with writing(parent):
        hidden = Path(tempfile.mkdtemp(prefix=_prefix(name), dir=parent))
        (parent / name).rename(hidden / name)
        shutil.rmtree(hidden, ignore_errors=True)


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """ResourceError where the disk that holds `folder` has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            f"{purpose} needs {_megabytes(needed)} of disk in {folder}, {_megabytes(free)} are free",
            hint="free some space, or set SHAREDLLM_HOME to a folder on another disk",
        )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Translate what the operating system refuses while a models folder is written."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ResourceError(
                f"the disk of {folder} is full",
                hint="free some space, or set SHAREDLLM_HOME to a folder on another disk",
            ) from error
        if error.errno in _FORBIDDEN:
            raise UsageError(
                f"{folder} can't be written: {(error.strerror or str(error)).lower()}",
                hint="set SHAREDLLM_HOME to a folder that you can write to",
            ) from error
        raise


def _publish(temporary: Path, destination: Path) -> Path:
    if destination.exists():  # damaged or from an older conversion: the caller found it unusable
        replaced = Path(tempfile.mkdtemp(prefix=_prefix(destination.name), dir=destination.parent))
        destination.rename(replaced / destination.name)
        temporary.rename(destination)
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        temporary.rename(destination)
    _flush(destination.parent)
    return destination


def _prefix(name: str) -> str:
    return f".building-{name}-"


def _flush(path: Path) -> None:
    with suppress(PermissionError):  # Windows opens no folders
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
