"""From what the user calls a model to the folder it lies in.

A reference is, tried in this order: a known name, the name of an installed model, a folder, a GGUF file, a hub id. What
fetches and converts is imported where a model is not here yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sharedllm_cli.errors import ModelError
from sharedllm_cli.progress import Reporter
from sharedllm_cli.weights.facts import ModelFacts, facts_from_config, read_config
from sharedllm_cli.weights.known import known_model, known_models
from sharedllm_cli.weights.registry import installed_folder


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
