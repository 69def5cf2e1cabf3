"""How much there is to read is counted in what a reader knows: pages only where a format has pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sharedllm_cli.answer import Answer
from sharedllm_cli.config import Settings
from sharedllm_cli.engine import Engine
from sharedllm_cli.index import catalog
from sharedllm_cli.progress import Silent


def pages_of(engine: Engine, *paths: Path) -> int:
    *_, answer = engine.ask(engine.open([str(path) for path in paths]), "Where do bees fly?")
    assert isinstance(answer, Answer)
    return answer.coverage.pages


def test_only_pages_are_counted_as_pages(model_folder: Callable[..., Path], private_home: Path, tmp_path: Path) -> None:
    harbour, notes = tmp_path / "harbour.txt", tmp_path / "notes.md"
    harbour.write_text("The lamp is lit at dusk.\fThe bees fly home.\fThe end.")
    notes.write_text("# Bees\n\nThe bees fly from clover to clover.\n")
    model = str(model_folder("llama", max_position_embeddings=8192))
    settings = Settings(model=model, device="cpu", evidence_tokens=300, max_new_tokens=2)
    engine = Engine(settings, home=private_home, reporter=Silent())
    assert (pages_of(engine, notes), pages_of(engine, harbour), pages_of(engine, harbour, notes)) == (0, 3, 3)
    assert [row.pages for row in engine.plan([str(harbour), str(notes)])[0]] == [3, 0]
    listed = {entry.name: entry.pages for entry in catalog.entries(engine.store.root)}
    assert listed == {"harbour.txt": 3, "notes.md": 0}
