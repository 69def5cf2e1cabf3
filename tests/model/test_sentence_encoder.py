"""The sentence encoder: plain transformers' numbers, whatever texts come together; long texts count whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_encoder import write_tiny_encoder

from sharedllm_cli.errors import ModelError
from sharedllm_cli.model import sentence_encoder
from sharedllm_cli.model.sentence_encoder import PIECE_TOKENS, PulledEncoder, SentenceEncoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> SentenceEncoder:
    return SentenceEncoder(folder)


def plain(folder: Path, text: str) -> np.ndarray:
    """Summed last states of one text of at most one piece, by transformers alone."""
    from transformers import BertModel

    model = BertModel.from_pretrained(folder).eval()
    letters = "abcdefghijklmnopqrstuvwxyz.?,'"
    ids = [2, *(4 + letters.index(letter) if letter in letters else 1 for letter in text), 3]
    with torch.inference_mode():
        summed: np.ndarray = model(torch.tensor([ids])).last_hidden_state[0].sum(0).numpy()
    return summed


def test_a_vector_is_the_mean_of_the_last_states_at_length_one(encoder: SentenceEncoder, folder: Path) -> None:
    texts = ["the lamp was lit", "", "who kept it, and when was that?", "x" * PIECE_TOKENS]
    expected = np.stack([plain(folder, text) for text in texts])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-5)


def test_nothing_of_a_long_text_is_cut(encoder: SentenceEncoder, folder: Path) -> None:
    long = "abcdefg" * 60
    whole = plain(folder, long[:PIECE_TOKENS]) + plain(folder, long[PIECE_TOKENS:])
    (found,) = encoder.encode([long])
    np.testing.assert_allclose(found, whole / np.linalg.norm(whole), atol=1e-5)
    assert abs(found - encoder.encode([long[:PIECE_TOKENS]])[0]).max() > 1e-3


def test_texts_do_not_depend_on_each_other(encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a" * length for length in (3, 300, 1, 17, 600)]
    done: list[int] = []
    together = encoder.encode(texts, done.append)
    assert sum(done) == len(texts)
    monkeypatch.setattr(sentence_encoder, "_BATCH_TOKENS", 1)
    np.testing.assert_allclose(encoder.encode(texts), together, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([encoder.encode([text]) for text in texts]), together, atol=1e-5)
    assert encoder.encode([]).shape == (0, 16)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_damaged_file_is_a_clear_error(tmp_path: Path, name: str) -> None:
    write_tiny_encoder(tmp_path)
    (tmp_path / name).write_bytes(b"{")
    with pytest.raises(ModelError, match="can't be loaded"):
        SentenceEncoder(tmp_path)


def test_weights_that_lack_a_layer_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = write_tiny_encoder(tmp_path) / "model.safetensors"
    save_file({name: of for name, of in load_file(file).items() if "layer.1" not in name}, file)
    with pytest.raises(ModelError, match="lacks"):
        SentenceEncoder(tmp_path)


def test_without_a_pulled_encoder_there_is_none(tmp_path: Path) -> None:
    assert PulledEncoder.of(tmp_path) is None
