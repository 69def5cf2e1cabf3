"""The documents that a fake engine is asked about lie in the folder where its commands run."""

from __future__ import annotations

from pathlib import Path

import pytest

NAMES = ("a.pdf", "b.pdf", "bad.pdf", "book.pdf")


@pytest.fixture(autouse=True)
def shelf(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of each test: a few documents of a line each, for what is checked before the engine."""
    folder = tmp_path_factory.mktemp("shelf")
    for name in NAMES:
        (folder / name).write_text("The lamp is lit at dusk.", encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder
