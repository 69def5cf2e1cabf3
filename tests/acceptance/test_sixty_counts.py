"""Questions to count and to list, whose answers are known from how the documents are made: sixty, and thirty others.

The questions (counting.json, orchard.json) were written before the first of them was asked. Each has the right total
(null: any), and words that the answer or its sources must hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from harbour_papers import write_papers
from orchard_papers import write_orchard

from sharedllm_cli.answer import Answer
from sharedllm_cli.collections.names import made
from sharedllm_cli.collections.opening import setup_for
from sharedllm_cli.collections.updating import update
from sharedllm_cli.config import Settings
from sharedllm_cli.engine import Engine
from sharedllm_cli.progress import Silent

SETS = {"counting": (write_papers, 60, 57), "orchard": (write_orchard, 30, 28)}
"""What writes the documents, how many questions there are, and how many must be right."""


def asked_in(name: str) -> list[tuple[str, int | None, list[str]]]:
    found: list[tuple[str, int | None, list[str]]] = json.loads(
        Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8")
    )
    return found


@pytest.mark.parametrize("name", SETS)
def test_no_question_is_there_twice(name: str) -> None:
    asked = asked_in(name)
    assert len(asked) == len({question for question, _, _ in asked}) == SETS[name][1]


@pytest.mark.parametrize("named", ["collection", "folder"])
@pytest.mark.parametrize("name", SETS)
def test_nearly_all_are_right(
    name: str, named: str, model_folder: Callable[..., Path], tmp_path: Path, private_home: Path
) -> None:
    write, _, least = SETS[name]
    write(tmp_path / "papers")
    folder = model_folder("llama", max_position_embeddings=4096)
    settings = Settings(model=str(folder), device="cpu", dtype="float32", offline=True, max_new_tokens=4)
    if named == "collection":
        collection = made(private_home, "papers", [str(tmp_path / "papers")])
        update(collection, setup_for(settings, private_home, Silent()), Silent(), workers=1)
    engine = Engine(settings, home=private_home, reporter=Silent())
    library = engine.open(["@papers" if named == "collection" else str(tmp_path / "papers")])
    wrong = []
    for question, total, held in asked_in(name):
        *_, answer = engine.ask(library, question)
        assert isinstance(answer, Answer)
        shown = " ".join([answer.answer, *(" ".join(source.quote.split()) for source in answer.sources)])
        if (
            answer.route != "tally"
            or answer.matches != (answer.matches if total is None else total)
            or not all(one in shown for one in held)
        ):
            wrong.append((question, answer.route, answer.matches, answer.answer[:200]))
    assert SETS[name][1] - len(wrong) >= least, wrong
    print(f"{SETS[name][1] - len(wrong)} of {SETS[name][1]} right; wrong: {wrong}")
