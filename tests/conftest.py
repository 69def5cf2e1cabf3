"""Tiny random models of every family, and a byte tokenizer, made here: no test needs a download."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tiny_models import FAMILIES, LLAMA_LIKE, make_byte_tokenizer, make_tiny_model
from workers import affordable

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores: a thread each, or tiny products wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
USERS_HOME = os.environ.get("SHAREDLLM_HOME")
"""The home that was asked for before `private_home` hides it: one that holds models already, or is thrown away."""


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """`-n auto` starts no more workers than the free memory bears."""
    return affordable((yield), psutil.virtual_memory().available)


@pytest.fixture(autouse=True)
def private_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has its own SHAREDLLM_HOME and none of the user's settings."""
    for name in list(os.environ):
        if name.startswith("SHAREDLLM_"):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("SHAREDLLM_HOME", str(home))
    return home


@pytest.fixture
def bitsandbytes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantized weights are bitsandbytes' on a CPU too, as they are on a GPU: for tests of those."""
    monkeypatch.setattr("sharedllm_cli.model.placement.packs_blocks", lambda facts: False)


@pytest.fixture(params=LLAMA_LIKE)
def llama_like(request: pytest.FixtureRequest) -> str:
    """The families that `reference.py` computes, whose layers are all Llama's in structure."""
    return str(request.param)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def byte_tokenizer() -> Any:
    return make_byte_tokenizer()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that writes a tiny model of a family with the byte tokenizer to a folder and returns it."""
    made: dict[tuple[Any, ...], Path] = {}

    def make(family: str = "llama", **changes: Any) -> Path:
        key = (family, *sorted(changes.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp(f"tiny-{family}")
            make_tiny_model(family, **changes).save_pretrained(folder)
            make_byte_tokenizer().save_pretrained(folder)
            made[key] = folder
        return made[key]

    return make


@pytest.fixture(scope="session")
def shared_pdfs() -> Path:
    """The folder of real PDFs beside the project; skips where there is none."""
    folder = Path(__file__).parents[2] / "shared" / "pdfs"
    if not folder.is_dir():
        pytest.skip("../shared/pdfs is not here")
    return folder


@pytest.fixture(scope="session")
def kept_models(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pulled models stay from run to run: in `SHAREDLLM_HOME` where it is set, else in pytest's cache.

    The user's own folders are not written to; the same without the cache, where nothing stays.
    """
    from sharedllm_cli.home import home_folder, models_folder

    if USERS_HOME:
        return models_folder(home_folder({"SHAREDLLM_HOME": USERS_HOME}))
    cache = getattr(pytestconfig, "cache", None)
    return models_folder(tmp_path_factory.mktemp("kept") if cache is None else cache.mkdir("sharedllm"))


@pytest.fixture(scope="session")
def default_model_home(tmp_path_factory: pytest.TempPathFactory, kept_models: Path) -> Path:
    """A home with indexes of its own and the default model, which is pulled at most once.

    Where it can't be had (no network), the test is skipped, except in CI.
    """
    from sharedllm_cli.config import DEFAULT_MODEL
    from sharedllm_cli.errors import ModelError
    from sharedllm_cli.home import ensure_private, models_folder
    from sharedllm_cli.progress import Silent
    from sharedllm_cli.weights.pull import pull

    home = tmp_path_factory.mktemp("model-home")
    models_folder(home).symlink_to(ensure_private(kept_models))
    try:
        pull(DEFAULT_MODEL, home, Silent())
    except ModelError as problem:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the default model can't be had here: {problem}")
    return home
