"""A document that is read for several questions is read once, and answered as if it had been read for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from sharedllm_cli.answering import reader as reader_module
from sharedllm_cli.config import Settings
from sharedllm_cli.lab.evaluation.arms import ARMS, Answered, DocumentReader
from sharedllm_cli.model.shared import SharedModel, load_shared
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Silent
from tests.lab.evaluation.test_eval_answers import raw, readers

TEXT = list(range(30, 90))
ENDS = ([5, 6, 7], [5, 9], [8, 9, 10, 11], [5, 6, 7, 8])
GOLD = [40, 41, 42]


@pytest.fixture
def read_tokens(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens are read at a time: those of prompts, and of answers one by one."""
    counts: list[int] = []
    original = UpperModel.decode_step

    def counting(self: UpperModel, token_ids: Tensor, tree: Any, cache: Any) -> Tensor:
        counts.append(len(token_ids))
        return original(self, token_ids, tree, cache)

    monkeypatch.setattr(UpperModel, "decode_step", counting)
    monkeypatch.setattr(reader_module, "LEAST_PREFIX", 50)
    return counts


@pytest.fixture
def reader(lights_file: Path, settings: Settings, tmp_path: Path) -> Callable[..., DocumentReader]:
    """A document for the given model, answered with so many tokens; each has a shared prefix of its own."""
    loaded: dict[str, SharedModel] = {}

    def made(tokens: int, model: str = settings.model) -> DocumentReader:
        changed = replace(settings, model=model, max_new_tokens=tokens)
        shared = loaded.setdefault(model, load_shared(changed, tmp_path / "home", Silent()))
        return readers(lights_file, changed, tmp_path, shared)(0)

    return made


def asked(reader: DocumentReader, ids: list[int], shared: bool = True) -> Answered:
    return reader.answer(raw(reader, ids, shared=shared), GOLD)


def close(one: Answered, other: Answered) -> bool:
    return (
        one.answer == other.answer
        and one.otherwise == other.otherwise
        and [one.nll, one.refusal_nll, one.otherwise_nll]
        == pytest.approx([other.nll, other.refusal_nll, other.otherwise_nll], rel=1e-4)
    )


def test_a_shared_beginning_is_read_once_and_answers_stay_what_they_are(
    reader: Callable[..., DocumentReader], read_tokens: list[int]
) -> None:
    alone = [asked(reader(6), [*TEXT, *end]) for end in ENDS]
    assert len({found.nll for found in alone}) == len(ENDS), "they do differ"
    read_tokens.clear()
    one = reader(6)
    together = [asked(one, [*TEXT, *end]) for end in ENDS]
    assert [count for count in read_tokens if count > 1] == [63, 4], "others differ from the first in one token"
    assert all(close(first, other) for first, other in zip(together, alone, strict=True))
    assert all(found.first_token_s > 0 for found in together)


def test_other_texts_and_short_ones_share_nothing(
    reader: Callable[..., DocumentReader], read_tokens: list[int]
) -> None:
    one = reader(1)
    for ids in ([*TEXT, 5], [7, *TEXT, 5], TEXT[:20], TEXT[:20]):
        read_tokens.clear()
        asked(one, ids)
        assert read_tokens[0] == len(ids)


def test_what_is_read_between_stays_out_of_what_is_shared(
    reader: Callable[..., DocumentReader], read_tokens: list[int]
) -> None:
    """Passages that begin alike, and texts beside which a tree is read, are read anew and push nothing out."""
    one = reader(6)
    expected = asked(reader(6), [*TEXT, 9])
    asked(one, [*TEXT, 5])
    for ids in ([*TEXT, 6], [7, *TEXT]):
        read_tokens.clear()
        asked(one, ids, shared=False)
        assert read_tokens[0] == len(ids)
    read_tokens.clear()
    assert close(asked(one, [*TEXT, 9]), expected)
    assert read_tokens[0] == 1


def test_the_same_text_again_is_read_from_its_last_token_on(
    reader: Callable[..., DocumentReader], read_tokens: list[int]
) -> None:
    one = reader(6)
    first = asked(one, [*TEXT, 5])
    read_tokens.clear()
    assert close(asked(one, [*TEXT, 5]), first)
    assert read_tokens[0] == 1


def test_the_arms_that_read_a_document_whole_share_it_and_no_other(
    lights_file: Path, reading: Settings, tmp_path: Path
) -> None:
    reader = readers(lights_file, reading, tmp_path)(0)
    found = {name: arm.read(reader, "Who kept it?", 6) for name, arm in ARMS.items()}
    assert [name for name, one in found.items() if one and one.shared] == ["truncate", "full"]


def test_a_sliding_window_shares_nothing(
    model_folder: Callable[..., Path], reader: Callable[..., DocumentReader], read_tokens: list[int]
) -> None:
    folder = model_folder("mistral", sliding_window=32)
    one = reader(1, str(folder))
    for end in ENDS[:2]:
        read_tokens.clear()
        asked(one, [*TEXT, *end])
        assert read_tokens[0] == len(TEXT) + len(end)


def test_questions_of_one_document_begin_alike_when_it_is_cut(
    lights_file: Path, model_folder: Callable[..., Path], settings: Settings, tmp_path: Path
) -> None:
    small = replace(settings, model=str(model_folder("llama", max_position_embeddings=700)))
    shared: SharedModel = load_shared(small, tmp_path / "home", Silent())
    reader = readers(lights_file, small, tmp_path, shared)(0)
    beginnings = []
    for text in ("Who kept it?", "Who, now, kept it?", "Who, if anyone, kept it?"):
        found = ARMS["truncate"].read(reader, text, 6)
        assert found is not None
        beginnings.append(tuple(found.prompt.token_ids[:500]))
    assert len(set(beginnings)) < 3, "a part of the window is longer than two such questions differ by"
