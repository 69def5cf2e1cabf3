"""A document that is read for several questions is read once, and answered as if it had been read for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from sharedllm_cli.config import Settings
from sharedllm_cli.lab.evaluation import answering
from sharedllm_cli.lab.evaluation.answering import Answered, Answerer
from sharedllm_cli.lab.evaluation.arms import ARMS, Question
from sharedllm_cli.model.shared import SharedModel, load_shared
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Silent
from tests.lab.evaluation.test_eval_answers import readers

TEXT = list(range(30, 90))
ENDS = ([5, 6, 7], [5, 9], [8, 9, 10, 11], [5, 6, 7, 8])
GOLD = [40, 41, 42]


@pytest.fixture
def read_tokens(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens are read at a time: those of running texts, and of answers one by one."""
    counts: list[int] = []
    original = UpperModel.decode_step

    def counting(self: UpperModel, token_ids: Tensor, tree: Any, cache: Any) -> Tensor:
        counts.append(len(token_ids))
        return original(self, token_ids, tree, cache)

    monkeypatch.setattr(UpperModel, "decode_step", counting)
    monkeypatch.setattr(answering, "SHARED_TOKENS", 50)
    return counts


def asked(answerer: Answerer, ids: list[int], tree: Any = None, shared: bool = True) -> Answered:
    return answerer.answer(ids, tree, GOLD, (), shared=shared)


def close(one: Answered, other: Answered) -> bool:
    return (
        one.answer == other.answer
        and one.otherwise == other.otherwise
        and [one.nll, one.refusal_nll, one.otherwise_nll]
        == pytest.approx([other.nll, other.refusal_nll, other.otherwise_nll], rel=1e-4)
    )


def test_a_shared_beginning_is_read_once_and_answers_stay_what_they_are(
    settings: Settings, tmp_path: Path, read_tokens: list[int]
) -> None:
    shared = load_shared(settings, tmp_path / "home", Silent())
    alone = [asked(Answerer(shared, 6), [*TEXT, *end]) for end in ENDS]
    assert len({one.nll for one in alone}) == len(ENDS), "they do differ"
    read_tokens.clear()
    answerer = Answerer(shared, 6)
    together = [asked(answerer, [*TEXT, *end]) for end in ENDS]
    assert [count for count in read_tokens if count > 1] == [63, 4], "others differ from the first in one token"
    assert all(close(one, other) for one, other in zip(together, alone, strict=True))
    assert all(one.first_token_s > 0 for one in together)


def test_other_texts_and_short_ones_share_nothing(settings: Settings, tmp_path: Path, read_tokens: list[int]) -> None:
    shared = load_shared(settings, tmp_path / "home", Silent())
    answerer = Answerer(shared, 1)
    for ids in ([*TEXT, 5], [7, *TEXT, 5], TEXT[:20], TEXT[:20]):
        read_tokens.clear()
        asked(answerer, ids)
        assert read_tokens[0] == len(ids)


def test_what_is_read_between_stays_out_of_what_is_shared(
    settings: Settings, tmp_path: Path, read_tokens: list[int]
) -> None:
    """Passages that begin alike, and texts beside which a tree is read, are read anew and push nothing out."""
    shared = load_shared(settings, tmp_path / "home", Silent())
    answerer = Answerer(shared, 6)
    expected = asked(Answerer(shared, 6), [*TEXT, 9])
    asked(answerer, [*TEXT, 5])
    for ids in ([*TEXT, 6], [7, *TEXT]):
        read_tokens.clear()
        asked(answerer, ids, shared=False)
        assert read_tokens[0] == len(ids)
    read_tokens.clear()
    assert close(asked(answerer, [*TEXT, 9]), expected)
    assert read_tokens[0] == 1


def test_the_same_text_again_is_read_from_its_last_token_on(
    settings: Settings, tmp_path: Path, read_tokens: list[int]
) -> None:
    shared = load_shared(settings, tmp_path / "home", Silent())
    answerer = Answerer(shared, 6)
    first = asked(answerer, [*TEXT, 5])
    read_tokens.clear()
    assert close(asked(answerer, [*TEXT, 5]), first)
    assert read_tokens[0] == 1


def test_the_arms_that_read_a_document_whole_share_it_and_no_other(
    lights_file: Path, reading: Settings, tmp_path: Path
) -> None:
    reader = readers(lights_file, reading, tmp_path)(0)
    shared = {name: next(arm.read(reader, Question("Who kept it?", 6))).shared for name, arm in ARMS.items()}
    assert [name for name, one in shared.items() if one] == ["truncate", "full"]


def test_a_sliding_window_shares_nothing(
    model_folder: Callable[..., Path], settings: Settings, tmp_path: Path, read_tokens: list[int]
) -> None:
    folder = model_folder("mistral", sliding_window=32)
    shared = load_shared(replace(settings, model=str(folder)), tmp_path / "home", Silent())
    answerer = Answerer(shared, 1)
    for end in ENDS[:2]:
        read_tokens.clear()
        asked(answerer, [*TEXT, *end])
        assert read_tokens[0] == len(TEXT) + len(end)


def test_questions_of_one_document_begin_alike_when_it_is_cut(
    lights_file: Path, model_folder: Callable[..., Path], settings: Settings, tmp_path: Path
) -> None:
    small = replace(settings, model=str(model_folder("llama", max_position_embeddings=700)))
    shared: SharedModel = load_shared(small, tmp_path / "home", Silent())
    reader = readers(lights_file, small, tmp_path, shared)(0)
    beginnings = []
    for text in ("Who kept it?", "Who, now, kept it?", "Who, if anyone, kept it?"):
        (found,) = ARMS["truncate"].read(reader, Question(text, 6))
        beginnings.append(tuple(found.prompt.token_ids[:500]))
    assert len(set(beginnings)) < 3, "a part of the window is longer than two such questions differ by"
