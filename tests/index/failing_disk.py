"""A disk that fails at a chosen call: an error of the system, or a power cut that loses what was not synced.

It stands in for the calls that change a disk: making, renaming and deleting files and folders, and waiting for them.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHANGING = ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir", "open")
FAULTS = ("power cut", "no space", "read error")
_ERRORS = {"no space": errno.ENOSPC, "read error": errno.EIO}


class PowerCut(BaseException):
    """The machine is off: nothing that follows reaches the disk."""


class FailingDisk:
    """Counts the calls that change the disk below `root`, and fails at one of them (`at`, counted from 0)."""

    def __init__(self, root: Path, fault: str = "", at: int = -1) -> None:
        self.root = root
        self.fault = fault
        self.at = at
        self.calls = 0
        self.off = False
        self._synced: dict[int, int] = {}
        """Inode to the size that is on the disk for sure."""

    @contextmanager
    def __call__(self) -> Iterator[FailingDisk]:
        whole = {name: getattr(os, name) for name in CHANGING}
        for name in CHANGING:
            setattr(os, name, self._failing(name, whole[name]))
        try:
            yield self
        finally:
            for name in CHANGING:
                setattr(os, name, whole[name])

    def _failing(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def failing(*arguments: Any, **options: Any) -> Any:
            if not self._concerns(name, arguments):
                return call(*arguments, **options)
            if self.off:
                raise PowerCut
            number, self.calls = self.calls, self.calls + 1
            if number == self.at:
                self._fail()
            done = call(*arguments, **options)
            if name == "fsync":
                status = os.fstat(arguments[0])
                self._synced[status.st_ino] = status.st_size
            return done

        return failing

    def _concerns(self, name: str, arguments: tuple[Any, ...]) -> bool:
        if name == "fsync":
            return sys.platform != "linux" or self._is_below(os.readlink(f"/proc/self/fd/{arguments[0]}"))
        if name == "open" and not (len(arguments) > 1 and arguments[1] & (os.O_WRONLY | os.O_RDWR)):
            return False
        return self._is_below(arguments[0])

    def _is_below(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and str(path).startswith(str(self.root))

    def _fail(self) -> None:
        if self.fault != "power cut":
            raise OSError(_ERRORS[self.fault], os.strerror(_ERRORS[self.fault]))
        self.off = True
        raise PowerCut

    def lose_what_was_not_synced(self) -> int:
        """Cut every file down to what is on the disk for sure; how many files lost something."""
        lost = 0
        for path in self.root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                status = path.stat()
                kept = self._synced.get(status.st_ino, 0)
                if kept < status.st_size:
                    os.truncate(path, kept)
                    lost += 1
        return lost
