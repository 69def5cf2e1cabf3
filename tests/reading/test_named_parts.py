"""A question that names a part is looked for in that part, by `hybrid` alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sharedllm_cli.config import Settings
from sharedllm_cli.lab.evaluation.questions import JoinedDocument, opened
from sharedllm_cli.lab.evaluation.scoring import DocumentScorer
from sharedllm_cli.model.shared import SharedModel, load_shared
from sharedllm_cli.progress import Silent

FILLER = "Nothing of note was said here and the day went by. " * 12
SNOW_MAN = f"Snow man\n\n{FILLER}\n\nThe whale sang.\n\n{FILLER}"
RED_SWAN = f"Red swan\n\n{FILLER}\n\nA whale came.\n\n{FILLER} Snow man!"
TEXT = f"{SNOW_MAN}\n\n{RED_SWAN}"


@pytest.fixture(scope="module")
def shared(model_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> SharedModel:
    settings = Settings(model=str(model_folder("llama")), device="cpu", lower_layers=2, chunk_tokens=256)
    return load_shared(settings, tmp_path_factory.mktemp("home"), Silent())


@pytest.fixture(scope="module")
def scorer(shared: SharedModel) -> DocumentScorer:
    document = opened(JoinedDocument("a", TEXT, ()), shared.base.tokenizer, shared.base.tokenizer_hash, shared.tree)
    return DocumentScorer(document, shared)


def best(scorer: DocumentScorer, question: str, policy: str = "hybrid") -> int:
    """Where in the text the best leaf begins."""
    leaf = int(scorer(question, policy).leaves[0].argmax())
    start, _ = scorer.opened.leaves.leaf_characters(leaf, scorer.opened.document)
    return start


def test_the_part_that_is_named_comes_first(scorer: DocumentScorer) -> None:
    border = TEXT.index("Red swan")
    assert best(scorer, 'In "Snow man": what did the whale do?') < border
    assert best(scorer, 'In "Red swan": what did the whale do?') > border - 40


def test_all_leaves_of_the_part_come_before_all_others(scorer: DocumentScorer) -> None:
    values = scorer('In "Red swan": what did the whale do?', "hybrid").leaves[0]
    document, border = scorer.opened, TEXT.index("Red swan")
    inside = [document.leaves.leaf_characters(k, document.document)[1] > border for k in range(len(values))]
    assert min(v for v, one in zip(values, inside, strict=True) if one) >= max(
        v for v, one in zip(values, inside, strict=True) if not one
    )


def test_the_terms_are_those_of_the_rest(scorer: DocumentScorer) -> None:
    assert scorer('In "Red swan": what did the whale do?', "hybrid").lexical.terms == ["whale"]
    assert scorer('In "Red swan": what did the whale do?', "bm25").lexical.terms == ["Red", "swan", "whale"]


def test_a_name_without_a_question_that_the_text_holds_stays_a_search_for_words(scorer: DocumentScorer) -> None:
    assert scorer('What is "Red swan" about?', "hybrid").lexical.matched == {"Red", "swan"}
