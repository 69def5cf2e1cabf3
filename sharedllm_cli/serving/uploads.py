"""Documents that a person drops on the page: kept in a private folder for as long as the server runs, and granted.

Their names are data: only the last part counts, and the file lies in a folder of its own.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from sharedllm_cli.documents.sources import SUFFIXES
from sharedllm_cli.durable import PRIVATE_FILE
from sharedllm_cli.errors import DocumentError, ResourceError, UsageError
from sharedllm_cli.serving.granted import Granted

MOST_BYTES = 200_000_000
"""Of one document."""
MOST_BYTES_TOGETHER = 1_000_000_000
"""Of all of a server's."""
LONGEST_NAME = 120
_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff/\\:*?\"<>|]+")


class Uploads:
    """The uploaded documents of one server. `close` deletes them; so does the end of the process."""

    def __init__(self, *, most_bytes: int = MOST_BYTES, most_together: int = MOST_BYTES_TOGETHER) -> None:
        self.most_bytes, self.most_together = most_bytes, most_together
        self._folder = tempfile.TemporaryDirectory(prefix="sharedllm-")  # readable by this user alone
        self._lock = threading.Lock()
        self._count = self._bytes = 0
        self._paths: set[Path] = set()

    def close(self) -> None:
        self._folder.cleanup()

    def __contains__(self, path: Path) -> bool:
        return path in self._paths

    async def keep(self, name: str, pieces: AsyncIterator[bytes], granted: Granted) -> str:
        """Store a document as it arrives, grant it, and return the name that it is asked by.

        Raises UsageError for a name of a kind that can't be read, DocumentError for an empty document, ResourceError
        for one that is too large. What is not whole is deleted.
        """
        shown = clean_name(name)
        with self._lock:
            self._count += 1
            folder = Path(self._folder.name).resolve() / str(self._count)
        folder.mkdir(mode=0o700)
        path = folder / shown
        size = 0
        try:
            with path.open("xb") as file:
                path.chmod(PRIVATE_FILE)
                async for piece in pieces:
                    size += len(piece)
                    self._take(len(piece), size)
                    file.write(piece)
            if not size:
                raise DocumentError(f"{shown} is empty")
            granted.add(str(path))
            self._paths.add(path)
        except BaseException:
            with self._lock:
                self._bytes -= size
            with suppress(OSError):
                shutil.rmtree(folder)
            raise
        return next((one.name for one in granted.documents() if one.path == path), shown)

    def _take(self, more: int, size: int) -> None:
        with self._lock:
            self._bytes += more
            together = self._bytes
        if size > self.most_bytes:
            raise ResourceError(f"a document has at most {self.most_bytes // 1_000_000} MB here")
        if together > self.most_together:
            raise ResourceError("there is no room for more documents", hint="end the server and start it again")


def clean_name(name: str) -> str:
    """The last part of a name without characters that a file system or a reader may take for something else.

    Raises UsageError for a kind of document that is not read.
    """
    last = re.split(r"[/\\]", name)[-1]
    plain = " ".join(_NOT_IN_NAMES.sub(" ", last).split()).lstrip(". ")
    stem, suffix = Path(plain).stem, Path(plain).suffix
    if not stem or suffix.lower() not in SUFFIXES:
        kinds = ", ".join(sorted(SUFFIXES))
        raise UsageError(f"{plain or 'this'} is not a kind of document that is read", hint=f"these are: {kinds}")
    while len(stem.encode()) > LONGEST_NAME:
        stem = stem[:-1]
    return stem.rstrip() + suffix
