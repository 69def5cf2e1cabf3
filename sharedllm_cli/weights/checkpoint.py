"""The weight files of a model folder: safetensors only, whole, and nothing that runs code when it is read."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from sharedllm_cli.errors import ModelError

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_LONGEST_HEADER = 100 << 20


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, by name.

    Raises ModelError where there are none (naming pickled weights, which are never opened), where one that the index
    names is missing, and where one is shorter or longer than its own header says.
    """
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
        raise ModelError(f"{path} can't be read: {(error.strerror or str(error)).lower()}") from error
    except (struct.error, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ModelError(f"{path} is damaged or incomplete", hint="fetch or copy the model again") from error
