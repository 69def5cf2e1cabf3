"""The sentence that the document does not say is said where it is likely enough as a whole, and not below that."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from asking import question
from tiny_models import make_tiny_model

from sharedllm_cli.answer import Answer
from sharedllm_cli.answering import reader as reader_module
from sharedllm_cli.answering.pipeline import Pipeline
from sharedllm_cli.config import InjectionConfig, Settings, TreeConfig
from sharedllm_cli.engine import Engine
from sharedllm_cli.errors import UsageError
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT, Prompt
from sharedllm_cli.generation.refusal import refusal_ids, refuses
from sharedllm_cli.generation.stream import GeneratedToken
from sharedllm_cli.lab.evaluation.arm_table import THRESHOLDS, operating_points
from sharedllm_cli.lab.evaluation.arms import ARMS, DocumentReader
from sharedllm_cli.model.adapter import Adapter, model_shape
from sharedllm_cli.model.adapter_config import AdapterConfig
from sharedllm_cli.model.shared import SharedModel
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import RememberingReporter, Silent
from sharedllm_cli.reading.library import Library

TEXT = "The lamp of the tower was lit by its keeper in the year 1801, and has burned ever since that night."


def test_a_sentence_is_said_from_its_threshold_on() -> None:
    assert refuses(-math.log(0.3), 0.3 - 1e-9)
    assert not refuses(-math.log(0.3), 0.3 + 1e-9)
    assert not refuses(0.0, None)


def test_the_sentence_ends_like_an_answer(byte_tokenizer: Any) -> None:
    ids = refusal_ids(byte_tokenizer)
    assert byte_tokenizer.decode(ids[:-1]) == NOT_IN_DOCUMENT
    assert ids[-1] == byte_tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("settings", "adapter", "expected"),
    [
        (Settings(), None, None),
        (Settings(), 0.2, 0.2),
        (Settings(refuse_from=0.4), 0.2, 0.4),
        (Settings(refuse_from=1.0), 0.2, None),
        (Settings(system="Say no."), 0.2, None),
        (Settings(system="Say no.", refuse_from=0.4), 0.2, 0.4),
    ],
)
def test_whose_threshold_it_is(settings: Settings, adapter: float | None, expected: float | None) -> None:
    model = make_tiny_model("llama")
    config = AdapterConfig(
        "tiny",
        model_shape(model),
        InjectionConfig("merged", 2),
        TreeConfig(16, 2, (4, 2)),
        trained={},
        refuse_from=adapter,
    )
    kept = Adapter(model, AdapterConfig.from_json(config.to_json()))
    nothing = cast(Any, None)
    found = SharedModel(nothing, UpperModel(model, kept), nothing, "tiny", kept.config.tree).refuse_from(settings)
    assert found == expected


def test_an_adapter_of_before_leaves_it_to_decoding() -> None:
    model = make_tiny_model("llama")
    config = AdapterConfig("tiny", model_shape(model), InjectionConfig("merged", 2), TreeConfig(), trained={})
    data = config.to_json()
    del data["refuse_from"]
    assert AdapterConfig.from_json(data).refuse_from is None


@pytest.mark.parametrize("value", [0.0, -0.1, 1.1])
def test_a_threshold_is_a_probability(value: float) -> None:
    with pytest.raises(UsageError, match="--refuse-from"):
        Settings(refuse_from=value)


@pytest.fixture
def small(model_folder: Callable[..., Path], tmp_path: Path) -> Settings:
    (tmp_path / "light.txt").write_text(TEXT, encoding="utf-8")
    folder = model_folder("llama", max_position_embeddings=4096)
    return Settings(model=str(folder), device="cpu", dtype="float32", lower_layers=2, max_new_tokens=5)


def asked(settings: Settings, folder: Path) -> tuple[Answer, list[str]]:
    engine = Engine(replace(settings, index_dir=str(folder / "indexes")), home=folder / "home", reporter=Silent())
    library = engine.open([str(folder / "light.txt")])
    *pieces, answer = engine.ask(library, "Who lit the lamp?")
    assert isinstance(answer, Answer)
    return answer, [piece for piece in pieces if isinstance(piece, str)]


def test_ask_and_evaluation_refuse_alike(small: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = asked(small, tmp_path)
    assert plain.answer != NOT_IN_DOCUMENT
    costs: list[list[float]] = []
    original = UpperModel.token_nlls

    def watched(self: UpperModel, first: torch.Tensor, ids: Any, tree: Any, cache: Any) -> list[float]:
        costs.append(original(self, first, ids, tree, cache))
        return costs[-1]

    monkeypatch.setattr(UpperModel, "token_nlls", watched)
    # An untrained model finds the sentence next to impossible: any threshold that is reached must be tiny.
    kept, _ = asked(replace(small, refuse_from=0.5), tmp_path)
    assert (kept.answer, kept.answered) == (plain.answer, plain.answered), "scoring the sentence leaves no trace"
    (cost,) = costs
    monkeypatch.setattr(UpperModel, "token_nlls", lambda self, first, ids, *rest: [0.5, *[0.0] * (len(ids) - 1)])
    refused, pieces = asked(replace(small, refuse_from=0.6), tmp_path)
    assert pieces == [NOT_IN_DOCUMENT]
    assert (refused.answer, refused.answered) == (NOT_IN_DOCUMENT, False)
    assert sum(cost) > 10
    for threshold, said in ((0.6, True), (0.61, False), (1.0, False)):
        engine = Engine(replace(small, refuse_from=threshold), home=tmp_path / "home", reporter=Silent())
        opened = engine.open([str(tmp_path / "light.txt")]).documents[0]
        arm = DocumentReader(opened, engine.shared, engine.settings, engine.store, Silent())
        read = ARMS["sharedllm"].read(arm, "Who lit the lamp?", 5)
        assert read is not None
        found = arm.answer(read, [1])
        assert (found.answer == NOT_IN_DOCUMENT) is said
        assert found.otherwise != NOT_IN_DOCUMENT
        assert found.refusal_nll == 0.5


def test_ask_says_something_else_below_the_threshold(
    small: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agreed sentence is made the very token that would come first: below the threshold it can't come."""
    told: list[int] = []
    original = reader_module.decode_stream

    def watched(*given: Any, **named: Any) -> Iterator[GeneratedToken]:
        for token in original(*given, **named):
            told.append(token.token)
            yield token

    monkeypatch.setattr(reader_module, "decode_stream", watched)
    asked(small, tmp_path)
    likeliest = told[0]
    monkeypatch.setattr(reader_module, "refusal_ids", lambda tokenizer: [likeliest])
    for settings, same in ((small, True), (replace(small, refuse_from=0.999), False)):
        told.clear()
        asked(settings, tmp_path)
        assert (told[0] == likeliest) is same


class _Parrot:
    """An upper model that wants to say the sentence, and next to that "Tom"."""

    def __init__(self, tokenizer: Any, likely: float) -> None:
        self._ids = refusal_ids(tokenizer)
        self._else = [*tokenizer.encode("Tom", add_special_tokens=False), tokenizer.eos_token_id]
        self._likely = likely
        self._vocabulary = len(tokenizer)

    def cache(self) -> list[int]:
        return []

    def prefill(self, tokens: torch.Tensor, tree: None, reporter: Any) -> tuple[torch.Tensor, list[int]]:
        cache = self.cache()
        return self.decode_step(tokens, tree, cache), cache

    def decode_step(self, tokens: torch.Tensor, tree: None, cache: list[int]) -> torch.Tensor:
        cache.extend(tokens.tolist())
        return self._logits(cache[4:])  # after a prompt of four tokens

    def _logits(self, said: list[int]) -> torch.Tensor:
        scores = torch.full((self._vocabulary,), 1e-6)
        for ids, share in ((self._ids, self._likely), (self._else, 1 - self._likely)):
            if ids[: len(said)] == said and len(said) < len(ids):
                scores[ids[len(said)]] += share
        return (scores / scores.sum()).log()

    def token_nlls(self, first: torch.Tensor, ids: list[int], tree: None, cache: list[int]) -> list[float]:
        return [-float(self._logits(ids[:place])[token]) for place, token in enumerate(ids)]


@pytest.mark.parametrize(
    ("likely", "threshold", "answer"),
    [
        (0.6, None, NOT_IN_DOCUMENT),
        (0.6, 0.5, NOT_IN_DOCUMENT),
        (0.6, 0.7, "Tom"),
        (0.4, None, "Tom"),
        (0.4, 0.3, NOT_IN_DOCUMENT),
        (0.4, 0.5, "Tom"),
    ],
)
def test_below_the_threshold_something_else_is_said(
    byte_tokenizer: Any, likely: float, threshold: float | None, answer: str
) -> None:
    shared: Any = type("Shared", (), {})()
    shared.upper = _Parrot(byte_tokenizer, likely)
    shared.base = type("Base", (), {})()
    shared.base.tokenizer, shared.base.device = byte_tokenizer, torch.device("cpu")
    shared.base.model = type("Model", (), {"generation_config": None})()
    asked = question("Who?", refuse_from=threshold, beams=1, settings=Settings(max_new_tokens=40))
    nothing = cast(Any, None)
    pipeline = Pipeline(asked, Library([]), shared, nothing, nothing, RememberingReporter(Silent()))
    reading = pipeline.read_prompt(Prompt([1, 2, 3, 4], "", (), 0, 0, 0))
    refusal = pipeline.reader.refusal(reading.prefilled)
    assert refusal.nll == pytest.approx(-math.log(likely), abs=0.05)
    otherwise = pipeline.reader.stream(reading.prefilled.copy(), refusal.suppressed)
    assert "".join(piece for piece, _ in pipeline.reader.text(reading.prefilled, otherwise)) == "Tom"
    assert "".join(piece for piece, _ in pipeline.decode(reading)) == answer


def line(answer: str, gold: str | None, probability: float) -> dict[str, Any]:
    answers = [] if gold is None else [gold]
    cost = -math.log(probability)
    return {"otherwise": answer, "answers": answers, "answerable": bool(answers), "refusal_nll": cost}


def test_each_threshold_is_told_with_what_it_would_have_done() -> None:
    lines = [
        line("a keeper", "a keeper", 0.05),
        line("1801", "1801", 0.4),
        line("the wind", None, 0.15),
        line("the sea", None, 0.9),
    ]
    points = {point["refuse_from"]: point for point in operating_points(lines)}
    assert list(points) == list(THRESHOLDS)
    assert points[0.03] == {"refuse_from": 0.03, "refused": 1.0, "unanswerable_refused": 1.0, "f1": 0.0}
    assert points[0.1] == {"refuse_from": 0.1, "refused": 0.5, "unanswerable_refused": 1.0, "f1": 0.5}
    assert points[0.2] == {"refuse_from": 0.2, "refused": 0.5, "unanswerable_refused": 0.5, "f1": 0.5}
    assert points[0.5] == {"refuse_from": 0.5, "refused": 0.0, "unanswerable_refused": 0.5, "f1": 1.0}
    nothing = operating_points(lines[:2])[-1]
    assert nothing["unanswerable_refused"] is None
