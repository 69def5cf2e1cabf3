"""A tiny model with an adapter that keeps to places, as the one that is shipped, and questions to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from sharedllm_cli.answer import Answer
from sharedllm_cli.config import InjectionConfig, Settings, TreeConfig
from sharedllm_cli.engine import Engine
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.adapter_config import LowRankConfig
from sharedllm_cli.model.shared import load_shared
from sharedllm_cli.progress import Silent

TREE = TreeConfig(64, 2, (8, 4))


def keeping_to_places(model_folder: Callable[..., Path], tmp_path: Path, private_home: Path) -> Settings:
    """A model with an adapter that would change every answer, and that always refuses where it is asked."""
    folder = str(model_folder("llama", max_position_embeddings=8192))
    base = load_shared(Settings(model=folder, device="cpu"), private_home, Silent()).base
    plain = Adapter.untrained(base.model, base.name, InjectionConfig("merged", 2), TREE)
    config = replace(
        plain.config, low_rank=LowRankConfig(2, 4, (3,), ("q_proj", "down_proj"), (1,)), refuse_from=1e-300
    )
    adapter = Adapter(base.model, config)
    with torch.no_grad():
        for parameter in adapter.low_rank.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    adapter.save(tmp_path / "adapter", trained={"objective": "none: set by a test"})
    adapted = str(tmp_path / "adapter")
    return Settings(model=folder, device="cpu", dtype="float32", adapter=adapted, max_new_tokens=8, evidence_tokens=300)


def asked(settings: Settings, document: str, home: Path, *questions: str) -> list[Answer]:
    engine = Engine(settings, home=home, reporter=Silent())
    library = engine.open([document])
    found = [list(engine.ask(library, question))[-1] for question in questions]
    return [answer for answer in found if isinstance(answer, Answer)]
