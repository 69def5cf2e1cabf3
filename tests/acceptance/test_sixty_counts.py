"""Sixty questions to count and to list, whose answers are known from how the documents are made.

The questions (counting.json) were written before the first of them was asked. Each has the right total, and words that
the answer or its sources must hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from harbour_papers import write_papers

from sharedllm_cli.answer import Answer
from sharedllm_cli.collections.names import made
from sharedllm_cli.collections.opening import setup_for
from sharedllm_cli.collections.updating import update
from sharedllm_cli.config import Settings
from sharedllm_cli.engine import Engine
from sharedllm_cli.progress import Silent

ASKED: list[tuple[str, int, list[str]]] = json.loads(
    Path(__file__).with_name("counting.json").read_text(encoding="utf-8")
)
LEAST_RIGHT = 57


def test_there_are_sixty_questions() -> None:
    assert len(ASKED) == len({question for question, _, _ in ASKED}) == 60


@pytest.mark.parametrize("named", ["collection", "folder"])
def test_nearly_all_are_right(
    named: str, model_folder: Callable[..., Path], tmp_path: Path, private_home: Path, request: pytest.FixtureRequest
) -> None:
    write_papers(tmp_path / "papers")
    folder = model_folder("llama", max_position_embeddings=4096)
    settings = Settings(model=str(folder), device="cpu", dtype="float32", offline=True, max_new_tokens=4)
    if named == "collection":
        collection = made(private_home, "papers", [str(tmp_path / "papers")])
        update(collection, setup_for(settings, private_home, Silent()), Silent(), workers=1)
    engine = Engine(settings, home=private_home, reporter=Silent())
    library = engine.open(["@papers" if named == "collection" else str(tmp_path / "papers")])
    wrong = []
    for question, total, held in ASKED:
        *_, answer = engine.ask(library, question)
        assert isinstance(answer, Answer)
        shown = " ".join([answer.answer, *(" ".join(source.quote.split()) for source in answer.sources)])
        if answer.route != "tally" or answer.matches != total or not all(one in shown for one in held):
            wrong.append((question, answer.route, answer.matches, answer.answer[:200]))
    assert len(ASKED) - len(wrong) >= LEAST_RIGHT, wrong
    print(f"{len(ASKED) - len(wrong)} of {len(ASKED)} right; wrong: {wrong}")
