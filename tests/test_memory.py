"""A lack of memory is known by whatever says so: Python, the operating system, torch's allocators, CUDA's libraries."""

from __future__ import annotations

import errno
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

from sharedllm_cli.errors import ResourceError
from sharedllm_cli.memory import is_out_of_memory
from sharedllm_cli.model.loading import load


class Derived(torch.OutOfMemoryError):
    """A library's own kind of torch's error."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        Derived("no words"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_every_way_to_say_that_memory_is_short_is_heard(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        ValueError("a book called out of memory"),
        OSError(errno.ENOSPC, "No space left on device"),
        KeyError("memory"),
    ],
)
def test_other_faults_are_not_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_an_allocation_that_no_machine_can_serve_is_one() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(refused.value)


@pytest.mark.parametrize(
    "problem",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: not enough memory: 9 bytes")],
)
def test_weights_that_do_not_fit_are_a_lack_of_memory_and_no_damage(
    problem: Exception, model_folder: Callable[..., Path], private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr(transformers.LlamaForCausalLM, "from_pretrained", refuse)
    with pytest.raises(ResourceError, match="does not fit the memory of cpu"):
        load(str(model_folder("llama")), home=private_home, device="cpu")


HELD = """
import psutil, sys
from sharedllm_cli.memory import return_large_blocks

if sys.argv[1] == "returned":
    assert return_large_blocks()
kept, process = [], psutil.Process()
bytearray(30 << 20)  # glibc learns to keep blocks of this size
before = process.memory_info().rss
for _ in range(8):
    large = [bytearray(16 << 20) for _ in range(2)]
    kept.append([object() for _ in range(4000)])  # lies behind the large blocks
    del large
print((process.memory_info().rss - before) >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such habit")
def test_large_blocks_go_back_when_they_are_freed() -> None:
    held = [
        int(subprocess.run([sys.executable, "-c", HELD, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "returned")
    ]
    assert held[1] < 12 <= held[0]
