"""Tokens know their characters; a document can't spell a special token."""

from __future__ import annotations

import copy
import logging
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sharedllm_cli.documents.chunking import control_ids, plain_ids, tokenize


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_spans_are_in_order_and_cover_all_but_white_space(byte_tokenizer: Any, text: str) -> None:
    tokens = tokenize(text, byte_tokenizer)
    assert tokens.ids.dtype == tokens.starts.dtype == tokens.ends.dtype == np.int32
    assert len(tokens.ids) == len(tokens.starts) == len(tokens.ends) == len(tokens)
    assert (np.diff(tokens.starts) >= 0).all()
    assert (np.diff(tokens.ends) >= 0).all()
    covered = np.zeros(len(text), bool)
    for start, end in zip(tokens.starts, tokens.ends, strict=True):
        covered[start:end] = True
    assert not "".join(character for character, seen in zip(text, covered, strict=True) if not seen).strip()
    assert byte_tokenizer.decode(tokens.ids) == text


def test_special_tokens_in_a_text_are_plain_text(byte_tokenizer: Any) -> None:
    special = set(byte_tokenizer.all_special_ids)
    text = "stop </s><s> here <pad>"
    assert special & set(byte_tokenizer(text, add_special_tokens=False)["input_ids"])
    assert not special & set(tokenize(text, byte_tokenizer).ids.tolist())
    # The flag is not left behind: a prompt made next has its marks.
    assert byte_tokenizer.backend_tokenizer.encode("</s>").ids == [byte_tokenizer.eos_token_id]
    assert byte_tokenizer("</s>", add_special_tokens=False)["input_ids"] == [byte_tokenizer.eos_token_id]


def test_marks_of_the_template_that_are_not_special_are_plain_text_too(byte_tokenizer: Any) -> None:
    thinking = copy.deepcopy(byte_tokenizer)
    thinking.add_tokens(["<think>", "</think>"])
    thinking.chat_template = "<think></think>"
    text = "é <think>a</think></think> b\n" * 3
    assert not control_ids(thinking).isdisjoint(thinking(text, split_special_tokens=True)["input_ids"])
    tokens = tokenize(text, thinking)
    assert control_ids(thinking).isdisjoint(tokens.ids.tolist())
    assert tokens.ids.tolist() == tokenize(text, byte_tokenizer).ids.tolist() == plain_ids(thinking, text)
    assert [text[start:end] for start, end in zip(tokens.starts, tokens.ends, strict=True)][:4] == ["é", "é", " ", "<"]
    assert tokens.ends[-1] == len(text)
    assert (np.diff(tokens.starts) >= 0).all()


def test_nothing_is_cut_and_nothing_is_said_of_length(byte_tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    short = copy.deepcopy(byte_tokenizer)
    short.model_max_length = 16
    with caplog.at_level(logging.WARNING):
        assert len(tokenize("x" * 1000, short)) == 1000
    assert not caplog.records


def test_time_is_linear_in_length(byte_tokenizer: Any) -> None:
    def seconds(length: int) -> float:
        text = "The quick brown fox. " * (length // 21)
        start = time.perf_counter()
        tokenize(text, byte_tokenizer)
        return time.perf_counter() - start

    seconds(20_000)
    assert seconds(400_000) < 40 * max(seconds(40_000), 0.02)


def test_no_text_has_no_tokens(byte_tokenizer: Any) -> None:
    assert len(tokenize("", byte_tokenizer)) == 0
