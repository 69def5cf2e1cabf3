"""Every CUDA path against the processor at float64. Skipped as a whole where there is no GPU.

`python -m sharedllm_cli.lab.bench.gpu` runs the same checks, and the timings besides.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sharedllm_cli.lab.bench import gpu_checks
from sharedllm_cli.lab.bench.gpu_parts import Asked, compare

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU"),
]
DEVICE = torch.device("cuda", 0)
TYPES = (torch.float32, torch.float16, torch.bfloat16)


def hold(finding: gpu_checks.Finding) -> None:
    assert finding.passed, f"{finding.name}: {finding.error:.1e} over {finding.bound:.0e} ({finding.note})"


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_the_lower_model_encodes_as_on_a_processor(dtype: torch.dtype, family: str) -> None:
    hold(gpu_checks.lower_model(DEVICE, dtype, family))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("causal", [False, True])
def test_the_tree_s_attention_gives_outputs_and_log_sums(dtype: torch.dtype, causal: bool) -> None:
    hold(gpu_checks.tree_attention(DEVICE, dtype, causal=causal))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("form", ["merged", "additive"])
def test_the_upper_model_reads_a_tree_as_on_a_processor(dtype: torch.dtype, form: str) -> None:
    hold(gpu_checks.upper_model(DEVICE, dtype, form))


@pytest.mark.parametrize("dtype", TYPES)
def test_decoding_and_streaming_give_the_processor_s_logits(dtype: torch.dtype) -> None:
    hold(gpu_checks.decoding(DEVICE, dtype))
    recorded = gpu_checks.recorded_decoding(DEVICE, dtype)
    assert recorded.note == "recorded"
    hold(recorded)
    hold(gpu_checks.streaming(DEVICE, dtype))


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_quantized_weights_are_multiplied_as_what_they_stand_for(quantize: str) -> None:
    hold(gpu_checks.quantized(DEVICE, quantize))


def test_the_engine_answers_with_the_processor_s_tokens(model_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = model_folder(hidden_size=64, intermediate_size=128, head_dim=16, max_position_embeddings=4096)
    asked = Asked(device="cuda", model=str(folder), home=str(tmp_path))
    for finding in compare(asked, tmp_path, float("inf")):
        hold(finding)
