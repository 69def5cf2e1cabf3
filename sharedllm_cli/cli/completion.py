"""What a shell offers when the user presses Tab. Must be quick and must never fail: no model, no torch, no network."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from sharedllm_cli.config import DEFAULT_MODEL
from sharedllm_cli.home import home_folder, indexes_folder


def among(choices: Sequence[str]) -> Callable[[str], list[str]]:
    """Completion from a fixed list."""

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def models(incomplete: str) -> list[str]:
    """Names of base models that are known or installed."""
    names = {DEFAULT_MODEL}
    with suppress(Exception):
        from sharedllm_cli.weights.known import known_models
        from sharedllm_cli.weights.registry import installed

        home = home_folder(os.environ)
        names |= {model.name for model in known_models()} | {model.name for model in installed(home)}
    return sorted(name for name in names if name.startswith(incomplete))


def chats(incomplete: str) -> list[str]:
    """Names of kept conversations."""
    names: list[str] = []
    with suppress(Exception):
        from sharedllm_cli.cli.chat.session import kept_in

        names = [path.stem for path in kept_in(home_folder(os.environ)).paths()]
    return [name for name in names if name.startswith(incomplete)]


def indexes(incomplete: str) -> list[str]:
    """Names of indexed documents in the default folder."""
    names: set[str] = set()
    with suppress(Exception):
        from sharedllm_cli.index.catalog import entries

        root = Path(os.environ.get("SHAREDLLM_INDEX_DIR") or indexes_folder(home_folder(os.environ)))
        names = {entry.name for entry in entries(root)}
    return sorted(name for name in names if name.startswith(incomplete))
