"""An adapter as it is shipped: its weights in half precision, checked to answer as before, with a card.

Knows no data; what the card says beyond the adapter's own provenance is written by hand.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from sharedllm_cli.errors import ModelError
from sharedllm_cli.model.adapter import WEIGHTS_FILE
from sharedllm_cli.model.adapter_config import CONFIG_FILE, read_config

MOST_BYTES = 30_000_000


def ship(
    adapter: Path,
    folder: Path,
    *,
    dtype: torch.dtype = torch.float16,
    beside_passages: bool | None = None,
    refuse_from: float | None = None,
    evidence_tokens: int | None = None,
    text_bias: float | None = None,
    candidates: int | None = None,
    mean_with: Path | None = None,
) -> str:
    """Write a trained adapter's folder with its weights in another dtype; returns the SHA-256 of its weights file.

    `beside_passages`, `refuse_from`, `evidence_tokens`, `text_bias` and `candidates`, where given, are what
    measurements said (see `AdapterConfig`). Gates keep their dtype: a closed one is −∞ and stays it. `mean_with`: the
    adapter from which this one was trained on; the mean of both is written (Wortsman et al. 2022, "Robust fine-tuning
    of zero-shot models", arXiv 2109.01903). Raises ModelError for an untrained adapter, for weights that the dtype
    can't hold, and for adapters that are not of one shape.
    """
    config = read_config(adapter)
    measured = {
        "beside_passages": beside_passages,
        "refuse_from": refuse_from,
        "evidence_tokens": evidence_tokens,
        "text_bias": text_bias,
        "candidates": candidates,
    }
    config = replace(config, **{name: value for name, value in measured.items() if value is not None})  # type: ignore[arg-type]
    if config.trained is None:
        raise ModelError(f"the adapter in {adapter} is not trained")
    found = load_file(adapter / WEIGHTS_FILE)
    if mean_with is not None:
        found = _mean(found, load_file(mean_with / WEIGHTS_FILE), mean_with)
    tensors = {}
    for name, tensor in found.items():
        narrow = tensor if name.endswith("gate") else tensor.to(dtype)
        if not name.endswith("gate") and not torch.isfinite(narrow).all():
            raise ModelError(f"{name} of the adapter in {adapter} does not fit {dtype}")
        tensors[name] = narrow.contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f".{WEIGHTS_FILE}.partial"
    save_file(tensors, weights)
    if weights.stat().st_size > MOST_BYTES:
        weights.unlink()
        raise ModelError(f"the adapter in {adapter} is larger than {MOST_BYTES:,} bytes")
    text = folder / f".{CONFIG_FILE}.partial"
    text.write_text(json.dumps(config.to_json(), indent=2) + "\n", encoding="utf-8")
    for partial, name in ((weights, WEIGHTS_FILE), (text, CONFIG_FILE)):
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.chmod(0o644)
        partial.replace(folder / name)
    return hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()


def _mean(found: dict[str, torch.Tensor], other: dict[str, torch.Tensor], place: Path) -> dict[str, torch.Tensor]:
    """The mean of two adapters' weights, by name, in float32; the gates are the first one's."""
    if {name: one.shape for name, one in found.items()} != {name: one.shape for name, one in other.items()}:
        raise ModelError(f"the adapter in {place} is not of the same shape")
    return {
        name: one if name.endswith("gate") else (one.float() + other[name].float()) / 2 for name, one in found.items()
    }
