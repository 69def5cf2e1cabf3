"""What is installed is told from what stands in the folders, and goes at once; hashes are remembered, not believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tiny_gguf import sha256, write_gguf
from tiny_models import make_tiny_model

from sharedllm_cli.config import DEFAULT_MODEL
from sharedllm_cli.errors import ModelError
from sharedllm_cli.model.loading import load
from sharedllm_cli.progress import Silent
from sharedllm_cli.weights import weight_files
from sharedllm_cli.weights.conversion import converted_folder
from sharedllm_cli.weights.known import known_model, known_models
from sharedllm_cli.weights.registry import installed, installed_folder, provenance, remove


@pytest.fixture
def converted(tmp_path: Path, private_home: Path) -> Path:
    write_gguf(tmp_path / "tiny.gguf", make_tiny_model("llama"), **{"general.license": "mit"})
    return converted_folder(tmp_path / "tiny.gguf", private_home, Silent())


def test_the_default_model_is_known_first_and_in_any_case() -> None:
    assert known_models()[0].name == DEFAULT_MODEL
    assert known_model(DEFAULT_MODEL.upper()) is known_models()[0]
    assert known_model("another") is None
    assert known_models()[0].facts.name == DEFAULT_MODEL


def test_an_empty_home_has_no_models(private_home: Path) -> None:
    assert installed(private_home) == []
    assert installed_folder(DEFAULT_MODEL, private_home) is None


def test_an_installed_model_tells_what_made_it(converted: Path, private_home: Path, tmp_path: Path) -> None:
    (model,) = installed(private_home)
    made = provenance(converted)
    assert made is not None
    assert (model.path, model.family, model.source) == (converted, "llama", str(tmp_path / "tiny.gguf"))
    assert made.licence == "mit"
    assert (made.files, made.hashes) == ({}, {"gguf": sha256(tmp_path / "tiny.gguf")})
    load(str(tmp_path / "tiny.gguf"), home=private_home, device="cpu", dtype="float32")
    made = provenance(converted)
    assert made is not None
    assert made.files == {"model.float32.safetensors": sha256(converted / "model.float32.safetensors")}
    assert set(made.versions) == {"sharedllm-cli", "gguf", "numpy", "safetensors", "tokenizers"}
    assert made.pulled.endswith("+00:00")


def test_folders_that_are_no_models_are_not_listed(converted: Path, private_home: Path) -> None:
    (private_home / "models" / "other").mkdir()
    (private_home / "models" / ".building-x-1").mkdir()
    for text in ("", "[]", '{"format": 99}', '{"format": 1}'):
        (private_home / "models" / "other" / "model.json").write_text(text, encoding="utf-8")
        assert [model.path for model in installed(private_home)] == [converted]


def test_removing_leaves_nothing_of_the_model(converted: Path, private_home: Path) -> None:
    name = converted.name
    removed = remove(name.upper(), private_home)
    assert removed.path == converted
    assert [path.name for path in (private_home / "models").iterdir() if path.is_dir()] == []
    assert installed(private_home) == []
    with pytest.raises(ModelError, match="is installed") as caught:
        remove(name, private_home)
    assert caught.value.hint == "installed: none"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc", ".hidden", "a/b"])
def test_a_name_can_not_lead_out_of_the_models_folder(name: str, converted: Path, private_home: Path) -> None:
    assert installed_folder(name, private_home) is None
    with pytest.raises(ModelError):
        remove(name, private_home)


def test_a_hash_is_computed_once_and_again_after_a_change(
    tmp_path: Path, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"first")
    counted: list[Path] = []
    real = weight_files.file_hash
    monkeypatch.setattr(weight_files, "file_hash", lambda file: counted.append(file) or real(file))
    first = weight_files.remembered_hash(path, private_home)
    assert weight_files.remembered_hash(path, private_home) == first == sha256(path)
    assert len(counted) == 1
    path.write_bytes(b"other")  # of the same length
    os.utime(path, ns=(1, 1))
    assert weight_files.remembered_hash(path, private_home) == sha256(path) != first
    memory = private_home / "models" / "hashes.json"
    for damage in ("", "{", "[]", memory.read_text(encoding="utf-8").replace("[", "[[").replace("]", "]]")):
        memory.write_text(damage, encoding="utf-8")
        assert weight_files.remembered_hash(path, private_home) == sha256(path)
    assert [file.name for file in memory.parent.iterdir()] == ["hashes.json"]


def test_files_that_are_gone_are_forgotten(tmp_path: Path, private_home: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name, encoding="utf-8")
        weight_files.remembered_hash(tmp_path / name, private_home)
    (tmp_path / "a").unlink()
    (tmp_path / "c").write_text("c", encoding="utf-8")
    weight_files.remembered_hash(tmp_path / "c", private_home)
    memory = (private_home / "models" / "hashes.json").read_text(encoding="utf-8")
    assert str(tmp_path / "a") not in memory
    assert str(tmp_path / "b") in memory


def test_a_fresh_conversion_is_not_hashed_by_the_first_load(
    converted: Path, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight_files.remembered_hash(Path(provenance(converted).source), private_home)  # the user's own file, once
    monkeypatch.setattr(weight_files, "file_hash", lambda _: pytest.fail("hashed again"))
    load(converted.name, home=private_home)


def test_edited_weights_lose_their_provenance(converted: Path, private_home: Path) -> None:
    """The hash of the GGUF file stands for the converted weights only as long as they are what was written."""
    made = provenance(converted)
    assert made is not None
    assert load(converted.name, home=private_home).weights_hash == made.weights_hash
    path = next(converted.glob("model.*.safetensors"))
    contents = bytearray(path.read_bytes())
    contents[-1] ^= 1
    path.write_bytes(contents)
    os.utime(path, ns=(1, 1))
    edited = load(converted.name, home=private_home).weights_hash
    assert edited == weight_files.combined_hash([path, converted / "config.json"], private_home)
    assert edited != made.weights_hash


def test_a_home_that_can_not_be_written_forgets_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("x", encoding="utf-8")
    (tmp_path / "home").write_text("a file in its place", encoding="utf-8")
    assert weight_files.remembered_hash(tmp_path / "weights", tmp_path / "home") == sha256(tmp_path / "weights")
