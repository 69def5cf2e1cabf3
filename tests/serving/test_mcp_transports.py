"""`sharedllm mcp` as a process of its own: standard input and output, and HTTP, with the official client."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_client import PAGES

ROOT = Path(__file__).parents[2]
QUESTION = "Who lights the beacon?"
TOKEN = "a-token-of-some-length"


@pytest.fixture
def environment(model_folder: Callable[..., Path], private_home: Path) -> dict[str, str]:
    model = str(model_folder("llama", max_position_embeddings=8192))
    values = {"MODEL": model, "DEVICE": "cpu", "DTYPE": "float32", "EVIDENCE_TOKENS": "300", "MAX_NEW_TOKENS": "6"}
    return {
        **os.environ,
        **{f"SHAREDLLM_{name}": value for name, value in values.items()},
        "SHAREDLLM_HOME": str(private_home),
        "PYTHONPATH": str(ROOT),
    }


@pytest.fixture
def story(tmp_path: Path) -> str:
    path = tmp_path / "harbour.txt"
    path.write_text(PAGES)
    return str(path)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "sharedllm_cli", "mcp", *words]


async def conversation(client: Client) -> dict[str, Any]:
    """What a client does: looks around, asks, reads, and is refused."""
    tools = [tool.name for tool in (await client.list_tools()).tools]
    answer = await client.call_tool("ask", {"question": QUESTION})
    page = await client.read_resource("sharedllm://documents/harbour.txt/page/2")
    refused = await client.call_tool("read", {"document": "/etc/passwd"})
    return {
        "tools": tools,
        "sources": answer.structured_content["sources"],
        "page": page.contents[0].text,
        "refused": refused.is_error,
    }


def check(found: dict[str, Any]) -> None:
    assert found["tools"] == ["ask", "search", "read", "list_documents", "plan"]
    assert found["sources"][0]["document"] == "harbour.txt"
    assert "granary" in found["page"]
    assert found["refused"] is True


def test_over_standard_input_and_output(environment: dict[str, str], story: str) -> None:
    program, *words = command(story)
    parameters = StdioServerParameters(command=program, args=words, env=environment)

    async def main() -> dict[str, Any]:
        async with Client(parameters) as client:
            return await conversation(client)

    check(anyio.run(main))


def test_nothing_but_the_protocol_goes_to_standard_output(environment: dict[str, str], story: str) -> None:
    """A chatty library prints, in Python and past it; the stream still has one message a line."""
    messages = [
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            },
        },
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "list_documents", "arguments": {}}},
    ]
    code = (
        "import os, sys\n"
        "from sharedllm_cli.serving.mcp import calls\n"
        "plain = calls.Tools._listed\n"
        "def chatty(*values):\n"
        "    print('chatter')\n"
        "    os.write(1, b'more chatter\\n')\n"
        "    os.system('echo of a child')\n"
        "    return plain(*values)\n"
        "calls.Tools._listed = chatty\n"
        "from sharedllm_cli.cli.app import main\n"
        "main(['mcp', *sys.argv[1:]])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, story],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    lines = []
    for message in messages:
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
        if "id" in message:
            lines.append(process.stdout.readline())
    out, err = process.communicate(timeout=60)
    found = [json.loads(line) for line in [*lines, *out.splitlines()]]
    assert [message["id"] for message in found] == [1, 2]
    assert found[0]["result"]["serverInfo"]["name"] == "sharedllm"
    assert "chatter" in err
    assert "of a child" in err
    assert process.returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it(environment: dict[str, str], story: str, number: signal.Signals, code: int) -> None:
    process = subprocess.Popen(
        command(story), env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    ask = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    process.stdin.write(json.dumps(ask).encode() + b"\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["id"] == 1
    process.send_signal(number)
    assert process.wait(30) == code
    process.communicate()


SERVERS = {"mcp": ("mcp", "--http"), "serve": ("serve",)}
"""The commands that serve the protocol over HTTP: by itself, and beside the page and OpenAI's endpoints."""


@contextmanager
def http_server(environment: dict[str, str], *words: str, by: str = "mcp") -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "sharedllm_cli", *SERVERS[by], "--port", "0", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    address = process.stdout.readline().decode().strip()
    try:
        assert re.fullmatch(rf"http://127\.0\.0\.1:\d+/{'mcp' if by == 'mcp' else ''}", address), address
        yield address if by == "mcp" else f"{address}mcp"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=30)
        finally:
            process.kill()  # it outlives no test, whatever failed
    assert process.returncode == 130


@pytest.mark.parametrize(("mode", "by"), [("auto", "mcp"), ("legacy", "mcp"), ("auto", "serve")])
def test_over_http(environment: dict[str, str], story: str, mode: str, by: str) -> None:
    async def main(address: str) -> dict[str, Any]:
        async with Client(address, mode=mode) as client:  # type: ignore[arg-type]
            return await conversation(client)

    with http_server(environment, story, by=by) as address:
        check(anyio.run(main, address))


@pytest.mark.parametrize("by", SERVERS)
def test_http_asks_for_the_token_and_refuses_other_pages(
    environment: dict[str, str], story: str, tmp_path: Path, by: str
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    ask = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {"accept": "application/json, text/event-stream", "authorization": f"Bearer {TOKEN}"}

    async def listed(address: str, token: str) -> list[str]:
        http = httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"})
        async with http, Client(streamable_http_client(address, http_client=http)) as client:
            return [tool.name for tool in (await client.list_tools()).tools]

    with http_server(environment, story, "--token-file", str(tmp_path / "token"), by=by) as address:
        assert "ask" in anyio.run(listed, address, TOKEN)
        with pytest.raises((MCPError, ExceptionGroup, httpx2.HTTPError)):
            anyio.run(listed, address, "another-token-of-length")
        for changed, status in (
            ({"authorization": "Bearer wrong"}, 401),
            ({"host": "evil.example"}, 421),
            ({"origin": "http://evil.example"}, 403),
            ({"sec-fetch-site": "cross-site"}, 403),
        ):
            refused = httpx2.post(address, json=ask, headers={**headers, **changed})
            assert refused.status_code == status, changed
        assert httpx2.post(address, content=b"x" * 5_000_000, headers=headers).status_code == 413
        assert httpx2.get(f"{address}x", headers=headers).status_code == 404


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--http", "--host", "0.0.0.0"), "0.0.0.0 can be reached from other machines: that needs a token"),
        (("--port", "80"), "--port, --host and --token-file are for --http"),
        (("absent.pdf",), "absent.pdf does not exist"),
        (("-",), "standard input can't be granted"),
    ],
)
def test_what_cannot_be_served_is_refused(environment: dict[str, str], words: tuple[str, ...], message: str) -> None:
    done = subprocess.run(command(*words), env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode in (2, 3)
    assert message in done.stderr
    assert done.stdout == ""


def test_without_the_library_the_extra_is_named(environment: dict[str, str]) -> None:
    code = (
        "import sys\n"
        "sys.modules['mcp'] = None\n"
        "from importlib import util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name.split('.')[0] == 'mcp' else find(name, *rest)\n"
        "from sharedllm_cli.cli.app import main\n"
        "main(['mcp'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == (
        "error: the Model Context Protocol needs a library that is not installed\n"
        "hint: pip install 'sharedllm-cli[mcp]'\n"
    )


def test_indexed_documents_are_granted_where_none_is_named(environment: dict[str, str], story: str) -> None:
    searched = [sys.executable, "-m", "sharedllm_cli", "search", story, "beacon", "--quiet"]
    subprocess.run(searched, env=environment, check=True, capture_output=True, timeout=120)
    program, *words = command()

    async def main() -> Any:
        async with Client(StdioServerParameters(command=program, args=words, env=environment)) as client:
            return (await client.call_tool("list_documents", {})).structured_content

    found = anyio.run(main)
    assert [one["name"] for one in found["documents"]] == ["harbour.txt"]
    assert found["documents"][0]["indexed"] is True
