"""The tests are gentle with the machine that runs them."""

from __future__ import annotations

import psutil
import pytest
from workers import WORKER_BYTES, affordable


@pytest.mark.parametrize(("free", "count"), [(0, 1), (2.5, 2), (100, 16)])
def test_workers_have_their_share_of_the_memory(free: float, count: int) -> None:
    assert affordable(16, int(free * WORKER_BYTES)) == count


def test_auto_starts_no_more_of_them(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xdist")
    ask = pytestconfig.hook.pytest_xdist_auto_num_workers
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "5")
    for shares in (1, 3, 9):
        room = psutil.virtual_memory()._replace(available=shares * WORKER_BYTES)
        monkeypatch.setattr(psutil, "virtual_memory", lambda room=room: room)
        assert ask(config=pytestconfig) == min(shares, 5)
