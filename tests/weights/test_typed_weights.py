"""Converted weights: once in each type that is computed in, rounded as torch rounds, a few rows at a time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pulled import Recorder, left_in
from safetensors.torch import load_file, save_file
from tiny_gguf import write_gguf
from tiny_models import make_tiny_model

from sharedllm_cli.config import Settings
from sharedllm_cli.errors import ModelError
from sharedllm_cli.model import loading
from sharedllm_cli.model.loading import load
from sharedllm_cli.progress import Silent
from sharedllm_cli.weights import gguf_file
from sharedllm_cli.weights.conversion import converted_folder, typed_weights
from sharedllm_cli.weights.known import KnownModel
from sharedllm_cli.weights.pull import pull
from sharedllm_cli.weights.registry import installed_folder, provenance


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_gguf(tmp_path / "tiny.gguf", make_tiny_model("llama"))
    return tmp_path / "tiny.gguf"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("piece", [7, 1 << 20])
def test_weights_are_rounded_as_torch_rounds(
    dtype: str, piece: int, source: Path, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_file, "_PIECE", piece)
    (path,) = typed_weights(converted_folder(source, private_home, Silent()), dtype, private_home, Silent())
    expected = make_tiny_model("llama").state_dict()
    found = load_file(path)
    assert path.name == f"model.{dtype}.safetensors"
    assert set(found) == set(expected) - {"lm_head.weight"}
    for name, values in found.items():
        assert torch.equal(values, expected[name].to(getattr(torch, dtype))), name


def test_ties_round_to_even_and_small_numbers_stay(tmp_path: Path, private_home: Path) -> None:
    model = make_tiny_model("llama")
    hard = np.array([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 1e-40, -0.0, 3.3895e38, 2**-133, 0.1], np.float32)
    with torch.no_grad():
        model.model.norm.weight.copy_(torch.from_numpy(np.resize(hard, 32)))
    write_gguf(tmp_path / "tiny.gguf", model)
    folder = converted_folder(tmp_path / "tiny.gguf", private_home, Silent())
    (path,) = typed_weights(folder, "bfloat16", private_home, Silent())
    assert torch.equal(load_file(path)["model.norm.weight"], model.model.norm.weight.bfloat16())
    with pytest.raises(ModelError, match="float16 can't hold"):
        typed_weights(folder, "float16", private_home, Silent())
    assert [path.name for path in folder.glob("model.*.safetensors")] == ["model.bfloat16.safetensors"]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_numbers_that_are_none_are_damage(wrong: float, tmp_path: Path, private_home: Path) -> None:
    model = make_tiny_model("llama")
    with torch.no_grad():
        model.model.norm.weight[3] = wrong
    write_gguf(tmp_path / "tiny.gguf", model)
    with pytest.raises(ModelError, match="not finite"):
        load(str(tmp_path / "tiny.gguf"), home=private_home, device="cpu")


def test_each_type_is_converted_once(source: Path, private_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype in ("bfloat16", "float32"):
        recorder = Recorder()
        base = load(str(source), home=private_home, device="cpu", dtype=dtype, reporter=recorder)
        assert {parameter.dtype for parameter in base.model.parameters()} == {getattr(torch, dtype)}
        assert {name: sum(counted) for name, counted in recorder.counted.items()} == recorder.totals != {}
    folder = next((private_home / "models").glob("gguf-*"))
    made = provenance(folder)
    assert made is not None
    assert set(made.files) == {"model.bfloat16.safetensors", "model.float32.safetensors"}
    monkeypatch.setattr("sharedllm_cli.weights.conversion.write_typed", lambda *_: pytest.fail("converted twice"))
    hashes = {
        load(str(source), home=private_home, device="cpu", dtype=dtype).weights_hash
        for dtype in ("bfloat16", "float32")
    }
    assert hashes == {made.weights_hash}, "trees and adapters are made for the model, in whatever type"


def test_another_type_needs_the_file_that_it_comes_from(source: Path, private_home: Path) -> None:
    load(str(source), home=private_home, device="cpu", dtype="bfloat16")
    name = next((private_home / "models").glob("gguf-*")).name
    moved = source.rename(source.with_name("moved.gguf"))
    assert load(name, home=private_home, device="cpu", dtype="bfloat16").dtype == torch.bfloat16
    with pytest.raises(ModelError, match=r"can't be had in float32: .*tiny\.gguf") as caught:
        load(name, home=private_home, device="cpu", dtype="float32")
    assert caught.value.hint == "give the GGUF file with --model, or use --dtype bfloat16"
    assert load(str(moved), home=private_home, device="cpu", dtype="float32").dtype == torch.float32


def test_a_file_that_changed_is_another_model(source: Path, private_home: Path) -> None:
    load(str(source), home=private_home, device="cpu", dtype="bfloat16")
    name = next((private_home / "models").glob("gguf-*")).name
    write_gguf(source, make_tiny_model("llama", seed=5))
    with pytest.raises(ModelError, match="gone or has changed"):
        load(name, home=private_home, device="cpu", dtype="float32")


def test_an_interrupted_conversion_leaves_nothing_and_goes_on(source: Path, private_home: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load(str(source), home=private_home, device="cpu", reporter=Recorder(interrupt="converting"))
    (name,) = left_in(private_home)
    assert not list((private_home / "models" / name).glob("*.safetensors"))
    load(str(source), home=private_home, device="cpu")
    assert left_in(private_home) == [name]


def test_weights_that_were_deleted_are_converted_again(known: KnownModel, private_home: Path) -> None:
    pull("tiny", private_home, Silent())
    load("tiny", home=private_home, device="cpu", dtype="float32", offline=True)
    (private_home / "models" / "tiny" / "model.float32.safetensors").unlink()
    assert (
        load("tiny", home=private_home, device="cpu", dtype="float32", offline=True).weights_hash == known.gguf_sha256
    )


def test_a_conversion_of_an_earlier_release_goes_on_working(known: KnownModel, private_home: Path) -> None:
    """It holds its weights in float32 alone, and no GGUF file."""
    folder = pull("tiny", private_home, Silent())
    (folder / "weights.gguf").unlink()
    weights = {
        name: values for name, values in make_tiny_model("llama").state_dict().items() if name != "lm_head.weight"
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    made = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    written = loading.weights_hash(folder, [], private_home)
    from sharedllm_cli.weights.weight_files import file_hash

    made |= {"conversion": 1, "files": {"model.safetensors": file_hash(folder / "model.safetensors")}}
    (folder / "model.json").write_text(json.dumps(made), encoding="utf-8")
    assert installed_folder("tiny", private_home) == folder
    for dtype in (torch.float32, torch.bfloat16):
        base = load("tiny", home=private_home, offline=True, device="cpu", dtype=str(dtype).removeprefix("torch."))
        assert base.weights_hash == known.gguf_sha256 == written
        assert torch.equal(base.model.state_dict()["model.norm.weight"], weights["model.norm.weight"].to(dtype))


def test_weights_of_the_type_asked_for_are_used_where_they_lie(source: Path, private_home: Path) -> None:
    files = typed_weights(converted_folder(source, private_home, Silent()), "bfloat16", private_home, Silent())
    assert loading._rounded(files, torch.bfloat16) is None
    rounded = loading._rounded(files, torch.float32)
    assert rounded is not None
    assert {values.dtype for values in rounded.values()} == {torch.float32}


def test_a_pull_converts_into_the_type_that_questions_take(known: KnownModel, private_home: Path) -> None:
    folder = pull("tiny", private_home, Silent())
    loading.prepare(folder, Settings(device="cpu", dtype="bfloat16"), home=private_home, reporter=Silent())
    assert [path.name for path in folder.glob("model.*.safetensors")] == ["model.bfloat16.safetensors"]
