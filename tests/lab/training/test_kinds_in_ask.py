"""An adapter is asked by the rules that it learned: `ask` and a training sample put the same prompt before it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from place_keeper import asked, keeping_to_places

from sharedllm_cli.answering.kinds import RULES, Kind
from sharedllm_cli.answering.reader import Reader
from sharedllm_cli.config import Settings
from sharedllm_cli.generation.prompt import RULE, PassageText, Prompt
from sharedllm_cli.lab.training.sample import question_answers
from sharedllm_cli.model.adapter_config import CONFIG_FILE
from sharedllm_cli.model.loading import BaseModel
from sharedllm_cli.model.shared import load_shared
from sharedllm_cli.progress import Silent

QUESTIONS = {"Who likes clover?": Kind.SHORT, "Why do bees like clover?": Kind.EXPLANATION}


@pytest.fixture
def settings(model_folder: Callable[..., Path], tmp_path: Path, private_home: Path) -> Settings:
    return keeping_to_places(model_folder, tmp_path, private_home)


@pytest.fixture
def base(settings: Settings, private_home: Path) -> BaseModel:
    return load_shared(settings, private_home, Silent()).base


@pytest.mark.parametrize("kinds", [None, False, True])
def test_ask_and_a_sample_have_the_rule_that_the_adapter_learned(
    kinds: bool | None,
    settings: Settings,
    base: BaseModel,
    tmp_path: Path,
    private_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tmp_path / "adapter" / CONFIG_FILE
    data = json.loads(config.read_text(encoding="utf-8"))
    del data["kinds"]
    config.write_text(json.dumps(data if kinds is None else data | {"kinds": kinds}), encoding="utf-8")
    document = tmp_path / "bees.txt"
    document.write_text("Bees like clover because its nectar is sweet. " * 20, encoding="utf-8")
    built: list[tuple[Sequence[PassageText], Prompt]] = []
    original = Reader.prompt

    def prompt(self: Reader, passages: Sequence[PassageText] = ()) -> Any:
        built.append((passages, original(self, passages)))
        return built[-1][1]

    monkeypatch.setattr(Reader, "prompt", prompt)
    for question, kind in QUESTIONS.items():
        built.clear()
        asked(settings, str(document), private_home, question)
        passages, read = built[0]
        assert (RULES[kind] if kinds else RULE) in read.text
        sample = question_answers(base.tokenizer, passages, [(question, "x")], base.window, kinds=bool(kinds))
        assert sample is not None
        assert sample.token_ids.tolist()[: len(read.token_ids)] == read.token_ids
