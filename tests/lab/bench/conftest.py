"""A miniature to time: weights of no worth, a tree of small chunks."""

from __future__ import annotations

import pytest

from sharedllm_cli.config import Settings
from sharedllm_cli.lab.bench.subject import Subject, open_subject
from sharedllm_cli.progress import Silent


@pytest.fixture(scope="session")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    settings = Settings(device="cpu", chunk_tokens=64)
    return open_subject("tiny", settings, tmp_path_factory.mktemp("home"), Silent())
