"""A prompt of which keys and values are known is read as if all of it were run, to rounding; only less is run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import make_tiny_model

from sharedllm_cli.config import InjectionConfig, TreeConfig
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.known_text import KnownText, KnownTextReader, WholeModel
from sharedllm_cli.model.upper import UpperModel, beam_steps

HEAD, STORED, MARK, TAIL = [256, 7, 8, 9], list(range(30, 60)), [70, 71], [81, 82, 83, 84]
TREE = TreeConfig(64, 3, (16, 8, 4))


def make_upper(family: str) -> UpperModel:
    model = make_tiny_model(family)
    return UpperModel(model, Adapter.untrained(model, "tiny", InjectionConfig("merged", 2), TREE))


def encoded(upper: UpperModel, head: list[int], text: list[int], places: list[int]) -> KnownText:
    """The text's keys and values behind a head, to be read at some places of a prompt."""
    found = WholeModel(upper, head).encode(torch.tensor([text]), torch.arange(len(text)))
    return KnownText(torch.tensor(places), found.keys[0], found.values[0])


def test_what_stands_behind_the_head_is_read_as_text_is(family: str) -> None:
    """Behind the head alone a stored text has seen all that it sees in the prompt: the numbers are the same."""
    upper = make_upper(family)
    if not KnownTextReader.fits(upper):
        assert family == "gemma3_text"  # the only family here whose layers forget
        return
    ids = [*HEAD, *STORED, *MARK, *TAIL]
    known = encoded(upper, HEAD, STORED, list(range(len(HEAD), len(HEAD) + len(STORED))))
    expected, text_cache = upper.prefill(torch.tensor(ids), None)
    reader = KnownTextReader(upper, HEAD)
    for _ in range(2):  # the second time the head is remembered
        logits, cache = reader.prefill(ids, known)
        assert cache.get_seq_length() == len(ids)
        torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)
    token = torch.tensor([90])
    torch.testing.assert_close(
        upper.decode_step(token, None, cache), upper.decode_step(token, None, text_cache), rtol=1e-3, atol=1e-3
    )


def test_beams_go_on_from_it() -> None:
    upper, ids = make_upper("qwen2"), [*HEAD, *STORED, *TAIL]
    known = encoded(upper, HEAD, STORED, list(range(len(HEAD), len(HEAD) + len(STORED))))
    tokens, parents = torch.tensor([90, 91]), torch.tensor([0, 0])
    _, cache = KnownTextReader(upper, HEAD).prefill(ids, known)
    _, text_cache = upper.prefill(torch.tensor(ids), None)
    found = beam_steps(upper, None, cache)(tokens, parents)
    expected = beam_steps(upper, None, text_cache)(tokens, parents)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_only_the_other_tokens_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from sharedllm_cli.model import known_text

    upper, ids, lengths = make_upper("llama"), [*HEAD, *STORED, *TAIL], []
    known = encoded(upper, HEAD, STORED, list(range(len(HEAD), len(HEAD) + len(STORED))))
    call = known_text.call_model

    def counting(model: Any, token_ids: torch.Tensor, *arguments: Any, **others: Any) -> Any:
        lengths.append(token_ids.shape[1])
        return call(model, token_ids, *arguments, **others)

    monkeypatch.setattr(known_text, "call_model", counting)
    reader = KnownTextReader(upper, HEAD)
    for _ in range(2):
        reader.prefill(ids, known)
    assert lengths == [len(HEAD), len(TAIL), len(TAIL)]  # the head once, apart


def test_known_keys_count_as_what_has_seen_what_they_saw() -> None:
    """Keys that have seen the words before them read as text does; those that have not differ from it."""
    upper = make_upper("llama")
    ids = [*HEAD, *MARK, *STORED, *TAIL]
    first = len(HEAD) + len(MARK)
    reader = KnownTextReader(upper, HEAD)
    moved, _ = reader.prefill(ids, encoded(upper, HEAD, STORED, list(range(first, first + len(STORED)))))
    inside, _ = reader.prefill(ids, encoded(upper, [*HEAD, *MARK], STORED, list(range(first, first + len(STORED)))))
    expected, _ = upper.prefill(torch.tensor(ids), None)
    torch.testing.assert_close(inside, expected, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(moved, expected, rtol=1e-3, atol=1e-3)  # it has not seen the mark
