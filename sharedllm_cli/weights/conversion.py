"""From a GGUF file to a model folder: config, tokenizer, weights and their provenance."""

from __future__ import annotations

import json
from pathlib import Path

from sharedllm_cli.errors import ModelError
from sharedllm_cli.progress import Reporter
from sharedllm_cli.weights.facts import facts_from_config
from sharedllm_cli.weights.gguf_file import (
    GGUFFile,
    config_from_gguf,
    converted_bytes,
    generation_config_from_gguf,
    write_weights,
)
from sharedllm_cli.weights.gguf_tokenizer import write_tokenizer
from sharedllm_cli.weights.registry import Provenance, installed_folder, now, provenance, versions, write_provenance
from sharedllm_cli.weights.staging import build_folder, builder_lock, require_space
from sharedllm_cli.weights.weights_hash import file_hash, remember, remembered_hash


def convert(
    path: Path, folder: Path, *, name: str, source: str, licence: str, gguf_hash: str, reporter: Reporter
) -> None:
    """Write the model of a GGUF file into an empty folder, with its `model.json`.

    The weights' identity is the GGUF file's hash: the conversion is a function of it. Raises ModelError for a file
    that is damaged or not supported.
    """
    file = GGUFFile(path)
    config = config_from_gguf(file)
    facts = facts_from_config(config, name)
    write_tokenizer(file, folder)
    for target, values in (("config.json", config), ("generation_config.json", generation_config_from_gguf(file))):
        (folder / target).write_text(json.dumps(values, indent=1), encoding="utf-8")
    with reporter.task(f"converting {name}", converted_bytes(file), "bytes") as task:
        weights = write_weights(file, folder, task)
    write_provenance(
        folder,
        Provenance(
            name=name,
            family=facts.family,
            source=source,
            weights_hash=gguf_hash,
            licence=licence,
            files={weight.name: file_hash(weight) for weight in weights},
            versions=versions(),
            pulled=now(),
            hashes={"gguf": gguf_hash},
        ),
    )


def converted_folder(path: Path, home: Path, reporter: Reporter) -> Path:
    """The model folder of a GGUF file, converted on first use into the home folder under a name from its hash."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(
                f"{path} is not a GGUF file", hint="give a folder with config.json and *.safetensors, or a .gguf file"
            )
    gguf_hash = remembered_hash(path, home)
    name = f"gguf-{gguf_hash[:16]}"
    if ready := installed_folder(name, home):
        return ready
    with builder_lock(home, name, reporter):
        if ready := installed_folder(name, home):
            return ready
        reporter.note(f"converting {path.name}, once")

        def write(folder: Path) -> None:
            opened = GGUFFile(path)
            require_space(folder, converted_bytes(opened), f"converting {path.name}")
            licence = str(opened.value("general.license", "unknown"))
            source = str(path.resolve())
            convert(path, folder, name=name, source=source, licence=licence, gguf_hash=gguf_hash, reporter=reporter)

        folder = build_folder(home, name, write)
    remember_weights(folder, home)
    return folder


def remember_weights(folder: Path, home: Path) -> None:
    """Note the hashes that stand in a fresh folder's `model.json`, so that no load computes them again."""
    made = provenance(folder)
    for name, sha256 in (made.files if made else {}).items():
        remember(folder / name, sha256, home)
