"""`--trees hot`: trees of the documents that answers rested on, the latest first, as far as the budget goes."""

from __future__ import annotations

from dataclasses import replace

from keeping import Keeper
from test_updating import settle

from sharedllm_cli.answer import Answer
from sharedllm_cli.collections.hot_trees import keep_hot
from sharedllm_cli.engine import Engine
from sharedllm_cli.index import folders
from sharedllm_cli.progress import Silent


def with_trees(engine: Engine, keeper: Keeper) -> set[str]:
    found = set()
    for row in keeper.catalogue("notes").documents():
        folder = engine.store.folder(row.content_hash)
        if folder and any(part.name.startswith("trees-") for part in folders.finished_parts(folder)):
            found.add(row.name)
    return found


def test_trees_of_asked_documents_are_built_and_the_oldest_go_above_the_budget(keeper: Keeper) -> None:
    for name in ("lantern", "rope", "anchor"):
        keeper.write(f"{name}.txt", f"How often is it? The {name} hangs at the door of the old house. " * 8)
    settle()
    keeper.add("notes")
    settings = replace(keeper.settings, lower_layers=2, max_new_tokens=2)
    engine = Engine(settings, home=keeper.home, reporter=Silent())
    collection = keeper.collection("notes")
    assert keep_hot(collection, engine, 10**9).kept == 0
    library = engine.open(["@notes"])
    for thing in ("lantern", "rope"):
        *_, answer = engine.ask(library, f'How often does "{thing} hangs" occur?')
        assert isinstance(answer, Answer)
        assert answer.route == "tally"
    first = keep_hot(collection, engine, 10**9)
    assert (first.kept, first.built, first.deleted) == (2, 2, 0)
    assert with_trees(engine, keeper) == {"lantern.txt", "rope.txt"}
    again = keep_hot(collection, engine, 10**9)
    assert (again.kept, again.built, again.bytes) == (2, 0, first.bytes)
    tight = keep_hot(collection, engine, first.bytes * 2 // 3)
    assert (tight.kept, tight.deleted) == (1, 1)
    assert with_trees(engine, keeper) == {"rope.txt"}
    assert keep_hot(collection, engine, 0).deleted == 1
    assert with_trees(engine, keeper) == set()
