"""Whether the files that a loaded model was made of are still the same: its own, the adapter's, the encoder's."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from sharedllm_cli import durable
from sharedllm_cli.config import Settings
from sharedllm_cli.errors import SharedLLMError
from sharedllm_cli.progress import Silent

ModelFiles = tuple[tuple[str, tuple[int, ...]], ...]
"""Paths and stamps."""


def model_files(settings: Settings, home: Path) -> ModelFiles:
    """The files of a model that was loaded with these settings, with their stamps; empty where they are gone."""
    from sharedllm_cli.model.adapter_config import adapter_folder
    from sharedllm_cli.weights.encoders import encoder_folder
    from sharedllm_cli.weights.references import locate

    try:
        located = locate(settings.model, home=home, offline=True, reporter=Silent())
    except SharedLLMError:
        return ()
    folders = (located.folder, adapter_folder(settings, located.name), encoder_folder(home))
    found = []
    for folder in filter(None, folders):
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                if entry.is_file() and not entry.name.startswith("."):
                    found.append((entry.path, tuple(durable.stamp_of(Path(entry.path)))))
    return tuple(found)
