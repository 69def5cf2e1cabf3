"""Questions about a document as a whole: its beginning is read by the base model; the adapter keeps to places."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from place_keeper import asked, keeping_to_places

from sharedllm_cli.answering import pipeline as pipeline_module
from sharedllm_cli.answering.pipeline import OVERVIEW_SENTENCES
from sharedllm_cli.answering.reader import Reader
from sharedllm_cli.config import Settings, TreeConfig
from sharedllm_cli.engine import Engine
from sharedllm_cli.generation.prompt import RULE, RULE_OF_THE_WHOLE, Turn
from sharedllm_cli.generation.refusal import says_not_in_document
from sharedllm_cli.generation.stream import first_sentences
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Silent

TREE = TreeConfig(64, 2, (8, 4))
PAGES = ["Of lamps and towers, a treatise. " * 8, "The granary is full. " * 20, "Bees like clover. " * 20]
WHOLE, PLACE = "What is this document about?", "What do bees like?"


@pytest.fixture
def document(tmp_path: Path) -> str:
    path = tmp_path / "book.txt"
    path.write_text("\f".join(PAGES), encoding="utf-8")
    return str(path)


@pytest.fixture
def settings(model_folder: Callable[..., Path], tmp_path: Path, private_home: Path) -> Settings:
    return keeping_to_places(model_folder, tmp_path, private_home)


@pytest.fixture(autouse=True)
def supported(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the passages do not hold of an answer: nothing, though a model of random weights says no words at all."""
    lacking: list[str] = []
    monkeypatch.setattr(pipeline_module, "unsupported_words", lambda *_, **__: lacking)
    return lacking


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, torch.Tensor]]:
    """Every running text that is read, and the logits after it."""
    texts: list[tuple[str, torch.Tensor]] = []
    original, prompt = UpperModel.prefill, Reader.prompt

    def prefilled(self: UpperModel, *arguments: Any) -> Any:
        logits, cache = original(self, *arguments)
        texts[-1] = (texts[-1][0], logits.clone())
        return logits, cache

    def built(self: Reader, *arguments: Any) -> Any:
        found = prompt(self, *arguments)
        texts.append((found.text, torch.empty(0)))
        return found

    monkeypatch.setattr(UpperModel, "prefill", prefilled)
    monkeypatch.setattr(Reader, "prompt", built)
    return texts


def test_the_base_model_tells_of_the_beginning(
    settings: Settings, document: str, private_home: Path, seen: list[tuple[str, torch.Tensor]]
) -> None:
    before, whole, after = asked(settings, document, private_home, PLACE, WHOLE, PLACE)
    alone, _ = asked(replace(settings, adapter="none"), document, private_home, PLACE, PLACE)
    assert says_not_in_document(before.answer)
    assert says_not_in_document(after.answer)
    assert not says_not_in_document(whole.answer)
    assert not says_not_in_document(alone.answer)
    place, overview, again = seen[0], seen[1], seen[2]
    assert RULE in place[0]
    assert RULE_OF_THE_WHOLE in overview[0]
    assert "Of lamps and towers, a treatise." in overview[0]
    assert "clover" not in overview[0], "the beginning alone, where not all of it fits"
    assert torch.equal(place[1], again[1]), "the adapter is back as it was"
    assert {source.page for source in whole.sources} <= {1, 2}
    assert whole.sources[0].page == 1


def test_without_the_adapter_the_logits_are_the_base_models(
    settings: Settings, document: str, private_home: Path, seen: list[tuple[str, torch.Tensor]]
) -> None:
    asked(settings, document, private_home, WHOLE)
    engine = Engine(replace(settings, adapter="none"), home=private_home, reporter=Silent())
    ids = engine.shared.base.tokenizer(seen[0][0], add_special_tokens=False).input_ids
    logits, _ = engine.shared.upper.prefill(torch.tensor(ids), None)
    torch.testing.assert_close(seen[0][1], logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("changes", [{"system": "Answer."}, {"refuse_from": 1e-300}])
def test_what_the_user_says_goes_to_the_adapter(
    settings: Settings, document: str, private_home: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Adapter, "disabled", None)
    assert len(asked(replace(settings, **changes), document, private_home, WHOLE)) == 1


@pytest.mark.parametrize(
    "question", ["Where is the key?", "Why?", "Who was he?", "How much is it?", "???", "What is the title?"]
)
def test_a_question_that_only_says_nothing_by_itself_is_the_adapters(
    settings: Settings, document: str, private_home: Path, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Adapter, "disabled", None)
    (answer,) = asked(settings, document, private_home, question)
    assert says_not_in_document(answer.answer)


def test_answers_in_turns_are_each_their_own(
    settings: Settings, document: str, private_home: Path, seen: list[tuple[str, torch.Tensor]]
) -> None:
    engine = Engine(replace(settings, max_new_tokens=40), home=private_home, reporter=Silent())
    library = engine.open([document])
    list(engine.ask(library, PLACE))
    alone = "".join(piece for piece in engine.ask(library, WHOLE) if isinstance(piece, str))
    first, second = engine.ask(library, WHOLE), engine.ask(library, WHOLE)
    told = [next(first), next(second)]
    list(engine.ask(library, PLACE))
    told[0] += "".join(piece for piece in first if isinstance(piece, str))
    first.close()
    second.close()
    list(engine.ask(library, PLACE))
    assert told[0] == alone
    assert torch.equal(seen[0][1], seen[4][1])
    assert torch.equal(seen[0][1], seen[5][1])
    assert not torch.equal(seen[0][1], seen[1][1])


def test_what_the_passages_do_not_hold_is_left_out(
    settings: Settings, document: str, private_home: Path, supported: list[str]
) -> None:
    (given,) = asked(settings, document, private_home, WHOLE)
    assert not says_not_in_document(given.answer)
    assert any("it may be wrong" in warning for warning in given.warnings)
    supported.append("pandemic")
    (left_out,) = asked(settings, document, private_home, WHOLE)
    assert says_not_in_document(left_out.answer)
    assert not left_out.answered
    assert any("is left out" in warning for warning in left_out.warnings)
    assert left_out.sources[0].page == 1


def test_where_memory_is_short_the_adapter_is_asked(
    settings: Settings, document: str, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(Adapter, "disabled", short)
    (answer,) = asked(settings, document, private_home, WHOLE)
    assert says_not_in_document(answer.answer)


def pieces(text: str, size: int) -> Iterator[tuple[str, Any]]:
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    return iter([*[(part, None) for part in parts[:-1]], (parts[-1], "length")])


@pytest.mark.parametrize("size", [1, 3, 200])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("It is about R 4.2. It has pages. And more.", "It is about R 4.2. It has pages."),
        ("By J. R. Roe of lamps. He said “now.” Then no more.", "By J. R. Roe of lamps. He said “now.”"),
        ("Of lamps\nand towers\n\nQuestion: of what?", "Of lamps\nand towers"),
        ("\n\nOf lamps. Of towers!\n", "\n\nOf lamps. Of towers!"),
        ("Of lamps, without an end", "Of lamps, without an end"),
        ("It is about the old lamp. It is about the lamp. And more.", "It is about the old lamp."),
        ("It is about the old lamp. It is about the", "It is about the old lamp."),
        ("It is about a lamp. Towers hold it", "It is about a lamp. Towers hold it"),
        (
            "It tells of Mr. Darcy and Mrs. Bennet vs. Dr. Roe. They dance. All.",
            "It tells of Mr. Darcy and Mrs. Bennet vs. Dr. Roe. They dance.",
        ),
        ("The main points are:\n\n- lamps\n- towers\n\nThe end", "The main points are:\n\n- lamps\n- towers"),
    ],
)
def test_the_first_sentences(text: str, told: str, size: int) -> None:
    found = list(first_sentences(pieces(text, size), OVERVIEW_SENTENCES))
    assert "".join(piece for piece, _ in found).rstrip() == told
    assert found[-1][1] == ("length" if told == text else "stop")
    assert all(finish is None for _, finish in found[:-1])


def test_in_a_conversation_it_stands_alone(
    settings: Settings, document: str, private_home: Path, seen: list[tuple[str, torch.Tensor]]
) -> None:
    engine = Engine(settings, home=private_home, reporter=Silent())
    library = engine.open([document])
    list(engine.ask(library, WHOLE))
    list(engine.ask(library, WHOLE, history=[Turn(PLACE, "clover")]))
    assert seen[0][0] == seen[1][0]
