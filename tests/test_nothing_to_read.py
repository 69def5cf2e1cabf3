"""Where nothing of the documents can stand before the model, it is not asked: no answer comes from memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.answer import Answer
from sharedllm_cli.config import Settings
from sharedllm_cli.engine import Engine
from sharedllm_cli.errors import UsageError
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Silent

STORY = "Aldous the miller grinds barley at night, and the river turns his wheel. " * 12


@pytest.fixture
def model(model_folder: Callable[..., Path]) -> str:
    return str(model_folder("llama", max_position_embeddings=4096))


@pytest.fixture
def blank(tmp_path: Path) -> str:
    """Four pages, the second and the third without text."""
    path = tmp_path / "blank.txt"
    path.write_text("\f".join([STORY, " ", " ", "A page about bees and clover. " * 20]), encoding="utf-8")
    return str(path)


def asked(settings: Settings, paths: list[str], home: Path, **options: Any) -> Answer:
    engine = Engine(settings, home=home, reporter=Silent())
    *_, answer = engine.ask(engine.open(paths), "What does Aldous grind?", **options)
    assert isinstance(answer, Answer)
    return answer


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("the model was asked")


@pytest.mark.parametrize(("pages", "told"), [((2, 2), "page 2 holds no text"), ((2, 3), "pages 2 to 3 hold no text")])
def test_pages_without_text(
    model: str, blank: str, private_home: Path, monkeypatch: pytest.MonkeyPatch, pages: tuple[int, int], told: str
) -> None:
    monkeypatch.setattr(UpperModel, "prefill", never)
    with pytest.raises(UsageError, match=told):
        asked(Settings(model=model, device="cpu", max_new_tokens=4), [blank], private_home, pages=pages)


def test_beside_a_page_with_text_a_blank_one_is_no_matter(model: str, blank: str, private_home: Path) -> None:
    settings = Settings(model=model, device="cpu", max_new_tokens=4)
    answer = asked(settings, [blank], private_home, pages=(3, 4))
    assert {source.page for source in answer.sources} == {4}


def test_a_document_whose_pages_are_blank_beside_one_whose_pages_are_not(
    model: str, blank: str, private_home: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("\f".join(["The first page. " * 9, "Aldous grinds oats on the second. " * 9]), encoding="utf-8")
    settings = Settings(model=model, device="cpu", max_new_tokens=4)
    answer = asked(settings, [blank, str(other)], private_home, pages=(2, 2))
    assert {(source.document, source.page) for source in answer.sources} == {("other.txt", 2)}


def test_no_room_for_any_passage(model: str, blank: str, private_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UpperModel, "prefill", never)
    settings = Settings(model=model, device="cpu", max_new_tokens=3800, evidence_tokens=384)
    with pytest.raises(UsageError, match="no room for any passage"):
        asked(settings, [blank], private_home)


def test_a_budget_that_no_passage_fits(
    model: str, tmp_path: Path, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(UpperModel, "prefill", never)
    joined = tmp_path / "joined.txt"
    joined.write_text(STORY.replace(" ", "-"), encoding="utf-8")
    settings = Settings(model=model, device="cpu", max_new_tokens=4, evidence_tokens=5)
    with pytest.raises(UsageError, match="no passage fits --evidence-tokens 5"):
        asked(settings, [str(joined)], private_home)
