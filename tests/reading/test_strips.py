"""The strip of a document shows what the model read of it: nodes of its tree, or passages word for word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from tiny_models import make_tiny_model

from sharedllm_cli.answer import Answer
from sharedllm_cli.config import InjectionConfig, Settings, TreeConfig
from sharedllm_cli.engine import Engine
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.reading.sights import Strip, strips

STORY = "".join(
    f"In year {year} old Marten lights the northern beacon at dusk. The key hangs in chapel {year}. "
    for year in range(20)
)
SHAPE = {"num_hidden_layers": 4, "max_position_embeddings": 8192}


def open_adapter(folder: Path) -> str:
    """An adapter whose gates are open, so that the tree is read."""
    base = make_tiny_model("llama", **SHAPE)
    adapter = Adapter.untrained(base, "tiny", InjectionConfig("merged", 2), TreeConfig(512, 3, (16, 8, 4)))
    with torch.no_grad():
        for injection in adapter.injections.values():
            injection.gate.fill_(1.0)  # type: ignore[union-attr, operator]
    adapter.save(folder, trained={"objective": "none: gates opened by a test"})
    return str(folder)


def asked(model: Path, home: Path, folder: Path, **changes: object) -> tuple[Answer, Strip]:
    path = folder / "story.txt"
    path.write_text(STORY)
    settings = Settings(model=str(model), device="cpu", max_new_tokens=2, chunk_tokens=512, **changes)  # type: ignore[arg-type]
    engine = Engine(settings, home=home)
    library = engine.open([str(path)])
    answer = [*engine.ask(library, "Who lights the northern beacon?")][-1]
    assert isinstance(answer, Answer)
    assert "stretches" not in answer.to_json()
    (strip,) = strips(library.documents, answer.sources, answer.stretches)
    return answer, strip


def test_the_nodes_that_were_read_tile_the_document(
    model_folder: Callable[..., Path], private_home: Path, tmp_path: Path
) -> None:
    adapter = open_adapter(tmp_path / "adapter")
    answer, strip = asked(model_folder("llama", **SHAPE), private_home, tmp_path, adapter=adapter, evidence_tokens=0)
    assert len(answer.stretches) == answer.tree.preserved_nodes == len(strip.grains) > 0
    assert [one.start for one in strip.grains] == [0.0, *(one.end for one in strip.grains[:-1])]
    assert strip.grains[-1].end == 1.0
    assert {one.level for one in strip.grains} == set(range(1, strip.levels + 1))


def test_passages_are_shown_where_they_were_read(
    model_folder: Callable[..., Path], private_home: Path, tmp_path: Path
) -> None:
    answer, strip = asked(model_folder("llama", **SHAPE), private_home, tmp_path, evidence_tokens=300)
    assert {one.level for one in strip.grains} == {None}
    read = sum(one.end - one.start for one in strip.grains) * answer.coverage.tokens
    assert round(read) == answer.coverage.tokens_read < answer.coverage.tokens
    for place in strip.places:
        held = any(one.start <= place.start + 1e-6 and place.end <= one.end + 1e-6 for one in strip.grains)
        assert held == place.read
