"""What a GGUF file states of its model is kept or refused: the converted model computes what the stated one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_gguf import write_gguf
from tiny_models import make_tiny_model

from sharedllm_cli.errors import ModelError
from sharedllm_cli.model.loading import load
from sharedllm_cli.weights.gguf_config import config_from_gguf, generation_config_from_gguf
from sharedllm_cli.weights.gguf_file import GGUFFile
from sharedllm_cli.weights.gguf_tokenizer import tokenizer_from_gguf

TOKENS = torch.arange(3, 63)[None]


def tiny(architecture: str, **changes: Any) -> Any:
    """A tiny model as GGUF files have it: they don't state which layers of SmolLM3 turn no keys, every fourth one."""
    pattern = {"no_rope_layers": [1, 1, 1, 0]} if architecture == "smollm3" else {}
    return make_tiny_model(architecture, **pattern | changes)


def stated(path: Path, original: Any, **options: Any) -> dict[str, Any]:
    """The configuration of a model that was written as GGUF."""
    write_gguf(path / "tiny.gguf", original, **options)
    return config_from_gguf(GGUFFile(path / "tiny.gguf"))


def assert_same_logits(original: Any, path: Path, home: Path, **options: Any) -> Any:
    """Write a model as GGUF, convert it, and compare what both say; returns the converted model."""
    write_gguf(path / "tiny.gguf", original, **options)
    model = load(str(path / "tiny.gguf"), home=home, device="cpu", dtype="float32").model
    model.set_attn_implementation("sdpa")
    with torch.inference_mode():
        torch.testing.assert_close(model(TOKENS).logits, original(TOKENS).logits, atol=2e-4, rtol=1e-4)
    return model


FAMILIES = ("llama", "qwen2", "qwen3", "granite", "smollm3")
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 10000.0}


@pytest.mark.parametrize("architecture", FAMILIES)
def test_yarn_is_kept(architecture: str, tmp_path: Path, private_home: Path) -> None:
    keys = {"type": "yarn", "factor": 4.0, "original_context_length": 32, "finetuned": True}
    changes = {f"{architecture}.rope.scaling.{key}": value for key, value in keys.items()}
    assert_same_logits(tiny(architecture, rope_parameters=YARN), tmp_path, private_home, **changes)


def test_yarns_own_numbers_are_kept(tmp_path: Path, private_home: Path) -> None:
    own = YARN | {"beta_fast": 16.0, "beta_slow": 2.0, "attention_factor": 1.5 * (0.1 * float(np.log(4.0)) + 1)}
    keys = {"type": "yarn", "factor": 4.0, "original_context_length": 32}
    keys |= {"yarn_beta_fast": 16.0, "yarn_beta_slow": 2.0, "attn_factor": 1.5}
    changes = {f"llama.rope.scaling.{key}": value for key, value in keys.items()}
    assert_same_logits(make_tiny_model("llama", rope_parameters=own), tmp_path, private_home, **changes)


@pytest.mark.parametrize(
    "keys", [{"scaling.type": "linear", "scaling.factor": 4.0}, {"scaling.factor": 4.0}, {"scale_linear": 4.0}]
)
def test_linear_scaling_is_kept_in_every_spelling(keys: dict[str, Any], tmp_path: Path, private_home: Path) -> None:
    linear = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    changes = {f"qwen2.rope.{key}": value for key, value in keys.items()}
    assert_same_logits(make_tiny_model("qwen2", rope_parameters=linear), tmp_path, private_home, **changes)


@pytest.mark.parametrize(
    ("factor", "low", "high", "window"), [(8.0, 1.0, 4.0, 8192), (32.0, 1.0, 4.0, 8192), (4.0, 2.0, 8.0, 4096)]
)
@pytest.mark.parametrize("head_dim", [64, 128])
def test_frequency_factors_become_the_scaling_that_they_came_from(
    factor: float, low: float, high: float, window: int, head_dim: int, tmp_path: Path
) -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    def frequencies(parameters: dict[str, Any]) -> torch.Tensor:
        config = LlamaConfig(hidden_size=512, num_attention_heads=4, head_dim=head_dim, rope_parameters=parameters)
        return ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))[0]

    scaling = {"rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high}
    scaling |= {"original_max_position_embeddings": window, "rope_theta": 500000.0}
    plain = 1 / 500000.0 ** (torch.arange(0, head_dim, 2) / head_dim)
    factors = (plain / frequencies(scaling)).numpy()
    model = make_tiny_model("llama", head_dim=head_dim, rope_parameters={"rope_type": "default", "rope_theta": 5e5})
    found = stated(tmp_path, model, tensors={"rope_freqs.weight": factors})["rope_parameters"]
    torch.testing.assert_close(frequencies(found), frequencies(scaling), rtol=1e-4, atol=0)
    if low == 1.0:
        assert found == scaling


@pytest.mark.parametrize(
    ("factors", "changes"),
    [
        (np.linspace(1, 5, 64), {}),
        (np.full(64, 0.5), {}),
        (np.full(32, 8.0), {}),
        (np.full(64, 8.0), {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.0}),
    ],
)
def test_other_frequency_factors_are_refused(factors: np.ndarray, changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="scales its positions"):
        stated(
            *(tmp_path, make_tiny_model("llama", head_dim=128)),
            tensors={"rope_freqs.weight": factors.astype(np.float32)},
            **changes,
        )


@pytest.mark.parametrize("architecture", FAMILIES)
@pytest.mark.parametrize("head_dim", [4, 16])
def test_heads_of_any_width_are_kept(architecture: str, head_dim: int, tmp_path: Path, private_home: Path) -> None:
    model = assert_same_logits(tiny(architecture, head_dim=head_dim), tmp_path, private_home)
    assert model.model.layers[0].self_attn.head_dim == head_dim


@pytest.mark.parametrize("flags", [("attention_bias",), ("mlp_bias",), ("attention_bias", "mlp_bias")])
def test_biases_are_kept(flags: tuple[str, ...], tmp_path: Path, private_home: Path) -> None:
    original = make_tiny_model("llama", **dict.fromkeys(flags, True))
    names = {name for name, _ in assert_same_logits(original, tmp_path, private_home).named_parameters()}
    assert names == {name for name, _ in original.named_parameters()}


@pytest.mark.parametrize(("architecture", "left_out"), [("llama", "o_proj.bias"), ("qwen2", "q_proj.bias")])
def test_a_bias_that_is_left_out_is_zero(architecture: str, left_out: str, tmp_path: Path, private_home: Path) -> None:
    original = tiny(architecture, **({"attention_bias": True} if architecture == "llama" else {}))
    with torch.no_grad():
        for name, parameter in original.named_parameters():
            if name.endswith(left_out):
                parameter.zero_()
    assert_same_logits(original, tmp_path, private_home, without=left_out)


def test_a_bias_without_a_place_is_refused(tmp_path: Path, private_home: Path) -> None:
    write_gguf(
        tmp_path / "tiny.gguf", make_tiny_model("qwen3"), tensors={"blk.0.attn_norm.bias": np.ones(32, np.float32)}
    )
    with pytest.raises(ModelError, match=r"no place in a qwen3 model: blk\.0\.attn_norm\.bias"):
        load(str(tmp_path / "tiny.gguf"), home=private_home, device="cpu")


def test_a_window_of_every_layer_is_kept(tmp_path: Path, private_home: Path) -> None:
    original = make_tiny_model("mistral", sliding_window=8)
    model = assert_same_logits(original, tmp_path, private_home, **{"llama.attention.sliding_window": 8})
    assert (model.config.model_type, model.config.sliding_window) == ("mistral", 8)


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "granite"])
def test_a_window_of_layers_that_are_not_said_is_refused(architecture: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="see 8 tokens"):
        stated(tmp_path, make_tiny_model(architecture), **{f"{architecture}.attention.sliding_window": 8})
    wide = stated(tmp_path, make_tiny_model(architecture), **{f"{architecture}.attention.sliding_window": 512})
    assert "sliding_window" not in wide  # as wide as the text may be: no window at all


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"llama.attention.clamp_kqv": 8.0}, "clamp_kqv"),
        ({"llama.rope.dimension_sections": [1, 1, 2]}, "dimension_sections"),
        ({"llama.logit_scale": 0.5}, "logit_scale"),
        ({"llama.rope.dimension_count": 4}, "dimension_count = 4"),
        ({"llama.attention.value_length": 16}, "value_length = 16"),
        ({"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": -2.0}, "scales its positions"),
        ({"llama.attention.head_count": [4, 4, 4, 4]}, "head_count"),
        ({"llama.attention.head_count": 0}, "without attention heads"),
        ({"llama.attention.key_length": 12}, "rows"),
    ],
)
def test_what_this_model_can_not_be_is_refused(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=reason):
        stated(tmp_path, make_tiny_model("llama"), **changes)


def test_what_is_stated_as_absent_is_no_reason_to_refuse(tmp_path: Path) -> None:
    nothing = {"llama.expert_count": 0, "llama.attention.clamp_kqv": 0.0, "llama.use_parallel_residual": False}
    assert stated(tmp_path, make_tiny_model("llama"), **nothing)["model_type"] == "llama"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tokenizer.ggml.remove_extra_whitespaces": True}, "remove_extra_whitespaces"),
        ({"tokenizer.ggml.precompiled_charsmap": [1, 2, 3]}, "precompiled_charsmap"),
        ({"tokenizer.ggml.bos_token_id": 4000, "tokenizer.ggml.add_bos_token": True}, "no token 4000"),
        ({"tokenizer.ggml.pre": None}, "splits text by None"),
        ({"tokenizer.ggml.tokens": ["a"] * 300}, "a token twice"),
    ],
)
def test_what_a_tokenizer_does_not_do_is_refused(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", make_tiny_model("llama"), **changes)
    with pytest.raises(ModelError, match=reason):
        tokenizer_from_gguf(GGUFFile(tmp_path / "tiny.gguf"))


def test_an_end_is_put_behind_a_text_only_where_the_file_says_so(tmp_path: Path) -> None:
    both = {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True}
    write_gguf(tmp_path / "tiny.gguf", make_tiny_model("llama"), **both)
    tokenizer = tokenizer_from_gguf(GGUFFile(tmp_path / "tiny.gguf"))
    assert tokenizer.encode("the").tokens == ["<|im_start|>", "the", "<|im_end|>"]
    assert tokenizer.encode("the", add_special_tokens=False).tokens == ["the"]


def test_an_own_output_head_is_kept(tmp_path: Path, private_home: Path) -> None:
    model = assert_same_logits(make_tiny_model("qwen2", tie_word_embeddings=False), tmp_path, private_home)
    assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)


def test_every_control_token_that_ends_a_turn_or_a_text_ends_an_answer(tmp_path: Path) -> None:
    """The file names one end, <|im_end|> (2); the vocabulary has <|endoftext|> (0), too."""
    write_gguf(tmp_path / "tiny.gguf", make_tiny_model("llama"))
    assert generation_config_from_gguf(GGUFFile(tmp_path / "tiny.gguf"))["eos_token_id"] == [2, 0]
    kinds = [1, 3, 3] + [1] * 297  # the same word as text is no end
    write_gguf(tmp_path / "tiny.gguf", make_tiny_model("llama"), **{"tokenizer.ggml.token_type": kinds})
    assert generation_config_from_gguf(GGUFFile(tmp_path / "tiny.gguf"))["eos_token_id"] == 2


def test_a_tensor_list_that_lies_is_damaged(tmp_path: Path) -> None:
    """Numbers of a header that would make a reader take more memory than there is, or read beyond the end."""
    write_gguf(tmp_path / "whole.gguf", make_tiny_model("llama"))
    whole = (tmp_path / "whole.gguf").read_bytes()
    for place in (8, 16, 24):  # tensors, values, the first key's length
        (tmp_path / "lying.gguf").write_bytes(whole[:place] + b"\xff" * 8 + whole[place + 8 :])
        with pytest.raises(ModelError, match="damaged"):
            GGUFFile(tmp_path / "lying.gguf")
    (tmp_path / "empty.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="damaged"):
        GGUFFile(tmp_path / "empty.gguf")


def test_this_reader_and_the_packages_own_agree(tmp_path: Path) -> None:
    from gguf import GGUFReader

    held = write_gguf(tmp_path / "tiny.gguf", make_tiny_model("qwen2"), quantized=True)
    mine, package = GGUFFile(tmp_path / "tiny.gguf"), GGUFReader(tmp_path / "tiny.gguf")
    stated_there = {key: field.contents() for key, field in package.fields.items() if not key.startswith("GGUF.")}
    assert mine.metadata == stated_there
    assert {name: (tensor.shape, tensor.kind, tensor.offset) for name, tensor in mine.tensors.items()} == {
        tensor.name: (tuple(int(n) for n in tensor.shape[::-1]), tensor.tensor_type, tensor.data_offset)
        for tensor in package.tensors
    }
    values = np.concatenate(list(mine.rows(mine.tensors["blk.1.ffn_up.weight"])))
    assert np.array_equal(values, held["model.layers.1.mlp.up_proj.weight"])
