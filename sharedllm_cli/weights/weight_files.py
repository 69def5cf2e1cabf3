"""The weight files of a model folder: safetensors only, whole, known again by their hash, and never code that runs.

Hashing half a gigabyte takes a second, so a file's hash is remembered by its path, size and time of change in
`<home>/models/hashes.json`. That file is a memory only: deleting or damaging it costs a second.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from sharedllm_cli import durable
from sharedllm_cli.errors import ModelError
from sharedllm_cli.home import models_folder
from sharedllm_cli.weights.blocks import FORMATS
from sharedllm_cli.weights.facts import unreadable
from sharedllm_cli.weights.registry import provenance

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
GGUF_FILE = "weights.gguf"
"""The file that a fetched model's weights are converted from, in its folder."""
TYPES = ("float32", "bfloat16", "float16", *FORMATS)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_LONGEST_HEADER = 100 << 20
_ARRAYS = {"F32": np.float32, "F16": np.float16, "U8": np.uint8}
_KEPT_BYTES = 64 << 20
"""What of a mapped file may have been read since pages were given back the last time."""


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, by name.

    Raises ModelError where there are none (naming pickled weights, which are never opened), where one that the index
    names is missing, and where one is shorter or longer than its own header says.
    """
    made = provenance(folder)
    if made is not None and "gguf" in made.hashes and not is_flat(folder):
        # Converted weights, of any one type; none where no load has asked for them yet.
        files = [folder / typed_name(dtype) for dtype in TYPES if (folder / typed_name(dtype)).is_file()][:1]
        for path in files:
            _check_length(path)
        return files
    index = folder / INDEX_FILE
    files = _indexed_files(index) if index.is_file() else [folder / SINGLE_FILE]
    if not index.is_file() and not files[0].is_file():
        if any(next(folder.glob(pattern), None) for pattern in _PICKLES):
            raise ModelError(
                f"{folder} holds pickled weights, which can run code when opened and are never read",
                hint="convert them to safetensors: load the model in transformers and call save_pretrained",
            )
        raise ModelError(f"{folder} holds no weights: there is no {SINGLE_FILE}")
    for path in files:
        _check_length(path)
    return files


def typed_name(dtype: str) -> str:
    """The file of converted weights in a type: the name that transformers gives to a variant."""
    return f"model.{dtype}.safetensors"


def ready_files(folder: Path, dtype: str) -> list[Path] | None:
    """The files to load a model folder from in a type; None where they are still to be converted from a GGUF file."""
    made = provenance(folder)
    if made is None or "gguf" not in made.hashes or is_flat(folder):
        return weight_files(folder)
    path = folder / typed_name(dtype)
    if path.name not in made.files or not path.is_file():
        return None
    _check_length(path)
    return [path]


def is_flat(folder: Path) -> bool:
    """Whether a folder holds its weights in one type alone, as a checkpoint does and as conversions did."""
    return (folder / SINGLE_FILE).is_file() or (folder / INDEX_FILE).is_file()


def _indexed_files(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{index} is damaged") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(f"{index} names {name!r}, which is not a safetensors file beside it")
        if not (index.parent / name).is_file():
            raise ModelError(f"{index.parent} is incomplete: {name} is missing")
    if not names:
        raise ModelError(f"{index} is damaged: it names no file")
    return [index.parent / name for name in names]


def _check_length(path: Path) -> None:
    """A safetensors file is 8 bytes of header length, the header, and the tensors up to the largest end offset."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(_LONGEST_HEADER, size):
                raise ValueError("header")
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        if not ends or 8 + length + max(ends) != size:
            raise ValueError("length")
    except OSError as error:
        raise unreadable(path, error) from error
    except (struct.error, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ModelError(f"{path} is damaged or incomplete", hint="fetch or copy the model again") from error


def weights_hash(folder: Path, files: list[Path], home: Path) -> str:
    """The identity of a model's weights.

    For a converted GGUF file it is the file's SHA-256, as long as the converted weights are those that were written;
    for any other folder the SHA-256 of its weight files and its `config.json`. Remembered in
    `<home>/models/hashes.json`.
    """
    made = provenance(folder)
    if made is not None and all(made.files.get(path.name) == remembered_hash(path, home) for path in files):
        return made.weights_hash
    return combined_hash([*files, folder / "config.json"], home)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's contents, hex; ModelError where it can't be read."""
    try:
        return durable.sha256_of(path)
    except OSError as error:
        raise unreadable(path, error) from error


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
        raise unreadable(path, error) from error
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


class MappedFile:
    """The tensors of one safetensors file, used where they lie in the mapped file: numpy arrays by name.

    Pages of a mapped file count as memory of the process until they are given back; the system keeps them in its cache
    and hands them out again at no cost of a disk. The format: https://github.com/huggingface/safetensors#format.
    """

    def __init__(self, path: Path) -> None:
        try:
            with safe_open(path, framework="np"):  # its checks: lengths, offsets and overlaps of the header
                pass
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(length))
                # Private, because torch takes no array that it could not write to. Nothing writes.
                self._pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path} can't be read: {error}") from error
        header.pop("__metadata__", None)
        self._start, self._tensors = 8 + length, header
        self._lock = threading.Lock()
        self._read = 0

    @property
    def names(self) -> list[str]:
        """Of all tensors."""
        return list(self._tensors)

    def array(self, name: str) -> np.ndarray:
        """A tensor's numbers. Raises KeyError for a name or a type that is not there."""
        facts = self._tensors[name]
        shape = facts["shape"]
        found: np.ndarray = np.frombuffer(
            self._pages, _ARRAYS[facts["dtype"]], math.prod(shape), self._start + facts["data_offsets"][0]
        )
        return found.reshape(shape)

    def read(self, count: int) -> None:
        """Say that so many bytes were read; now and then, pages are given back."""
        with self._lock:
            self._read += count
            due = self._read >= _KEPT_BYTES
        if due:
            self.give_back()

    def give_back(self) -> None:
        """Let the pages that were read no longer count as ours. The arrays stay valid."""
        with self._lock:
            self._read = 0
        if hasattr(mmap, "MADV_DONTNEED"):  # Windows trims what is not in use by itself
            self._pages.madvise(mmap.MADV_DONTNEED)
