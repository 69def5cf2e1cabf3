"""Where SharedLLM keeps what it stores: models, indexes and the user's settings; and how to keep it elsewhere.

Floor 0: paths only. Folders are private to the user (0700).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from platformdirs import user_config_dir, user_data_dir

from sharedllm_cli.durable import make_private_folder
from sharedllm_cli.errors import UsageError

HOME_VARIABLE = "SHAREDLLM_HOME"
HOME_ELSEWHERE = f"set {HOME_VARIABLE} to a folder that you can write to"
MOST_RUN_BYTES = 78
"""A socket's whole path has at most 103 bytes on macOS, 107 on Linux."""
INDEX_ELSEWHERE = "choose another folder with --index-dir"


def home_folder(environment: Mapping[str, str]) -> Path:
    """The folder of models and indexes: `SHAREDLLM_HOME`, else `sharedllm` in the user's data folder. Not created."""
    chosen = environment.get(HOME_VARIABLE, "")
    return _absolute(chosen) if chosen else Path(user_data_dir("sharedllm", appauthor=False))


def config_file(environment: Mapping[str, str]) -> Path:
    """The user's TOML file of settings, which need not exist: in `SHAREDLLM_HOME` if set, else the config folder."""
    chosen = environment.get(HOME_VARIABLE, "")
    folder = _absolute(chosen) if chosen else Path(user_config_dir("sharedllm", appauthor=False))
    return folder / "config.toml"


def models_folder(home: Path) -> Path:
    """Where base models lie below a home folder."""
    return home / "models"


def indexes_folder(home: Path) -> Path:
    """Where indexes lie below a home folder, unless another folder is asked for."""
    return home / "indexes"


def run_folder(home: Path) -> Path:
    """Where warm processes listen: below the home folder, or, where that path is too long for a socket, the system's.

    It is there only while one listens.
    """
    folder = home / "run"
    if len(os.fsencode(folder)) <= MOST_RUN_BYTES:
        return folder
    import hashlib
    import tempfile

    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"sharedllm-{os.getuid() if hasattr(os, 'getuid') else 0}-{digest}"


def obstacle(folder: Path) -> str | None:
    """Why a folder can't be written to, or can't be made, in words; None where it can."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    named = "it" if there == folder.absolute() else str(there)
    if not there.is_dir():
        return f"{named} is {'a file, ' if there.is_file() else ''}not a folder"
    return None if os.access(there, os.W_OK | os.X_OK) else f"{named} can't be written to"


def ensure_private(folder: Path) -> Path:
    """Create a folder and its missing parents, readable by the user alone; returns it.

    An existing folder keeps its permissions. Raises UsageError where it can't be created.
    """
    try:
        make_private_folder(folder)
    except OSError as error:
        reason = obstacle(folder) or (error.strerror or str(error)).lower()
        raise UsageError(f"can't create the folder {folder}: {reason}", hint=HOME_ELSEWHERE) from error
    return folder


def _absolute(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        return Path(text).absolute()
