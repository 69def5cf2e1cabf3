"""Cheap proof that files have not changed since they were last read whole.

A stamp is what the file system says of a file (size, times, inode). As long as it is the one remembered, the file's
hash is taken as known; where it differs the file is hashed again, then and there. `stamps.json` lies in the document's
folder and only ever saves work: without it everything is hashed.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from sharedllm_cli import durable
from sharedllm_cli.index.manifest import Manifest
from sharedllm_cli.index.seals import sealed, unsealed

STAMPS = "stamps.json"
Stamp = list[int]


class DamagedFileError(Exception):
    """A file that is not what its manifest says; carries its path and what is wrong with it."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path
        self.what = what


class Stamps:
    """The remembered stamps of one document's folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / STAMPS
        self._stamps: dict[str, Stamp] = {}
        self._changed = False
        with suppress(FileNotFoundError):
            value = unsealed(self._path.read_bytes())
            if value is None or not isinstance(value.get("stamps"), dict):
                raise DamagedFileError(self._path, "differs from what was written")
            self._stamps = value["stamps"]

    def check(self, part: Path, manifest: Manifest) -> None:
        """Prove every file of a part: by its stamp, or by its hash where the stamp is new.

        Raises DamagedFileError for a file that is missing, of another size, or of other bytes than its manifest says.
        """
        for name, fact in manifest.files.items():
            path, label = part / name, f"{part.name}/{name}"
            try:
                stamp = durable.stamp_of(path)
            except OSError:
                raise DamagedFileError(path, "is missing") from None
            if stamp[0] != fact.size:
                raise DamagedFileError(path, f"has {stamp[0]} bytes instead of {fact.size}")
            if self._stamps.get(label) == stamp:
                continue
            if durable.sha256_of(path) != fact.sha256:
                raise DamagedFileError(path, "differs from what was written")
            self.remember(part, name, stamp)

    def remember(self, part: Path, name: str, stamp: Stamp) -> None:
        """Keep the stamp that a file had before it was found whole, unless the file is too young to trust it."""
        if durable.is_settled(stamp):
            self._stamps[f"{part.name}/{name}"] = stamp
            self._changed = True

    def forget(self, part_name: str) -> None:
        """Drop a part's stamps."""
        kept = {label: stamp for label, stamp in self._stamps.items() if label.partition("/")[0] != part_name}
        self._changed |= len(kept) != len(self._stamps)
        self._stamps = kept

    def save(self) -> None:
        """Write what is new; a folder that can't be written merely stays without."""
        if self._changed:
            with suppress(OSError):
                durable.replace_bytes(self._path, sealed({"stamps": dict(sorted(self._stamps.items()))}))
            self._changed = False
