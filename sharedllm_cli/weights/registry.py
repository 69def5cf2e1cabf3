"""The base models known by name, and those in the home folder: what made them, how one is put there and taken away.

A model folder appears whole or not at all: it is written beside its place, flushed to disk and renamed. One process at
a time builds a model of a name; what a killed one left behind goes before the next one starts. Fetching is `pull`'s,
loading is `loading`'s. Needs no torch.

What a user calls a model is, tried in this order: a known name, the name of an installed model, a folder, a GGUF file,
a hub id (`locate`). What fetches and converts is imported if a model is not here yet.
"""

from __future__ import annotations

import datetime
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout

from sharedllm_cli import __version__, durable
from sharedllm_cli.errors import ModelError, ResourceError, UsageError
from sharedllm_cli.home import HOME_ELSEWHERE, ensure_private, models_folder
from sharedllm_cli.progress import Reporter, Silent
from sharedllm_cli.weights.facts import ModelFacts, facts_from_config, read_config
from sharedllm_cli.weights.known import known_model, known_models

PROVENANCE_FILE = "model.json"
PROVENANCE_FORMAT = 1
CONVERSION = 2
"""Number of the conversion from GGUF. Raise it when the values or the tokenizer that it writes change."""
_STILL_GOOD = frozenset({1})
"""Earlier conversions of the models known by name that hold what this one would write."""
_CONVERTING_PACKAGES = ("gguf", "numpy", "safetensors", "tokenizers")
_BUILDING = ".building-"
_FETCHED = ".fetched-"
_TYPED = re.compile(r"model\.(float32|bfloat16|float16)\.safetensors")


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
    (folder / PROVENANCE_FILE).write_bytes(provenance_bytes(made))


def provenance_bytes(made: Provenance) -> bytes:
    """What `model.json` holds."""
    return json.dumps(asdict(made), indent=1, ensure_ascii=False).encode()


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
    if made is None or not _is_current(name, made):
        return None
    # Weights converted in a type are made again where they are missing, as long as there is what they are made of.
    needed = [file for file in made.files if "gguf" not in made.hashes or not _TYPED.fullmatch(file)]
    return folder if all((folder / file).is_file() for file in needed) else None


def _is_current(name: str, made: Provenance) -> bool:
    return made.conversion == CONVERSION or (made.conversion in _STILL_GOOD and not name.startswith("gguf-"))


def installed(home: Path) -> list[InstalledModel]:
    """The base models that lie in the home folder, by name."""
    folders = sorted(path for path in models_folder(home).glob("*") if path.is_dir() and not path.name.startswith("."))
    found = [(folder, provenance(folder)) for folder in folders]
    return [
        InstalledModel(folder.name, folder, _size(folder), made.family, made.source, made.weights_hash, made.pulled)
        for folder, made in found
        if made is not None
    ]


@dataclass(frozen=True)
class PrunableModel:
    """Something in the models folder that is of no use any more, and why; a `leftover` is no model."""

    name: str
    path: Path
    why: str
    bytes: int
    leftover: bool = False


def prunable(home: Path) -> list[PrunableModel]:
    """What could go: conversions of GGUF files that are gone, have changed or were made by an earlier release, and
    what interrupted downloads and conversions left, where no process works on it. Nothing is deleted.
    """
    found = []
    for model in installed(home):
        made = provenance(model.path)
        if model.name.startswith("gguf-") and made is not None and (why := _useless(model.name, made)):
            found.append(PrunableModel(model.name, model.path, why, model.bytes))
    busy = {lock.name[1 : -len(".lock")] for lock in models_folder(home).glob(".*.lock") if _is_locked(lock)}
    for path in sorted(models_folder(home).glob(".*")):
        is_leftover = path.is_dir() and path.name.startswith((_BUILDING, _FETCHED))
        if is_leftover and not busy:
            found.append(PrunableModel(path.name, path, "was interrupted", _size_below(path), leftover=True))
    return found


def delete_leftover(path: Path) -> None:
    """Delete what an interrupted download or conversion left."""
    shutil.rmtree(path, ignore_errors=True)


def _useless(name: str, made: Provenance) -> str | None:
    if not _is_current(name, made):
        return "was converted by an earlier release"
    source = Path(made.source)
    try:
        if not source.is_file():
            return f"{source} is gone"
        changed = durable.sha256_of(source) != made.hashes.get("gguf")
    except OSError:
        return None
    return f"{source} has changed" if changed else None


def _is_locked(path: Path) -> bool:
    lock = FileLock(path, mode=durable.PRIVATE_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _size_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


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


@contextmanager
def builder_lock(home: Path, name: str, reporter: Reporter) -> Iterator[None]:
    """Hold the right to build or remove the model of a name; waits for another process, and says that it does."""
    folder = ensure_private(models_folder(home))
    with durable.writing(folder, HOME_ELSEWHERE):
        lock = FileLock(folder / f".{name}.lock", mode=durable.PRIVATE_FILE)
        try:
            lock.acquire(timeout=0.2)
        except Timeout:
            reporter.note(f"another process is working on {name}; waiting for it")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def build_folder(home: Path, name: str, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a temporary folder, then make it the model folder of that name; returns the folder.

    The caller holds `builder_lock`. An interruption or error in `write` leaves nothing. Raises ResourceError for a
    full disk, UsageError for a folder that may not be written.
    """
    parent = ensure_private(models_folder(home))
    with durable.writing(parent, HOME_ELSEWHERE):
        remove_leftovers(home, name)
        temporary = Path(tempfile.mkdtemp(prefix=prefix(name), dir=parent))
        try:
            write(temporary)
            for path in temporary.iterdir():
                path.chmod(durable.PRIVATE_FILE)
                durable.sync_file(path)
            durable.sync_folder(temporary)
            return _publish(temporary, parent / name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(home: Path, name: str) -> None:
    """Delete what an interrupted build or removal of this model left; the caller holds `builder_lock`."""
    for path in models_folder(home).glob(prefix(name) + "*"):
        shutil.rmtree(path, ignore_errors=True)


def take_away(home: Path, name: str) -> None:
    """Remove a model folder at once: it is renamed out of sight first, so that no half of it is ever seen."""
    parent = models_folder(home)
    with durable.writing(parent, HOME_ELSEWHERE):
        hidden = Path(tempfile.mkdtemp(prefix=prefix(name), dir=parent))
        (parent / name).rename(hidden / name)
        shutil.rmtree(hidden, ignore_errors=True)


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """ResourceError where the disk that holds `folder` has less than `needed` bytes free.

    A folder that `build_folder` fills is hidden and gone with the error: the one that it lies in is named.
    """
    free = durable.available_bytes(folder)
    if free < needed:
        folder = folder.parent if folder.name.startswith(_BUILDING) else folder
        raise ResourceError(
            f"{purpose} needs {_megabytes(needed)} of disk in {folder}, {_megabytes(free)} are free",
            hint="free some space, or set SHAREDLLM_HOME to a folder on another disk",
        )


def _publish(temporary: Path, destination: Path) -> Path:
    if destination.exists():  # damaged or from an older conversion: the caller found it unusable
        replaced = Path(tempfile.mkdtemp(prefix=prefix(destination.name), dir=destination.parent))
        destination.rename(replaced / destination.name)
        temporary.rename(destination)
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        temporary.rename(destination)
    durable.sync_folder(destination.parent)
    return destination


def prefix(name: str) -> str:
    """How the temporary folders of a model's builds are called: hidden, and found by `remove_leftovers`."""
    return f"{_BUILDING}{name}-"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


@dataclass(frozen=True)
class Located:
    """A model's folder on this machine, and the name to show for it."""

    name: str
    folder: Path


def locate(reference: str, *, home: Path, offline: bool, reporter: Reporter) -> Located:
    """Find a model, fetching or converting it where that is needed (and, for the network, allowed).

    Raises ModelError where it can't be had, ResourceError and UsageError as `pull` does.
    """
    known = known_model(reference)
    name = known.name if known else reference
    if installed := installed_folder(name, home):
        return Located(name, installed)
    if known is not None:
        from sharedllm_cli.weights.pull import pull

        return Located(name, pull(name, home, reporter, offline))
    path = _expanded(reference)
    if path.is_dir():
        return Located(path.resolve().name, path)
    if path.is_file():
        from sharedllm_cli.weights.conversion import converted_folder

        return Located(path.stem, converted_folder(path, home, reporter))
    from sharedllm_cli.weights import hub

    if hub.is_hub_id(reference):
        return Located(reference, hub.hub_folder(reference, offline=offline, reporter=reporter))
    raise _unknown(reference)


def describe(reference: str, home: Path, *, offline: bool = False) -> ModelFacts:
    """The facts of a model from its configuration alone: fetches no weights, converts nothing, loads no torch.

    A known name needs no network; a hub id that isn't cached needs it for `config.json` (ModelError when `offline`).
    Raises ModelError for a model that can't be found or isn't supported.
    """
    known = known_model(reference)
    name = known.name if known else reference
    if installed := installed_folder(name, home):
        return facts_from_config(read_config(installed), name)
    if known is not None:
        return known.facts
    path = _expanded(reference)
    if path.is_dir():
        return facts_from_config(read_config(path), path.resolve().name)
    if path.is_file():
        from sharedllm_cli.weights.gguf_config import config_from_gguf
        from sharedllm_cli.weights.gguf_file import GGUFFile

        return facts_from_config(config_from_gguf(GGUFFile(path)), path.stem)
    from sharedllm_cli.weights import hub

    if hub.is_hub_id(reference):
        return facts_from_config(hub.facts_config(reference, offline=offline), reference)
    raise _unknown(reference)


def settled(reference: str, home: Path) -> str:
    """A reference as it can be written down for later calls from anywhere: a name, a hub id, or a whole path.

    Fetches nothing. Raises ModelError for a model that is neither known nor here, and no hub id.
    """
    known = known_model(reference)
    if known is not None:
        return known.name
    if installed_folder(reference, home):
        return reference
    path = _expanded(reference)
    if path.exists():
        describe(str(path), home)
        return str(path.resolve())
    from sharedllm_cli.weights import hub

    if hub.is_hub_id(reference):
        return reference
    raise _unknown(reference)


def _expanded(reference: str) -> Path:
    try:
        return Path(reference).expanduser()
    except RuntimeError:
        return Path(reference)


def _unknown(reference: str) -> ModelError:
    names = ", ".join(model.name for model in known_models())
    return ModelError(
        f"there is no model {reference!r}",
        hint=f"give a known name ({names}), a folder, a .gguf file or a hub id (organisation/name)",
    )
