"""From a GGUF file to a model folder, and to weights in the type that is computed in.

The folder gets config, tokenizer and provenance at once. Weights are written when a load first asks for them in a type:
`model.<type>.safetensors`, tensor by tensor, a few rows at a time. They are made from the GGUF file again for another
type: of a fetched model it stays in the folder, of a user's own it is looked for where it was. Neither the
model nor a large tensor is ever held in memory. A safetensors file is an 8-byte length, a JSON header, and the tensors
one behind the other: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sharedllm_cli import durable
from sharedllm_cli.errors import ModelError
from sharedllm_cli.home import HOME_ELSEWHERE
from sharedllm_cli.progress import Reporter, Task
from sharedllm_cli.weights.blocks import CODES, SCALES, ZEROS, bits_of, block_of, pack
from sharedllm_cli.weights.facts import facts_from_config
from sharedllm_cli.weights.gguf_config import Weight, config_from_gguf, generation_config_from_gguf, weights_from_gguf
from sharedllm_cli.weights.gguf_file import GGUFFile, require_gguf
from sharedllm_cli.weights.gguf_tokenizer import write_tokenizer
from sharedllm_cli.weights.registry import (
    Provenance,
    build_folder,
    builder_lock,
    installed_folder,
    now,
    prefix,
    provenance,
    provenance_bytes,
    remove_leftovers,
    require_space,
    versions,
    write_provenance,
)
from sharedllm_cli.weights.weight_files import GGUF_FILE, ready_files, remember, remembered_hash, typed_name


def convert(path: Path, folder: Path, *, name: str, source: str, licence: str, gguf_hash: str) -> None:
    """Write all of a GGUF file's model but its weights into an empty folder, with its `model.json`.

    The weights' identity is the GGUF file's hash: what is made of it is a function of it. Raises ModelError for a
    file that is damaged or not supported.
    """
    file = GGUFFile(path)
    config = config_from_gguf(file)
    facts = facts_from_config(config, name)
    weights_from_gguf(file)  # refuses what has no place before anything large is written
    write_tokenizer(file, folder)
    for target, values in (("config.json", config), ("generation_config.json", generation_config_from_gguf(file))):
        (folder / target).write_text(json.dumps(values, indent=1), encoding="utf-8")
    write_provenance(
        folder,
        Provenance(
            name=name,
            family=facts.family,
            source=source,
            weights_hash=gguf_hash,
            licence=licence,
            files={GGUF_FILE: gguf_hash} if (folder / GGUF_FILE).is_file() else {},
            versions=versions(),
            pulled=now(),
            hashes={"gguf": gguf_hash},
        ),
    )


def converted_folder(path: Path, home: Path, reporter: Reporter) -> Path:
    """The model folder of a GGUF file, made on first use in the home folder under a name from its hash."""
    require_gguf(path)
    gguf_hash = remembered_hash(path, home)
    name = f"gguf-{gguf_hash[:16]}"
    source = str(path.resolve())
    folder = installed_folder(name, home)
    if folder is not None and not _moved(folder, source):
        return folder
    with builder_lock(home, name, reporter):
        folder = installed_folder(name, home)
        if folder is None:

            def write(empty: Path) -> None:
                licence = str(GGUFFile(path).value("general.license", "unknown"))
                convert(path, empty, name=name, source=source, licence=licence, gguf_hash=gguf_hash)

            folder = build_folder(home, name, write)
        elif _moved(folder, source) and (made := provenance(folder)):
            _record(folder, replace(made, source=source))
    return folder


def _moved(folder: Path, source: str) -> bool:
    """Whether the file that a folder was made of is gone, and a copy of it was given."""
    made = provenance(folder)
    return made is not None and made.source != source and not Path(made.source).is_file()


def typed_weights(folder: Path, dtype: str, home: Path, reporter: Reporter) -> list[Path]:
    """The weight files to load a model folder from in a type (`float32`, `bfloat16`, `float16`, `int8`, `int4`).

    Where the folder was made of a GGUF file they are written on first use; any other folder's are what it holds.
    Raises ModelError where the GGUF file is gone, ResourceError where the disk is too small.
    """
    if (files := ready_files(folder, dtype)) is not None:
        return files
    with builder_lock(home, folder.name, reporter):
        if ready_files(folder, dtype) is None:
            _add_type(folder, dtype, home, reporter)
    return [folder / typed_name(dtype)]


def _add_type(folder: Path, dtype: str, home: Path, reporter: Reporter) -> None:
    """Write a folder's weights in one more type; whole and noted in `model.json`, or not at all."""
    made, target = provenance(folder), typed_name(dtype)
    assert made is not None
    source = _source(folder, made, dtype, home)
    file = GGUFFile(source)
    weights = weights_from_gguf(file)
    needed = typed_bytes(weights, dtype)
    if source.parent != folder:
        reporter.note(f"converting {source.name} to {dtype}, once")
    with durable.writing(folder.parent, HOME_ELSEWHERE):
        remove_leftovers(home, folder.name)
        with tempfile.TemporaryDirectory(prefix=prefix(folder.name), dir=folder.parent) as beside:
            require_space(Path(beside), needed, f"converting {made.name} to {dtype}")
            written = Path(beside) / target
            with reporter.task(f"converting {made.name}", needed, "bytes") as task:
                sha256 = write_typed(file, weights, written, dtype, task)
            written.chmod(durable.PRIVATE_FILE)
            durable.sync_file(written)
            written.rename(folder / target)
            durable.sync_folder(folder)
        _record(folder, replace(made, files={**made.files, target: sha256}))
    remember(folder / target, sha256, home)


def _record(folder: Path, made: Provenance) -> None:
    durable.replace_bytes(folder / "model.json", provenance_bytes(made))


def _source(folder: Path, made: Provenance, dtype: str, home: Path) -> Path:
    """The GGUF file that a folder was made of; ModelError where it is gone or another one by now."""
    own = folder / GGUF_FILE
    if own.is_file():
        return own
    source = Path(made.source)
    if source.is_file() and remembered_hash(source, home) == made.hashes["gguf"]:
        return source
    there = [name.split(".")[1] for name in made.files if name != GGUF_FILE]
    raise ModelError(
        f"{made.name} can't be had in {dtype}: {source}, which it is converted from, is gone or has changed",
        hint=f"give the GGUF file with --model, or use --dtype {there[0]}" if there else "give the file with --model",
    )


_ALIGNMENT = 64
"""Where the first tensor begins is a multiple of this: tensors are used where they lie in the mapped file."""


def _bfloat16(values: np.ndarray) -> np.ndarray:
    """The upper halves of finite float32, rounded to the nearest, ties to even: as torch rounds."""
    bits = values.view(np.uint32)
    return ((bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16).astype(np.uint16)


_TYPES: Mapping[str, tuple[str, int, Callable[[np.ndarray], np.ndarray]]] = {
    "float32": ("F32", 4, lambda values: values),
    "float16": ("F16", 2, lambda values: values.astype(np.float16)),
    "bfloat16": ("BF16", 2, _bfloat16),
}
_LARGEST_HALF = float(np.finfo(np.float16).max)


_PLAIN = "float32"
"""The type of what is not packed in a file of packed weights."""


@dataclass(frozen=True)
class _Tensor:
    """A tensor of the file to be written."""

    name: str
    code: str
    shape: tuple[int, ...]
    nbytes: int


def typed_bytes(weights: Sequence[Weight], dtype: str) -> int:
    """Bytes of all weights in a type."""
    return sum(tensor.nbytes for weight in weights for tensor in _tensors(weight, dtype))


def write_typed(file: GGUFFile, weights: Sequence[Weight], path: Path, dtype: str, task: Task) -> str:
    """Write all weights, rounded to the nearest number of the type or packed in blocks; returns the file's SHA-256.

    `dtype`: a type of numbers, or a format of `blocks.py`. `task` advances by bytes. Raises ModelError for what can't
    be dequantised or has no place in the type.
    """
    digest = hashlib.sha256()
    with path.open("wb") as target:

        def put(data: bytes | memoryview) -> None:
            target.write(data)
            digest.update(data)

        def put_array(values: np.ndarray) -> None:
            put(np.ascontiguousarray(values).data.cast("B"))
            task.advance(values.nbytes)

        put(_header([tensor for weight in weights for tensor in _tensors(weight, dtype)]))
        for weight in weights:
            bits = bits_of(weight.name, dtype)
            scales, zeros = list[np.ndarray](), list[np.ndarray]()  # small beside the codes, and behind all of them
            for values in _pieces(file, weight):
                _check_numbers(values, file, weight, dtype)
                if bits is None:
                    put_array(_TYPES.get(dtype, _TYPES[_PLAIN])[2](values))
                    continue
                packed = pack(values, bits)
                put_array(packed.codes)
                scales.append(packed.scales)
                zeros += [] if packed.zeros is None else [packed.zeros]
            for part in (*scales, *zeros):
                put_array(part)
    return digest.hexdigest()


def _tensors(weight: Weight, dtype: str) -> list[_Tensor]:
    """What of a weight stands in the file, in order."""
    bits = bits_of(weight.name, dtype)
    if bits is None:
        code, size, _ = _TYPES.get(dtype, _TYPES[_PLAIN])
        return [_Tensor(weight.name, code, weight.shape, math.prod(weight.shape) * size)]
    rows, width = weight.shape
    block = block_of(width, bits)
    count, size = width // block, block * bits // 8
    codes = _Tensor(f"{weight.name}.{CODES}", "U8", (rows, count, size), rows * count * size)
    scales = _Tensor(f"{weight.name}.{SCALES}", "F32", (rows, count), rows * count * 4)
    if bits == 8:
        return [codes, scales]
    half = (count + 1) // 2
    return [codes, scales, _Tensor(f"{weight.name}.{ZEROS}", "U8", (rows, half), rows * half)]


def _check_numbers(values: np.ndarray, file: GGUFFile, weight: Weight, dtype: str) -> None:
    largest = float(np.abs(values).max())
    if not math.isfinite(largest):
        raise ModelError(f"{file.path} is damaged: {weight.name} has numbers that are not finite")
    if dtype == "float16" and largest > _LARGEST_HALF:
        raise ModelError(
            f"{weight.name} of {file.path} has numbers that float16 can't hold",
            hint="use --dtype float32 or bfloat16",
        )


def _pieces(file: GGUFFile, weight: Weight) -> Iterator[np.ndarray]:
    if weight.source is None:
        yield np.zeros(weight.shape, np.float32)
        return
    for values in file.rows(weight.source, weight.heads):
        yield values - np.float32(weight.shift) if weight.shift else values


def _header(tensors: Sequence[_Tensor]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        start, end = end, end + tensor.nbytes
        header[tensor.name] = {"dtype": tensor.code, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    return struct.pack("<Q", len(text)) + text
