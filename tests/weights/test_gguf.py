"""A converted GGUF file is the model it was made from, and its tokenizer splits text as the model learned it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_gguf import TEMPLATE, write_gguf
from tiny_models import make_tiny_model

from sharedllm_cli.errors import ModelError
from sharedllm_cli.model.loading import load
from sharedllm_cli.progress import Silent
from sharedllm_cli.weights.conversion import converted_folder
from sharedllm_cli.weights.gguf_config import config_from_gguf, generation_config_from_gguf
from sharedllm_cli.weights.gguf_file import GGUFFile
from sharedllm_cli.weights.gguf_tokenizer import tokenizer_from_gguf
from sharedllm_cli.weights.registry import installed, provenance
from sharedllm_cli.weights.tokenizer_files import read_tokenizer

GGUF_FAMILIES = ("llama", "qwen2", "qwen3")


def converted(path: Path, home: Path) -> Any:
    return load(str(path), home=home, device="cpu")


@pytest.mark.parametrize("family", [*GGUF_FAMILIES, "mistral"])
@pytest.mark.parametrize("tied", [True, False])
def test_conversion_keeps_every_weight_and_the_logits(
    family: str, tied: bool, tmp_path: Path, private_home: Path
) -> None:
    original = make_tiny_model(family, tie_word_embeddings=tied)
    write_gguf(tmp_path / "tiny.gguf", original)
    model = converted(tmp_path / "tiny.gguf", private_home).model
    expected = original.state_dict()
    found = model.state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    tokens = torch.arange(40)[None]
    model.set_attn_implementation("sdpa")  # the kernel of the original: the same weights give the same bits
    with torch.inference_mode():
        assert torch.equal(model(tokens).logits, original(tokens).logits)


@pytest.mark.parametrize("family", GGUF_FAMILIES)
def test_quantized_blocks_become_exactly_their_values(family: str, tmp_path: Path, private_home: Path) -> None:
    held = write_gguf(tmp_path / "tiny.gguf", make_tiny_model(family), quantized=True)
    found = converted(tmp_path / "tiny.gguf", private_home).model.state_dict()
    for name, values in held.items():
        assert np.array_equal(found[name].numpy(), values), name


def test_a_file_is_converted_once_and_known_by_its_hash(
    tmp_path: Path, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(tmp_path / "tiny.gguf", make_tiny_model("llama"))
    first = converted(tmp_path / "tiny.gguf", private_home)
    (tmp_path / "copy.gguf").write_bytes((tmp_path / "tiny.gguf").read_bytes())
    monkeypatch.setattr(
        "sharedllm_cli.weights.conversion.convert", lambda *args, **options: pytest.fail("converted twice")
    )
    second = converted(tmp_path / "copy.gguf", private_home)
    assert (first.name, second.name) == ("tiny", "copy")
    made = provenance(installed(private_home)[0].path)
    assert made is not None
    assert first.weights_hash == second.weights_hash == made.hashes["gguf"]


def test_an_installed_conversion_is_loaded_by_its_listed_name(tmp_path: Path, private_home: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", make_tiny_model("llama"))
    weights = converted(tmp_path / "tiny.gguf", private_home).weights_hash
    (tmp_path / "tiny.gguf").unlink()
    assert load(installed(private_home)[0].name, home=private_home).weights_hash == weights


def test_configuration_is_written_as_it_was_meant(tmp_path: Path) -> None:
    write_gguf(
        tmp_path / "tiny.gguf", make_tiny_model("llama", rms_norm_eps=1e-5), **{"tokenizer.ggml.eot_token_id": 0}
    )
    file = GGUFFile(tmp_path / "tiny.gguf")
    config = config_from_gguf(file)
    assert config["rms_norm_eps"] == 1e-5  # the file holds it as a float32: 9.999999747378752e-06
    assert (config["max_position_embeddings"], config["head_dim"], config["vocab_size"]) == (512, 8, 300)
    assert generation_config_from_gguf(file) == {"bos_token_id": 1, "eos_token_id": [2, 0], "pad_token_id": 2}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architecture": "gpt2"}, "architecture 'gpt2'"),
        ({"llama.expert_count": 8}, "mixture of experts"),
        ({"llama.block_count": None}, "llama.block_count"),
        ({"llama.rope.scaling.type": "longrope"}, "longrope"),
        ({"tokenizer.ggml.pre": "falcon"}, "splits text by 'falcon'"),
        ({"tokenizer.ggml.model": "bert"}, "tokenizer of the kind 'bert'"),
        ({"tokenizer.ggml.merges": ["no such"]}, "damaged vocabulary"),
    ],
)
def test_what_is_not_known_is_refused(changes: dict[str, Any], reason: str, tmp_path: Path, private_home: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", make_tiny_model("llama"), **changes)
    with pytest.raises(ModelError, match=reason):
        converted(tmp_path / "tiny.gguf", private_home)
    assert installed(private_home) == []
    assert not list((private_home / "models").glob(".building-*"))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_shortened_file_is_damaged(share: float, tmp_path: Path, private_home: Path) -> None:
    write_gguf(tmp_path / "whole.gguf", make_tiny_model("llama"))
    whole = (tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError, match="damaged"):
        converted(tmp_path / "cut.gguf", private_home)


def test_another_file_is_no_gguf(tmp_path: Path, private_home: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(ModelError, match="is not a GGUF file"):
        converted(tmp_path / "model.gguf", private_home)


def pieces(path: Path, text: str, **changes: Any) -> list[str]:
    write_gguf(path, make_tiny_model("llama"), **changes)
    return tokenizer_from_gguf(GGUFFile(path)).encode(text, add_special_tokens=False).tokens


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("smollm", "12", ["1", "2"]),  # every digit alone, though the vocabulary has 12
        ("smollm", "x  1", ["x", "ĠĠ", "1"]),
        ("smollm", "in the", ["i", "n", "Ġthe"]),
        ("smollm", "the<|im_end|>", ["the", "<|im_end|>"]),
        ("gpt-2", "x 12", ["x", "Ġ", "12"]),
        ("llama-bpe", "x 12", ["x", "Ġ", "12"]),
        ("qwen2", "12", ["1", "2"]),
        ("tekken", "12", ["1", "2"]),
        ("qwen2", "e\u0301", ["Ã", "©"]),  # composed first
        ("llama-bpe", "e\u0301", ["e", "Ì", "ģ"]),
    ],
)
def test_the_named_splitting_is_used(name: str, text: str, expected: list[str], tmp_path: Path) -> None:
    assert pieces(tmp_path / "tiny.gguf", text, **{"tokenizer.ggml.pre": name}) == expected


def test_text_comes_back_and_offsets_tell_its_characters(tmp_path: Path, private_home: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", make_tiny_model("llama"))
    tokenizer, _ = read_tokenizer(converted_folder(tmp_path / "tiny.gguf", private_home, Silent()))
    text = "In 1984,  the naïve\n\n\tcat paid 3½ £ 日本 👍🏽"
    encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    assert tokenizer.decode(encoded["input_ids"]) == text
    covered = {place for start, end in encoded["offset_mapping"] for place in range(start, end)}
    assert covered == set(range(len(text)))
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == (
        "<|im_start|>user\nhi<|im_end|>\n"
    )
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert tokenizer.chat_template == TEMPLATE


def test_a_beginning_is_put_before_only_where_the_file_says_so(tmp_path: Path) -> None:
    model = make_tiny_model("llama")
    for says in (True, False):
        write_gguf(tmp_path / "tiny.gguf", model, **{"tokenizer.ggml.add_bos_token": says})
        tokens = tokenizer_from_gguf(GGUFFile(tmp_path / "tiny.gguf")).encode("the").tokens
        assert tokens == (["<|im_start|>", "the"] if says else ["the"])


def test_sentencepiece_vocabularies_merge_by_score_and_fall_back_to_bytes(tmp_path: Path) -> None:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁theca", "th", "he"]
    kinds = [2, 3, 3] + [6] * 256 + [1] * 8 + [5] * (300 - len(tokens))
    scores = [0.0] * (len(tokens) - 2) + [-2.0, -1.0]  # `he` goes before `th`
    unused = [f"<unused{number}>" for number in range(300 - len(tokens))]
    changes = {"model": "llama", "pre": None, "merges": None, "tokens": tokens + unused, "token_type": kinds}
    changes |= {"scores": scores + [0.0] * len(unused), "add_bos_token": None}
    named = {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    write_gguf(tmp_path / "tiny.gguf", make_tiny_model("llama"), **named)
    tokenizer = tokenizer_from_gguf(GGUFFile(tmp_path / "tiny.gguf"))
    assert tokenizer.encode("the cath", add_special_tokens=False).tokens == ["▁", "t", "he", "▁", "c", "a", "th"]
    assert tokenizer.encode("é").tokens == ["<s>", "▁", "<0xC3>", "<0xA9>"]  # such files begin texts unless they say no
    assert tokenizer.decode(tokenizer.encode("the cat é").ids) == "the cat é"


def test_json_files_hold_no_paths_and_parse(tmp_path: Path, private_home: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", make_tiny_model("llama"))
    converted(tmp_path / "tiny.gguf", private_home)
    folder = installed(private_home)[0].path
    for name in ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json", "model.json"):
        assert json.loads((folder / name).read_text(encoding="utf-8")), name
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
