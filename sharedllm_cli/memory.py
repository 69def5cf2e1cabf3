"""How much memory this process has taken at most. Floor 0: the operating system's figures, no library."""

from __future__ import annotations

import sys


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
