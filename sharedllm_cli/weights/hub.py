"""Models from the Hugging Face hub: safetensors, JSON and the tokenizer, and no other file.

Models asked for by hub id stay in the hub's own cache (shared with other tools, resumable). A model that is there is
used without asking the network.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from sharedllm_cli.errors import ModelError
from sharedllm_cli.progress import Reporter
from sharedllm_cli.weights.facts import check_supported
from sharedllm_cli.weights.known import HubFile
from sharedllm_cli.weights.registry import require_space
from sharedllm_cli.weights.weight_files import weight_files

_WANTED = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model-*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)


def is_hub_id(reference: str) -> bool:
    """Whether a reference has the form of a hub id: `organisation/name`."""
    part = r"[A-Za-z0-9][\w.-]*"
    return re.fullmatch(f"{part}/{part}", reference) is not None and not reference.endswith(".gguf")


def hub_folder(hub_id: str, *, offline: bool, reporter: Reporter) -> Path:
    """The folder of a hub model: from the hub's cache if it is whole there, else fetched.

    Raises ModelError where it can't be had, with the reason; before its weights are fetched where it isn't supported.
    """
    cached = _cached(hub_id)
    if cached is not None:
        return cached
    if offline:
        raise ModelError(
            f"{hub_id} is not on this machine, and the network is switched off",
            hint=f"fetch it once without --offline: sharedllm models pull {hub_id}",
        )
    return fetch(hub_id, reporter=reporter)


def fetch(hub_id: str, *, reporter: Reporter, revision: str | None = None, into: Path | None = None) -> Path:
    """Fetch a hub model into the hub's cache, or straight into a folder; returns the folder. ModelError if it can't."""
    import huggingface_hub

    with _hub_errors(hub_id), _without_bars():
        info = huggingface_hub.HfApi().model_info(hub_id, revision=revision, files_metadata=True)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or [] if _is_wanted(file.rfilename)}

        def get(name: str) -> Path:
            place: dict[str, Any] = {} if into is None else {"local_dir": into}
            return Path(huggingface_hub.hf_hub_download(hub_id, name, revision=info.sha, **place))

        if "config.json" not in sizes:
            raise ModelError(f"{hub_id} holds no model: there is no config.json")
        config = get("config.json")
        _check(config, hub_id)
        if not any(name.endswith(".safetensors") for name in sizes):
            raise ModelError(f"{hub_id} holds no safetensors weights; pickled ones are never read")
        _require_space(sum(sizes.values()), hub_id, into)
        return _fetch_files(sizes, get, hub_id, reporter, config.parent)


def fetch_file(wanted: HubFile, size: int, into: Path, reporter: Reporter) -> Path:
    """Fetch one file of a repository into a folder; what an interrupted fetch left there is gone on from."""
    import huggingface_hub

    with (
        reporter.task(f"fetching {wanted.repository}", size, "bytes") as task,
        _hub_errors(wanted.repository),
        _without_bars(),
    ):
        # Asked first: of a hub that can't be reached the download itself would be tried for half a minute.
        huggingface_hub.HfApi().model_info(wanted.repository, revision=wanted.revision)
        got = huggingface_hub.hf_hub_download(
            wanted.repository, wanted.filename, revision=wanted.revision, local_dir=into
        )
        task.advance(size)
    return Path(got)


def facts_config(hub_id: str, *, offline: bool) -> dict[str, Any]:
    """A hub model's `config.json` alone, from the cache or fetched; ModelError where it can't be had."""
    import huggingface_hub

    with _hub_errors(hub_id), _without_bars():
        path = huggingface_hub.hf_hub_download(hub_id, "config.json", local_files_only=offline)
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    return config if isinstance(config, dict) else {}


def _fetch_files(
    sizes: dict[str, int], get: Callable[[str], Path], hub_id: str, reporter: Reporter, folder: Path
) -> Path:
    with reporter.task(f"fetching {hub_id}", sum(sizes.values()), "bytes") as task:
        for name, size in sorted(sizes.items(), key=lambda item: item[1]):
            get(name)
            task.advance(size)
    return folder


def _is_wanted(name: str) -> bool:
    return "/" not in name and any(fnmatchcase(name, pattern) for pattern in _WANTED)


def _check(config: Path, hub_id: str) -> None:
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"the config.json of {hub_id} is damaged: it is not valid JSON") from error
    check_supported(values if isinstance(values, dict) else {}, hub_id)


def _require_space(needed: int, hub_id: str, into: Path | None) -> None:
    from huggingface_hub.constants import HF_HUB_CACHE

    place = into or Path(HF_HUB_CACHE)
    while not place.exists() and place != place.parent:
        place = place.parent
    require_space(place, needed, f"fetching {hub_id}")


def _cached(hub_id: str) -> Path | None:
    """The hub cache's folder of a model with everything a load needs, or None. Never uses the network."""
    import huggingface_hub

    try:
        folder = Path(huggingface_hub.snapshot_download(hub_id, local_files_only=True))
        weight_files(folder)
    except (OSError, ValueError, ModelError):
        return None
    return folder if all((folder / name).is_file() for name in ("config.json", "tokenizer.json")) else None


@contextmanager
def _without_bars() -> Iterator[None]:
    """The hub client draws no bars of its own: progress goes through the reporter."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled() or os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS"):
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def _hub_errors(hub_id: str) -> Iterator[None]:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        yield
    except ModelError:
        raise
    except GatedRepoError as error:
        raise ModelError(
            f"{hub_id} asks you to accept its terms first",
            hint=f"accept them on the page of {hub_id}, then run `hf auth login`",
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"there is no model {hub_id} on the hub, or it is private", hint="check the name") from error
    except Exception as error:  # the client's network library, and so its exceptions, differ between its versions
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{hub_id} can't be fetched from the hub: {reason}",
            hint="check the network, or give a local folder with --model",
        ) from error
