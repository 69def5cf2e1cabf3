"""How many of pytest's workers this machine has room for."""

from __future__ import annotations

WORKER_BYTES = 3 << 30
"""A worker has grown to 2.1 GB at the end of all tests, and the commands that it starts load models of their own."""


def affordable(wanted: int, free_bytes: int) -> int:
    """As many of the wanted workers as each have their share of the free memory, at least one."""
    return max(1, min(wanted, free_bytes // WORKER_BYTES))
