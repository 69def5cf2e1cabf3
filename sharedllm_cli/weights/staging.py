"""A model folder appears whole or not at all: written beside its place, flushed to disk, renamed.

One process at a time builds a model of a name; what a killed one left behind goes before the next one starts.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sharedllm_cli import durable
from sharedllm_cli.errors import ResourceError
from sharedllm_cli.home import HOME_ELSEWHERE, ensure_private, models_folder
from sharedllm_cli.progress import Reporter

_BUILDING = ".building-"


@contextmanager
def builder_lock(home: Path, name: str, reporter: Reporter) -> Iterator[None]:
    """Hold the right to build or remove the model of a name; waits for another process, and says that it does."""
    folder = ensure_private(models_folder(home))
    with durable.writing(folder, HOME_ELSEWHERE):
        lock = FileLock(folder / f".{name}.lock", mode=durable.PRIVATE_FILE)
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
    with durable.writing(parent, HOME_ELSEWHERE):
        remove_leftovers(home, name)
        temporary = Path(tempfile.mkdtemp(prefix=_prefix(name), dir=parent))
        try:
            write(temporary)
            for path in temporary.iterdir():
                path.chmod(durable.PRIVATE_FILE)
                durable.sync_file(path)
            durable.sync_folder(temporary)
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
    with durable.writing(parent, HOME_ELSEWHERE):
        hidden = Path(tempfile.mkdtemp(prefix=_prefix(name), dir=parent))
        (parent / name).rename(hidden / name)
        shutil.rmtree(hidden, ignore_errors=True)


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """ResourceError where the disk that holds `folder` has less than `needed` bytes free.

    A folder that `build_folder` fills is hidden and gone with the error: the one that it lies in is named.
    """
    free = durable.available_bytes(folder)
    if free < needed:
        folder = folder.parent if folder.name.startswith(_BUILDING) else folder
        raise ResourceError(
            f"{purpose} needs {_megabytes(needed)} of disk in {folder}, {_megabytes(free)} are free",
            hint="free some space, or set SHAREDLLM_HOME to a folder on another disk",
        )


def _publish(temporary: Path, destination: Path) -> Path:
    if destination.exists():  # damaged or from an older conversion: the caller found it unusable
        replaced = Path(tempfile.mkdtemp(prefix=_prefix(destination.name), dir=destination.parent))
        destination.rename(replaced / destination.name)
        temporary.rename(destination)
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        temporary.rename(destination)
    durable.sync_folder(destination.parent)
    return destination


def _prefix(name: str) -> str:
    return f"{_BUILDING}{name}-"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
