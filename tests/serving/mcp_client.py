"""The official client, at a server in this process over a tiny model."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
from mcp import Client

from sharedllm_cli.config import Settings
from sharedllm_cli.engine import Engine
from sharedllm_cli.serving.granted import Granted
from sharedllm_cli.serving.host import Host
from sharedllm_cli.serving.mcp.server import make_server

STORY = (
    "The harbour master of Kessel keeps a ledger bound in green leather. "
    "Every ship that enters pays eleven silver marks at the stone desk. "
    "Old Marten lights the northern beacon an hour before sunset. "
)
PAGES = "\f".join([STORY, "The second page tells of the granary. " * 15, "A page about bees and clover. " * 20])
TALK = Callable[[Client], Coroutine[Any, Any, Any]]


def settings_of(model: Path, **changes: Any) -> Settings:
    values = {"model": str(model), "device": "cpu", "dtype": "float32", "evidence_tokens": 300, "max_new_tokens": 6}
    return Settings(**{**values, **changes})


def make_host(settings: Settings, home: Path) -> Host:
    return Host(lambda reporter: Engine(settings, home=home, reporter=reporter), settings=settings, home=home)


def talk(host: Host, arguments: list[str], what: TALK, *, write: bool = False, mode: str = "auto") -> Any:
    """What a conversation with a server returns; `mode` is the client's way to begin (`legacy`: the handshake)."""

    async def main() -> Any:
        server = make_server(host, Granted(arguments), write=write)
        async with Client(server, mode=mode) as client:  # type: ignore[arg-type]
            return await what(client)

    return anyio.run(main)


def call(host: Host, arguments: list[str], tool: str, *, write: bool = False, **given: Any) -> Any:
    """The result of one call."""

    async def one(client: Client) -> Any:
        return await client.call_tool(tool, given)

    return talk(host, arguments, one, write=write)
