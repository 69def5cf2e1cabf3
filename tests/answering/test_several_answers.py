"""Likely short answers are weighed against each other by `ask` and by the evaluation alike, and whose number it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from tiny_models import make_tiny_model

from sharedllm_cli import planning
from sharedllm_cli.answer import Answer
from sharedllm_cli.answering import pipeline as pipeline_module
from sharedllm_cli.answering import reader as reader_module
from sharedllm_cli.config import InjectionConfig, Settings, TreeConfig
from sharedllm_cli.engine import Engine
from sharedllm_cli.errors import ModelError, UsageError
from sharedllm_cli.generation import decoding as generation_module
from sharedllm_cli.generation.decoding import FinishedBeam, SuppressedSequence
from sharedllm_cli.generation.grounding import Nearness
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT
from sharedllm_cli.generation.stream import GeneratedToken
from sharedllm_cli.lab.evaluation.arms import ARMS, DocumentReader
from sharedllm_cli.model.adapter import Adapter, model_shape
from sharedllm_cli.model.adapter_config import AdapterConfig
from sharedllm_cli.model.shared import SharedModel
from sharedllm_cli.model.upper import UpperModel, beam_steps
from sharedllm_cli.progress import Silent

TEXT = "The lamp of the tower was lit by its keeper in the year 1801, and has burned ever since that night."
QUESTION = "Who lit the lamp?"


@pytest.mark.parametrize(
    ("settings", "adapter", "expected"),
    [
        (Settings(), None, 1),
        (Settings(), 4, 4),
        (Settings(candidates=2), 4, 2),
        (Settings(candidates=1), 4, 1),
        (Settings(system="In French."), 4, 1),
        (Settings(system="In French.", candidates=3), 4, 3),
        (Settings(temperature=0.5, candidates=3), 4, 1),
    ],
)
def test_whose_number_it_is(settings: Settings, adapter: int | None, expected: int) -> None:
    model = make_tiny_model("llama")
    config = AdapterConfig(
        "tiny",
        model_shape(model),
        InjectionConfig("merged", 2),
        TreeConfig(16, 2, (4, 2)),
        trained={},
        candidates=adapter,
    )
    kept = Adapter(model, AdapterConfig.from_json(config.to_json()))
    nothing = cast(Any, None)
    shared = SharedModel(nothing, UpperModel(model, kept), nothing, "tiny", kept.config.tree)
    assert shared.candidates(settings) == expected


def test_an_adapter_of_before_weighs_nothing() -> None:
    model = make_tiny_model("llama")
    data = AdapterConfig("tiny", model_shape(model), InjectionConfig("merged", 2), TreeConfig(), trained={}).to_json()
    del data["candidates"]
    assert AdapterConfig.from_json(data).candidates is None


@pytest.mark.parametrize("number", [0, 17])
def test_there_is_at_least_one_and_no_crowd(number: int) -> None:
    with pytest.raises(UsageError, match="--candidates"):
        Settings(candidates=number)


@pytest.mark.parametrize(
    ("name", "value"), [("candidates", 0), ("candidates", "four"), ("refuse_from", 2.0), ("evidence_tokens", -1)]
)
def test_an_adapter_s_numbers_have_the_bounds_of_the_user_s(name: str, value: Any) -> None:
    model = make_tiny_model("llama")
    data = AdapterConfig("tiny", model_shape(model), InjectionConfig("merged", 2), TreeConfig(), trained={}).to_json()
    with pytest.raises(ModelError, match="is not an adapter"):
        AdapterConfig.from_json({**data, name: value})


@pytest.fixture
def small(model_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    (tmp_path / "light.txt").write_text(TEXT, encoding="utf-8")
    folder = model_folder("llama", max_position_embeddings=4096)
    # A third of all tokens end an answer: they are short.
    monkeypatch.setattr(reader_module, "stop_ids", lambda *_: frozenset(range(0, 1000, 3)))
    return Settings(model=str(folder), device="cpu", dtype="float32", lower_layers=2, max_new_tokens=12)


def asked(settings: Settings, folder: Path, question: str = QUESTION) -> tuple[Answer, list[str]]:
    engine = Engine(replace(settings, index_dir=str(folder / "indexes")), home=folder / "home", reporter=Silent())
    *pieces, answer = engine.ask(engine.open([str(folder / "light.txt")]), question)
    assert isinstance(answer, Answer)
    return answer, [piece for piece in pieces if isinstance(piece, str)]


def evaluated(settings: Settings, folder: Path) -> str:
    engine = Engine(replace(settings, index_dir=str(folder / "indexes")), home=folder / "home", reporter=Silent())
    opened = engine.open([str(folder / "light.txt")]).documents[0]
    reader = DocumentReader(opened, engine.shared, settings, engine.store, Silent())
    read = ARMS["sharedllm"].read(reader, QUESTION, 12)
    assert read is not None
    return reader.answer(read, []).answer


def test_ask_and_evaluation_give_the_same_of_several(
    small: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices: list[tuple[list[str], list[float], Nearness]] = []

    def last(texts: Any, costs: Any, near: Nearness) -> int:
        choices.append((list(texts), list(costs), near))
        return len(texts) - 1

    monkeypatch.setattr(generation_module, "pick", last)
    plain, _ = asked(small, tmp_path)
    assert not choices, "nothing is weighed unless it is asked for"
    found, pieces = asked(replace(small, candidates=3), tmp_path)
    texts, costs, near = choices.pop()
    assert len(texts) >= 3
    assert costs == sorted(costs)
    assert near("year 1801") == 1.0, "it knows question and passages"
    assert found.answer == texts[-1].strip() == "".join(pieces).strip()
    assert found.answer != plain.answer
    assert found.timing.new_tokens > 0
    assert evaluated(replace(small, candidates=3), tmp_path) == found.answer
    assert choices.pop()[:2] == (texts, pytest.approx(costs))


def test_its_tokens_come_at_once_and_the_search_for_them_is_what_took_time(
    small: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def slow(*running: Any) -> Any:
        step = beam_steps(*running)

        def taking_time(*following: Any) -> Any:
            now[0] += 0.5
            return step(*following)

        return taking_time

    for module in (pipeline_module, reader_module):
        monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    monkeypatch.setattr(reader_module, "beam_steps", slow)
    monkeypatch.setattr(generation_module, "pick", lambda texts, *_: len(texts) - 1)
    found, _ = asked(replace(small, candidates=3), tmp_path)
    assert found.timing.first_token_s == now[0] > 0
    assert found.timing.tokens_per_s == pytest.approx((found.timing.new_tokens - 1) / now[0])
    assert found.timing.new_tokens > 1


def test_a_long_answer_is_written_as_it_comes(small: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "stop_ids", lambda *_: frozenset({5000}))
    plain, written = asked(replace(small, candidates=1), tmp_path)
    found, pieces = asked(replace(small, candidates=3), tmp_path)
    assert (found.answer, pieces) == (plain.answer, written)
    assert len(pieces) > 1


def test_for_a_question_about_the_whole_nothing_is_searched(
    small: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("searched")

    monkeypatch.setattr(generation_module, "beam_search", never)
    question = "What is this document about?"
    plain, _ = asked(small, tmp_path, question)
    assert asked(replace(small, candidates=3), tmp_path, question)[0].answer == plain.answer
    with pytest.raises(AssertionError, match="searched"):
        asked(replace(small, candidates=3), tmp_path)


def test_a_plan_knows_what_several_answers_hold(
    small: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "matrix_rate", lambda placement: 1e9)
    small = replace(small, evidence_tokens=60)

    def cache_bytes(**changes: Any) -> int:
        settings = replace(small, index_dir=str(tmp_path / "indexes"), **changes)
        [row], _ = Engine(settings, home=tmp_path / "home", reporter=Silent()).plan([str(tmp_path / "light.txt")])
        return row.cache_bytes

    once = cache_bytes()
    a_token = cache_bytes(evidence_tokens=61) - once
    branches = 3 * small.max_new_tokens
    text = once // a_token - small.max_new_tokens
    assert cache_bytes(candidates=3) == once + (branches + text + branches) * a_token, (
        "and while room is made, all again"
    )
    assert cache_bytes(candidates=3, temperature=1.0) == once


def test_where_memory_is_short_the_likeliest_is_written(
    small: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*_: Any) -> Any:
        raise MemoryError

    plain, _ = asked(small, tmp_path)
    monkeypatch.setattr(reader_module, "beam_steps", lambda *_: step)
    assert asked(replace(small, candidates=3), tmp_path)[0].answer == plain.answer


def weighed(texts: dict[tuple[int, ...], str], monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Any:
    """The tokens that are given of beams with these texts, the first the likeliest."""
    found = [FinishedBeam((*ids, 0), float(cost)) for cost, ids in enumerate(texts)]
    monkeypatch.setattr(generation_module, "beam_search", lambda *_: found)

    def pieces(tokens: Any, *_: Any) -> Any:
        yield texts[tuple(one.token for one in tokens)[:-1]], "stop"

    monkeypatch.setattr(generation_module, "answer_pieces", pieces)
    named: Any = {"question": QUESTION, "passages": [TEXT], "stop_ids": {0}, "stop_texts": (), "max_new_tokens": 9}
    nothing = cast(Any, None)
    return generation_module.reranked_tokens(nothing, nothing, 3, nothing, **(named | changes))


def test_a_refusal_that_is_the_likeliest_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {(1,): NOT_IN_DOCUMENT, (2, 3): "its keeper"}
    assert [one.token for one in weighed(texts, monkeypatch)] == [1, 0]
    texts = {(1,): "a sailor", (2, 3): "its keeper"}
    assert [one.token for one in weighed(texts, monkeypatch)] == [2, 3, 0]


def test_a_refusal_that_was_weighed_before_is_not_given_in_other_words(monkeypatch: pytest.MonkeyPatch) -> None:
    suppressed = SuppressedSequence([7, 8], [1.0, 1.0])
    texts = {(1,): NOT_IN_DOCUMENT.lower(), (4,): " ", (2, 3): "a sailor", (5,): "The text does not say."}
    assert [one.token for one in weighed(texts, monkeypatch, suppressed=suppressed)] == [2, 3, 0]
    del texts[(2, 3)]
    assert [one.token for one in weighed(texts, monkeypatch, suppressed=suppressed)] == [1, 0], "there is no answer"


def test_what_cannot_be_weighed_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {(1,): "a sailor", (2, 3): "its keeper"}
    assert weighed(texts, monkeypatch, stop_texts=("\nQuestion:",)) is None
    assert weighed(texts, monkeypatch, passages=[]) is None
    assert weighed({(1,): " "}, monkeypatch) is None


def test_the_tokens_of_the_one_that_is_picked_end_as_the_model_ends_them(
    small: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[list[GeneratedToken] | None] = []
    original = generation_module.reranked_tokens

    def watched(*arguments: Any, **named: Any) -> list[GeneratedToken] | None:
        told.append(original(*arguments, **named))
        return told[-1]

    monkeypatch.setattr(reader_module, "reranked_tokens", watched)
    asked(replace(small, candidates=3), tmp_path)
    tokens = told.pop()
    assert tokens is not None
    assert [one.finish for one in tokens] == [None] * (len(tokens) - 1) + ["stop"]
    assert tokens[-1].token % 3 == 0
