"""The user's file of settings: read, changed a value at a time, and merged with the environment.

Floor 0: TOML and paths. What a setting may be is in `config.py`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharedllm_cli.config import Settings, known_setting, resolve
from sharedllm_cli.durable import replace_bytes, writing
from sharedllm_cli.errors import UsageError
from sharedllm_cli.home import HOME_ELSEWHERE, config_file, ensure_private

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

NOT_THERE = (FileNotFoundError, NotADirectoryError)


def user_settings(**changes: Any) -> Settings:
    """The settings that the command would have: `changes` over environment over configuration file over defaults.

    Raises UsageError for an unknown setting or an invalid value, wherever it comes from.
    """
    for name in changes:
        known_setting(name)
    return resolve(changes, os.environ, read_config(config_file(os.environ))).settings


def read_config(path: Path) -> dict[str, Any]:
    """The configuration file's settings, empty where there is no file; UsageError where it can't be read."""
    return _loaded(_text(path), path)


def change_config(path: Path, values: Mapping[str, Any]) -> None:
    """Write settings into the configuration file (None removes one); its other lines and remarks stay as they are.

    Raises UsageError where the file can't be read or written, or where the settings would not be valid with the rest.
    """
    text = _text(path)
    _loaded(text, path)
    import tomlkit

    changed = tomlkit.parse(text)
    for name, value in values.items():
        _change(changed, name, value)
    resolve({}, {}, changed.unwrap())
    ensure_private(path.parent)
    with writing(path.parent, HOME_ELSEWHERE):
        # A file kept elsewhere and linked here stays where it is.
        replace_bytes(path.resolve(), tomlkit.dumps(changed).encode())


def _change(changed: TOMLDocument, name: str, value: Any) -> None:
    spelled = next((key for key in changed if key.replace("-", "_") == name), name)
    if value is None:
        changed.pop(spelled, None)
    else:
        changed[spelled] = value


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except NOT_THERE:
        return ""
    except OSError as error:
        raise UsageError(f"the configuration file {path} can't be read: {(error.strerror or '').lower()}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"the configuration file {path} is not valid TOML: {error}") from None


def _loaded(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise UsageError(
            f"the configuration file {path} is not valid TOML: {error}", hint='a line looks like: model = "name"'
        ) from None
