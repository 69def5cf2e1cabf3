"""What is known of an adapter without loading its weights, or those of the base model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sharedllm_cli.config import Settings
from sharedllm_cli.errors import ModelError
from sharedllm_cli.model.adapter_config import AdapterConfig, adapter_folder, read_config

NO_ADAPTER = "none: answers rest on verbatim passages alone"


@dataclass(frozen=True)
class AdapterFacts:
    """An adapter in a line; `config` is None where there is none or it can't be read, `advice` then says what to do."""

    text: str
    trained: bool = False
    advice: str | None = None
    folder: Path | None = None
    config: AdapterConfig | None = None


def adapter_facts(settings: Settings, base_name: str) -> AdapterFacts:
    """The adapter that these settings choose for a base model."""
    folder = adapter_folder(settings, base_name)
    if folder is None:
        return AdapterFacts(NO_ADAPTER)
    try:
        config = read_config(folder)
    except ModelError as error:
        return AdapterFacts(error.message, advice=error.hint, folder=folder)
    what = "untrained" if config.trained is None else "trained" + training_text(config)
    return AdapterFacts(f"{folder}, {what} for {config.base}", config.trained is not None, None, folder, config)


def training_text(config: AdapterConfig) -> str:
    """What an adapter was trained on, as its provenance tells it."""
    made = config.trained or {}
    told = [f"{name} {value}" for name, value in made.items() if isinstance(value, str | int | float)]
    data = made.get("data")
    files = [entry["file"] for entry in data if "file" in entry] if isinstance(data, list) else []
    if files:
        told.append(f"on {', '.join(files)}")
    return f" ({', '.join(told)})" if told else ""
