"""The garbage collector doesn't look through what the libraries made when they were imported, then or at the end."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from sharedllm_cli.cli import app
from sharedllm_cli.cli.call import uncollected


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.enable()


def test_what_is_made_within_is_never_looked_through() -> None:
    with uncollected():
        assert not gc.isenabled()
        made = {"kept": [[] for _ in range(1000)]}
    assert gc.isenabled()
    assert gc.get_freeze_count() > 1000
    assert len(made["kept"]) == 1000


def test_it_stays_off_where_it_was_off_and_comes_back_after_an_error() -> None:
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()
    gc.disable()
    with uncollected():
        pass
    assert not gc.isenabled()


def test_the_process_ends_without_looking_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "run", lambda arguments, console: 3)
    with pytest.raises(SystemExit) as left:
        app.main([])
    assert left.value.code == 3
    assert gc.get_freeze_count() > 0
