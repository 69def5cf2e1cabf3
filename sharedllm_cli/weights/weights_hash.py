"""One hash for a model's weights, so that an index or an adapter can be told from another model's.

Hashing half a gigabyte takes a second, so a file's hash is remembered by its path, size and time of change in
`<home>/models/hashes.json`. That file is a memory only: deleting or damaging it costs a second.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sharedllm_cli import durable
from sharedllm_cli.errors import ModelError
from sharedllm_cli.home import models_folder


def file_hash(path: Path) -> str:
    """SHA-256 of a file's contents, hex; ModelError where it can't be read."""
    try:
        return durable.sha256_of(path)
    except OSError as error:
        raise ModelError(f"{path} can't be read: {(error.strerror or str(error)).lower()}") from error


def remembered_hash(path: Path, home: Path) -> str:
    """`file_hash`, computed once for each path, size and time of change."""
    return _remembered([path], home)[0]


def combined_hash(files: Sequence[Path], home: Path) -> str:
    """The hash of a checkpoint: its one file's, or that of its shards' hashes in the order of their names."""
    ordered = sorted(files, key=lambda path: path.name)
    return joined_hash(dict(zip([path.name for path in ordered], _remembered(ordered, home), strict=True)))


def joined_hash(hashes: Mapping[str, str]) -> str:
    """One hash of the files' hashes, given by name: the only one's own, or SHA-256 over them in the order of names."""
    ordered = [hashes[name] for name in sorted(hashes)]
    return ordered[0] if len(ordered) == 1 else durable.sha256_of_bytes("\n".join(ordered).encode())


def remember(path: Path, sha256: str, home: Path) -> None:
    """Note a hash that is already known, so that it need not be computed."""
    memory = _read_memory(home)
    memory[str(path.resolve())] = [*_stamp(path), sha256]
    _write_memory(home, memory)


def _remembered(files: Sequence[Path], home: Path) -> list[str]:
    memory = _read_memory(home)
    hashes: list[str] = []
    changed = False
    for path in files:
        key, stamp = str(path.resolve()), _stamp(path)
        known = memory.get(key)
        if not (isinstance(known, list) and len(known) == 3 and known[:2] == stamp):
            known = memory[key] = [*stamp, file_hash(path)]
            changed = True
        hashes.append(str(known[2]))
    if changed:
        _write_memory(home, memory)
    return hashes


def _stamp(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError as error:
        raise ModelError(f"{path} can't be read: {(error.strerror or str(error)).lower()}") from error
    return [status.st_size, status.st_mtime_ns]


def _memory_file(home: Path) -> Path:
    return models_folder(home) / "hashes.json"


def _read_memory(home: Path) -> dict[str, Any]:
    try:
        memory = json.loads(_memory_file(home).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return memory if isinstance(memory, dict) else {}


def _write_memory(home: Path, memory: dict[str, Any]) -> None:
    """Replace the memory atomically; a home that can't be written forgets, and nothing else happens."""
    present = {key: value for key, value in memory.items() if os.path.exists(key)}
    with suppress(OSError):
        durable.make_private_folder(models_folder(home))
        durable.replace_bytes(_memory_file(home), json.dumps(present, indent=1).encode())
