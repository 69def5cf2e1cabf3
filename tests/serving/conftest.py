"""A host over a tiny model, and a real server in a thread, for tests of what a client sees."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.config import Settings
from sharedllm_cli.engine import Engine
from sharedllm_cli.serving.granted import Granted
from sharedllm_cli.serving.host import Host

STORY = (
    "The harbour master keeps a ledger. Old Marten lights the northern beacon at dusk. The key hangs in the chapel. "
)


@pytest.fixture
def settings(model_folder: Callable[..., Path]) -> Settings:
    model = str(model_folder("llama", max_position_embeddings=8192))
    return Settings(model=model, device="cpu", evidence_tokens=200, max_new_tokens=6, chunk_tokens=512)


@pytest.fixture
def host(settings: Settings, private_home: Path) -> Iterator[Host]:
    made = Host(
        lambda reporter: Engine(settings, home=private_home, reporter=reporter), settings=settings, home=private_home
    )
    yield made
    made.close()


@pytest.fixture
def story(tmp_path: Path) -> Path:
    path = tmp_path / "harbour.txt"
    path.write_text(STORY * 8)
    return path


@pytest.fixture
def serving(host: Host, story: Path) -> Callable[..., Any]:
    """A context manager: the address of a server for the story, or for what it is given."""
    pytest.importorskip("uvicorn")
    from sharedllm_cli.serving.http import make_app, run_app

    @contextmanager
    def serve(granted: Granted | None = None, **options: Any) -> Iterator[str]:
        app = make_app(host, granted or Granted([str(story)]), **options)
        listener, ended = socket.create_server(("127.0.0.1", 0)), threading.Event()
        thread = threading.Thread(target=run_app, args=(app, listener, ended), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            thread.join(20)
            assert not thread.is_alive()

    return serve
