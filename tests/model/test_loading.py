"""A base model is loaded whole and frozen, and everything that isn't one is refused in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import make_byte_tokenizer, make_tiny_model

from sharedllm_cli.errors import ModelError, UsageError
from sharedllm_cli.model.cpu_attention import CPU_SDPA
from sharedllm_cli.model.loading import load
from sharedllm_cli.weights.facts import facts_from_config
from sharedllm_cli.weights.registry import describe
from sharedllm_cli.weights.tokenizer_files import read_tokenizer
from sharedllm_cli.weights.weight_files import weight_files, weights_hash

WIDE = {"hidden_size": 64, "head_dim": 16, "intermediate_size": 128}


@pytest.fixture
def folder(model_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """A tiny Llama model that a test may damage."""
    return Path(shutil.copytree(model_folder("llama"), tmp_path / "tiny"))


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}), encoding="utf-8")


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("tied", [True, False])
def test_every_family_loads_its_own_weights_frozen(
    family: str, tied: bool, model_folder: Callable[..., Path], private_home: Path
) -> None:
    path = model_folder(family, tie_word_embeddings=tied)
    base = load(str(path), home=private_home, device="cpu")
    expected = make_tiny_model(family, tie_word_embeddings=tied)
    tokens = torch.arange(50)[None]
    with torch.inference_mode():
        base.model.set_attn_implementation("sdpa")  # that of `expected`: the same weights give the same bits
        assert torch.equal(base.model(tokens).logits, expected(tokens).logits)
    assert (base.family, base.window, base.quantize, base.dtype) == (family, 512, "none", torch.float32)
    assert (base.layer_count, base.facts.hidden_size, base.facts.key_value_heads, base.facts.head_dim) == (4, 32, 2, 8)
    assert not base.model.training
    assert not any(parameter.requires_grad for parameter in base.model.parameters())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("biased", [True, False])
def test_the_described_size_is_the_loaded_one(
    family: str, tied: bool, biased: bool, tmp_path: Path, private_home: Path
) -> None:
    biases = {"attention_bias": biased} | ({"mlp_bias": biased} if family == "llama" else {})
    model = make_tiny_model(family, tie_word_embeddings=tied, **(biases if family in ("llama", "qwen3") else {}))
    model.save_pretrained(tmp_path)
    facts = describe(str(tmp_path), private_home)
    assert facts.parameter_count == sum(parameter.numel() for parameter in model.parameters())
    assert (facts.family, facts.layer_count, facts.attention_heads, facts.window) == (family, 4, 4, 512)


def test_a_known_model_is_described_before_it_is_here(private_home: Path) -> None:
    facts = describe("smollm2-135m-instruct", private_home)
    assert (facts.layer_count, facts.key_value_heads, facts.window) == (30, 3, 8192)
    assert not (private_home / "models").exists()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "gpt2": ({"model_type": "gpt2"}, "of the family 'gpt2'"),
    "mamba": ({"model_type": "mamba"}, "of the family 'mamba'"),
    "hybrid": ({"model_type": "lfm2"}, "'lfm2', whose layers are not all attention"),
    "both ways": ({"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    "mixture of experts": ({"model_type": "mixtral"}, "of the family 'mixtral'"),
    "encoder": ({"model_type": "bert"}, "of the family 'bert'"),
    "vision": ({"model_type": "qwen2_vl"}, "of the family 'qwen2_vl'"),
    "none stated": ({"model_type": None}, "no stated family"),
    "its own code": ({"auto_map": {"AutoModelForCausalLM": "evil.Model"}}, "Python code of its own"),
    "no head": ({"architectures": ["LlamaModel"]}, "made for LlamaModel"),
    "classifier": ({"architectures": ["LlamaForSequenceClassification"]}, "made for LlamaForSequenceClassification"),
    "quantized": ({"quantization_config": {"quant_method": "gptq"}}, r"already quantized \(gptq\)"),
    "no layers": ({"num_hidden_layers": None}, "no usable num_hidden_layers"),
    "more layers than there are": ({"num_hidden_layers": 10**9}, "no usable num_hidden_layers, got 1000000000"),
    "a window without end": ({"max_position_embeddings": 10**15}, "no usable max_position_embeddings"),
    "wide heads": ({"head_dim": 10**7}, "no usable head_dim"),
    "a base of nothing": ({"rope_theta": 0}, "no usable rope_theta, got 0"),
    "a base that is no number": ({"rope_parameters": {"rope_theta": float("nan")}}, "no usable rope_theta, got nan"),
    "a base by kind": ({"rope_parameters": {"full_attention": {"rope_theta": "x"}}}, "no usable rope_theta, got 'x'"),
    "norms of infinity": ({"rms_norm_eps": float("inf")}, "no usable rms_norm_eps"),
    "odd heads": ({"num_key_value_heads": 3}, "can't share"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_model_of_another_kind_is_refused(kind: str, folder: Path, private_home: Path) -> None:
    changes, reason = REFUSED[kind]
    edit_config(folder, **changes)
    for act in (load_here, lambda path, home: describe(str(path), home)):
        with pytest.raises(ModelError, match=reason) as caught:
            act(folder, private_home)
        assert "\n" not in caught.value.message


def load_here(path: Path, home: Path) -> Any:
    return load(str(path), home=home, device="cpu")


def test_a_model_folders_python_file_never_runs(folder: Path, private_home: Path) -> None:
    (folder / "evil.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    edit_config(folder, auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"})
    with pytest.raises(ModelError, match="of its own"):
        load_here(folder, private_home)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00\x01", "[" * 100_000])
def test_a_damaged_configuration_is_said(text: str, folder: Path, private_home: Path) -> None:
    (folder / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=r"config\.json is damaged"):
        load_here(folder, private_home)


def test_a_folder_without_a_model_is_said(tmp_path: Path, private_home: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no config\.json"):
        load_here(tmp_path, private_home)


def test_pickled_weights_are_never_read(folder: Path, private_home: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled"):
        load_here(folder, private_home)


def test_missing_weights_are_said(folder: Path, private_home: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        load_here(folder, private_home)


def test_a_lacking_tensor_is_an_error_and_not_random(folder: Path, private_home: Path) -> None:
    edit_weights(folder, lambda weights: weights.pop("model.layers.2.self_attn.q_proj.weight"))
    with pytest.raises(ModelError, match=r"lack model\.layers\.2\.self_attn\.q_proj\.weight"):
        load_here(folder, private_home)


def test_an_unknown_tensor_is_an_error(folder: Path, private_home: Path) -> None:
    edit_weights(folder, lambda weights: weights.update({"model.layers.2.extra.weight": torch.ones(2)}))
    with pytest.raises(ModelError, match="unknown"):
        load_here(folder, private_home)


def test_a_tensor_of_another_shape_is_an_error(folder: Path, private_home: Path) -> None:
    edit_config(folder, intermediate_size=48)
    with pytest.raises(ModelError, match="the weights of tiny"):
        load_here(folder, private_home)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_shortened_weights_are_damaged(kept: int, folder: Path, private_home: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match="damaged or incomplete"):
        load_here(folder, private_home)


@pytest.mark.parametrize("place", [0, 20])
def test_a_damaged_header_is_damage(place: int, folder: Path, private_home: Path) -> None:
    path = folder / "model.safetensors"
    contents = bytearray(path.read_bytes())
    contents[place + 7 if place == 0 else place] ^= 0xFF
    path.write_bytes(contents)
    with pytest.raises(ModelError, match="damaged"):
        load_here(folder, private_home)


def sharded(folder: Path) -> Path:
    make_tiny_model("llama").save_pretrained(folder, max_shard_size="60KB")
    make_byte_tokenizer().save_pretrained(folder)
    return folder


def test_shards_load_and_hash_together(tmp_path: Path, private_home: Path) -> None:
    path = sharded(tmp_path / "shards")
    assert len(list(path.glob("*.safetensors"))) > 1
    first = load_here(path, private_home).weights_hash
    edited = sorted(path.glob("*.safetensors"))[-1]
    weights = load_file(edited)
    save_file({name: tensor + 1 for name, tensor in weights.items()}, edited, metadata={"format": "pt"})
    assert load_here(path, private_home).weights_hash != first


def test_a_missing_shard_and_one_from_elsewhere_are_said(tmp_path: Path, private_home: Path) -> None:
    path = sharded(tmp_path / "shards")
    index = path / "model.safetensors.index.json"
    whole = index.read_text(encoding="utf-8")
    name = sorted(file.name for file in path.glob("*.safetensors"))[0]
    index.write_text(whole.replace(name, "../../" + name), encoding="utf-8")
    with pytest.raises(ModelError, match="not a safetensors file beside it"):
        load_here(path, private_home)
    index.write_text(whole, encoding="utf-8")
    (path / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        load_here(path, private_home)


def test_a_missing_or_slow_or_damaged_tokenizer_is_said(folder: Path, private_home: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0"', encoding="utf-8")
    with pytest.raises(ModelError, match=r"tokenizer\.json is damaged"):
        load_here(folder, private_home)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="has no tokenizer"):
        load_here(folder, private_home)
    (folder / "tokenizer.model").write_bytes(b"sentencepiece")
    with pytest.raises(ModelError, match="only a slow tokenizer") as caught:
        load_here(folder, private_home)
    assert caught.value.hint is not None


def test_a_tokenizer_larger_than_its_model_is_refused(folder: Path, private_home: Path) -> None:
    tokenizer = make_byte_tokenizer()
    tokenizer.add_tokens([f"<extra{number}>" for number in range(100)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match="doesn't fit its model"):
        load_here(folder, private_home)


def test_a_tokenizer_never_shortens_or_pads(folder: Path, private_home: Path) -> None:
    tokenizer = make_byte_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(8)
    tokenizer.backend_tokenizer.enable_padding(length=16)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    found, _ = read_tokenizer(folder)
    assert found.backend_tokenizer.encode("a" * 1000).ids.__len__() == 1000
    assert len(found("ab")["input_ids"]) == 2


def test_special_tokens_and_templates_are_read_from_every_form(folder: Path, private_home: Path) -> None:
    path = folder / "tokenizer_config.json"
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    token = {"content": "<s>", "__type": "AddedToken", "special": True}
    templates = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]
    path.write_text(json.dumps({"bos_token": token, "eos_token": "</s>", "chat_template": templates}), encoding="utf-8")
    found = read_tokenizer(folder)[0]
    assert (found.bos_token, found.eos_token, found.chat_template) == ("<s>", "</s>", "yes")
    (folder / "chat_template.jinja").write_text("own file", encoding="utf-8")
    assert read_tokenizer(folder)[0].chat_template == "own file"


def test_tokenizer_hash_follows_its_file(folder: Path, private_home: Path) -> None:
    def identity() -> str:
        return read_tokenizer(folder)[1]

    first = identity()
    assert first == identity() == load_here(folder, private_home).tokenizer_hash
    tokenizer = make_byte_tokenizer()
    tokenizer.add_tokens(["<more>"])
    tokenizer.save_pretrained(folder)
    assert identity() != first


def test_a_tokenizer_loads_without_torch(folder: Path, private_home: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from sharedllm_cli.weights.registry import locate\n"
        "from sharedllm_cli.weights.tokenizer_files import read_tokenizer\n"
        "from sharedllm_cli.progress import Silent\n"
        f"found = locate({str(folder)!r}, home=Path({str(private_home)!r}), offline=True, reporter=Silent())\n"
        "read_tokenizer(found.folder)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_an_unknown_reference_is_said(private_home: Path) -> None:
    for reference in ("nothing-like-this", "/no/such/folder", "../x.gguf"):
        with pytest.raises(ModelError, match="there is no model"):
            load(reference, home=private_home, offline=True)


def test_a_weights_file_is_no_model_by_itself(folder: Path, private_home: Path) -> None:
    with pytest.raises(ModelError, match="is not a GGUF file") as caught:
        load_here(folder / "model.safetensors", private_home)
    assert caught.value.hint is not None
    assert "folder" in caught.value.hint


def test_loading_says_nothing_on_its_own(folder: Path, private_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_here(folder, private_home)
    load(str(folder), home=private_home, device="cpu", dtype="bfloat16", attention="eager")
    assert capfd.readouterr() == ("", "")


# Placement


@pytest.mark.parametrize(("asked", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_type_asked_for_is_the_type_loaded(
    asked: str, expected: torch.dtype, folder: Path, private_home: Path
) -> None:
    base = load(str(folder), home=private_home, device="cpu", dtype=asked)
    assert base.dtype == expected
    assert {parameter.dtype for parameter in base.model.parameters()} == {expected}


@pytest.mark.parametrize(("asked", "expected"), [("auto", CPU_SDPA), ("sdpa", CPU_SDPA), ("eager", "eager")])
def test_the_kernel_asked_for_is_used(asked: str, expected: str, folder: Path, private_home: Path) -> None:
    base = load(str(folder), home=private_home, device="cpu", attention=asked)
    assert base.model.config._attn_implementation == expected


def test_flash_asked_for_on_a_processor_is_refused_before_anything_is_loaded(folder: Path, private_home: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="--attention flash"):
        load(str(folder), home=private_home, device="cpu", attention="flash")


@pytest.mark.usefixtures("bitsandbytes_alone")
@pytest.mark.parametrize(("quantize", "kind"), [("4bit", "Linear4bit"), ("8bit", "Linear8bitLt")])
def test_quantized_weights_compute_nearly_the_same(
    quantize: str, kind: str, model_folder: Callable[..., Path], private_home: Path
) -> None:
    path = str(model_folder("llama", **WIDE))
    exact = load(path, home=private_home, device="cpu", quantize="none")
    rounded = load(path, home=private_home, device="cpu", quantize=quantize)
    assert rounded.quantize == quantize
    assert type(rounded.model.model.layers[0].self_attn.q_proj).__name__ == kind
    assert rounded.facts.parameter_count == exact.facts.parameter_count
    assert rounded.weights_hash == exact.weights_hash
    states = torch.randn(1, 20, 64, generator=torch.Generator().manual_seed(0))
    expected = exact.model.model.layers[0].mlp.up_proj(states)
    error = (rounded.model.model.layers[0].mlp.up_proj(states) - expected).norm() / expected.norm()
    assert 0.001 < error < 0.15
    assert rounded.model(torch.arange(30)[None]).logits.isfinite().all()


@pytest.mark.usefixtures("bitsandbytes_alone")
def test_quantized_weights_are_silent(
    model_folder: Callable[..., Path], private_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = str(model_folder("llama", **WIDE))
    capfd.readouterr()
    for quantize in ("4bit", "8bit"):
        load(path, home=private_home, device="cpu", quantize=quantize).model(torch.arange(30)[None])
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("bitsandbytes_alone")
def test_four_bits_are_normal_floats_quantized_twice(model_folder: Callable[..., Path], private_home: Path) -> None:
    base = load(str(model_folder("llama", **WIDE)), home=private_home, device="cpu", quantize="4bit")
    state = base.model.model.layers[0].mlp.up_proj.weight.quant_state
    assert (state.quant_type, state.nested) == ("nf4", True)
    assert base.model.model.layers[0].mlp.up_proj.compute_dtype == torch.bfloat16


@pytest.mark.usefixtures("bitsandbytes_alone")
def test_a_model_too_narrow_for_four_bits_on_a_cpu_is_said(folder: Path, private_home: Path) -> None:
    with pytest.raises(UsageError, match="too narrow"):
        load(str(folder), home=private_home, device="cpu", quantize="4bit")


def test_facts_come_from_either_name_of_the_type() -> None:
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"vocab_size": 100, "max_position_embeddings": 64, "model_type": "qwen3", "torch_dtype": "bfloat16"}
    facts = facts_from_config(shape, "m")
    assert (facts.dtype, facts.key_value_heads, facts.head_dim) == ("bfloat16", 4, 128)
    assert facts_from_config(shape | {"model_type": "llama", "dtype": "float16"}, "m").head_dim == 8


def test_weights_hash_knows_the_configuration(folder: Path, tmp_path: Path) -> None:
    """Two folders with the same weights and another rotary base compute other keys: their indexes must not mix."""
    files = weight_files(folder)
    before = weights_hash(folder, files, tmp_path / "home")
    config = json.loads((folder / "config.json").read_text())
    config["rms_norm_eps"] = 0.5
    (folder / "config.json").write_text(json.dumps(config))
    assert weights_hash(folder, files, tmp_path / "home") != before
