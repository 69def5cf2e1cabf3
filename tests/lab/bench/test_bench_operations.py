"""The operations that the counts predict are those that the arms ask torch for: nothing is forgotten on either side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sharedllm_cli.config import Settings
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.bench.counts import Extent
from sharedllm_cli.lab.bench.encoder_decoder import EncoderDecoderArm
from sharedllm_cli.lab.bench.subject import Subject, make_reading, open_subject
from sharedllm_cli.lab.bench.timed_arms import Arm, Full, Streaming
from sharedllm_cli.lab.bench.timing import Clock
from sharedllm_cli.lab.bench.tree_arm import SharedLLM
from sharedllm_cli.progress import Silent

TOKENS, RUNNING = 768, 96


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """Large enough for products to outweigh what is not counted, as in the models that are timed."""
    settings = Settings(device="cpu", chunk_tokens=64, dtype="float32")
    return open_subject("4x256x8x2x1024x512", settings, tmp_path_factory.mktemp("home"), Silent())


def _attention(query: Any, keys: Any, values: Any, dropout: float = 0.0, is_causal: bool = False, **_: Any) -> int:
    """Operations of the processor's fused kernel, which torch doesn't count; a causal one leaves out half."""
    batch, heads, queries, width = query
    return (2 if is_causal else 4) * batch * heads * queries * keys[2] * width


def _asked_for(arm: Arm, larger: Subject) -> int:
    text = make_reading(larger, TOKENS, RUNNING, None)
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with arm.installed():
        with FlopCounterMode(display=False, custom_mapping={kernel: _attention}) as counter:
            arm.cold(text, Clock(lambda: None))
        return counter.get_total_flops()


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("sharedllm 1", 0.98),
        ("sharedllm 2", 0.98),
        ("sharedllm 4", 0.98),
        ("full", 0.98),
        ("encoder-decoder base", 0.98),
        ("encoder-decoder 2x128x4x512", 0.98),
        ("streaming", 0.88),  # its kernel computes what the window's mask hides
    ],
)
def test_an_arm_asks_for_what_was_counted(name: str, least: float, larger: Subject, tmp_path: Path) -> None:
    kind, _, detail = name.partition(" ")
    if kind == "sharedllm":
        arm: Arm = SharedLLM(larger, range(int(detail)), IndexStore(tmp_path, Silent()))
    elif kind == "encoder-decoder":
        arm = EncoderDecoderArm(larger, detail)
    else:
        arm = Full(larger) if kind == "full" else Streaming(larger, 256, 64)
    counted = sum(step.operations for step in arm.cold_steps(Extent(TOKENS, RUNNING)))
    assert least <= counted / _asked_for(arm, larger) <= 1.001
