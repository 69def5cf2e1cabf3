"""Where and how a model runs: every automatic choice, and what the machine does not have."""

from __future__ import annotations

import pytest
import torch

from sharedllm_cli.errors import UsageError
from sharedllm_cli.model import placement
from sharedllm_cli.weights.facts import ModelFacts


def sized(parameters: int, hidden_size: int = 64) -> ModelFacts:
    """A model of so many parameters."""
    return ModelFacts("m", "llama", 4, hidden_size, 128, 4, 2, 16, 300, parameters, 512, "float32")


@pytest.mark.parametrize(
    ("device", "dtype", "new", "installed", "reason"),
    [
        ("cpu", torch.bfloat16, True, True, "on CUDA only, not on cpu"),
        ("mps", torch.float16, True, True, "on CUDA only, not on mps"),
        ("cuda", torch.float32, True, True, "in bfloat16 or float16 only"),
        ("cuda", torch.float16, False, True, "an Ampere GPU or a newer one"),
        ("cuda", torch.bfloat16, True, False, "needs the package flash-attn"),
        ("cuda", torch.bfloat16, True, True, None),
    ],
)
def test_flash_is_taken_where_it_can_run_and_else_refused_with_the_reason(
    device: str, dtype: torch.dtype, new: bool, installed: bool, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "_has", lambda package: installed)
    monkeypatch.setattr(placement, "runs_flash", lambda device: new)
    found = placement.choose_attention("auto", torch.device(device), dtype)
    fallback = placement.CPU_SDPA if device == "cpu" else "sdpa"
    assert found == ("flash_attention_2" if reason is None else fallback)
    if reason is None:
        assert placement.choose_attention("flash", torch.device(device), dtype) == "flash_attention_2"
        return
    with pytest.raises(UsageError, match=reason) as caught:
        placement.choose_attention("flash", torch.device(device), dtype)
    assert caught.value.hint is not None


def test_a_device_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for asked in ("cuda", "cuda:1", "mps", "tpu", "cpu:x"):
        with pytest.raises(UsageError) as caught:
            placement.choose_device(asked)
        assert caught.value.hint is not None
    assert placement.choose_device("auto").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert placement.choose_device("auto") == placement.choose_device("cuda") == torch.device("cuda", 0)
    with pytest.raises(UsageError, match="there is no GPU 1"):
        placement.choose_device("cuda:1")


def test_automatic_choices_follow_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, cpu = torch.device("cuda", 0), torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert placement.choose_dtype("auto", gpu, 1) == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    assert placement.choose_dtype("auto", gpu, 10**9) == torch.float16
    chosen = [
        placement.choose_quantization("auto", device, sized(count))
        for device, count in ((gpu, 10**9), (gpu, 10**9 - 1), (cpu, 10**10), (cpu, 5 * 10**7), (cpu, 10**6))
    ]
    assert chosen == ["4bit", "none", "int8", "int8", "none"]


def test_a_cpu_packs_weights_where_their_rows_are_whole_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    even, uneven = sized(10**8), sized(10**8, hidden_size=40)
    assert [placement.choose_quantization(asked, cpu, even) for asked in ("8bit", "4bit", "none")] == [
        *("int8", "int4"),
        "none",
    ]
    assert [placement.choose_quantization(asked, cpu, uneven) for asked in ("8bit", "auto")] == ["8bit", "none"]
    monkeypatch.setattr(placement, "_has", lambda package: package != "onnxruntime")
    assert [placement.choose_quantization(asked, cpu, even) for asked in ("8bit", "auto")] == ["8bit", "none"]


@pytest.mark.parametrize("instructions", ["_is_avx512_bf16_supported", "_is_amx_tile_supported"])
def test_a_processor_computes_in_halves_where_it_multiplies_them(
    instructions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert placement.choose_dtype("auto", cpu, 10**8) == torch.float32
    monkeypatch.setattr(torch.cpu, instructions, lambda: True, raising=False)
    assert placement.choose_dtype("auto", cpu, 10**8) == torch.bfloat16
    assert placement.choose_dtype("auto", cpu, 10**6) == torch.float32
    assert placement.choose_dtype("float32", cpu, 10**8) == torch.float32
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert placement.choose_dtype("auto", cpu, 10**8) == torch.float32


def test_four_bits_are_not_taken_where_they_can_not_be_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(placement, "_has", lambda package: False)
    assert placement.choose_quantization("auto", gpu, sized(10**10)) == "none"
    with pytest.raises(UsageError, match="bitsandbytes"):
        placement.choose_quantization("4bit", gpu, sized(10**10))
    monkeypatch.setattr(placement, "_has", lambda package: True)
    with pytest.raises(UsageError, match="mps"):
        placement.choose_quantization("8bit", torch.device("mps"), sized(10**10))
