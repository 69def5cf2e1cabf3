"""Weights in blocks: what they represent, their layout, and the file that a GGUF file becomes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pulled import left_in
from safetensors.numpy import load_file
from tiny_gguf import write_gguf
from tiny_models import make_tiny_model

from sharedllm_cli.progress import Silent
from sharedllm_cli.weights import gguf_file
from sharedllm_cli.weights.blocks import SMALLEST_BLOCK, bits_of, block_of, bytes_a_weight, pack
from sharedllm_cli.weights.conversion import converted_folder, typed_weights


def numbers(codes: np.ndarray, scales: np.ndarray, zeros: np.ndarray | None) -> np.ndarray:
    """What packed rows represent, by the definition."""
    if zeros is None:
        return ((codes.astype(float) - 128) * scales[..., None]).reshape(len(codes), -1)
    pairs = np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:-1], -1)
    offsets = np.stack([zeros & 15, zeros >> 4], axis=-1).reshape(len(zeros), -1)[:, : codes.shape[1]]
    return ((pairs.astype(float) - offsets[..., None]) * scales[..., None]).reshape(len(codes), -1)


@pytest.mark.parametrize(("bits", "parts"), [(8, 127), (4, 15)])
def test_a_number_is_off_by_half_a_step_at_most(bits: int, parts: int) -> None:
    values = np.random.default_rng(0).standard_normal((5, 3 * SMALLEST_BLOCK)).astype(np.float32)
    values[1] = 0
    values[2] = np.abs(values[2])
    found = pack(values, bits)
    blocks = values.reshape(5, 3, SMALLEST_BLOCK)
    low, high = np.minimum(blocks.min(axis=2), 0), np.maximum(blocks.max(axis=2), 0)
    step = np.abs(blocks).max(axis=2) / parts if bits == 8 else (high - low) / parts
    error = np.abs(numbers(found.codes, found.scales, found.zeros) - values).reshape(5, 3, SMALLEST_BLOCK).max(axis=2)
    # With 4 bits the zero is rounded too: the end of the range may lie another half step away.
    assert (error <= step * (0.5 if bits == 8 else 1.0) + 1e-6).all()
    assert error[0].max() > 0
    assert not numbers(found.codes, found.scales, found.zeros)[1].any()
    stored = sum(part.nbytes for part in (found.codes, found.scales, found.zeros) if part is not None)
    assert stored == pytest.approx(values.size * bytes_a_weight(bits), rel=0.02)


def test_rows_that_are_not_whole_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="33 is not a multiple of 32"):
        pack(np.zeros((2, 33), np.float32), 8)


@pytest.mark.parametrize(("width", "block"), [(896, 128), (576, 64), (96, 32), (1536, 128)])
def test_blocks_are_as_long_as_the_row_allows(width: int, block: int) -> None:
    assert block_of(width, 8) == block
    assert block_of(width, 4) == SMALLEST_BLOCK
    assert pack(np.ones((2, width), np.float32), 8).codes.shape == (2, width // block, block)


def test_embeddings_keep_eight_bits_and_norms_their_numbers() -> None:
    assert bits_of("model.layers.0.self_attn.q_proj.weight", "int4") == 4
    assert bits_of("model.embed_tokens.weight", "int4") == bits_of("lm_head.weight", "int4") == 8
    assert bits_of("model.layers.0.self_attn.q_proj.bias", "int8") is None
    assert bits_of("model.norm.weight", "int8") is None
    assert bits_of("model.layers.0.mlp.up_proj.weight", "bfloat16") is None


@pytest.mark.parametrize("quantize", ["int8", "int4"])
@pytest.mark.parametrize("piece", [7, 1 << 20])
def test_a_gguf_file_becomes_the_blocks_of_its_numbers(
    quantize: str, piece: int, tmp_path: Path, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_file, "_PIECE", piece)
    model = make_tiny_model("qwen2")
    write_gguf(tmp_path / "tiny.gguf", model)
    folder = converted_folder(tmp_path / "tiny.gguf", private_home, Silent())
    (path,) = typed_weights(folder, quantize, private_home, Silent())
    assert path.name == f"model.{quantize}.safetensors"
    found = load_file(path)
    for name, expected in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        bits = bits_of(name, quantize)
        if bits is None:
            assert np.array_equal(found.pop(name), expected.numpy()), name
            continue
        wanted = pack(expected.numpy(), bits)
        assert np.array_equal(found.pop(f"{name}.codes"), wanted.codes), name
        assert np.array_equal(found.pop(f"{name}.scales"), wanted.scales), name
        if wanted.zeros is not None:
            assert np.array_equal(found.pop(f"{name}.zeros"), wanted.zeros), name
    assert not found
    assert left_in(private_home) == [folder.name]
