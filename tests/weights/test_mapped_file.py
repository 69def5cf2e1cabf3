"""Tensors of a mapped file: their numbers, before and after pages are given back; damaged files are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import save_file

from sharedllm_cli.errors import ModelError
from sharedllm_cli.weights import weight_files
from sharedllm_cli.weights.weight_files import MappedFile


@pytest.fixture
def tensors() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    codes = generator.integers(0, 255, (4096, 8, 128), dtype=np.uint8)
    return {"codes": codes, "scales": generator.random((4096, 8), np.float32), "one": np.float32([3.5])}


def test_the_numbers_stay_when_pages_are_given_back(tensors: dict[str, np.ndarray], tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "w.safetensors", metadata={"format": "pt"})
    file = MappedFile(tmp_path / "w.safetensors")
    assert sorted(file.names) == ["codes", "one", "scales"]
    for _ in range(2):
        for name, expected in tensors.items():
            assert np.array_equal(file.array(name), expected)
        file.give_back()


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory of files apart is told by Linux alone")
def test_what_was_read_no_longer_counts_as_ours(
    tensors: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(tensors, tmp_path / "w.safetensors")
    file = MappedFile(tmp_path / "w.safetensors")
    monkeypatch.setattr(weight_files, "_KEPT_BYTES", 4 << 20)

    def ours() -> int:
        (found,) = (one.rss for one in psutil.Process().memory_maps(grouped=True) if one.path.endswith("w.safetensors"))
        return int(found)

    file.array("codes").sum()
    assert ours() >= 4 << 20
    file.read(1 << 20)
    assert ours() >= 4 << 20  # not at every map
    file.read(3 << 20)
    assert ours() == 0


@pytest.mark.parametrize("cut", [4, 40, 1 << 20])
def test_a_cut_file_is_refused(cut: int, tensors: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(tensors, path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ModelError, match="can't be read"):
        MappedFile(path)
