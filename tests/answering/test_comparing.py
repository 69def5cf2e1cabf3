"""`compare A and B on Y`: passages from each named document in turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sharedllm_cli.answer import Answer
from sharedllm_cli.answering.tally_wording import comparison_asked
from sharedllm_cli.config import Settings
from sharedllm_cli.engine import Engine
from sharedllm_cli.progress import Silent
from sharedllm_cli.reading.naming import NamedDocuments, documents_named
from sharedllm_cli.reading.scoring import in_turn


@pytest.mark.parametrize(
    ("question", "things", "subject"),
    [
        ("Compare lease.md and contract.md on notice.", ("lease.md", "contract.md"), "notice"),
        ("What is the difference between the lease and the contract in rent?", ("the lease", "the contract"), "rent"),
        ("How do a.txt, b.txt and c.txt differ?", ("a.txt", "b.txt", "c.txt"), None),
    ],
)
def test_what_is_compared(question: str, things: tuple[str, ...], subject: str | None) -> None:
    found = comparison_asked(question)
    assert found is not None
    assert (found.things, found.subject) == (things, subject)


def test_one_thing_is_no_comparison() -> None:
    assert comparison_asked("Compare the prices.") is None
    assert comparison_asked("What is the price?") is None


def test_names_of_documents() -> None:
    names = ["old/lease-2017.md", "contract.txt", "annual report.pdf", "new/lease-2023.md"]
    assert documents_named("the contract", names) == [1]
    assert documents_named("lease-2023.md", names) == [3]
    assert documents_named("lease 2017", names) == [0]
    assert documents_named("lease", names) == []
    assert documents_named("2023", names) == [3]
    assert NamedDocuments(names).within("What does the lease 2017 say of rent?") == [0]
    assert NamedDocuments(names).within("is it in annual report.pdf?") == [2]
    assert NamedDocuments(names).within("What does a contract say?") == []


def test_the_best_of_each_document_comes_before_the_second_of_any() -> None:
    first, second = in_turn([np.array([9.0, 8.0, 0.0]), np.array([0.5, 0.2])])
    assert first[0] > second[0] > first[1] > second[1] > 0
    assert first[2] == 0


def test_passages_are_from_the_named_documents_alone(
    model_folder: Callable[..., Path], tmp_path: Path, private_home: Path
) -> None:
    for name, days in (("lease", 30), ("contract", 60), ("letter", 90)):
        lines = [f"The notice period of this paper is {days} days, and notice is given in writing."]
        lines += [f"Clause {number} of the {name} speaks of other things than that." for number in range(40)]
        (tmp_path / f"{name}.md").write_text("\n\n".join(lines))
    folder = model_folder("llama", max_position_embeddings=4096)
    settings = Settings(model=str(folder), device="cpu", dtype="float32", max_new_tokens=4, evidence_tokens=400)
    engine = Engine(settings, home=private_home, reporter=Silent())
    library = engine.open([str(tmp_path / f"{name}.md") for name in ("lease", "contract", "letter")])
    *_, answer = engine.ask(library, "Compare the lease and the contract on the notice period.")
    assert isinstance(answer, Answer)
    assert {source.document for source in answer.sources} == {"lease.md", "contract.md"}
    assert any("30 days" in source.quote for source in answer.sources)
    assert any("60 days" in source.quote for source in answer.sources)
    assert any(
        warning.startswith("compared: passages are from lease.md and contract.md") for warning in answer.warnings
    )
