"""What shapes an evaluation's numbers, as it is recorded with them and must be the same where a run is resumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from sharedllm_cli import __version__, durable
from sharedllm_cli.answering.kinds import RULES
from sharedllm_cli.config import Settings
from sharedllm_cli.generation import prompt
from sharedllm_cli.lab.evaluation.questions import Joining
from sharedllm_cli.lab.training.records import DataFile
from sharedllm_cli.model.adapter import WEIGHTS_FILE
from sharedllm_cli.model.adapter_config import adapter_folder
from sharedllm_cli.model.shared import SharedModel

_LIBRARIES = ("torch", "transformers", "numpy")
_READING = ("policy", "evidence_tokens", "tree", "refuse_from", "max_new_tokens", "system", "stored_dtype")
"""The settings that shape what is read and answered, beside the model's."""


def data_facts(files: Sequence[DataFile], joining: Sequence[Joining] = (), **drawn: int | None) -> dict[str, Any]:
    """The data files by name and content, how their documents are joined, and how questions are drawn from them."""
    named: list[dict[str, Any]] = [{"file": file.path.name, "sha256": file.fingerprint()} for file in files]
    for one, how in zip(named, joining, strict=False):
        one.update(how.facts())
    return {"files": named, **drawn}


def model_facts(shared: SharedModel, settings: Settings) -> dict[str, Any]:
    """The base model and adapter by their weights, and how they compute."""
    base, adapter = shared.base, shared.adapter
    folder = adapter_folder(settings, base.name)
    learned: dict[str, Any] = {"rules": dict(RULES)} if adapter.config.kinds else {}
    if shared.encoder is not None:
        learned["encoder"] = {"name": shared.encoder.name, "weights": shared.encoder.weights_hash}
    return {
        "base": base.name,
        "weights": base.weights_hash,
        "adapter": None if folder is None else str(folder),
        "adapter_weights": None if folder is None else durable.sha256_of(folder / WEIGHTS_FILE),
        "trained": adapter.trained,
        "reads_tree": shared.upper.reads_tree,
        "refuse_from": shared.refuse_from(settings),
        "injection": asdict(adapter.config.injection),
        "lower_layers": shared.lower.lower_layers,
        "tree": asdict(shared.tree),
        "device": str(base.device),
        "dtype": str(base.dtype),
        "quantize": base.quantize,
        **learned,
    }


def reading_facts(shared: SharedModel, settings: Settings) -> dict[str, Any]:
    """What shapes the answers to a document beside the model; the adapter's own budget of passages is told as used."""
    facts = {name: getattr(settings, name) for name in _READING}
    return facts | {
        "evidence_tokens": shared.passage_budget(settings),
        "candidates": shared.candidates(settings),
    }


def program_facts() -> dict[str, Any]:
    """The words put before the model, and the versions that computed."""
    return {
        "prompt": {"system": prompt.SYSTEM, "rule": prompt.RULE, "refusal": prompt.NOT_IN_DOCUMENT},
        "versions": {"sharedllm-cli": __version__} | {name: version(name) for name in _LIBRARIES},
    }
