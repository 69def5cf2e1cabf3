"""How much memory this process has taken at most, and how a lack of it shows. Floor 0: imports no library to ask."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sharedllm_cli.errors import ResourceError

_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "status_alloc_failed")
"""What RuntimeErrors say of it: the allocators of the CPU and of MPS, and CUDA's libraries about their own buffers."""
_MMAP_THRESHOLD, _LARGE_BLOCK = -3, 4 << 20
"""`M_MMAP_THRESHOLD` of glibc's malloc.h, and the bytes from which a block is mapped by itself."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception is Python's, torch's or the operating system's way to say that memory did not suffice."""
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _WORDS)


@contextmanager
def memory_for(work: str, hint: str) -> Iterator[None]:
    """A lack of memory inside the block becomes a ResourceError: "not enough memory to <work>", with the hint."""
    try:
        yield
    except Exception as problem:
        if not is_out_of_memory(problem):
            raise
        raise ResourceError(f"not enough memory to {work}", hint=hint) from problem


def release() -> None:
    """Hand back what torch keeps of a GPU's memory for later, after an attempt that did not fit."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def return_large_blocks() -> bool:
    """Have the C library give large blocks back to the system when they are freed; False where that can't be asked.

    glibc learns from the first large block that is freed to keep all that are not larger: the rows of weights that are
    unpacked for a prompt then stay with the process, 300 MB of them with a model of half a billion weights.
    """
    import ctypes

    try:
        return bool(ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE_BLOCK))
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return False


def peak_bytes() -> int:
    """The largest resident size of this process so far, in bytes, and on a GPU torch's peak there; 0 where unknown."""
    return _resident_peak() + _cuda_peak()


def _resident_peak() -> int:
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cuda_peak() -> int:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return sum(int(torch.cuda.max_memory_allocated(device)) for device in range(torch.cuda.device_count()))
