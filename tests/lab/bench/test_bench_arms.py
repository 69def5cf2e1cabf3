"""The arms read what they say they read, and leave the model as they found it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sharedllm_cli.errors import DocumentError
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.bench.encoder_decoder import EncoderDecoder, EncoderDecoderArm
from sharedllm_cli.lab.bench.subject import Reading, Subject, make_reading
from sharedllm_cli.lab.bench.timed_arms import Arm, Full, Streaming, document_ids, label, running_ids
from sharedllm_cli.lab.bench.timing import Clock
from sharedllm_cli.lab.bench.tree_arm import SharedLLM
from sharedllm_cli.model.placement import Placement
from sharedllm_cli.model.random_weights import random_model
from sharedllm_cli.progress import Silent

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def text(subject: Subject) -> Reading:
    return make_reading(subject, 300, 24, None)


def clock() -> Clock:
    return Clock(lambda: None)


def answer(arm: Arm, text: Reading, tokens: int = 6) -> list[int]:
    with arm.installed():
        prefilled = arm.cold(text, clock())
        found = [prefilled.token]
        for _ in range(tokens):
            found.append(prefilled.step(found[-1]))
    return found


def plain(subject: Subject, text: Reading, tokens: int = 6) -> list[int]:
    """The base model alone over the whole text, without a cache."""
    model: Any = subject.model
    ids = torch.cat([document_ids(text, CPU), running_ids(text, CPU)])
    found: list[int] = []
    for _ in range(1 + tokens):
        with torch.inference_mode():
            found.append(int(model(input_ids=ids[None]).logits[0, -1].argmax()))
        ids = torch.cat([ids, torch.tensor(found[-1:])])
    return found


def test_full_is_the_base_model(subject: Subject, text: Reading) -> None:
    assert answer(Full(subject), text) == plain(subject, text)


def test_streaming_with_a_window_for_all_is_full(subject: Subject, text: Reading) -> None:
    arm = Streaming(subject, 10_000, 64)
    assert arm.window + arm.block < subject.facts.window
    assert arm.window >= text.tokens + len(text.running) + 8
    assert answer(arm, text) == plain(subject, text)


def test_the_fastest_block_is_one_of_those_tried(subject: Subject) -> None:
    arm = Streaming.fastest(subject, 64)
    assert arm.window == 64
    assert arm.block <= subject.facts.window // 4


@pytest.mark.parametrize(
    ("injection", "layers"), [("merged", range(3)), ("additive", range(3)), ("additive", range(1, 3))]
)
def test_an_index_gives_what_encoding_at_once_gives(
    subject: Subject, text: Reading, injection: Any, layers: range, tmp_path: Path
) -> None:
    """Disk equals memory: stored in float32, the selected nodes are those that `cold` encodes."""
    arm = SharedLLM(subject, layers, IndexStore(tmp_path, Silent()), injection=injection, stored_dtype="float32")
    cold = answer(arm, text)
    with arm.installed():
        built, read = clock(), clock()
        arm.build(text, built)
        prefilled = arm.indexed(text, read)
        found = [prefilled.token]
        for _ in range(6):
            found.append(prefilled.step(found[-1]))
    assert found == cold
    assert set(built.parts) == {"build"}
    assert set(read.parts) == {"open", "search", "gather", "read"}


def test_every_arm_leaves_the_model_as_it_came(subject: Subject, text: Reading, tmp_path: Path) -> None:
    model: Any = subject.model
    layers = list(model.model.layers)
    store = IndexStore(tmp_path, Silent())
    for arm in (
        SharedLLM(subject, range(2), store),
        Streaming(subject, 64, 32),
        EncoderDecoderArm(subject, "2x64x4x128"),
    ):
        with suppress(ZeroDivisionError), arm.installed():
            assert any(now is not then for now, then in zip(model.model.layers, layers, strict=True))
            raise ZeroDivisionError
        assert all(now is then for now, then in zip(model.model.layers, layers, strict=True)), label(arm)


def test_a_cross_attention_that_adds_nothing_leaves_the_decoder_alone(subject: Subject, text: Reading) -> None:
    arm = EncoderDecoderArm(subject, "2x64x4x128")
    running = running_ids(text, CPU)
    expected = subject.model(input_ids=running[None]).logits[0, -1]
    with arm.installed():
        assert isinstance(arm._model, EncoderDecoder)
        encoded = arm._model.encode(document_ids(text, CPU))
        heard, _ = arm._model.read(running, encoded)
        for layer in subject.model.model.layers:
            layer._output.zero_()
        deaf, _ = arm._model.read(running, encoded)
    torch.testing.assert_close(deaf, expected)
    assert not torch.allclose(heard, expected)


def test_an_encoder_reads_its_chunks_one_by_one(subject: Subject) -> None:
    """What is encoded of a chunk depends on no other, and on all tokens of its own."""
    arm = EncoderDecoderArm(subject, "base")
    ids = torch.arange(600) % 512
    with arm.installed():
        assert arm._model is not None
        whole = arm._model.encode(ids)
        chunk = arm._model.encode(ids[256:512])
        changed = arm._model.encode(torch.cat([ids[:511], ids[:1]]))
    assert whole.keys.shape == (4, 2, 600, 16)
    torch.testing.assert_close(whole.keys[:, :, 256:512], chunk.keys)
    torch.testing.assert_close(whole.values[:, :, :256], changed.values[:, :, :256])
    assert not torch.allclose(whole.values[:, :, 256], changed.values[:, :, 256])


def test_a_text_has_exactly_the_tokens_asked_for(subject: Subject, byte_tokenizer: Any, tmp_path: Path) -> None:
    file = tmp_path / "short.txt"
    file.write_text("Nine short words stand here, and then no more.", encoding="utf-8")
    for one in (subject, replace(subject, tokenizer=byte_tokenizer)):
        for path in (None, file):
            found = make_reading(one, 777, 33, path)
            assert (found.tokens, len(found.running)) == (777, 33)
            assert len(found.leaves.trees) == 13
            assert found.question
            assert found.question_ids
            assert set(found.seconds) == {"tokenize", "count_words"}
    assert np.array_equal(make_reading(subject, 50, 5, None).running, make_reading(subject, 50, 5, None).running)


def test_a_file_that_holds_no_text_is_refused(subject: Subject, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n", encoding="utf-8")
    for path in (empty, tmp_path / "missing.txt"):
        with pytest.raises(DocumentError):
            make_reading(subject, 10, 1, path)


@pytest.mark.parametrize("quantize", ["none", "4bit", "8bit", "int8"])
def test_random_weights_are_whole_and_the_same_for_a_seed(subject: Subject, quantize: str) -> None:
    from sharedllm_cli.lab.bench.subject import shape_config

    placement = Placement(CPU, torch.float32, quantize, "sdpa", torch.float32)
    models: list[Any] = [random_model(shape_config("tiny"), placement, seed=seed) for seed in (3, 3, 4)]
    assert not any(tensor.is_meta for model in models for tensor in (*model.parameters(), *model.buffers()))
    first, same, other = (model(input_ids=torch.arange(9)[None]).logits for model in models)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    kinds = {type(module).__name__ for module in models[0].model.layers.modules()}
    expected = {"none": "Linear", "4bit": "Linear4bit", "8bit": "Linear8bitLt", "int8": "PackedLinear"}
    assert kinds & set(expected.values()) == {expected[quantize]}
    assert type(models[0].lm_head).__name__ == ("PackedLinear" if quantize == "int8" else "Linear")
    tied: Any = random_model({**shape_config("tiny"), "tie_word_embeddings": True}, placement)
    shared = "packed" if quantize == "int8" else "weight"
    assert getattr(tied.lm_head, shared) is getattr(tied.model.embed_tokens, shared)
