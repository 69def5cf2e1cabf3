"""Laws of a GGUF file's header: what it states is held against the file's length before memory is taken."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest

from sharedllm_cli.errors import ModelError
from sharedllm_cli.weights import gguf_file
from sharedllm_cli.weights.gguf_file import GGUFFile

FEW_BYTES = 4 << 20
STRING, ARRAY, BYTE, WORD = 8, 9, 0, 4


def number(value: int) -> bytes:
    return struct.pack("<Q", value)


def text(value: bytes) -> bytes:
    return number(len(value)) + value


def header(tensors: int, values: int) -> bytes:
    return b"GGUF" + struct.pack("<I", 3) + number(tensors) + number(values)


def array(kind: int, count: int, content: bytes = b"") -> bytes:
    return text(b"a") + struct.pack("<II", ARRAY, kind) + number(count) + content


def tensor(name: bytes, *shape: int, kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack("<I", len(shape)) + b"".join(map(number, shape)) + struct.pack("<IQ", kind, offset)


FILES = {
    "counts of tensors": header(1 << 40, 0),
    "counts of values": header(0, 1 << 40),
    "a long string": header(0, 1) + text(b"a") + struct.pack("<I", STRING) + number(1 << 40),
    "a long key": header(0, 1) + number((1 << 64) - 1),
    "an array of strings that the file can't hold": header(0, 1) + array(STRING, 100_000) + bytes(200_000),
    "an array of numbers that the file can't hold": header(0, 1) + array(WORD, 100_000) + bytes(200_000),
    "arrays in arrays": header(0, 1) + array(ARRAY, 1, (struct.pack("<I", ARRAY) + number(1)) * 20),
    "a kind that there is not": header(0, 1) + array(77, 1) + bytes(64),
    "a tensor beyond the file": header(1, 0) + tensor(b"t", 1 << 20) + bytes(1000),
    "a tensor that starts beyond the file": header(1, 0) + tensor(b"t", 4, offset=1 << 60) + bytes(1000),
    "a tensor with as many numbers as 64 bits count": header(1, 0) + tensor(b"t", *[1 << 40] * 4) + bytes(1000),
    "tensors on top of each other": header(9, 0)
    + b"".join(tensor(b"t%d" % place, 100) for place in range(9))
    + bytes(600),
}


@pytest.mark.parametrize("name", FILES)
def test_a_header_that_states_too_much_is_refused_before_memory_is_taken(name: str, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(FILES[name])
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match="damaged GGUF file"):
            GGUFFile(tmp_path / "model.gguf")
        assert tracemalloc.get_traced_memory()[1] < FEW_BYTES
    finally:
        tracemalloc.stop()


def test_entries_of_all_arrays_are_counted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = b"".join(
        text(b"a%d" % place) + struct.pack("<II", ARRAY, BYTE) + number(40) + bytes(40) for place in range(3)
    )
    (tmp_path / "model.gguf").write_bytes(header(0, 3) + held)
    assert len(GGUFFile(tmp_path / "model.gguf").metadata) == 3
    monkeypatch.setattr(gguf_file, "_MOST_ENTRIES", 100)
    with pytest.raises(ModelError, match="damaged"):
        GGUFFile(tmp_path / "model.gguf")
