"""Packed weights: maps and embeddings stand for the same numbers, few states and many; a step is transformers' step."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_loading import edit_weights
from tiny_gguf import write_gguf
from tiny_models import LLAMA_LIKE, make_tiny_model

from sharedllm_cli.config import InjectionConfig, Settings, TreeConfig
from sharedllm_cli.errors import ModelError
from sharedllm_cli.model import known_text, packed_step
from sharedllm_cli.model.adapter import Adapter, LowRankLinear
from sharedllm_cli.model.adapter_config import TARGETS, AdapterConfig, LowRankConfig
from sharedllm_cli.model.compat import call_model
from sharedllm_cli.model.cross_attention import LowRank
from sharedllm_cli.model.known_text import KnownText, KnownTextReader, WholeModel
from sharedllm_cli.model.loading import BaseModel, load
from sharedllm_cli.model.packed import FEW_STATES, PackedEmbedding, PackedLinear, PackedWeight
from sharedllm_cli.model.shared import SharedModel, load_shared
from sharedllm_cli.model.upper import UpperModel, beam_steps
from sharedllm_cli.progress import Silent

WIDE = {"hidden_size": 64, "head_dim": 32, "intermediate_size": 128}
TOKENS = torch.arange(40)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(((found - expected).norm() / expected.norm()).detach())


@pytest.mark.parametrize(("bits", "rounding"), [(8, 0.01), (4, 0.1)])
def test_few_states_and_many_are_multiplied_by_the_same_numbers(bits: int, rounding: float) -> None:
    weight = random(70, 96)
    packed = PackedWeight.of(weight, bits)
    unpacked = packed.unpacked(slice(None), torch.float32)
    assert 0 < error(unpacked, weight) < rounding
    many, few = random(FEW_STATES + 1, 96), random(2, FEW_STATES // 2, 96)
    assert torch.equal(packed.multiply(many), many @ unpacked.T)
    for _ in range(2):  # not worth the library's order of the weights
        assert torch.equal(packed.multiply(few), (few.reshape(-1, 96) @ unpacked.T).view(2, -1, 70))
    # States are rounded to 8 bits from here on, in blocks of 32.
    assert 0 < error(packed.multiply(few), few @ unpacked.T) < 0.01
    halves = packed.multiply(few.bfloat16())
    assert (halves.dtype, halves.shape) == (torch.bfloat16, (2, FEW_STATES // 2, 70))
    assert error(halves.float(), few @ unpacked.T) < 0.02


def test_many_states_are_multiplied_a_piece_of_the_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    packed, many = PackedWeight.of(random(70, 96), 8), random(FEW_STATES + 1, 96)
    whole = packed.multiply(many)
    monkeypatch.setattr("sharedllm_cli.model.packed._PIECE", 96 * 9)
    assert torch.allclose(packed.multiply(many), whole, atol=1e-5)
    assert torch.equal(PackedWeight.of(random(70, 96), 8).codes, packed.codes)


def test_unpacked_rows_take_an_adapters_addition_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    linear, addition = PackedLinear(PackedWeight.of(random(70, 96), 8), random(70)), LowRank(96, 70, 4, 0.5)
    torch.nn.init.normal_(addition.up)
    both, many, few = LowRankLinear(linear, addition), random(FEW_STATES + 1, 96), random(2, 96, seed=1)
    apart = linear(many) + addition(many)
    assert torch.allclose(both(many), apart, atol=1e-4), "with gradients"
    monkeypatch.setattr("sharedllm_cli.model.packed._PIECE", 96 * 9)
    with torch.no_grad():
        assert torch.allclose(both(many), apart, atol=1e-4)
        assert not torch.allclose(linear(many), apart, atol=1e-4)
        for _ in range(4):  # by unpacked rows first, by packed ones then
            assert (
                error(
                    both(few),
                    linear.packed.unpacked(slice(None), torch.float32).mm(few.T).T + addition(few) + random(70),
                )
                < 0.01
            )
        addition.disabled = True
        assert torch.equal(both(many), linear(many))


def test_steps_of_a_half_precision_model_convert_no_cache(
    model_folder: Callable[..., Path], private_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = model_folder("llama", **WIDE)
    shared = load_shared(Settings(model=str(folder), quantize="8bit", dtype="bfloat16"), private_home, Silent())
    logits, cache = shared.upper.prefill(TOKENS, None)
    assert logits.dtype == torch.bfloat16
    given: list[int] = []
    convert = packed_step._array

    def watched(values: torch.Tensor) -> np.ndarray:
        array = convert(values)
        given.append(array.ctypes.data - values.data_ptr())
        return array

    monkeypatch.setattr(packed_step, "_array", watched)
    for token in (3, 4):
        shared.upper.decode_step(torch.tensor([token]), None, cache)
        of_cache = given[4:]  # after states, cosine, sine and mask
        assert of_cache == [0] * (2 * len(cache.layers)), "used where they lie"
        given.clear()
    tree = shared.upper.cache()
    assert tree.layers[0].stored is None, "transformers' layers read the type of the model"


def test_gradients_pass_through_a_packed_map() -> None:
    linear, states = PackedLinear(PackedWeight.of(random(70, 96), 8), random(70)), random(3, 96).requires_grad_()
    linear(states).sum().backward()
    assert states.grad is not None
    assert torch.allclose(states.grad, linear.weight.sum(0).expand(3, -1), atol=1e-4)


def test_embeddings_are_rows() -> None:
    packed = PackedWeight.of(random(70, 96), 8)
    ids = torch.tensor([[3, 69], [3, 0]])
    rows = packed.unpacked(slice(None), torch.float32)
    assert torch.equal(PackedEmbedding(packed, torch.float32)(ids), rows[ids])
    assert torch.equal(PackedEmbedding(packed, torch.float32, torch.tensor(2.0))(ids), 2 * rows[ids])


def packed(folder: Path, home: Path, quantize: str = "8bit", **options: Any) -> BaseModel:
    return load(str(folder), home=home, device="cpu", quantize=quantize, **options)


def unpacked(base: BaseModel, family: str, **changes: Any) -> Any:
    """A floating-point model of the numbers that a packed one stands for."""
    model = make_tiny_model(family, **changes)
    with torch.no_grad():
        for name, module in base.model.named_modules():
            if isinstance(module, PackedLinear | PackedEmbedding):
                weight = module.packed.unpacked(slice(None), torch.float32)
                model.get_submodule(name).weight.copy_(weight)
    return model


@pytest.mark.parametrize("quantize", ["8bit", "4bit"])
@pytest.mark.parametrize("tied", [True, False])
def test_every_family_computes_with_the_numbers_of_its_packed_weights(
    family: str, tied: bool, quantize: str, model_folder: Callable[..., Path], private_home: Path
) -> None:
    changes = {**WIDE, "tie_word_embeddings": tied}
    base = packed(model_folder(family, **changes), private_home, quantize)
    expected = unpacked(base, family, **changes)
    base.model.set_attn_implementation("sdpa")
    with torch.inference_mode():
        assert torch.allclose(base.model(TOKENS[None]).logits, expected(TOKENS[None]).logits, atol=1e-4)
    assert base.quantize == {"8bit": "int8", "4bit": "int4"}[quantize]
    assert not base.model.training
    assert not any(one.is_meta for one in (*base.model.parameters(), *base.model.buffers()))
    assert not any(one.requires_grad for one in base.model.parameters())
    plain = load(str(model_folder(family, **changes)), home=private_home, device="cpu", quantize="none")
    assert base.weights_hash == plain.weights_hash
    assert base.weight_bytes < plain.weight_bytes * 0.5
    assert base.model.generation_config.eos_token_id == plain.model.generation_config.eos_token_id


def test_a_gguf_files_blocks_are_used_where_they_lie(tmp_path: Path, private_home: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", make_tiny_model("qwen2", **WIDE))
    base = packed(tmp_path / "tiny.gguf", private_home)
    expected = unpacked(base, "qwen2", **WIDE)
    with torch.inference_mode():
        base.model.set_attn_implementation("sdpa")
        assert torch.allclose(base.model(TOKENS[None]).logits, expected(TOKENS[None]).logits, atol=1e-4)
    (folder,) = (private_home / "models").glob("gguf-*/")
    assert [path.name for path in folder.glob("model.*.safetensors")] == ["model.int8.safetensors"]
    # A damaged file is no model, whatever part is missing.
    path = folder / "model.int8.safetensors"
    weights = load_file(path)
    del weights["model.layers.1.mlp.up_proj.weight.codes"]
    save_file(weights, path)
    with pytest.raises(ModelError, match=r"lack model\.layers\.1\.mlp\.up_proj\.weight"):
        packed(tmp_path / "tiny.gguf", private_home)


def test_weights_that_do_not_fit_are_refused(
    model_folder: Callable[..., Path], private_home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tiny"
    for change, reason in (
        (lambda held: held.pop("model.layers.2.mlp.up_proj.weight"), "lack model.layers.2.mlp.up_proj.weight"),
        (lambda held: held.update(strange=random(3)), "hold unknown strange"),
        (lambda held: held.update({"model.norm.weight": random(63)}), "another shape for model.norm.weight"),
    ):
        model_folder("llama", **WIDE)
        folder.mkdir(exist_ok=True)
        for path in model_folder("llama", **WIDE).iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        edit_weights(folder, change)
        with pytest.raises(ModelError, match=reason):
            packed(folder, private_home)


@pytest.fixture
def rounded_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few states are rounded from the first on, as those of a step are."""
    monkeypatch.setattr("sharedllm_cli.model.packed._ONCE", 0)


def adapted(family: str, model_folder: Callable[..., Path], home: Path, tmp_path: Path, **own: Any) -> SharedModel:
    """A packed model with low-rank weights of some size in its top two layers."""
    folder, injection = model_folder(family, **WIDE), InjectionConfig("merged", 2)
    model = make_tiny_model(family, **WIDE)
    shape = (4, 64, 4, 2, 32)
    config = AdapterConfig("tiny", shape, injection, TreeConfig(64, 3, (16, 8, 4)), low_rank=low_rank())
    adapter = Adapter(model, config)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if name.endswith(".up"):
                parameter.copy_(random(*parameter.shape) * 0.1)
    adapter.save(tmp_path / "adapter", trained={"by": "a test"})
    settings = Settings(model=str(folder), device="cpu", quantize="8bit", adapter=str(tmp_path / "adapter"), **own)
    return load_shared(settings, home, Silent())


def low_rank() -> LowRankConfig:
    return LowRankConfig(rank=4, alpha=8.0, layers=(2, 3), targets=TARGETS)


def by_layers(upper: UpperModel, tokens: torch.Tensor, cache: Any, **others: Any) -> torch.Tensor:
    """What transformers' layers give for a step."""
    logits: torch.Tensor = call_model(upper.model, tokens[None], cache, **others).logits[0]
    return logits


@pytest.mark.usefixtures("rounded_states")
@pytest.mark.parametrize("family", LLAMA_LIKE)
@pytest.mark.parametrize("disabled", [False, True])
def test_a_step_gives_what_the_layers_give(
    family: str, disabled: bool, model_folder: Callable[..., Path], private_home: Path, tmp_path: Path
) -> None:
    upper = adapted(family, model_folder, private_home, tmp_path).upper
    assert upper._step is not None
    caches = [upper.cache(), upper.cache()]
    with torch.inference_mode():
        for cache in caches:
            call_model(upper.model, TOKENS[None], cache)
        for tokens in (torch.tensor([7]), torch.tensor([9, 2, 250]), torch.tensor([1])):
            if disabled:
                with upper.adapter.disabled():
                    found = upper.forward(tokens[None], None, caches[0])[0]
                    expected = by_layers(upper, tokens, caches[1])
            else:
                found = upper.forward(tokens[None], None, caches[0])[0]
                expected = by_layers(upper, tokens, caches[1])
            assert error(found, expected) < 0.03
            assert found.argmax(-1).equal(expected.argmax(-1))
    for one, other in zip(caches[0].layers, caches[1].layers, strict=True):
        assert one.keys.shape == other.keys.shape == (1, 2, 45, 32)
        assert error(one.keys, other.keys) < 0.03
        assert error(one.values, other.values) < 0.03
    changed = by_layers(upper, torch.tensor([7]), caches[1])
    with upper.adapter.disabled():
        assert error(by_layers(upper, torch.tensor([7]), caches[1])[:1], changed[:1]) > 0.1, "the adapter adds much"


@pytest.mark.usefixtures("rounded_states")
def test_beams_go_through_the_same_step(
    model_folder: Callable[..., Path], private_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upper = adapted("qwen2", model_folder, private_home, tmp_path).upper
    cache = upper.cache()
    steps = [
        (torch.tensor([5, 6, 7]), torch.tensor([0, 0, 0])),
        (torch.tensor([8, 9, 10]), torch.tensor([2, 0, 0])),
        (torch.tensor([3]), torch.tensor([1])),
    ]
    with torch.inference_mode():
        call_model(upper.model, TOKENS[None], cache)
        one = beam_steps(upper, None, cache)
        found = [one(*step) for step in steps]
        monkeypatch.setattr(upper, "_step", None)
        other = beam_steps(upper, None, cache)
        expected = [other(*step) for step in steps]
    for mine, wanted in zip(found, expected, strict=True):
        assert error(mine, wanted) < 0.03
    # The third step's only beam has 5, 9 behind the prompt, and nothing of the others.
    with torch.inference_mode():
        alone = upper.model(torch.cat([TOKENS, torch.tensor([5, 9, 3])])[None]).logits[0, -1]
    assert error(found[2][0], alone) < 0.08  # states rounded twice, and others than the prompt's


@pytest.mark.usefixtures("rounded_states")
def test_a_text_costs_what_the_layers_say(
    model_folder: Callable[..., Path], private_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upper = adapted("llama", model_folder, private_home, tmp_path).upper
    with torch.inference_mode():
        logits, cache = upper.prefill(TOKENS, None)
        found = upper.token_nlls(logits, [5, 9, 3, 77], None, cache)
        assert cache.get_seq_length() == len(TOKENS)
        monkeypatch.setattr(upper, "_step", None)
        expected = upper.token_nlls(logits, [5, 9, 3, 77], None, cache)
    assert found == pytest.approx(expected, rel=0.05)
    assert found[0] == expected[0]


@pytest.mark.usefixtures("rounded_states")
def test_what_is_not_known_of_a_prompt_goes_through_steps(
    model_folder: Callable[..., Path], private_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind stored keys and values the few other tokens take several steps; the adapter shaped the stored ones."""
    upper = adapted("qwen2", model_folder, private_home, tmp_path, dtype="float32").upper
    head, text = TOKENS[:3].tolist(), TOKENS[3:25].tolist()
    short, long = ([*head, *text, *range(60, 60 + count)] for count in (FEW_STATES - 3, FEW_STATES + 5))
    found = WholeModel(upper, head).encode(torch.tensor([text]), torch.arange(len(text)))
    known = KnownText(torch.arange(3, 25), found.keys[0], found.values[0])

    def prefilled(ids: list[int]) -> torch.Tensor:
        logits, cache = KnownTextReader(upper, head).prefill(ids, known)
        assert cache.get_seq_length() == len(ids)
        return logits

    one_step, two_steps = prefilled(short), prefilled(long)
    monkeypatch.setattr(known_text, "FEW_STATES", 5)
    assert error(prefilled(long), two_steps) < 0.01
    monkeypatch.setattr(known_text, "_MOST_STEPPED", 0)
    assert error(one_step, prefilled(short)) < 0.02
    expected, _ = upper.prefill(torch.tensor(long), None)
    assert error(prefilled(long), expected) < 0.03  # the head apart has few states, which are rounded
    with upper.adapter.disabled():
        plain, _ = upper.prefill(torch.tensor(long), None)
    assert error(plain, expected) > 0.1  # so that the adapter's part would be missed


def test_room_behind_the_cache_is_never_read(
    model_folder: Callable[..., Path], private_home: Path, tmp_path: Path
) -> None:
    upper = adapted("llama", model_folder, private_home, tmp_path).upper
    results = []
    with torch.inference_mode():
        for filling in (float("nan"), 0.0):
            cache = upper.cache()
            call_model(upper.model, TOKENS[None], cache)
            for layer in cache.layers:
                for buffer in layer.reserve(8):
                    buffer[:, :, len(TOKENS) :] = filling
            results.append(upper.forward(torch.tensor([[7]]), None, cache))
    assert torch.equal(*results)


def test_other_structures_go_through_their_layers(model_folder: Callable[..., Path], private_home: Path) -> None:
    for family in ("gemma3_text", "granite", "smollm3"):
        assert not packed_step.fits(packed(model_folder(family, **WIDE), private_home).model)
    assert not packed_step.fits(load(str(model_folder("llama", **WIDE)), home=private_home, device="cpu").model)


def test_a_graph_that_can_not_be_made_is_an_error_where_it_is_wanted(
    model_folder: Callable[..., Path], private_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: Any) -> None:
        raise ModelError("no graph")

    monkeypatch.setattr(packed_step, "_StepGraph", broken)
    upper = adapted("llama", model_folder, private_home, tmp_path).upper
    with pytest.raises(ModelError, match="no graph"):
        upper.prefill(TOKENS, None)


def test_a_graphs_bytes_are_those_of_the_format() -> None:
    from sharedllm_cli.model.onnx_graph import Graph

    graph = Graph()
    left = graph.input("left", ("n", 3))
    scaled = graph.node("LeakyRelu", left, alpha=0.25)  # a fraction, negative numbers, a list, several results
    first, rest = graph.node("Split", scaled, graph.weight(np.array([1, 2], np.int64)), outputs=2, axis=-1)
    graph.node("Transpose", rest, name="rest", perm=(1, 0))
    graph.output("rest", (2, "n"))
    graph.output(first, ("n", 1))
    big = graph.weight(np.arange(60, dtype=np.float32).reshape(3, 20))
    graph.node("MatMul", left, big, name="product")
    graph.output("product", ("n", 20))
    values = np.array([[1, -2, 4], [-4, 8, -16]], np.float32)
    found = graph.opened().run(["rest", first, "product"], {"left": values})
    assert found[0].tolist() == [[-0.5, 8], [4, -4]]
    assert found[1].tolist() == [[1], [-1]]
    assert np.array_equal(found[2], values @ np.arange(60, dtype=np.float32).reshape(3, 20))


def test_the_graph_is_made_once_and_by_need(
    model_folder: Callable[..., Path], private_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    make = packed_step._StepGraph
    monkeypatch.setattr(packed_step, "_StepGraph", lambda model: made.append(model) or make(model))
    upper = adapted("llama", model_folder, private_home, tmp_path).upper
    assert made == [], "who only indexes needs none"
    upper.prepare()
    upper.prepare()
    upper.prefill(TOKENS, None)
    assert len(made) == 1


def test_two_threads_may_open_their_first_graphs_at_once() -> None:
    # In a process of its own: the library's threads are made once.
    script = """
import threading
import torch
from sharedllm_cli.model.packed import PackedWeight

weights = [PackedWeight.of(torch.eye(64) * place, 8) for place in (1, 2, 3, 4)]
start, found = threading.Barrier(4), {}

def run(place):
    start.wait()
    found[place] = float(weights[place].multiply(torch.ones(1, 64)).sum())

threads = [threading.Thread(target=run, args=(place,)) for place in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert found == {0: 64.0, 1: 128.0, 2: 192.0, 3: 256.0}, found
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
